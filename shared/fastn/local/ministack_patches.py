"""What ministack 1.5.33 does otherwise than AWS, each put right in one small place.

Every gap has a contract test, so that an upgrade which closes one tells us to delete its patch.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from importlib import import_module
from typing import Any

from fastn.local.ministack_scheduler import ScheduleTicker

Properties = Mapping[str, Any]

HTTP_API_TIMEOUT_MS = 30_000
RULE_TICK_SECONDS = 1.0
ESM_IDLE_GAP_SECONDS = 0.002

# CloudFormation types the emulator refuses and nothing local acts on: they are accepted and do nothing.
INERT_RESOURCE_TYPES = (
    "AWS::Budgets::Budget",
    "AWS::CloudWatch::AnomalyDetector",
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::EC2::EIP",
    "AWS::EC2::NatGateway",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::Events::ApiDestination",
    "AWS::Events::Connection",
    "AWS::Events::EventBusPolicy",
    "AWS::Logs::QueryDefinition",
    "AWS::RDS::DBProxy",
    "AWS::RDS::DBProxyTargetGroup",
    "AWS::SNS::TopicInlinePolicy",
    "AWS::SQS::QueueInlinePolicy",
    "AWS::SecretsManager::ResourcePolicy",
    "AWS::SecretsManager::RotationSchedule",
    "AWS::XRay::Group",
    "AWS::XRay::SamplingRule",
)


def apply() -> None:
    """Install every patch. Call it once, before the emulator serves."""
    accept_inert_resources()
    provision_event_archives()
    read_cors_of_templates()
    apply_function_limits_of_templates()
    answer_like_an_http_api()
    name_throttles()
    start_executions_at_once()
    limit_executions_in_time()
    expire_heartbeats()
    retry_event_targets()
    keep_message_groups()
    tick_schedules()
    wake_event_source_mappings()


def accept_inert_resources() -> None:
    """Gap: a template with a type the emulator does not know is refused as a whole."""
    provisioners = _module("services.cloudformation.provisioners")

    def create(logical_id: str, _properties: object, stack_name: str) -> tuple[str, dict[str, str]]:
        physical_id = f"{stack_name}-{logical_id}"
        return physical_id, {"Arn": f"arn:aws:local:::{physical_id}", "Id": physical_id}

    def delete(*_: object) -> None:
        """Nothing was created."""

    for resource_type in INERT_RESOURCE_TYPES:
        provisioners._RESOURCE_HANDLERS.setdefault(resource_type, {"create": create, "delete": delete})


def provision_event_archives() -> None:
    """Gap: AWS::Events::Archive is unknown to CloudFormation, though the events service has archives."""
    provisioners, events = _module("services.cloudformation.provisioners"), _module("services.eventbridge")

    def create(logical_id: str, properties: Properties, stack_name: str) -> tuple[str, dict[str, str]]:
        name = properties.get("ArchiveName") or f"{stack_name}-{logical_id}"[:48]
        pattern = properties.get("EventPattern", "")
        status, _, body = events._create_archive(
            {
                "ArchiveName": name,
                "EventSourceArn": properties["SourceArn"],
                "RetentionDays": properties.get("RetentionDays", 0),
                "EventPattern": pattern if isinstance(pattern, str) else json.dumps(pattern),
            }
        )
        if status != 200:
            raise ValueError(f"AWS::Events::Archive: {body.decode()}")
        return name, {"Arn": json.loads(body)["ArchiveArn"], "ArchiveName": name}

    def delete(physical_id: str, *_: object) -> None:
        events._delete_archive({"ArchiveName": physical_id})

    provisioners._RESOURCE_HANDLERS.setdefault("AWS::Events::Archive", {"create": create, "delete": delete})


def read_cors_of_templates() -> None:
    """Gap: CORS comes from a template as AllowOrigins and is looked up as allowOrigins, so never applied."""
    handlers = _module("services.cloudformation.provisioners")._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]

    def with_cors_spelled(properties: Properties) -> Properties:
        cors: Mapping[str, Any] | None = properties.get("CorsConfiguration")
        if not cors:
            return properties
        spelled = {name[:1].lower() + name[1:]: value for name, value in cors.items()}
        return {**properties, "CorsConfiguration": spelled}

    create, update = handlers["create"], handlers["update"]

    def create_with_cors(logical_id: str, properties: Properties, *rest: object) -> object:
        return create(logical_id, with_cors_spelled(properties), *rest)

    def update_with_cors(physical_id: str, old: Properties, new: Properties, *rest: object) -> object:
        return update(physical_id, with_cors_spelled(old), with_cors_spelled(new), *rest)

    handlers.update(create=create_with_cors, update=update_with_cors)


def apply_function_limits_of_templates() -> None:
    """Gap: a template's ReservedConcurrentExecutions and DeadLetterConfig are dropped."""
    handlers = _module("services.cloudformation.provisioners")._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    functions = _module("services.lambda_svc")._functions
    create, update = handlers["create"], handlers["update"]

    def limit(function_name: str, properties: Properties) -> None:
        record = functions[function_name]
        record["concurrency"] = properties.get("ReservedConcurrentExecutions")
        record["config"]["DeadLetterConfig"] = properties.get("DeadLetterConfig") or {}

    def create_with_limits(logical_id: str, properties: Properties, *rest: object) -> tuple[str, object]:
        physical_id, attributes = create(logical_id, properties, *rest)
        limit(physical_id, properties)
        return physical_id, attributes

    def update_with_limits(physical_id: str, old: Properties, new: Properties, *rest: object) -> tuple[str, object]:
        physical_id, attributes = update(physical_id, old, new, *rest)
        limit(physical_id, new)
        return physical_id, attributes

    handlers.update(create=create_with_limits, update=update_with_limits)


