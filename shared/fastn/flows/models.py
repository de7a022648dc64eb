"""A step flow as it is given, and what it is compiled to."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeVar, cast

from pydantic import Field, model_validator

from fastn.errors import ValidationFailed
from fastn.flows.errors import FlowInvalid
from fastn.platform.wire import STORABLE, StorableJson, StorableObject, WireModel

CheckedT = TypeVar("CheckedT")


class StepType(StrEnum):
    """What a step is; approval and notification are known, and refused where they are used."""

    ACTION = "action"
    WAIT = "wait"
    GATE = "gate"
    LOOP = "loop"
    APPROVAL = "approval"
    NOTIFICATION = "notification"


class Operation(StrEnum):
    """What an action does; those of no compiler yet are known, and refused where they are used."""

    CONNECTOR = "connector"
    CODE = "code"
    FILTER = "filter"
    LIMIT = "limit"
    SPLIT = "split"
    AGGREGATE = "aggregate"
    MERGE = "merge"
    MAP = "map"
    LOG = "log"
    DATABASE = "database"
    FILE_TRANSFER = "file_transfer"
    AI_AGENT = "ai_agent"
    AI_ACTION = "ai_action"
    LOG_METRICS = "log_metrics"


UNAVAILABLE_TYPES = (StepType.APPROVAL, StepType.NOTIFICATION)
UNAVAILABLE_OPERATIONS = (
    Operation.DATABASE,
    Operation.FILE_TRANSFER,
    Operation.AI_AGENT,
    Operation.AI_ACTION,
    Operation.LOG_METRICS,
)


class OnError(StrEnum):
    """What a failed step does to the run."""

    HALT = "halt"
    CONTINUE = "continue"


class Operator(StrEnum):
    """How a condition compares; text that is a number compares as the number."""

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    GREATER_THAN = "greater_than"
    AT_LEAST = "at_least"
    LESS_THAN = "less_than"
    AT_MOST = "at_most"
    CONTAINS = "contains"
    IN = "in"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    EXISTS = "exists"
    IS_EMPTY = "is_empty"


class Computation(StrEnum):
    """What is computed of a field of all records; records without it do not count."""

    COUNT = "count"
    SUM = "sum"
    AVERAGE = "average"
    MIN = "min"
    MAX = "max"
    FIRST = "first"
    LAST = "last"
    COLLECT = "collect"


class LogLevel(StrEnum):
    """The console method a log step writes with."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


StepName = Annotated[
    str,
    Field(
        max_length=64,
        pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$",
        description="Unique in the flow: later steps refer to {{steps.NAME.output}}.",
        examples=["create_invoice"],
    ),
]
FieldPath = Annotated[
    str,
    Field(min_length=1, max_length=500, description="A field of a record, dots for depth: customer.email."),
    STORABLE,
]
Text = Annotated[str, Field(min_length=1, max_length=2_000), STORABLE]
CodeText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200_000,
        description="The body of `async (ctx) => { … }`; what it returns is the output.",
    ),
    STORABLE,
]
Items = Annotated[StorableJson, Field(description="A list, or a reference to one: {{steps.fetch.output.orders}}.")]
Mapping = Annotated[
    StorableObject,
    Field(description="Target field to value or {{reference}}; dots and [0] in a field's name reach deeper."),
]


class StepRetry(WireModel):
    """How often an action is tried, with which waits between; a call the vendor refused is not repeated."""

    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    initial_interval_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 5_000
    backoff_coefficient: Annotated[float, Field(ge=1, le=10, allow_inf_nan=False)] = 2
    max_interval_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 60_000


class Condition(WireModel):
    """A comparison (left, operator, right), or one of all, any, not."""

    left: StorableJson = None
    operator: Operator | None = None
    right: StorableJson = None
    all: "list[Condition] | None" = None
    any: "list[Condition] | None" = None
    not_: "Annotated[Condition | None, Field(alias='not')]" = None


