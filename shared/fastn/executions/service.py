"""Reading executions, and giving up those that could not be executed."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

from fastn.errors import NotFound
from fastn.executions import store
from fastn.executions.models import (
    ExecutionStatus,
    ExecutionSummary,
    ExecutionView,
    ListExecutions,
    Outcome,
    RunReference,
    StepStatus,
    StepView,
)
from fastn.platform.clock import Clock
from fastn.platform.database import Database
from fastn.platform.scope import Scope
from fastn.platform.wire import Page


def list_executions(database: Database, scope: Scope, wanted: ListExecutions) -> Page[ExecutionSummary]:
    """The tenant's runs, newest first."""
    with database.transaction(scope) as session:
        rows = store.list_executions(session, scope, wanted)
    items = [ExecutionSummary.model_validate(_of_tenant(row)) for row in rows]
    return Page[ExecutionSummary].of(items, [item.id for item in items], wanted.limit)


def get_execution(database: Database, scope: Scope, execution_id: uuid.UUID) -> ExecutionView:
    """One run with its full trace. Raises NotFound if the tenant has no such run."""
    with database.transaction(scope) as session:
        row = store.find_execution(session, scope, execution_id)
        if row is None:
            raise NotFound
        steps = [_step_view(step) for step in store.list_steps(session, scope, execution_id)]
    return ExecutionView.model_validate({**_of_tenant(row), "steps": steps})


def give_up(database: Database, reference: RunReference, error: Mapping[str, Any], clock: Clock) -> bool:
    """Marks a run as failed that its executor could not finish, and keeps it as a dead letter.

    False if the run has ended meanwhile, and then nothing changes. Seen twice it does nothing more.
    """
    now = clock.now()
    outcome = Outcome(
        status=ExecutionStatus.FAILED,
        output_json=None,
        error_json=json.dumps(error),
        console_json="[]",
        finished_at=now,
    )
    with database.transaction(reference.scope) as session:
        was_unfinished = store.finish_run(session, reference, outcome)
        if was_unfinished:
            letter_id = uuid.uuid5(reference.execution_id, str(reference.launch))
            store.insert_dead_letter(session, reference, dead_letter_id=letter_id, error=error, created_at=now)
    return was_unfinished


def _step_view(row: Mapping[str, Any]) -> StepView:
    status = StepStatus.SUCCEEDED if row["error"] is None else StepStatus.FAILED
    return StepView.model_validate({**row, "status": status})


def _of_tenant(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "tenant_id"}
