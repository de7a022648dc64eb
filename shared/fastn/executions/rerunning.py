"""Running an execution again: its input and headers once more, from the start or from the step that failed."""

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fastn.access.models import Principal
from fastn.errors import NotFound, ValidationFailed
from fastn.executions import rules, store
from fastn.executions.errors import NotRerunnable
from fastn.executions.inline import RANDOM_SEED_BYTES, AcceptedExecution
from fastn.executions.launching import Launcher
from fastn.executions.models import ExecutionStatus, NewExecution, RecordedStep, RunReference
from fastn.platform.capabilities import Platform
from fastn.platform.clock import Clock
from fastn.platform.database import Database, Session
from fastn.platform.ids import ExecutionId, new_id
from fastn.platform.scope import Scope
from fastn.platform.wire import WireModel
from fastn.workflows.request_schemas import check_input
from fastn.workflows.store import find_runnable_by_id

TAKEN_OVER = 0
"""The attempt under which a run keeps the receipts of the run it repeats."""


class RerunVersion(StrEnum):
    """Which version of the workflow is run."""

    SAME = "same"
    CURRENT = "current"


class RerunStart(StrEnum):
    """Where the new run begins."""

    START = "start"
    FAILED_STEP = "failedStep"


class RerunExecution(WireModel):
    """How to run it again; without a member as it ran, from the start."""

    version: Annotated[
        RerunVersion, Field(description="The version that ran, or the one its environment runs now.")
    ] = RerunVersion.SAME
    start: Annotated[
        RerunStart,
        Field(
            alias="from",
            description="failedStep: what succeeded before is not done again; only with the same version.",
        ),
    ] = RerunStart.START


@dataclass(frozen=True, slots=True)
class RerunOrder:
    """Which execution is to run again and how, and whose wish it is."""

    execution_id: uuid.UUID
    body: RerunExecution
    principal: Principal
    trace_id: str


@dataclass(frozen=True, slots=True)
class RerunTools:
    """What re-running takes."""

    database: Database
    launcher: Launcher
    clock: Clock
    random_bytes: Callable[[int], bytes] = os.urandom

    @classmethod
    def of(cls, platform: Platform) -> "RerunTools":
        """The tools of this function. Needs DATABASE, WORKFLOW_RUNS and INSTANT_RUNS."""
        return platform.keep(cls, lambda: cls(platform.database, Launcher(platform), platform.clock))


def rerun_execution(tools: RerunTools, scope: Scope, order: RerunOrder) -> AcceptedExecution:
    """A new execution with the same input and headers, in the same environment, launched in the background.

    From the failed step, the new run is told what the old one was told up to there, and a write that the old
    one completed after it is not made again. Raises NotFound if the tenant has no such run, Forbidden
    where a Test key names one of production, NotRerunnable if the run has not ended, has no version to run or,
    from the failed step, completed; ValidationFailed if the current version cannot go on in the journal of
    another, or refuses the input.
    """
    if (order.body.version, order.body.start) == (RerunVersion.CURRENT, RerunStart.FAILED_STEP):
        raise ValidationFailed("from: a run goes on from its failed step with the version that began it.")
    with tools.database.transaction(scope) as session:
        origin = store.find_origin(session, scope, order.execution_id)
        if origin is None:
            raise NotFound
        rules.check_reachable(origin.execution.environment, order.principal.mode)
        if not origin.status.is_final:
            raise NotRerunnable("The execution has not ended; cancel it first.")
        execution = _new(tools, origin, order)
        if order.body.version is RerunVersion.CURRENT:
            execution = _at_current_version(session, scope, execution)
        if order.body.start is RerunStart.START:
            store.insert_execution(session, scope, execution)
        else:
            _insert_from_failed_step(session, scope, origin, execution)
    tools.launcher.launch(RunReference(scope, execution.id, 1), execution.tier)
    return AcceptedExecution(execution_id=execution.id, status=ExecutionStatus.PENDING)


def _new(tools: RerunTools, origin: store.Origin, order: RerunOrder) -> NewExecution:
    now = tools.clock.now()
    return replace(
        origin.execution,
        id=ExecutionId(new_id(now)),
        triggered_by=order.principal.actor,
        event_id=None,
        route_id=None,
        random_seed=tools.random_bytes(RANDOM_SEED_BYTES),
        trace_id=order.trace_id,
        created_at=now,
        rerun_of=origin.execution.id,
        program_began=None,
    )


def _at_current_version(session: Session, scope: Scope, execution: NewExecution) -> NewExecution:
    runnable = find_runnable_by_id(session, scope, execution.workflow_id, execution.environment)
    if runnable is None:
        raise NotRerunnable(f"{execution.environment} runs no version of this workflow now.")
    if runnable.request_schema is not None:
        check_input(runnable.request_schema, rules.parsed(execution.input_json))
    return replace(
        execution,
        version_number=runnable.version_number,
        source_sha256=runnable.source_sha256,
        tier=runnable.tier,
        timeout_seconds=runnable.timeout_seconds,
        retry=runnable.retry,
    )


def _insert_from_failed_step(session: Session, scope: Scope, origin: store.Origin, execution: NewExecution) -> None:
    if origin.status is ExecutionStatus.COMPLETED:
        raise NotRerunnable("The execution completed: it has no failed step. Run it again from the start.")
    steps = store.load_steps(session, RunReference(scope, origin.execution.id, 1))
    if origin.program_began is not None:
        # The journal speaks of the random numbers and the time that the program saw: it is given the same.
        execution = replace(execution, random_seed=origin.execution.random_seed, program_began=origin.program_began)
    store.insert_execution(session, scope, execution)
    taken = taken_over(steps, origin.attempt, origin.error_json)
    store.insert_steps(session, RunReference(scope, execution.id, 1), taken)


def taken_over(steps: Sequence[RecordedStep], attempt: int, error_json: str | None) -> list[RecordedStep]:
    """What a run that goes on from the failed step of another takes over: its journal before that step, as attempt 1,
    and as attempt 0 the receipts of what it completed otherwise.

    `steps` are all of the run's, in order; `attempt` is its last. A run that no step failed (its program threw, or
    its time was up) leaves its whole journal.
    """
    last = [step for step in steps if step.attempt == attempt]
    failed = rules.failed_step(last, error_json)
    journal = [step for step in last if failed is None or step.sequence < failed.sequence]
    later = last[len(journal) :]
    receipts = rules.receipts_of([*(step for step in steps if step.attempt < attempt), *later])
    for step in journal:
        if step.receipt_of_attempt is not None:
            receipts[step.operation, step.arguments_sha256].popleft()
    left = sorted((step for queue in receipts.values() for step in queue), key=lambda s: (s.attempt, s.sequence))
    return [
        *(replace(step, attempt=TAKEN_OVER, sequence=number) for number, step in enumerate(left, start=1)),
        *(replace(step, attempt=1, receipt_of_attempt=None) for step in journal),
    ]
