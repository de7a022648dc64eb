"""Executions and their steps, inside and on the wire."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue

from fastn.platform.ids import ExecutionId
from fastn.platform.scope import Scope
from fastn.platform.wire import Instant, PageRequest, WireModel
from fastn.workflows.models import RetryPolicy, Tier


class ExecutionStatus(StrEnum):
    """Where a run stands; the last four are final."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"

    @property
    def is_final(self) -> bool:
        """Whether nothing can change it any more."""
        return self not in (ExecutionStatus.PENDING, ExecutionStatus.RUNNING)


class StepStatus(StrEnum):
    """How a host call ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RunReference:
    """Names one launch of one run: all that travels through Step Functions and Lambda."""

    scope: Scope
    execution_id: ExecutionId
    launch: int

    def as_text(self) -> dict[str, str | int]:
        """The reference as JSON members."""
        return {**self.scope.as_text(), "executionId": str(self.execution_id), "launch": self.launch}

    @classmethod
    def from_text(cls, text: dict[str, str]) -> "RunReference":
        """The reference `as_text` wrote. Raises KeyError or ValueError if it did not."""
        return cls(Scope.from_text(text), ExecutionId(uuid.UUID(text["executionId"])), int(text["launch"]))


@dataclass(frozen=True, slots=True)
class ProgramTimes:
    """What the program's clock showed where its journal begins, for a run that takes over another one's journal."""

    created_at: datetime
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewExecution:
    """A run about to be created: what it pins and what it starts from (both as JSON text)."""

    id: ExecutionId
    environment: str
    workflow_id: uuid.UUID
    version_number: int | None
    source_sha256: bytes
    tier: Tier
    timeout_seconds: int
    triggered_by: str
    event_id: uuid.UUID | None
    route_id: uuid.UUID | None
    input_json: str
    headers_json: str
    random_seed: bytes
    trace_id: str
    created_at: datetime
    is_begun: bool = False
    """True if whoever creates it runs it at once."""
    retry: RetryPolicy | None = None
    rerun_of: uuid.UUID | None = None
    program_began: ProgramTimes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnableExecution:
    """A stored run with everything its executor needs to begin or to go on."""

    reference: RunReference
    status: ExecutionStatus
    environment: str
    workflow_id: uuid.UUID
    tier: Tier
    timeout_seconds: int
    language: str
    source: str
    source_sha256: bytes
    input_json: str
    headers_json: str
    random_seed: bytes
    created_at: datetime
    started_at: datetime | None
    is_first_launch: bool
    """Whether nobody had begun it before: then it has no journal."""
    attempt: int = 1
    retry: RetryPolicy | None = None
    attempts_json: str = "[]"
    """The failed attempts before this one, as a JSON list."""
    next_attempt_at: datetime | None = None
    """Before that instant this attempt is not begun."""
    program_began: ProgramTimes | None = None

    @property
    def began_at(self) -> datetime:
        """What the program's clock shows before anything has happened to it."""
        if self.program_began is not None:
            return self.program_began.started_at
        return self.started_at or self.created_at

    @property
    def deadline(self) -> datetime:
        """When its own time is up."""
        return (self.started_at or self.created_at) + timedelta(seconds=self.timeout_seconds)

    def seconds_left(self, now: datetime) -> float:
        """Seconds until its own time is up; 0 if it is."""
        return max(0.0, (self.deadline - now).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStep:
    """One host call as it was recorded: the journal a later launch replays."""

    sequence: int
    operation: str
    arguments_sha256: bytes
    arguments_json: str
    result_json: str | None
    error_json: str | None
    exchange_json: str | None
    started_at: datetime
    duration_ms: float
    attempt: int = 1
    receipt_of_attempt: int | None = None
    """The attempt that did this write; this one was given its receipt. None if it was performed here."""

    @property
    def ended_at(self) -> datetime:
        """When its outcome was known."""
        return self.started_at + timedelta(milliseconds=self.duration_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    status: ExecutionStatus
    output_json: str | None
    error_json: str | None
    console_json: str
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Yielded:
    """The run is not over: another launch is to go on, and not before `resume_at`."""

    resume_at: datetime


class ListExecutions(PageRequest):
    """Which executions to list."""

    status: ExecutionStatus | None = None
    workflow_id: uuid.UUID | None = None
    since: Instant | None = None
    until: Instant | None = None


class ExecutionSummary(WireModel):
    """A run as the execution log shows it."""

    id: uuid.UUID
    workflow_id: uuid.UUID
    workflow_name: str
    tier: Tier
    version: int | None
    environment: str
    status: ExecutionStatus
    triggered_by: str
    event_id: uuid.UUID | None
    trace_id: str
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    duration_ms: int | None


class StepView(WireModel):
    """One host call of a run: what went in, what came out, how long it took."""

    attempt: int
    sequence: int
    operation: str
    status: StepStatus
    input: JsonValue
    output: JsonValue
    error: JsonValue
    exchange: JsonValue
    started_at: Instant
    duration_ms: float
    receipt_of_attempt: Annotated[
        int | None,
        Field(description="Set if an earlier attempt (0: the execution this one repeats) had done this write."),
    ] = None


class AttemptView(WireModel):
    """An attempt that failed and was followed by another."""

    attempt: int
    status: ExecutionStatus
    error: JsonValue
    console: JsonValue
    started_at: Instant
    finished_at: Instant


class ExecutionView(ExecutionSummary):
    """A run with its full trace."""

    input: JsonValue
    output: JsonValue
    error: JsonValue
    console: JsonValue
    attempt: Annotated[int, Field(description="Counts from 1.")]
    attempts: Annotated[list[AttemptView], Field(description="The failed attempts before the present one.")]
    next_attempt_at: Annotated[Instant | None, Field(description="While a failed run waits to be tried again.")]
    rerun_of: Annotated[uuid.UUID | None, Field(description="The execution that this one repeats.")]
    steps: list[StepView]
