"""A stage for single runs: real journal, real engine, a host and a clock that do as they are told."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, LiteralString

from fastn.engine.runs import JavaScriptEngine
from fastn.executions import store
from fastn.executions.models import NewExecution, RunnableExecution, RunReference
from fastn.executions.running import PerformedCall, RunEnd, Runner
from fastn.executions.stopping import StopSignal
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database
from fastn.platform.ids import ExecutionId, new_id
from fastn.platform.scope import Scope
from fastn.tenants.models import DRAFT
from fastn.workflows.models import CreateWorkflow, RetryPolicy, Tier
from fastn.workflows.service import create_workflow
from fastn.workflows.store import find_runnable_by_id

Answer = Callable[[str, Any], PerformedCall]


class Killed(BaseException):
    """The process ends here: nothing after this line happens."""


@dataclass(slots=True)
class TickingClock(FrozenClock):
    """Every look at it takes 0.7 ms, as on a machine: two looks never agree."""

    looks: int = 0

    def now(self) -> datetime:
        """The instant of this look."""
        self.looks += 1
        self.current += timedelta(microseconds=700)
        return self.current

    def monotonic_seconds(self) -> float:
        """Another scale, which drifts against the first."""
        self.looks += 1
        return 5_000 + self.looks * 0.000931


@dataclass(frozen=True, slots=True)
class PerformedOnce:
    """One call that reached the vendor."""

    operation: str
    arguments: Any
    idempotency_key: str


@dataclass(slots=True)
class ToldHost:
    """Answers as it is told, remembers every call, and may kill its process after one of them."""

    clock: FrozenClock
    answer: Answer = lambda _operation, arguments: PerformedCall(json.dumps({"echo": arguments}))
    takes_seconds: float = 0.0
    kills_after_call: set[int] = field(default_factory=set[int])
    secret: str | None = None
    restore: Callable[[str, str], str] = lambda _operation, recorded_json: recorded_json
    performed: list[PerformedOnce] = field(default_factory=list[PerformedOnce])

    def perform(self, operation: str, arguments_json: str, idempotency_key: str) -> PerformedCall:
        """The answer; or the end of the process, after the vendor has done its work."""
        arguments = json.loads(arguments_json).get("args")
        self.performed.append(PerformedOnce(operation, arguments, idempotency_key))
        self.clock.advance(self.takes_seconds)
        if len(self.performed) in self.kills_after_call:
            raise Killed
        return self.answer(operation, arguments)

    def restored(self, operation: str, recorded_json: str) -> str:
        """What was recorded, unless it was told something else."""
        return self.restore(operation, recorded_json)

    def is_write(self, operation: str, arguments_json: str) -> bool:  # noqa: ARG002  # a Host's signature
        """Whatever is not called a get."""
        return not operation.rpartition(".")[2].startswith("get")

    def masked(self, text: str) -> str:
        """The text without the secret."""
        return text.replace(self.secret, "••••") if self.secret else text

    def masked_json(self, json_text: str) -> str:
        """The same."""
        return self.masked(json_text)


@dataclass(slots=True)
class Stage:
    """Stores runs of one customer and drives them."""

    database: Database
    scope: Scope
    clock: FrozenClock
    engine: JavaScriptEngine
    host: ToldHost
    slept: list[float] = field(default_factory=list[float])
    on_sleep: Callable[[], None] = lambda: None
    made: int = 0
    untils: list[datetime] = field(default_factory=list[datetime])

    def execution(
        self,
        source: str,
        *,
        run_input: object = None,
        timeout_seconds: int = 60,
        tier: Tier = Tier.STANDARD,
        language: str = "javascript",
        retry: RetryPolicy | None = None,
    ) -> RunReference:
        """A pending run of this source."""
        self.made += 1
        body = CreateWorkflow.model_validate({"name": f"Run {self.made}", "source": source, "language": language})
        workflow = create_workflow(
            self.database, self.scope, body=body, check_source=lambda _source, _language: None, clock=self.clock
        )
        now = self.clock.now()
        execution_id = ExecutionId(new_id(now))
        with self.database.transaction(self.scope) as session:
            runnable = find_runnable_by_id(session, self.scope, workflow.id, DRAFT)
            assert runnable is not None
            stored = NewExecution(
                id=execution_id,
                environment=DRAFT,
                workflow_id=workflow.id,
                version_number=None,
                source_sha256=runnable.source_sha256,
                tier=tier,
                timeout_seconds=timeout_seconds,
                triggered_by="test",
                event_id=None,
                route_id=None,
                input_json=json.dumps(run_input),
                headers_json="{}",
                random_seed=bytes(range(32)),
                trace_id="trace-1",
                created_at=now,
                retry=retry,
            )
            assert store.insert_execution(session, self.scope, stored)
        return RunReference(self.scope, execution_id, 1)

    def runner(self, database: Database | None = None, host: ToldHost | None = None) -> Runner:
        """A fresh process."""

        def host_of(execution: RunnableExecution, until: datetime, stop: StopSignal) -> ToldHost:
            assert execution.environment == DRAFT
            self.untils.append(until)
            return host or self.host

        return Runner(database or self.database, self.engine, host_of, self.clock, sleep=self._sleep)

    def run(self, reference: RunReference, *, yield_after_seconds: float | None = None) -> RunEnd | None:
        """One launch in a fresh process."""
        yield_at = None if yield_after_seconds is None else self.clock.current + timedelta(seconds=yield_after_seconds)
        return self.runner().run(reference, yield_at=yield_at)

    def run_until_over(self, reference: RunReference) -> RunEnd | None:
        """Launches again after each kill."""
        while True:
            try:
                return self.run(reference)
            except Killed:
                continue

    def rows(self, query: LiteralString) -> list[dict[str, Any]]:
        """What the customer sees in the database."""
        with self.database.transaction(self.scope) as session:
            return session.execute(query).fetchall()

    def steps(self) -> list[dict[str, Any]]:
        """The journal."""
        return self.rows(
            """SELECT sequence, operation, arguments, result, error, exchange, started_at, duration_ms
               FROM execution_steps ORDER BY execution_id, sequence"""
        )

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep()
        self.clock.advance(seconds)
