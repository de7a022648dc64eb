"""What each declared need puts into a function's role: the actions it takes, on the one resource it takes them on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from aws_cdk import aws_iam as iam

from fastn.platform.database import Role
from fastn.platform.resources import Need


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantTargets:
    """The ARNs that grants name."""

    tenant_key: str
    trigger_table: str
    marker_table: str
    state_table: str
    cancel_flag_table: str
    relay_queue: str
    raw_event_queue: str
    event_bus: str
    machines: Sequence[str]
    instant_function: str
    database_logins: Mapping[Role, str]
    """`rds-db:connect` resources; empty where the database takes passwords (the local stage)."""
    provisioner_login: str | None = None
    """The same for who makes the tenants' databases."""


def statements_for(needs: frozenset[Need], targets: GrantTargets) -> list[iam.PolicyStatement]:
    """The statements of these needs, in a stable order. Every need is known to the table below."""
    return [statement for need in Need if need in needs for statement in GRANTS_OF_NEED[need](targets)]


def _allow(actions: Sequence[str], *resources: str) -> list[iam.PolicyStatement]:
    return [iam.PolicyStatement(actions=actions, resources=list(resources))]


def _log_in(role: Role) -> Callable[[GrantTargets], list[iam.PolicyStatement]]:
    def grant(targets: GrantTargets) -> list[iam.PolicyStatement]:
        login = targets.database_logins.get(role)
        return _allow(["rds-db:connect"], login) if login else []

    return grant


def _log_in_as_provisioner(targets: GrantTargets) -> list[iam.PolicyStatement]:
    login = targets.provisioner_login
    return _allow(["rds-db:connect"], login) if login else []


def _tenant_keys(targets: GrantTargets) -> list[iam.PolicyStatement]:
    # A call without the encryption context `tenant` would make a key that opens for anyone: IAM refuses it.
    return [
        iam.PolicyStatement(
            actions=["kms:GenerateDataKey", "kms:Decrypt"],
            resources=[targets.tenant_key],
            conditions={"Null": {"kms:EncryptionContext:tenant": "false"}},
        )
    ]


def _announce(targets: GrantTargets) -> list[iam.PolicyStatement]:
    return [
        *_allow(["dynamodb:PutItem", "dynamodb:UpdateItem"], targets.marker_table),
        *_allow(["sqs:SendMessage"], targets.relay_queue),
    ]


def _nothing(_targets: GrantTargets) -> list[iam.PolicyStatement]:
    return []


# PynamoDB knows a table's keys from its model, so no grant needs dynamodb:DescribeTable.
GRANTS_OF_NEED: Mapping[Need, Callable[[GrantTargets], list[iam.PolicyStatement]]] = MappingProxyType(
    {
        Need.DATABASE: _log_in(Role.APP),
        Need.INGRESS_DATABASE: _log_in(Role.INGRESS),
        Need.RELAY_DATABASE: _log_in(Role.RELAY),
        Need.TENANT_DATABASE: _log_in_as_provisioner,
        Need.ENGINE: _nothing,
        Need.EGRESS: _nothing,
        Need.TENANT_KEYS: _tenant_keys,
        Need.TRIGGER_PROJECTION: lambda targets: _allow(["dynamodb:GetItem"], targets.trigger_table),
        Need.TRIGGER_PROJECTION_WRITE: lambda targets: _allow(
            ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"], targets.trigger_table
        ),
        Need.OUTBOX_ANNOUNCE: _announce,
        Need.OUTBOX_MARKERS: lambda targets: _allow(
            ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:DeleteItem"], targets.marker_table
        ),
        Need.RELAY_NUDGE: lambda targets: _allow(["sqs:SendMessage"], targets.relay_queue),
        Need.RAW_EVENTS: lambda targets: _allow(["sqs:SendMessage"], targets.raw_event_queue),
        Need.EVENT_BUS: lambda targets: _allow(["events:PutEvents"], targets.event_bus),
        Need.WORKFLOW_RUNS: lambda targets: _allow(["states:StartExecution"], *targets.machines),
        Need.INSTANT_RUNS: lambda targets: _allow(["lambda:InvokeFunction"], targets.instant_function),
        Need.STATE: lambda targets: _allow(
            ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"], targets.state_table
        ),
        Need.CANCEL_FLAGS: lambda targets: _allow(["dynamodb:GetItem"], targets.cancel_flag_table),
        Need.CANCEL_FLAGS_WRITE: lambda targets: _allow(["dynamodb:PutItem"], targets.cancel_flag_table),
    }
)
