"""Reading executions, and giving up those that could not be executed."""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastn.access.models import Principal
from fastn.errors import NotFound
from fastn.executions import rules, store
from fastn.executions.cancellation import CancelFlags
from fastn.executions.errors import ExecutionEnded
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
from fastn.platform.capabilities import Platform
from fastn.platform.clock import Clock
from fastn.platform.database import Database
from fastn.platform.ids import ExecutionId
from fastn.platform.resources import Need, Setting
from fastn.platform.scope import Scope
from fastn.platform.wire import Page


@dataclass(frozen=True, slots=True)
class CancelTools:
    """What cancelling takes."""

    database: Database
    put_up_flag: Callable[[RunReference], None]
    clock: Clock

    @classmethod
    def of(cls, platform: Platform) -> "CancelTools":
        """The tools of this function. Needs DATABASE and CANCEL_FLAGS_WRITE."""
        platform.require(Need.CANCEL_FLAGS_WRITE)
        flags = CancelFlags(platform.settings[Setting.CANCEL_FLAG_TABLE], platform.clock)
        return platform.keep(cls, lambda: cls(platform.database, flags.put_up, platform.clock))


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


def cancel_execution(tools: CancelTools, scope: Scope, execution_id: uuid.UUID, principal: Principal) -> ExecutionView:
    """The run, cancelled: it takes no further step, wherever it is.

    That holds from the moment it is recorded here. Its executor, if it has one, learns of it within about a
    second; a state machine that waits for it finds it over when it wakes.

    Raises NotFound if the tenant has no such run, Forbidden where a Test key names one of production,
    ExecutionEnded if it has ended, also by an earlier cancellation.
    """
    reference = RunReference(scope, ExecutionId(execution_id), 1)
    told = {"name": "Cancelled", "message": f"Cancelled by {principal.actor}."}
    outcome = Outcome(
        status=ExecutionStatus.CANCELLED,
        output_json=None,
        error_json=json.dumps(told),
        console_json="[]",
        finished_at=tools.clock.now(),
    )
    with tools.database.transaction(scope) as session:
        origin = store.find_origin(session, scope, execution_id)
        if origin is None:
            raise NotFound
        rules.check_reachable(origin.execution.environment, principal.mode)
        was_unfinished = store.finish_run(session, reference, outcome)
        # Read again only here: it may have ended between the two statements.
        row = store.find_execution(session, scope, execution_id) or {}
    if was_unfinished or row["status"] == ExecutionStatus.CANCELLED:
        # Once more for one cancelled before: whoever recorded that may have died before this line.
        tools.put_up_flag(reference)
    if not was_unfinished:
        raise ExecutionEnded(f"The execution has ended: {row['status']}.", details={"status": row["status"]})
    return get_execution(tools.database, scope, execution_id)


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