def answer_like_an_http_api() -> None:
    """Gaps: a function's exception reaches the caller (502), and an integration may take for ever.

    An HTTP API hides both: 500 Internal Server Error, and 503 Service Unavailable after at most 30 s.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-troubleshooting-lambda.html
    """
    gateway, lambda_service = _module("services.apigateway"), _module("services.lambda_svc")
    to_response, invoke = (
        lambda_service.lambda_execute_result_to_api_proxy_response,
        gateway._invoke_lambda_proxy,
    )

    def hide_errors(result: Mapping[str, Any]) -> tuple[Mapping[str, Any], None]:
        if result.get("error") and not result.get("throttle"):
            return _gateway_message(500, "Internal Server Error"), None
        return to_response(result)

    async def invoke_in_time(integration: Mapping[str, Any], *arguments: Any, **named: Any) -> Any:
        limit_ms = int(integration.get("timeoutInMillis") or HTTP_API_TIMEOUT_MS)
        invocation = asyncio.ensure_future(invoke(integration, *arguments, **named))
        # Not cancelled when late: as on AWS, the function runs on after its caller was told.
        done, _ = await asyncio.wait({invocation}, timeout=min(limit_ms, HTTP_API_TIMEOUT_MS) / 1000)
        if done:
            return invocation.result()
        answer = _gateway_message(503, "Service Unavailable")
        return answer["statusCode"], answer["headers"], answer["body"].encode()

    lambda_service.lambda_execute_result_to_api_proxy_response = hide_errors
    gateway._invoke_lambda_proxy = invoke_in_time


def name_throttles() -> None:
    """Gap: Step Functions sees a throttled function as Lambda.Unknown, so no Retry matches.

    AWS reports Lambda.TooManyRequestsException.
    """
    lambda_service = _module("services.lambda_svc")
    throttle = lambda_service._throttle_response

    def named_throttle(*arguments: Any, **named: Any) -> dict[str, Any]:
        response = throttle(*arguments, **named)
        response["body"]["errorType"] = "Lambda.TooManyRequestsException"
        return response

    lambda_service._throttle_response = named_throttle


def start_executions_at_once() -> None:
    """Gap: every execution sleeps 150 ms before its first state."""
    _module("services.stepfunctions").time = _ClockWithoutStartDelay()


class _ClockWithoutStartDelay:
    """The `time` module as Step Functions sees it, without that one pause."""

    START_DELAY_SECONDS = 0.15

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        """Sleep, unless it is the pause before the first state."""
        if seconds != self.START_DELAY_SECONDS:
            time.sleep(seconds)


def limit_executions_in_time() -> None:
    """Gaps: a machine's TimeoutSeconds is ignored, and a late failure overwrites ABORTED.

    AWS ends the execution as TIMED_OUT at its limit, also in the middle of a Wait or a Task.
    """
    machines = _module("services.stepfunctions")
    run, fail = machines._run_execution, machines._fail_execution

    def time_out(execution: dict[str, Any]) -> None:
        if execution["status"] != "RUNNING":
            return
        execution.update(
            status="TIMED_OUT",
            error="States.Timeout",
            cause="The execution exceeded its TimeoutSeconds",
            stopDate=machines.now_iso(),
        )
        machines._add_event(execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {}})
        machines._emit_execution_status_event(execution)

    def run_in_time(execution_arn: str) -> None:
        execution = machines._executions.get(execution_arn)
        limit_seconds = _timeout_of(machines, execution)
        if execution is None or limit_seconds is None:
            run(execution_arn)
            return
        alarm = _timer_in_scope(limit_seconds, lambda: time_out(execution))
        try:
            run(execution_arn)
        finally:
            alarm.cancel()

    def fail_if_running(execution: dict[str, Any], error: str, cause: str) -> None:
        if execution["status"] == "RUNNING":
            fail(execution, error, cause)

    machines._run_execution = run_in_time
    machines._fail_execution = fail_if_running


