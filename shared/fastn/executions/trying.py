"""Running a program that is not saved: nothing of it is stored but what it does outside."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, JsonValue

from fastn.access.models import Permission, Principal
from fastn.engine.languages import Language
from fastn.engine.rules import strip_auth_headers
from fastn.errors import Forbidden
from fastn.executions.inline import RANDOM_SEED_BYTES
from fastn.executions.models import (
    ExecutionStatus,
    RecordedStep,
    RunnableExecution,
    RunReference,
    StepStatus,
    StepView,
)
from fastn.executions.rules import parsed
from fastn.platform.clock import Clock
from fastn.platform.ids import ExecutionId, new_id
from fastn.platform.scope import Scope
from fastn.platform.wire import STORABLE, WireModel
from fastn.workflows.models import Source, Tier
from fastn.workflows.rules import hash_source

if TYPE_CHECKING:
    from fastn.executions.running import Runner

MOST_SECONDS = 25


class TrialRun(WireModel):
    """A program to run once, and what to run it with."""

    source: Source
    language: Language = Language.JAVASCRIPT
    input: Annotated[JsonValue, Field(description="What ctx.input is."), STORABLE] = None
    headers: Annotated[dict[str, str], Field(default_factory=dict, max_length=100)]
    timeout_seconds: Annotated[int, Field(ge=1, le=MOST_SECONDS)] = MOST_SECONDS


class TrialRunView(WireModel):
    """How the run ended, with its full trace."""

    status: ExecutionStatus
    output: JsonValue
    error: JsonValue
    console: JsonValue
    steps: list[StepView]


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial run, on whose behalf and in which environment."""

    scope: Scope
    environment: str
    principal: Principal
    body: TrialRun


@dataclass(frozen=True, slots=True)
class Trials:
    """Runs programs that are not saved."""

    runner: Callable[[], "Runner"]
    clock: Clock
    random_bytes: Callable[[int], bytes] = field(default=os.urandom)

    def run(self, trial: Trial) -> TrialRunView:
        """How the program ended. Its calls are real; its state is its own, and no other run sees it.

        Raises Forbidden for a key that may execute, but not write, workflows: to run any program one likes is both.
        """
        if Permission.WORKFLOWS_WRITE not in trial.principal.permissions:
            raise Forbidden(f"This key lacks the permission {Permission.WORKFLOWS_WRITE}.")
        outcome, steps = self.runner().try_out(self._execution(trial))
        return TrialRunView(
            status=outcome.status,
            output=parsed(outcome.output_json or "null"),
            error=parsed(outcome.error_json or "null"),
            console=parsed(outcome.console_json),
            steps=[_step_view(step) for step in steps],
        )

    def _execution(self, trial: Trial) -> RunnableExecution:
        now, body = self.clock.now(), trial.body
        execution_id = ExecutionId(new_id(now))
        headers: Mapping[str, str] = {name.lower(): value for name, value in body.headers.items()}
        return RunnableExecution(
            reference=RunReference(trial.scope, execution_id, 1),
            status=ExecutionStatus.RUNNING,
            environment=trial.environment,
            # Nobody's: state that the program keeps is found by no other run.
            workflow_id=execution_id,
            tier=Tier.INSTANT,
            timeout_seconds=body.timeout_seconds,
            language=str(body.language),
            source=body.source,
            source_sha256=hash_source(body.source, body.language),
            input_json=json.dumps(body.input),
            headers_json=json.dumps(strip_auth_headers(headers)),
            random_seed=self.random_bytes(RANDOM_SEED_BYTES),
            created_at=now,
            started_at=now,
            is_first_launch=True,
        )


def _step_view(step: RecordedStep) -> StepView:
    return StepView(
        attempt=step.attempt,
        sequence=step.sequence,
        operation=step.operation,
        status=StepStatus.SUCCEEDED if step.error_json is None else StepStatus.FAILED,
        input=parsed(step.arguments_json),
        output=parsed(step.result_json or "null"),
        error=parsed(step.error_json or "null"),
        exchange=parsed(step.exchange_json or "null"),
        started_at=step.started_at,
        duration_ms=step.duration_ms,
    )
