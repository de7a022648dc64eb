"""Where a run's steps and its end are recorded: in PostgreSQL, or, for a run that is only tried, nowhere."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, cast

from fastn.executions import store
from fastn.executions.errors import RunSuperseded
from fastn.executions.models import ExecutionStatus, Outcome, RecordedStep, RunnableExecution
from fastn.executions.stopping import RunStopped
from fastn.platform.clock import rfc3339
from fastn.platform.database import Database, Session


class Recorder(Protocol):
    """Records one attempt of one run."""

    def keep(self, steps: Sequence[RecordedStep]) -> None:
        """Keeps these steps. Raises RunStopped if the run was cancelled, RunSuperseded if another launch is ahead."""
        ...

    def finish(self, steps: Sequence[RecordedStep], outcome: Outcome) -> None:
        """Keeps these steps and how the run ended. Raises as `keep` does, and then nothing is kept."""
        ...

    def fail_attempt(self, steps: Sequence[RecordedStep], outcome: Outcome, due_at: datetime) -> None:
        """Keeps these steps and how the attempt ended; the next is due then. Raises as `keep` does."""
        ...


@dataclass(frozen=True, slots=True)
class Journal:
    """Records in PostgreSQL."""

    database: Database
    execution: RunnableExecution

    def keep(self, steps: Sequence[RecordedStep]) -> None:
        """As the Recorder's."""
        with self.database.transaction(self.execution.reference.scope) as session:
            self._insert(session, steps)

    def finish(self, steps: Sequence[RecordedStep], outcome: Outcome) -> None:
        """As the Recorder's."""
        with self.database.transaction(self.execution.reference.scope) as session:
            self._insert(session, steps)
            store.finish_run(session, self.execution.reference, outcome)

    def fail_attempt(self, steps: Sequence[RecordedStep], outcome: Outcome, due_at: datetime) -> None:
        """As the Recorder's."""
        execution = self.execution
        with self.database.transaction(execution.reference.scope) as session:
            self._insert(session, steps)
            is_first_to_end_it = store.begin_next_attempt(
                session,
                execution.reference,
                failed_attempt=execution.attempt,
                attempts_json=_with_attempt(execution, outcome),
                due_at=due_at,
            )
            if not is_first_to_end_it:
                raise RunSuperseded("Another launch of this run ended the attempt first.")

    def _insert(self, session: Session, steps: Sequence[RecordedStep]) -> None:
        # Before anything is written: a run that was cancelled meanwhile records no further step.
        position = store.lock_position(session, self.execution.reference)
        if position is None or position == (ExecutionStatus.CANCELLED, self.execution.attempt):
            raise RunStopped
        status, attempt = position
        if status.is_final or attempt != self.execution.attempt:
            raise RunSuperseded("Another launch of this run brought it further.")
        if steps:
            store.insert_steps(session, self.execution.reference, steps)


@dataclass(slots=True)
class Scratchpad:
    """Keeps the steps in memory, for a run that nobody stores."""

    steps: list[RecordedStep] = field(default_factory=list[RecordedStep])

    def keep(self, steps: Sequence[RecordedStep]) -> None:
        """As the Recorder's; raises nothing."""
        self.steps += steps

    def finish(self, steps: Sequence[RecordedStep], outcome: Outcome) -> None:  # noqa: ARG002  # a Recorder's signature
        """Keeps these steps; the outcome is its caller's."""
        self.steps += steps

    def fail_attempt(self, steps: Sequence[RecordedStep], outcome: Outcome, due_at: datetime) -> None:  # noqa: ARG002
        """A run that is only tried has one attempt."""
        raise AssertionError("a run without a retry policy has no next attempt")


def _with_attempt(execution: RunnableExecution, outcome: Outcome) -> str:
    attempts = cast("list[object]", json.loads(execution.attempts_json))
    attempts.append({
        "attempt": execution.attempt,
        "status": str(outcome.status),
        "error": json.loads(outcome.error_json or "null"),
        "console": json.loads(outcome.console_json),
        "startedAt": rfc3339(execution.started_at or execution.created_at),
        "finishedAt": rfc3339(outcome.finished_at),
    })  # fmt: skip
    return json.dumps(attempts)