class GateCase(WireModel):
    """One way out of a gate: the first whose condition holds is taken."""

    name: StepName
    when: Condition
    steps: "tuple[FlowStep, ...]" = ()


class Computed(WireModel):
    """One figure of an aggregate; without a field, of the records themselves."""

    operation: Computation
    field: FieldPath | None = None


class FlowStep(WireModel):
    """A step. Which members it needs and may have follows from its type and, for an action, its operation."""

    name: StepName
    type: StepType = StepType.ACTION
    operation: Annotated[Operation | None, Field(description="Of an action; connector or code is understood.")] = None
    description: Annotated[str, Field(max_length=5_000), STORABLE] | None = None
    depends_on: Annotated[
        tuple[StepName, ...], Field(description="Steps to run before, beside those it refers to.")
    ] = ()
    on_error: OnError = OnError.HALT
    retry: StepRetry | None = None
    connector: Annotated[Text | None, Field(description="The connector's slug.")] = None
    connection: Annotated[Text | None, Field(description="Which connection; the default one unless given.")] = None
    action: Annotated[Text | None, Field(description="The connector's action.")] = None
    mapping: Mapping | None = None
    code: CodeText | None = None
    items: Items | None = None
    where: Condition | None = None
    count: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    offset: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    size: Annotated[int, Field(ge=1, le=100_000)] | None = None
    compute: Annotated[dict[str, Computed], Field(min_length=1)] | None = None
    group_by: FieldPath | None = None
    sources: Annotated[list[StorableJson], Field(min_length=1)] | None = None
    key: FieldPath | None = None
    message: Text | None = None
    level: LogLevel | None = None
    duration_ms: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    until: Annotated[Text | None, Field(description="An instant (RFC 3339), or a reference to one.")] = None
    cases: Annotated[list[GateCase], Field(min_length=1)] | None = None
    otherwise: "list[FlowStep] | None" = None
    over: Items | None = None
    steps: "Annotated[list[FlowStep], Field(min_length=1)] | None" = None

    @model_validator(mode="before")
    @classmethod
    def _keep_only_the_name_of_what_is_not_available(cls, given: object) -> object:
        # Its further members are not known yet: so it is refused as such, by its name, and not for one of them.
        if not isinstance(given, dict):
            return given
        members = cast("dict[str, object]", given)
        if members.get("type") not in UNAVAILABLE_TYPES and members.get("operation") not in UNAVAILABLE_OPERATIONS:
            return members
        return {name: members[name] for name in ("name", "type", "operation") if name in members}


class FlowDefinition(WireModel):
    """A step flow. Its steps run in the order of their dependencies, else as they are listed."""

    name: StepName
    description: Annotated[str, Field(max_length=5_000), STORABLE] = ""
    trigger: Annotated[
        StorableObject | None, Field(description="What starts it; for readers, a trigger is made apart.")
    ] = None
    steps: Annotated[list[FlowStep], Field(min_length=1)]
    output: Annotated[StorableJson, Field(description="What the run answers; the last step's output unless given.")] = (
        None
    )


@dataclass(frozen=True, slots=True)
class StepLine:
    """Where in the compiled code a step begins; the line counts from 1."""

    line: int
    step: str


@dataclass(frozen=True, slots=True)
class CompiledFlow:
    """Workflow code (JavaScript, which is TypeScript too) and where its steps lie in it."""

    source: str
    step_lines: tuple[StepLine, ...]

    def step_at(self, line: int) -> str | None:
        """The innermost step whose code this line belongs to; None for a line before the first."""
        found = [step.step for step in self.step_lines if step.line <= line]
        return found[-1] if found else None

    def checked(self, check: Callable[[str], CheckedT]) -> CheckedT:
        """What the check of the code gives; a ValidationFailed of it is told of the step it lies in, FlowInvalid."""
        try:
            return check(self.source)
        except ValidationFailed as error:
            line = (error.details or {}).get("line")
            step = self.step_at(line) if isinstance(line, int) else None
            raise FlowInvalid(error.message, step=step) from error
