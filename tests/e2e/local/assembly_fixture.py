"""A small cloud assembly, written by hand: one function per behaviour, and everything that drives them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BUCKET = "cdk-hnb659fds-assets-${AWS::AccountId}-${AWS::Region}"
TEMPLATE_KEY = "probe.template.json"
CODE_KEY = "code.zip"
LAYER_KEY = "layer.zip"
ROLE = "arn:aws:iam::000000000000:role/probe"

HANDLERS = '''
"""Handlers that show what the execution environment does."""
import json, os, subprocess, sys, time

VERSION = "one"

def echo(event, context):
    return event

def api(event, context):
    if event["rawPath"].endswith("/boom"):
        raise ValueError("do not show me")
    if event["rawPath"].endswith("/slow"):
        time.sleep(2)
    return {"statusCode": 200, "body": json.dumps({
        "route": event["routeKey"], "parameters": event.get("pathParameters"), "version": VERSION,
        "query": event.get("rawQueryString"), "host": event["headers"].get("host")})}

def direct(event, context):
    seen = {"path": event["rawPath"], "method": event["requestContext"]["http"]["method"]}
    return {"statusCode": 200, "body": json.dumps(seen)}

def describe(event, context):
    return {"environment": dict(os.environ), "path": sys.path, "cwd": os.getcwd(), "pid": os.getpid(),
            "remaining": context.get_remaining_time_in_millis(), "memory": context.memory_limit_in_mb,
            "routes": dict(context.fastn_loopback_routes), "request_id": context.aws_request_id,
            "arn": context.invoked_function_arn, "version": VERSION}

class CustomError(Exception):
    pass

def fail(event, context):
    print("about to fail")
    raise CustomError("no")

def sleep(event, context):
    print("sleeping")
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    with open(event["children"], "w") as out:
        out.write(f"{os.getpid()} {child.pid}")
    time.sleep(60)

def leave(event, context):
    os._exit(event.get("status", 3))

def respond_with(event, context):
    return "x" * event["size"]

def burn(event, context):
    end = time.process_time() + event["seconds"]
    while time.process_time() < end:
        pass

def now(event, context):
    return {"at": time.time()}

def consume(event, context):
    at = time.time()
    failures = []
    for record in event["Records"]:
        body = json.loads(record["body"])
        body = body.get("detail", body)
        if body.get("record_to"):
            with open(body["record_to"], "a") as out:
                out.write(f"{at}\\n")
        if body.get("bad"):
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}

def fail_until(event, context):
    with open(event["attempts"], "a") as out:
        out.write("x")
    if os.path.getsize(event["attempts"]) < event["succeeds_at"]:
        raise CustomError("not yet")
    return {"attempts": os.path.getsize(event["attempts"])}
'''

ASSET_ONLY = """
import os

def handler(event, context):
    return {"served_from": os.environ["LAMBDA_TASK_ROOT"]}
