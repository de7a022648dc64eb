"""`POST /api/v1/{flow_name}`: an Instant run answers inline, everything else with 202 and the execution's id."""

import json
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import JsonValue

from fastn.access.models import Principal
from fastn.errors import InternalError, NotFound
from fastn.executions import rules, store
from fastn.executions.launching import Launcher
from fastn.executions.models import (
    ExecutionStatus,
    NewExecution,
    RunnableExecution,
    RunReference,
    Yielded,
)
from fastn.platform.clock import Clock
from fastn.platform.database import Database
from fastn.platform.ids import ExecutionId, new_id
from fastn.platform.scope import Scope
from fastn.platform.wire import StorableJson, WireModel
from fastn.workflows.models import RunnableWorkflow, Tier
from fastn.workflows.request_schemas import check_input
from fastn.workflows.store import find_runnable

if TYPE_CHECKING:
    from fastn.executions.running import Runner

INLINE_SECONDS = 25.0
"""An HTTP API ends a request after 30 s; the run must be handed over before."""
RANDOM_SEED_BYTES = 32


class ExecuteFlow(WireModel):
    """The body of an execution request."""

    input: StorableJson = None


class AcceptedExecution(WireModel):
    """A run that goes on after the answer."""

    execution_id: uuid.UUID
    status: ExecutionStatus


@dataclass(frozen=True, slots=True)
class FlowCall:
    """Which flow is wanted on whose behalf, and with what."""

    scope: Scope
    environment: str
    flow_name: str
    input: JsonValue
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FlowAnswer:
    """The run's id, and its output (JSON text) if it ended while the caller waited."""

    execution_id: uuid.UUID
    status: ExecutionStatus
    output_json: str | None


@dataclass(slots=True)
class FlowExecutor:
    """Executes flows for callers of the API."""

    database: Database
    runner: Callable[[], "Runner"]
    launcher: Launcher
    clock: Clock
    random_bytes: Callable[[int], bytes] = os.urandom

    def execute(self, call: FlowCall, caller: Principal, trace_id: str) -> FlowAnswer:
        """Runs an Instant flow for up to 25 s, launches any other.

        Raises NotFound if the tenant has no such flow live in this environment, ValidationFailed if the input
        does not fit its request schema, TimedOut over its own timeout, DatasourceError or FlowFailed if it
        failed. A run that is not over after 25 s goes on in the background: it is never lost.
        """
        with self.database.transaction(call.scope) as session:
            runnable = find_runnable(session, call.scope, call.flow_name, call.environment)
            if runnable is None:
                raise NotFound
            if runnable.request_schema is not None:
                check_input(runnable.request_schema, call.input)
            execution = self._new(call, runnable, triggered_by=caller.actor, trace_id=trace_id)
            store.insert_execution(session, call.scope, execution)
        reference = RunReference(call.scope, execution.id, 1)
        if runnable.tier is not Tier.INSTANT:
            self.launcher.launch(reference, runnable.tier)
            return FlowAnswer(execution.id, ExecutionStatus.PENDING, None)
        return self._run(reference, execution, runnable)

    def _run(self, reference: RunReference, execution: NewExecution, runnable: RunnableWorkflow) -> FlowAnswer:
        yield_at = execution.created_at + timedelta(seconds=INLINE_SECONDS)
        try:
            end = self.runner().run_begun(_begun(reference, execution, runnable), yield_at=yield_at)
        except InternalError:
            # The caller is told that something went wrong here; the run itself goes on in the background.
            self.launcher.launch(reference, Tier.INSTANT)
            raise
        if isinstance(end, Yielded):
            self.launcher.launch(reference, Tier.INSTANT)
            return FlowAnswer(execution.id, ExecutionStatus.RUNNING, None)
        if end.status is not ExecutionStatus.COMPLETED:
            raise rules.error_for_caller(str(execution.id), end.status, end.error_json)
        return FlowAnswer(execution.id, end.status, end.output_json)

    def _new(self, call: FlowCall, runnable: RunnableWorkflow, *, triggered_by: str, trace_id: str) -> NewExecution:
        now = self.clock.now()
        return NewExecution(
            id=ExecutionId(new_id(now)),
            environment=call.environment,
            workflow_id=runnable.workflow_id,
            version_number=runnable.version_number,
            source_sha256=runnable.source_sha256,
            tier=runnable.tier,
            timeout_seconds=runnable.timeout_seconds,
            triggered_by=triggered_by,
            event_id=None,
            route_id=None,
            input_json=json.dumps(call.input),
            headers_json=json.dumps(dict(call.headers)),
            random_seed=self.random_bytes(RANDOM_SEED_BYTES),
            trace_id=trace_id,
            created_at=now,
            is_begun=runnable.tier is Tier.INSTANT,
            # Who waits for an answer is told of the failure, and decides for himself.
            retry=None if runnable.tier is Tier.INSTANT else runnable.retry,
        )


def _begun(reference: RunReference, execution: NewExecution, runnable: RunnableWorkflow) -> RunnableExecution:
    return RunnableExecution(
        reference=reference,
        status=ExecutionStatus.RUNNING,
        environment=execution.environment,
        workflow_id=execution.workflow_id,
        tier=execution.tier,
        timeout_seconds=execution.timeout_seconds,
        language=str(runnable.language),
        source=runnable.source,
        source_sha256=execution.source_sha256,
        input_json=execution.input_json,
        headers_json=execution.headers_json,
        random_seed=execution.random_seed,
        created_at=execution.created_at,
        started_at=execution.created_at,
        is_first_launch=True,
    )
