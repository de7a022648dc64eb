"""Executions and their steps in PostgreSQL."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from fastn.executions.errors import RunSuperseded
from fastn.executions.models import (
    ExecutionStatus,
    ListExecutions,
    NewExecution,
    Outcome,
    ProgramTimes,
    RecordedStep,
    RunnableExecution,
    RunReference,
)
from fastn.platform.database import Session
from fastn.platform.ids import ExecutionId
from fastn.platform.scope import Scope
from fastn.workflows.models import RetryPolicy, Tier

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """A stored run as one that repeats it needs it. `program_began` None: it was never begun."""

    execution: NewExecution
    status: ExecutionStatus
    attempt: int
    error_json: str | None
    program_began: ProgramTimes | None


def find_origin(session: Session, scope: Scope, execution_id: uuid.UUID) -> Origin | None:
    """The run with all that it pinned, or None."""
    row = session.execute(
        """SELECT environment, workflow_id, version_number, source_sha256, tier, timeout_seconds, triggered_by,
                  event_id, route_id, input::text AS input, headers::text AS headers, random_seed, trace_id, created_at,
                  retry, status, attempt, error::text AS error, program_created_at, program_started_at,
                  coalesce(attempt_started_at, started_at) AS attempt_began_at
           FROM executions WHERE tenant_id = %s AND id = %s""",
        (scope.tenant_id, execution_id),
    ).fetchone()
    if row is None:
        return None
    execution = NewExecution(
        id=ExecutionId(execution_id),
        environment=row["environment"],
        workflow_id=row["workflow_id"],
        version_number=row["version_number"],
        source_sha256=bytes(row["source_sha256"]),
        tier=Tier(row["tier"]),
        timeout_seconds=row["timeout_seconds"],
        triggered_by=row["triggered_by"],
        event_id=row["event_id"],
        route_id=row["route_id"],
        input_json=row["input"],
        headers_json=row["headers"],
        random_seed=bytes(row["random_seed"]),
        trace_id=row["trace_id"],
        created_at=row["created_at"],
        retry=RetryPolicy.from_stored(row["retry"]),
    )
    return Origin(execution, ExecutionStatus(row["status"]), row["attempt"], row["error"], _program_began(row))


def _program_began(row: Row) -> ProgramTimes | None:
    if row["attempt_began_at"] is None:
        return None
    if row["program_created_at"] is not None and row["attempt"] == 1:
        return ProgramTimes(row["program_created_at"], row["program_started_at"])
    return ProgramTimes(row["created_at"], row["attempt_began_at"])


def insert_execution(session: Session, scope: Scope, execution: NewExecution) -> bool:
    """Stores a new run; False if this event and route already have one, which is then left alone."""
    began = execution.program_began
    cursor = session.execute(
        """INSERT INTO executions (organization_id, space_id, tenant_id, id, environment, workflow_id,
               version_number, source_sha256, tier, status, timeout_seconds, triggered_by, event_id, route_id,
               input, headers, random_seed, trace_id, created_at, started_at, retry, rerun_of, program_created_at,
               program_started_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (tenant_id, event_id, route_id) WHERE event_id IS NOT NULL DO NOTHING""",
        (
            scope.organization_id, scope.space_id, scope.tenant_id, execution.id, execution.environment,
            execution.workflow_id, execution.version_number, execution.source_sha256, str(execution.tier),
            str(ExecutionStatus.RUNNING if execution.is_begun else ExecutionStatus.PENDING),
            execution.timeout_seconds, execution.triggered_by, execution.event_id, execution.route_id,
            execution.input_json, execution.headers_json, execution.random_seed, execution.trace_id,
            execution.created_at, execution.created_at if execution.is_begun else None,
            None if execution.retry is None else Jsonb(execution.retry.as_stored()), execution.rerun_of,
            began.created_at if began else None, began.started_at if began else None,
        ),
    )  # fmt: skip
    return cursor.rowcount == 1


def list_pending_of_event(session: Session, scope: Scope, event_id: uuid.UUID) -> list[tuple[RunReference, Tier]]:
    """The event's runs that nobody has begun."""
    rows = session.execute(
        "SELECT id, launch, tier FROM executions WHERE tenant_id = %s AND event_id = %s AND status = 'pending'",
        (scope.tenant_id, event_id),
    ).fetchall()
    return [(RunReference(scope, ExecutionId(row["id"]), row["launch"]), Tier(row["tier"])) for row in rows]


def relaunch_unfinished(session: Session, scope: Scope) -> list[tuple[RunReference, Tier]]:
    """Every unfinished run of the tenant, each with a new launch number. For a control plane that lost its memory."""
    rows = session.execute(
        """UPDATE executions SET launch = launch + 1
           WHERE tenant_id = %s AND status IN ('pending', 'running') RETURNING id, launch, tier""",
        (scope.tenant_id,),
    ).fetchall()
    return [(RunReference(scope, ExecutionId(row["id"]), row["launch"]), Tier(row["tier"])) for row in rows]


def begin_run(session: Session, reference: RunReference, now: datetime) -> RunnableExecution | None:
    """Marks the run as running and returns what it needs; None if it does not exist.

    A run that is already final, or whose next attempt is not due, is returned unchanged, for its caller to see
    and leave alone.
    """
    row = session.execute(
        """WITH begun AS (
               UPDATE executions SET status = 'running', started_at = coalesce(started_at, %(now)s),
                   attempt_started_at = CASE WHEN attempt > 1 THEN coalesce(attempt_started_at, %(now)s) END
               WHERE tenant_id = %(tenant)s AND id = %(id)s AND status IN ('pending', 'running')
                 AND (next_attempt_at IS NULL OR next_attempt_at <= %(now)s)
               RETURNING status, coalesce(attempt_started_at, started_at) AS started_at)
           SELECT e.environment, e.workflow_id, e.tier, e.timeout_seconds, e.source_sha256, e.random_seed, e.created_at,
                  e.input::text AS input, e.headers::text AS headers, s.language, s.source,
                  e.started_at IS NULL AND e.program_created_at IS NULL AS is_first_launch,
                  e.attempt, e.retry, e.attempts::text AS attempts,
                  e.next_attempt_at, e.program_created_at, e.program_started_at,
                  coalesce((SELECT status FROM begun), e.status) AS status,
                  coalesce((SELECT started_at FROM begun), e.attempt_started_at, e.started_at) AS started_at
           FROM executions e
           JOIN workflow_sources s
             ON s.space_id = e.space_id AND s.workflow_id = e.workflow_id AND s.sha256 = e.source_sha256
           WHERE e.tenant_id = %(tenant)s AND e.id = %(id)s""",
        {"now": now, "tenant": reference.scope.tenant_id, "id": reference.execution_id},
    ).fetchone()
    if row is None:
        return None
    return RunnableExecution(
        reference=reference,
        status=ExecutionStatus(row["status"]),
        environment=row["environment"],
        workflow_id=row["workflow_id"],
        tier=Tier(row["tier"]),
        timeout_seconds=row["timeout_seconds"],
        language=row["language"],
        source=row["source"],
        source_sha256=bytes(row["source_sha256"]),
        input_json=row["input"],
        headers_json=row["headers"],
        random_seed=bytes(row["random_seed"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        is_first_launch=row["is_first_launch"],
        attempt=row["attempt"],
        retry=RetryPolicy.from_stored(row["retry"]),
        attempts_json=row["attempts"],
        next_attempt_at=row["next_attempt_at"],
        # What the copied journal holds is the first attempt's; a later one begins at the top.
        program_began=ProgramTimes(row["program_created_at"], row["program_started_at"])
        if row["program_created_at"] is not None and row["attempt"] == 1
        else None,
    )


def load_steps(session: Session, reference: RunReference) -> list[RecordedStep]:
    """The steps that earlier launches and attempts recorded, in order; those taken over are attempt 0."""
    rows = session.execute(
        """SELECT attempt, sequence, operation, arguments_sha256, arguments::text AS arguments, result::text AS result,
                  error::text AS error, exchange::text AS exchange, started_at, duration_ms, receipt_of_attempt
           FROM execution_steps WHERE tenant_id = %s AND execution_id = %s ORDER BY attempt, sequence""",
        (reference.scope.tenant_id, reference.execution_id),
    ).fetchall()
    return [_step(row) for row in rows]


def lock_position(session: Session, reference: RunReference) -> tuple[ExecutionStatus, int] | None:
    """The run's status and attempt, neither of which changes before this transaction ends; None if it does not exist.

    The lock is shared: it waits for a cancellation, and one waits for it, but two launches do not wait for
    each other.
    """
    row = session.execute(
        "SELECT status, attempt FROM executions WHERE tenant_id = %s AND id = %s FOR SHARE",
        (reference.scope.tenant_id, reference.execution_id),
    ).fetchone()
    return None if row is None else (ExecutionStatus(row["status"]), row["attempt"])


def begin_next_attempt(
    session: Session, reference: RunReference, *, failed_attempt: int, attempts_json: str, due_at: datetime
) -> bool:
    """Ends a failed attempt: the next one is due at that instant. False if the run is past that attempt, or over."""
    cursor = session.execute(
        """UPDATE executions SET attempt = attempt + 1, attempts = %s, next_attempt_at = %s, attempt_started_at = NULL
           WHERE tenant_id = %s AND id = %s AND attempt = %s AND status = 'running'""",
        (attempts_json, due_at, reference.scope.tenant_id, reference.execution_id, failed_attempt),
    )
    return cursor.rowcount == 1


def insert_steps(session: Session, reference: RunReference, steps: Sequence[RecordedStep]) -> None:
    """Records host calls. Raises RunSuperseded if another launch recorded one of them first."""
    scope = reference.scope
    try:
        session.execute_many(
            """INSERT INTO execution_steps (organization_id, space_id, tenant_id, execution_id, attempt, sequence,
                   operation, arguments_sha256, arguments, result, error, exchange, started_at, duration_ms,
                   receipt_of_attempt)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                (
                    scope.organization_id, scope.space_id, scope.tenant_id, reference.execution_id, step.attempt,
                    step.sequence, step.operation, step.arguments_sha256, step.arguments_json, step.result_json,
                    step.error_json, step.exchange_json, step.started_at, step.duration_ms, step.receipt_of_attempt,
                )
                for step in steps
            ],
        )  # fmt: skip
    except UniqueViolation as error:
        raise RunSuperseded("Another launch of this run recorded the step first.") from error


def finish_run(session: Session, reference: RunReference, outcome: Outcome) -> bool:
    """Records how the run ended; False if it had ended already, and then nothing changes."""
    cursor = session.execute(
        """UPDATE executions SET status = %s, output = %s, error = %s, console = %s, finished_at = %s
           WHERE tenant_id = %s AND id = %s AND status IN ('pending', 'running')""",
        (
            str(outcome.status), outcome.output_json, outcome.error_json, outcome.console_json, outcome.finished_at,
            reference.scope.tenant_id, reference.execution_id,
        ),
    )  # fmt: skip
    return cursor.rowcount == 1


def list_executions(session: Session, scope: Scope, wanted: ListExecutions) -> Sequence[Row]:
    """Up to `limit + 1` of the tenant's runs, newest first, as rows of a summary."""
    return session.execute(
        """SELECT * FROM execution_summaries
           WHERE tenant_id = %(tenant)s
             AND (%(after)s::uuid IS NULL OR id < %(after)s)
             AND (%(status)s::text IS NULL OR status = %(status)s)
             AND (%(workflow)s::uuid IS NULL OR workflow_id = %(workflow)s)
             AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
             AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
           ORDER BY id DESC LIMIT %(limit)s""",
        {
            "tenant": scope.tenant_id,
            "after": wanted.after(),
            "status": str(wanted.status) if wanted.status else None,
            "workflow": wanted.workflow_id,
            "since": wanted.since,
            "until": wanted.until,
            "limit": wanted.limit + 1,
        },
    ).fetchall()


def find_execution(session: Session, scope: Scope, execution_id: uuid.UUID) -> Row | None:
    """One run with its payloads, or None."""
    return session.execute(
        """SELECT summary.*, e.input, e.output, e.error, e.console, e.attempt, e.attempts, e.rerun_of,
                  CASE WHEN e.status = 'running' AND e.attempt > 1 AND e.attempt_started_at IS NULL
                       THEN e.next_attempt_at END AS next_attempt_at
           FROM execution_summaries summary
           JOIN executions e ON e.tenant_id = summary.tenant_id AND e.id = summary.id
           WHERE summary.tenant_id = %s AND summary.id = %s""",
        (scope.tenant_id, execution_id),
    ).fetchone()


def list_executions_of_event(session: Session, scope: Scope, event_id: uuid.UUID) -> Sequence[Row]:
    """The runs an event started, as rows of a summary."""
    return session.execute(
        "SELECT * FROM execution_summaries WHERE tenant_id = %s AND event_id = %s ORDER BY id",
        (scope.tenant_id, event_id),
    ).fetchall()


def list_steps(session: Session, scope: Scope, execution_id: uuid.UUID) -> Sequence[Row]:
    """The run's steps in order, attempt by attempt."""
    return session.execute(
        """SELECT attempt, sequence, operation, arguments AS input, result AS output, error, exchange, started_at,
                  duration_ms, receipt_of_attempt
           FROM execution_steps WHERE tenant_id = %s AND execution_id = %s AND attempt > 0
           ORDER BY attempt, sequence""",
        (scope.tenant_id, execution_id),
    ).fetchall()


def insert_dead_letter(
    session: Session, reference: RunReference, *, dead_letter_id: uuid.UUID, error: object, created_at: datetime
) -> None:
    """Keeps a run that could not be executed, with why."""
    scope = reference.scope
    session.execute(
        """INSERT INTO dead_letters (organization_id, space_id, tenant_id, id, stage, execution_id, payload, error,
                                     created_at)
           VALUES (%s, %s, %s, %s, 'execute', %s, %s, %s, %s)""",
        (
            scope.organization_id, scope.space_id, scope.tenant_id, dead_letter_id, reference.execution_id,
            json.dumps(reference.as_text()), json.dumps(error), created_at,
        ),
    )  # fmt: skip


def _step(row: Row) -> RecordedStep:
    return RecordedStep(
        sequence=row["sequence"],
        operation=row["operation"],
        arguments_sha256=bytes(row["arguments_sha256"]),
        arguments_json=row["arguments"],
        result_json=row["result"],
        error_json=row["error"],
        exchange_json=row["exchange"],
        started_at=row["started_at"],
        duration_ms=row["duration_ms"],
        attempt=row["attempt"],
        receipt_of_attempt=row["receipt_of_attempt"],
    )