"""

BROKEN = "import a_module_that_does_not_exist\n\ndef handler(event, context):\n    return None\n"


def write(directory: Path) -> tuple[Path, Path]:
    """A checkout with `functions/` and its cloud assembly: (checkout, assembly)."""
    checkout, assembly = directory / "checkout", directory / "assembly"
    (checkout / "functions").mkdir(parents=True)
    (checkout / "shared").mkdir()
    (checkout / "functions" / "probe.py").write_text(HANDLERS, encoding="utf-8")
    (checkout / "functions" / "broken.py").write_text(BROKEN, encoding="utf-8")
    code = assembly / "asset.code"
    code.mkdir(parents=True)
    (code / "asset_only.py").write_text(ASSET_ONLY, encoding="utf-8")
    _write_json(assembly / TEMPLATE_KEY, _template())
    _write_json(assembly / "probe.assets.json", _assets())
    _write_json(assembly / "manifest.json", _manifest())
    return checkout, assembly


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _manifest() -> Mapping[str, object]:
    return {
        "version": "40.0.0",
        "artifacts": {
            "Probe": {
                "type": "aws:cloudformation:stack",
                "properties": {
                    "templateFile": TEMPLATE_KEY,
                    "stackTemplateAssetObjectUrl": f"s3://{BUCKET}/{TEMPLATE_KEY}",
                },
                "dependencies": ["Probe.assets"],
            },
            "Probe.assets": {"type": "cdk:asset-manifest", "properties": {"file": "probe.assets.json"}},
        },
    }


def _assets() -> Mapping[str, object]:
    def asset(path: str, packaging: str, key: str) -> Mapping[str, object]:
        return {
            "source": {"path": path, "packaging": packaging},
            "destinations": {"current": {"bucketName": BUCKET, "objectKey": key}},
        }

    return {
        "files": {
            "template": asset(TEMPLATE_KEY, "file", TEMPLATE_KEY),
            "code": asset("asset.code", "zip", CODE_KEY),
            "layer": asset("asset.absent", "zip", LAYER_KEY),  # a layer's content is never read
        }
    }


def _template() -> Mapping[str, object]:
    resources: dict[str, Any] = {**_functions(), **_api(), **_queues(), **_events(), **_machines()}
    return {
        "Parameters": {"DatabaseUrl": {"Type": "String"}, "PublicUrl": {"Type": "String"}},
        "Resources": resources,
        "Outputs": {
            "WorkQueueUrl": {"Value": {"Ref": "WorkQueue"}},
            "DeadQueueUrl": {"Value": {"Ref": "DeadQueue"}},
            "FailureQueueUrl": {"Value": {"Ref": "FailureQueue"}},
            "ScheduleQueueUrl": {"Value": {"Ref": "ScheduleQueue"}},
            "ScheduleQueueArn": {"Value": {"Fn::GetAtt": ["ScheduleQueue", "Arn"]}},
            "GroupQueueUrl": {"Value": {"Ref": "GroupQueue"}},
            "MachineArn": {"Value": {"Ref": "Machine"}},
            "ArchiveArn": {"Value": {"Fn::GetAtt": ["Archive", "Arn"]}},
            "TableName": {"Value": {"Ref": "Table"}},
            "KeyArn": {"Value": {"Fn::GetAtt": ["Key", "Arn"]}},
            "PublicUrl": {"Value": {"Ref": "PublicUrl"}},
            "BusName": {"Value": {"Ref": "Bus"}},
        },
    }


def _function(name: str, handler: str, **properties: object) -> Mapping[str, object]:
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "FunctionName": name,
            "Runtime": "python3.13",
            "Handler": handler,
            "Role": ROLE,
            "Timeout": 5,
            "MemorySize": 256,
            "Layers": [{"Ref": "Layer"}],
            "Code": {"S3Bucket": {"Fn::Sub": BUCKET}, "S3Key": CODE_KEY},
            "Environment": {"Variables": {"FROM_TEMPLATE": "yes", "DATABASE_URL": {"Ref": "DatabaseUrl"}}},
            **properties,
        },
    }


def _functions() -> Mapping[str, object]:
    names = ["echo", "api", "describe", "fail", "leave", "respond_with", "burn", "now", "consume", "fail_until"]
    functions = {
        "".join(part.title() for part in name.split("_")): _function(name, f"functions.probe.{name}") for name in names
    }
    return {
        "Layer": {
            "Type": "AWS::Lambda::LayerVersion",
            "Properties": {"Content": {"S3Bucket": {"Fn::Sub": BUCKET}, "S3Key": LAYER_KEY}},
        },
        **functions,
        "DirectUrl": {
            "Type": "AWS::Lambda::Url",
            "Properties": {"TargetFunctionArn": {"Fn::GetAtt": ["Direct", "Arn"]}, "AuthType": "NONE"},
        },
        "Direct": _function("direct", "functions.probe.direct"),
        "Sleep": _function("sleep", "functions.probe.sleep", Timeout=1),
        "Broken": _function("broken", "functions.broken.handler"),
        "AssetOnly": _function("asset_only", "asset_only.handler"),
        "Reserved": _function("reserved", "functions.probe.echo", ReservedConcurrentExecutions=0),
        "FailConfig": {
            "Type": "AWS::Lambda::EventInvokeConfig",
            "Properties": {
                "FunctionName": {"Ref": "FailUntil"},
                "Qualifier": "$LATEST",
                "MaximumRetryAttempts": 2,
                "DestinationConfig": {"OnFailure": {"Destination": {"Fn::GetAtt": ["FailureQueue", "Arn"]}}},
            },
        },
    }


def _api() -> Mapping[str, object]:
    routes = [
        "GET /items",
        "GET /items/{item_id}",
        "POST /items/{item_id}/publish",
        "GET /boom",
        "GET /slow",
        "$default",
    ]
    resources: dict[str, Any] = {
        "Api": {
            "Type": "AWS::ApiGatewayV2::Api",
            "Properties": {
                "Name": "probe",
                "ProtocolType": "HTTP",
                "CorsConfiguration": {
                    "AllowOrigins": ["https://app.example"],
                    "AllowMethods": ["GET"],
                    "MaxAge": 60,
                },
            },
        },
        "Stage": {
            "Type": "AWS::ApiGatewayV2::Stage",
            "Properties": {"ApiId": {"Ref": "Api"}, "StageName": "$default", "AutoDeploy": True},
        },
    }
    for number, route in enumerate(routes):
        resources[f"Integration{number}"] = {
            "Type": "AWS::ApiGatewayV2::Integration",
            "Properties": {
                "ApiId": {"Ref": "Api"},
                "IntegrationType": "AWS_PROXY",
                "IntegrationUri": {"Fn::GetAtt": ["Api0", "Arn"]},
                "PayloadFormatVersion": "2.0",
                "TimeoutInMillis": 500 if route == "GET /slow" else 30000,
            },
        }
        resources[f"Route{number}"] = {
            "Type": "AWS::ApiGatewayV2::Route",
            "Properties": {
                "ApiId": {"Ref": "Api"},
                "RouteKey": route,
                "Target": {"Fn::Sub": f"integrations/${{Integration{number}}}"},
            },
        }
    return {**resources, "Api0": _function("api_front", "functions.probe.api")}


def _queue(**properties: object) -> Mapping[str, object]:
    return {"Type": "AWS::SQS::Queue", "Properties": properties}


def _queues() -> Mapping[str, object]:
    dead_letters = {"deadLetterTargetArn": {"Fn::GetAtt": ["DeadQueue", "Arn"]}, "maxReceiveCount": 2}
    return {
        "DeadQueue": _queue(),
        "FailureQueue": _queue(),
        "ScheduleQueue": _queue(),
        "GroupQueue": _queue(),
        "WorkQueue": _queue(VisibilityTimeout=1, RedrivePolicy=dead_letters),
        "Mapping": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "FunctionName": {"Ref": "Consume"},
                "EventSourceArn": {"Fn::GetAtt": ["WorkQueue", "Arn"]},
                "BatchSize": 10,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
            },
        },
        "Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {}}},
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            },
        },
    }


def _events() -> Mapping[str, object]:
    def rule(source: str, target: Mapping[str, object]) -> Mapping[str, object]:
        return {
            "Type": "AWS::Events::Rule",
            "Properties": {"EventBusName": {"Ref": "Bus"}, "EventPattern": {"source": [source]}, "Targets": [target]},
        }

    return {
        "Bus": {"Type": "AWS::Events::EventBus", "Properties": {"Name": "probe"}},
        "Archive": {
            "Type": "AWS::Events::Archive",
            "Properties": {"SourceArn": {"Fn::GetAtt": ["Bus", "Arn"]}, "RetentionDays": 7},
        },
        "Rotation": {
            "Type": "AWS::SecretsManager::RotationSchedule",
            "Properties": {"SecretId": "arn:aws:secretsmanager:us-east-1:000000000000:secret:none"},
        },
        "QueueRule": rule("probe.queue", {"Id": "q", "Arn": {"Fn::GetAtt": ["WorkQueue", "Arn"]}}),
        "GroupRule": rule(
            "probe.group",
            {
                "Id": "g",
                "Arn": {"Fn::GetAtt": ["GroupQueue", "Arn"]},
                "SqsParameters": {"MessageGroupId": "tenant-a"},
            },
        ),
        "FunctionRule": rule(
            "probe.function",
            {"Id": "f", "Arn": {"Fn::GetAtt": ["FailUntil", "Arn"]}, "InputPath": "$.detail"},
        ),
    }


def _machines() -> Mapping[str, object]:
    definition = {
        "StartAt": "Attempt",
        "States": {
            "Attempt": {
                "Type": "Task",
                "Resource": "${FailUntil.Arn}",
                "Retry": [{"ErrorEquals": ["CustomError"], "IntervalSeconds": 1, "MaxAttempts": 1}],
                "Catch": [{"ErrorEquals": ["CustomError"], "ResultPath": "$.error", "Next": "Caught"}],
                "ResultPath": "$.result",
                "Next": "Decide",
            },
            "Caught": {"Type": "Pass", "End": True},
            "Decide": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.wait", "BooleanEquals": True, "Next": "Pause"}],
                "Default": "Done",
            },
            "Pause": {"Type": "Wait", "Seconds": 1, "Next": "Done"},
            "Done": {"Type": "Succeed"},
        },
    }
    return {
        "Machine": {
            "Type": "AWS::StepFunctions::StateMachine",
            "Properties": {
                "RoleArn": ROLE,
                "DefinitionString": {"Fn::Sub": json.dumps(definition)},
            },
        }
    }