def _timeout_of(machines: Any, execution: Mapping[str, Any] | None) -> float | None:
    machine = machines._state_machines.get(execution["stateMachineArn"]) if execution else None
    if machine is None:
        return None
    try:
        limit = json.loads(machine["definition"]).get("TimeoutSeconds")
    except ValueError:
        return None
    return float(limit) if limit else None


def expire_heartbeats() -> None:
    """Gap: HeartbeatSeconds of a task that waits for a token is ignored."""
    machines = _module("services.stepfunctions")
    invoke = machines._invoke_with_callback

    def invoke_with_heartbeat(resource: str, payload: object, token: str, state: Mapping[str, Any]) -> object:
        interval_seconds = state.get("HeartbeatSeconds")
        if not interval_seconds:
            return invoke(resource, payload, token, state)
        finished = threading.Event()
        watch = threading.Thread(
            target=_watch_heartbeat,
            args=(machines._task_tokens, token, float(interval_seconds), finished),
            daemon=True,
        )
        watch.start()
        try:
            return invoke(resource, payload, token, state)
        finally:
            finished.set()

    machines._invoke_with_callback = invoke_with_heartbeat


def _watch_heartbeat(
    tokens: Mapping[str, dict[str, Any]], token: str, interval_seconds: float, finished: threading.Event
) -> None:
    last_beat: object = None
    while not finished.wait(interval_seconds):
        task = tokens.get(token)
        if task is None:
            continue
        if task["heartbeat"] == last_beat:
            task["error"] = {"Error": "States.HeartbeatTimeout", "Cause": "No heartbeat arrived in time"}
            task["event"].set()
            return
        last_beat = task["heartbeat"]


def retry_event_targets() -> None:
    """Gap: EventBridge runs a Lambda target once. AWS invokes it asynchronously: two retries, then its DLQ."""
    events, lambda_service = _module("services.eventbridge"), _module("services.lambda_svc")

    def dispatch(arn: str, payload: str) -> None:
        function, config, _ = lambda_service._get_func_record_for_ref(arn)
        if function and config:
            record = lambda_service._execution_record_for_config(function, config)
            lambda_service.invoke_async_with_retry(record, json.loads(payload))

    events._dispatch_to_lambda = dispatch


def keep_message_groups() -> None:
    """Gap: a rule's MessageGroupId is dropped for a standard queue; fair queues are keyed by it."""
    events, queues = _module("services.eventbridge"), _module("services.sqs")
    dispatch = events._dispatch_to_sqs

    def dispatch_with_group(spec: Any, payload: str, parameters: Mapping[str, str] | None = None) -> None:
        queue, group = queues._queue_by_arn(str(spec)), (parameters or {}).get("MessageGroupId")
        before = len(queue["messages"]) if queue else 0
        dispatch(spec, payload, parameters)
        if queue and group and not queue.get("is_fifo"):
            for message in queue["messages"][before:]:
                if message["body"] == payload:
                    message["group_id"] = group

    events._dispatch_to_sqs = dispatch_with_group


def tick_schedules() -> None:
    """Gaps: schedules are looked at every 10 s, in UTC only, without their context attributes."""
    scheduler, events = _module("services.scheduler"), _module("services.eventbridge")
    ticker = ScheduleTicker(scheduler, events)
    scheduler._tick_schedules = ticker.tick
    scheduler._SCHEDULE_TICK_INTERVAL = RULE_TICK_SECONDS / 2
    events._SCHEDULER_TICK_INTERVAL = RULE_TICK_SECONDS


def wake_event_source_mappings() -> None:
    """Gap: after a batch, the queue poller rests 50 ms before it looks at the next message."""
    _module("services.lambda_svc")._ESM_IDLE_WAKE_GAP_SECONDS = ESM_IDLE_GAP_SECONDS


def _timer_in_scope(seconds: float, action: Callable[[], None]) -> threading.Timer:
    """A running timer whose action sees the account and region of the caller."""
    timer = threading.Timer(seconds, copy_context().run, [action])
    timer.daemon = True
    timer.start()
    return timer


def _gateway_message(status: int, message: str) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": json.dumps({"message": message})}


def _module(name: str) -> Any:
    return import_module(f"ministack.{name}")
