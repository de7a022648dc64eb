"""Executions and their steps in PostgreSQL."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg.errors import UniqueViolation

from fastn.executions.errors import RunSuperseded
from fastn.executions.models import (
    ExecutionStatus,
    ListExecutions,
    NewExecution,
    Outcome,
    RecordedStep,
    RunnableExecution,
    RunReference,
)
from fastn.platform.database import Session
from fastn.platform.ids import ExecutionId
from fastn.platform.scope import Scope
from fastn.workflows.models import Tier

Row = Mapping[str, Any]


def insert_execution(session: Session, scope: Scope, execution: NewExecution) -> bool:
    """Stores a new run; False if this event and route already have one, which is then left alone."""
    cursor = session.execute(
        """INSERT INTO executions (organization_id, space_id, tenant_id, id, environment, workflow_id,
               version_number, source_sha256, tier, status, timeout_seconds, triggered_by, event_id, route_id,
               input, headers, random_seed, trace_id, created_at, started_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (tenant_id, event_id, route_id) WHERE event_id IS NOT NULL DO NOTHING""",
        (
            scope.organization_id, scope.space_id, scope.tenant_id, execution.id, execution.environment,
            execution.workflow_id, execution.version_number, execution.source_sha256, str(execution.tier),
            str(ExecutionStatus.RUNNING if execution.is_begun else ExecutionStatus.PENDING),
            execution.timeout_seconds, execution.triggered_by, execution.event_id, execution.route_id,
            execution.input_json, execution.headers_json, execution.random_seed, execution.trace_id,
            execution.created_at, execution.created_at if execution.is_begun else None,
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

    A run that is already final is returned unchanged, for its caller to see and leave alone.
    """
    row = session.execute(
        """WITH begun AS (
               UPDATE executions SET status = 'running', started_at = coalesce(started_at, %(now)s)
               WHERE tenant_id = %(tenant)s AND id = %(id)s AND status IN ('pending', 'running')
               RETURNING status, started_at)
           SELECT e.environment, e.tier, e.timeout_seconds, e.source_sha256, e.random_seed, e.created_at,
                  e.input::text AS input, e.headers::text AS headers, s.language, s.source,
                  e.started_at IS NULL AS is_first_launch,
                  coalesce((SELECT status FROM begun), e.status) AS status,
                  coalesce((SELECT started_at FROM begun), e.started_at) AS started_at
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
    )


def load_journal(session: Session, reference: RunReference) -> dict[int, RecordedStep]:
    """The steps earlier launches recorded, by sequence."""
    rows = session.execute(
        """SELECT sequence, operation, arguments_sha256, arguments::text AS arguments, result::text AS result,
                  error::text AS error, exchange::text AS exchange, started_at, duration_ms
           FROM execution_steps WHERE tenant_id = %s AND execution_id = %s AND attempt = 1 ORDER BY sequence""",
        (reference.scope.tenant_id, reference.execution_id),
    ).fetchall()
    return {row["sequence"]: _step(row) for row in rows}


def insert_steps(session: Session, reference: RunReference, steps: Sequence[RecordedStep]) -> None:
    """Records host calls. Raises RunSuperseded if another launch recorded one of them first."""
    scope = reference.scope
    try:
        session.execute_many(
            """INSERT INTO execution_steps (organization_id, space_id, tenant_id, execution_id, attempt, sequence,
                   operation, arguments_sha256, arguments, result, error, exchange, started_at, duration_ms)
               VALUES (%s, %s, %s, %s, 1, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            [
                (
                    scope.organization_id, scope.space_id, scope.tenant_id, reference.execution_id, step.sequence,
                    step.operation, step.arguments_sha256, step.arguments_json, step.result_json, step.error_json,
                    step.exchange_json, step.started_at, step.duration_ms,
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
        """SELECT summary.*, e.input, e.output, e.error, e.console
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
    """The run's steps in order."""
    return session.execute(
        """SELECT sequence, operation, arguments AS input, result AS output, error, exchange, started_at, duration_ms
           FROM execution_steps WHERE tenant_id = %s AND execution_id = %s ORDER BY attempt, sequence""",
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
    )
