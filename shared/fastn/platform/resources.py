"""The capabilities a function may declare, and what each brings: settings here, grants in the CDK app.

A declaration names needs, never IAM actions. One table below says which settings a need puts into the
function's environment; `infra_cdk/grants.py` says which permissions it puts into the function's role; and
`Platform` refuses what was not declared, so a local test fails where AWS would answer AccessDenied.
"""

from collections.abc import Mapping
from enum import StrEnum, auto
from types import MappingProxyType


class Need(StrEnum):
    """A capability of the platform that a function may use."""

    DATABASE = auto()
    """Tenant data, as the role that row-level security binds."""
    INGRESS_DATABASE = auto()
    """Recognising an API key before its owner is known. Every endpoint with a permission has it."""
    RELAY_DATABASE = auto()
    """The outbox of every customer, and no other table."""
    TENANT_DATABASE = auto()
    """The customers' own databases (fastn.db), which the provisioner makes."""
    ENGINE = auto()
    """The JavaScript engine's layer."""
    EGRESS = auto()
    """Calls to the internet, through the guarded client."""
    TENANT_KEYS = auto()
    """Making and opening the data keys of tenants (KMS)."""
    TRIGGER_PROJECTION = auto()
    """Reading the projection of triggers (DynamoDB)."""
    TRIGGER_PROJECTION_WRITE = auto()
    """Writing the projection of triggers (DynamoDB)."""
    OUTBOX_ANNOUNCE = auto()
    """Saying that the outbox has rows: the marker in DynamoDB and the nudge over SQS."""
    OUTBOX_MARKERS = auto()
    """Reading and clearing the outbox markers (DynamoDB)."""
    RELAY_NUDGE = auto()
    """Waking the relay (SQS)."""
    RAW_EVENTS = auto()
    """Parking a delivery while PostgreSQL sleeps (SQS)."""
    EVENT_BUS = auto()
    """Publishing to the event bus."""
    WORKFLOW_RUNS = auto()
    """Starting the state machine of a Standard or Long run."""
    INSTANT_RUNS = auto()
    """Handing an Instant run to its executor, without waiting for it."""
    CANCEL_FLAGS = auto()
    """Asking whether a run was cancelled (DynamoDB)."""
    CANCEL_FLAGS_WRITE = auto()
    """Telling the executor of a run that it was cancelled (DynamoDB)."""

    STATE = auto()
    """Reading and writing workflow state (DynamoDB)."""


class Setting(StrEnum):
    """The environment variables of the platform; each function gets only those its needs bring."""

    INSTALLATION = "FASTN_INSTALLATION"
    PUBLIC_URL = "FASTN_PUBLIC_URL"
    DATABASE_URL = "FASTN_DATABASE_URL"
    INGRESS_DATABASE_URL = "FASTN_INGRESS_DATABASE_URL"
    RELAY_DATABASE_URL = "FASTN_RELAY_DATABASE_URL"
    TENANT_DATABASE_URL = "FASTN_TENANT_DATABASE_URL"
    ENGINE_DIRECTORY = "FASTN_ENGINE_DIRECTORY"
    TENANT_KEY_ARN = "FASTN_TENANT_KEY_ARN"
    TRIGGER_TABLE = "FASTN_TRIGGER_TABLE"
    MARKER_TABLE = "FASTN_MARKER_TABLE"
    RELAY_QUEUE_URL = "FASTN_RELAY_QUEUE_URL"
    RAW_EVENT_QUEUE_URL = "FASTN_RAW_EVENT_QUEUE_URL"
    EVENT_BUS_NAME = "FASTN_EVENT_BUS_NAME"
    STANDARD_STATE_MACHINE_ARN = "FASTN_STANDARD_STATE_MACHINE_ARN"
    LONG_STATE_MACHINE_ARN = "FASTN_LONG_STATE_MACHINE_ARN"
    INSTANT_FUNCTION_NAME = "FASTN_INSTANT_FUNCTION_NAME"
    CANCEL_FLAG_TABLE = "FASTN_CANCEL_FLAG_TABLE"

    STATE_TABLE = "FASTN_STATE_TABLE"


class Queue(StrEnum):
    """The SQS queues; each has a dead-letter queue of the same name plus `-dlq`."""

    RELAY = "relay"
    RAW_EVENTS = "raw-events"
    P1 = "events-p1"
    P2 = "events-p2"
    P3 = "events-p3"
    P4 = "events-p4"
    DEAD_LETTERS = "dead-letters"
    """Not a queue of its own: a consumer that declares it is fed by every dead-letter queue."""


ALWAYS: tuple[Setting, ...] = (Setting.INSTALLATION, Setting.PUBLIC_URL)

SETTINGS_OF_NEED: Mapping[Need, tuple[Setting, ...]] = MappingProxyType(
    {
        Need.DATABASE: (Setting.DATABASE_URL,),
        Need.INGRESS_DATABASE: (Setting.INGRESS_DATABASE_URL,),
        Need.RELAY_DATABASE: (Setting.RELAY_DATABASE_URL,),
        Need.TENANT_DATABASE: (Setting.TENANT_DATABASE_URL,),
        Need.ENGINE: (Setting.ENGINE_DIRECTORY,),
        Need.EGRESS: (),
        Need.TENANT_KEYS: (Setting.TENANT_KEY_ARN,),
        Need.TRIGGER_PROJECTION: (Setting.TRIGGER_TABLE,),
        Need.TRIGGER_PROJECTION_WRITE: (Setting.TRIGGER_TABLE,),
        Need.OUTBOX_ANNOUNCE: (Setting.MARKER_TABLE, Setting.RELAY_QUEUE_URL),
        Need.OUTBOX_MARKERS: (Setting.MARKER_TABLE,),
        Need.RELAY_NUDGE: (Setting.RELAY_QUEUE_URL,),
        Need.RAW_EVENTS: (Setting.RAW_EVENT_QUEUE_URL,),
        Need.EVENT_BUS: (Setting.EVENT_BUS_NAME,),
        Need.WORKFLOW_RUNS: (Setting.STANDARD_STATE_MACHINE_ARN, Setting.LONG_STATE_MACHINE_ARN),
        Need.INSTANT_RUNS: (Setting.INSTANT_FUNCTION_NAME,),
        Need.STATE: (Setting.STATE_TABLE,),
        Need.CANCEL_FLAGS: (Setting.CANCEL_FLAG_TABLE,),
        Need.CANCEL_FLAGS_WRITE: (Setting.CANCEL_FLAG_TABLE,),
    }
)


def settings_of(needs: frozenset[Need]) -> tuple[Setting, ...]:
    """The settings a function with these needs has in its environment, in a stable order."""
    brought = {setting for need in needs for setting in SETTINGS_OF_NEED[need]}
    return (*ALWAYS, *(setting for setting in Setting if setting in brought))
