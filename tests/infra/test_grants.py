"""A role allows what its function's needs take, on the resources they take it on."""

from dataclasses import replace

import pytest

from fastn.http.declarations import QueueConsumerDeclaration, TaskDeclaration
from fastn.http.registry import RegisteredFunction
from fastn.platform.database import Role
from fastn.platform.resources import Need
from infra_cdk.grants import GrantTargets, statements_for
from tests.infra.cloud_assembly import Assembly, as_list, texts_in

TARGETS = GrantTargets(
    tenant_key="key",
    trigger_table="triggers",
    marker_table="markers",
    state_table="state",
    cancel_flag_table="cancel-flags",
    relay_queue="relay",
    raw_event_queue="raw",
    event_bus="bus",
    machines=("standard", "long"),
    instant_function="instant",
    database_logins={role: f"login/{role}" for role in Role},
    provisioner_login="login/fastn_provisioner",
)
GRANTED: dict[Need, set[tuple[str, str]]] = {
    Need.DATABASE: {("rds-db:connect", "login/fastn_app")},
    Need.INGRESS_DATABASE: {("rds-db:connect", "login/fastn_ingress")},
    Need.RELAY_DATABASE: {("rds-db:connect", "login/fastn_relay")},
    Need.TENANT_DATABASE: {("rds-db:connect", "login/fastn_provisioner")},
    Need.ENGINE: set(),
    Need.EGRESS: set(),
    Need.TENANT_KEYS: {("kms:GenerateDataKey", "key"), ("kms:Decrypt", "key")},
    Need.TRIGGER_PROJECTION: {("dynamodb:GetItem", "triggers")},
    Need.TRIGGER_PROJECTION_WRITE: {
        ("dynamodb:PutItem", "triggers"),
        ("dynamodb:UpdateItem", "triggers"),
        ("dynamodb:DeleteItem", "triggers"),
    },
    Need.OUTBOX_ANNOUNCE: {
        ("dynamodb:PutItem", "markers"),
        ("dynamodb:UpdateItem", "markers"),
        ("sqs:SendMessage", "relay"),
    },
    Need.CANCEL_FLAGS: {("dynamodb:GetItem", "cancel-flags")},
    Need.CANCEL_FLAGS_WRITE: {("dynamodb:PutItem", "cancel-flags")},
    Need.OUTBOX_MARKERS: {
        ("dynamodb:GetItem", "markers"),
        ("dynamodb:BatchGetItem", "markers"),
        ("dynamodb:DeleteItem", "markers"),
    },
    Need.RELAY_NUDGE: {("sqs:SendMessage", "relay")},
    Need.RAW_EVENTS: {("sqs:SendMessage", "raw")},
    Need.EVENT_BUS: {("events:PutEvents", "bus")},
    Need.WORKFLOW_RUNS: {("states:StartExecution", "standard"), ("states:StartExecution", "long")},
    Need.INSTANT_RUNS: {("lambda:InvokeFunction", "instant")},
    Need.STATE: {("dynamodb:GetItem", "state"), ("dynamodb:PutItem", "state"), ("dynamodb:DeleteItem", "state")},
}
RUNTIME_ACTIONS = {
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
}
RESOURCELESS_SERVICES = {"xray", "ec2"}


@pytest.mark.parametrize("need", list(Need))
def test_a_need_grants_exactly_its_actions_on_exactly_its_resources(need: Need) -> None:
    statements = [statement.to_json() for statement in statements_for(frozenset({need}), TARGETS)]

    pairs = {(a, r) for s in statements for a in as_list(s["Action"]) for r in as_list(s["Resource"])}

    assert pairs == GRANTED[need]


def test_data_keys_are_made_and_opened_for_a_named_tenant_only() -> None:
    (statement,) = statements_for(frozenset({Need.TENANT_KEYS}), TARGETS)

    assert statement.to_json()["Condition"] == {"Null": {"kms:EncryptionContext:tenant": "false"}}


def test_a_database_that_takes_passwords_needs_no_login_grant() -> None:
    targets = replace(TARGETS, database_logins={})

    assert statements_for(frozenset({Need.DATABASE}), targets) == []


def test_a_role_allows_its_needs_and_its_way_of_being_called_and_nothing_else(assembly: Assembly) -> None:
    for registered in assembly.registry.functions:
        function = assembly.function_of(registered)
        statements = [s for s in assembly.statements_of(function) if s["Effect"] == "Allow"]
        allowed = {action for s in statements for action in as_list(s["Action"]) if not action.startswith("ec2:")}

        has_database = assembly.installation != "local"
        assert allowed == _expected_actions(registered, has_database), registered.name


def test_no_role_allows_data_actions_on_every_resource(assembly: Assembly) -> None:
    for role in assembly.resources("AWS::IAM::Role"):
        for policy in role.properties.get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                services = {action.split(":")[0] for action in as_list(statement["Action"])}
                wide = any("*" in text for resource in as_list(statement["Resource"]) for text in texts_in(resource))

                assert not wide or services <= RESOURCELESS_SERVICES, (role.logical_id, statement)
                assert not any("*" in action for action in as_list(statement["Action"]))


def test_no_policy_beside_the_role_widens_it(assembly: Assembly) -> None:
    kinds = {body["Type"] for template in assembly.templates.values() for body in template["Resources"].values()}

    assert "AWS::IAM::Policy" not in kinds
    for function in assembly.resources("AWS::Lambda::Function"):
        assert "ManagedPolicyArns" not in assembly.role_of(function).properties


def test_code_in_the_vpc_is_denied_the_network_interfaces_its_role_may_make(on_aws: Assembly) -> None:
    for function in on_aws.resources("AWS::Lambda::Function"):
        statements = on_aws.statements_of(function)
        allowed = {a for s in statements if s["Effect"] == "Allow" for a in as_list(s["Action"]) if "ec2:" in a}
        denied = {a for s in statements if s["Effect"] == "Deny" for a in as_list(s["Action"])}

        assert denied == allowed
        assert bool(allowed) == ("VpcConfig" in function.properties)


def test_a_state_machine_may_call_its_two_tasks_only(on_aws: Assembly) -> None:
    roles = {role.logical_id: role for role in on_aws.resources("AWS::IAM::Role")}
    for machine in on_aws.resources("AWS::StepFunctions::StateMachine"):
        role = roles[machine.properties["RoleArn"]["Fn::GetAtt"][0]]
        statements = role.properties["Policies"][0]["PolicyDocument"]["Statement"]
        (invoke,) = [s for s in statements if s["Action"] == "lambda:InvokeFunction"]

        called = sorted(text for text in texts_in(invoke["Resource"]) if ":function:" in text)
        assert called == [":function:blue-fail-execution", ":function:blue-run-segment"]


def _expected_actions(registered: RegisteredFunction, has_database: bool) -> set[str]:
    declaration = registered.declaration
    actions = RUNTIME_ACTIONS | {action for need in declaration.needs for action, _resource in GRANTED[need]}
    if not has_database:
        actions -= {"rds-db:connect"}
    if isinstance(declaration, QueueConsumerDeclaration):
        actions |= {
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:ChangeMessageVisibility",
            "sqs:GetQueueAttributes",
        }
    if isinstance(declaration, TaskDeclaration) and declaration.asynchronous:
        actions |= {"sqs:SendMessage"}
    return actions
