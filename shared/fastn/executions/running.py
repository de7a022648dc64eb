"""Driving one run: the engine advances, host calls are performed or replayed, every one is recorded.

The invariant: before a host call is performed, every earlier one of this run has been committed to the
journal. So a process that dies loses at most the call it was in; the next launch of the run replays the
journal from the start and goes on from there. A call whose journal entry was lost is repeated with the
same idempotency key.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

from fastn.engine.errors import ProgramInvalid
from fastn.engine.languages import Language
from fastn.engine.models import (
    Completed,
    EngineFault,
    Failed,
    HostCall,
    JsonText,
    Limits,
    Program,
    RunInput,
    ScriptError,
    Settled,
    Waiting,
)
from fastn.engine.runs import JavaScriptEngine, Run
from fastn.errors import FastnError, InternalError
from fastn.executions import rules, store
from fastn.executions.cancellation import unwatched
from fastn.executions.errors import RunCannotResume
from fastn.executions.models import (
    ExecutionStatus,
    Outcome,
    RecordedStep,
    RunnableExecution,
    RunReference,
    Yielded,
)
from fastn.executions.recording import Journal, Recorder, Scratchpad
from fastn.executions.stopping import RunStopped, StopSignal
from fastn.platform.clock import Clock
from fastn.platform.database import Database

PROGRAM_CACHE_SIZE = 200
GRACE_SECONDS = 2.0
"""How long a call that is under way when the turn should end may take to answer."""
LONGEST_NAP_SECONDS = 30.0
"""A background run that sleeps longer gives its process back and is resumed."""


@dataclass(frozen=True, slots=True)
class PerformedCall:
    """What a host call answered or how it failed, and what the trace keeps of the exchange with the vendor."""

    result_json: str = "null"
    error: FastnError | None = None
    exchange_json: str | None = None
    is_reference: bool = False
    """Whether the result only says where the answer is kept: recorded as it is, and `restored` for the program."""


class Host(Protocol):
    """Performs the effects a program asks for."""

    def perform(self, operation: str, arguments_json: str, idempotency_key: str) -> PerformedCall:
        """The call's answer, or the vendor's failure. Raises FastnError if the call could not be made at all."""
        ...

    def restored(self, operation: str, recorded_json: str) -> str:
        """What the program is told for a result as it was recorded. Raises RunCannotResume if that is gone."""
        ...

    def is_write(self, operation: str, arguments_json: str) -> bool:
        """Whether the call changes something: a later attempt is given its receipt instead of making it again."""
        ...

    def masked(self, text: str) -> str:
        """The text with every secret this host has used replaced."""
        ...

    def masked_json(self, json_text: str) -> str:
        """The same for JSON text; what comes back is JSON too, whatever the secrets look like."""
        ...


class HostFactory(Protocol):
    """Makes the host of one run."""

    def __call__(self, execution: RunnableExecution, until: datetime, stop: StopSignal) -> Host:
        """A host that acts for this execution's tenant and environment.

        No call of it goes on after `until`, and each raises RunStopped as soon as the run is stopped.
        """
        ...


class RunWatch(Protocol):
    """Watches whether a run is cancelled."""

    def __call__(self, reference: RunReference) -> AbstractContextManager[StopSignal]:
        """The signal that stops this run, for as long as the block runs."""
        ...


RunEnd = Outcome | Yielded


@dataclass(slots=True)
class Runner:
    """Runs executions in this process, one after the other."""

    database: Database
    engine: JavaScriptEngine
    hosts: HostFactory
    clock: Clock
    sleep: Callable[[float], None] | None = None
    """Instead of really sleeping; None for production."""
    watch: RunWatch = unwatched
    _programs: dict[bytes, Program] = field(default_factory=dict[bytes, Program])

    def run(self, reference: RunReference, *, yield_at: datetime | None = None) -> RunEnd | None:
        """Runs until the program ends or, if given, until `yield_at`; None if there is no such run.

        A run that had ended before is reported as it ended and not touched. Raises RunSuperseded if
        another launch of the run is at work too, and ReplayDiverged if the journal does not fit.
        """
        with self.database.transaction(reference.scope) as session:
            execution = store.begin_run(session, reference, self.clock.now())
            if execution is None:
                return None
            steps = [] if execution.is_first_launch else store.load_steps(session, reference)
        if execution.status.is_final:
            return Outcome(
                status=execution.status, output_json=None, error_json=None, console_json="[]",
                finished_at=self.clock.now(),
            )  # fmt: skip
        if execution.next_attempt_at is not None and execution.next_attempt_at > self.clock.now():
            return Yielded(execution.next_attempt_at)
        return self._drive(execution, Journal(self.database, execution), steps, yield_at)

    def run_begun(self, execution: RunnableExecution, *, yield_at: datetime) -> RunEnd:
        """The same for a run that its creator stored as begun, in this process and just now."""
        return self._drive(execution, Journal(self.database, execution), (), yield_at)

    def try_out(self, execution: RunnableExecution) -> tuple[Outcome, list[RecordedStep]]:
        """Runs to the end without storing anything: how it ended, and its steps."""
        scratchpad = Scratchpad()
        end = self._drive(execution, scratchpad, (), None)
        assert isinstance(end, Outcome)
        return end, scratchpad.steps

    def _drive(
        self,
        execution: RunnableExecution,
        recorder: Recorder,
        recorded: Sequence[RecordedStep],
        yield_at: datetime | None,
    ) -> RunEnd:
        until = execution.deadline
        if yield_at is not None:
            until = min(until, yield_at + timedelta(seconds=GRACE_SECONDS))
        journal = {step.sequence: step for step in recorded if step.attempt == execution.attempt}
        receipts = rules.receipts_of(step for step in recorded if step.attempt < execution.attempt)
        with self.watch(execution.reference) as stop:
            host = self.hosts(execution, until, stop)
            drive = _Drive(self, execution, recorder, journal, receipts, stop, host, yield_at)
            try:
                return drive.to_the_end()
            except RunStopped:
                # The canceller recorded it; what this process still knew of it is dropped.
                return Outcome(
                    status=ExecutionStatus.CANCELLED, output_json=None, error_json=None, console_json="[]",
                    finished_at=self.clock.now(),
                )  # fmt: skip

    def program_of(self, execution: RunnableExecution) -> Program:
        """The compiled program, remembered by its hash. Raises ProgramInvalid."""
        known = self._programs.get(execution.source_sha256)
        if known is None:
            known = self.engine.compile(execution.source, Language(execution.language))
            if len(self._programs) >= PROGRAM_CACHE_SIZE:
                self._programs.clear()
            self._programs[execution.source_sha256] = known
        return known


class _CutOff(Exception):  # an event inside the drive, never shown
    """The turn ended while a call was under way: it is not journaled, and the next launch makes it again."""


@dataclass(slots=True)
class _Timer:
    call: HostCall
    began_at: datetime
    due_at: datetime
    fired: RecordedStep | None
    """Its journal entry, if an earlier launch saw it fire."""


@dataclass(slots=True)
class _Drive:
    """One process's turn at one run."""

    runner: Runner
    execution: RunnableExecution
    recorder: Recorder
    journal: dict[int, RecordedStep]
    receipts: rules.Receipts
    stop: StopSignal
    host: Host
    yield_at: datetime | None
    _unwritten: list[RecordedStep] = field(default_factory=list[RecordedStep])
    _timers: list[_Timer] = field(default_factory=list[_Timer])
    _failures: dict[tuple[str, str], object] = field(default_factory=dict[tuple[str, str], object])
    """The details of failed calls by the name and message their Error has in the program."""
    _settled_at: datetime | None = None
    _occurrences: Counter[tuple[str, bytes]] = field(default_factory=Counter[tuple[str, bytes]])

    def to_the_end(self) -> RunEnd:
        try:
            program = self.runner.program_of(self.execution)
        except ProgramInvalid as error:
            return self._finish(Failed(ScriptError(EngineFault.PROGRAM_INVALID, "ProgramInvalid", error.message)), [])
        run = self.runner.engine.start(program, self._input(), self._limits())
        try:
            with self.stop.interrupting(run.interrupt):
                end = self._advance_until_over(run)
            self.stop.check()
            if isinstance(end, Yielded):
                self._write()
                return end
            console: list[dict[str, object]] = [
                {"level": str(line.level), "text": self.host.masked(line.text), "atMs": line.at_ms}
                for line in run.console
            ]
        finally:
            run.close()
        return self._finish(end, console)

    def _advance_until_over(self, run: Run) -> Completed | Failed | Yielded:
        while True:
            run.set_now(self._now_ms())
            state = run.advance()
            self.stop.check()
            if not isinstance(state, Waiting):
                return state
            for call in state.calls:
                if self._time_is_up():
                    return self._time_limit()
                try:
                    settled = self._settled_now(call)
                except (_CutOff, RunCannotResume) as error:
                    return self._broken_off(error)
                if self._time_is_up():
                    return self._time_limit()
                if settled is not None:
                    run.set_now(self._now_ms())
                    run.settle(call.call_id, settled)
                # Not for a replayed call: a launch that yields has made progress, or it would yield for ever.
                if call.call_id not in self.journal and self._must_yield():
                    return Yielded(self.runner.clock.now())
            # Only a program that cannot move waits for its timers: one that returned beside them is over.
            if not state.calls:
                over = self._await_timer(run)
                if over is not None:
                    return over

    def _broken_off(self, cause: _CutOff | RunCannotResume) -> Failed | Yielded:
        if isinstance(cause, RunCannotResume):
            return Failed(ScriptError(EngineFault.SCRIPT_ERROR, type(cause).__name__, cause.message))
        return Yielded(self.runner.clock.now())

    def _settled_now(self, call: HostCall) -> Settled | None:
        """The call's outcome, from the journal or by performing it; None for a timer that is still to fire."""
        arguments_sha256 = rules.hash_arguments(call.arguments)
        recorded = self.journal.get(call.call_id)
        if call.operation in rules.TIMER_OPERATIONS:
            self._timers.append(self._timer(call, recorded))
            return None
        if recorded is not None:
            self._occurrences[call.operation, arguments_sha256] += 1
            if recorded.receipt_of_attempt is not None:
                self._take_receipt(call, arguments_sha256)
            return self._outcome_of(recorded, call)
        receipt = self._take_receipt(call, arguments_sha256)
        if receipt is not None:
            self._occurrences[call.operation, arguments_sha256] += 1
            step = self._received(call, receipt)
            self._unwritten.append(step)
            return self._outcome_of(step, call)
        return self._outcome_of(self._perform(call, arguments_sha256), call)

    def _take_receipt(self, call: HostCall, arguments_sha256: bytes) -> RecordedStep | None:
        receipts = self.receipts.get((call.operation, arguments_sha256))
        return receipts.popleft() if receipts and self.host.is_write(call.operation, call.arguments) else None

    def _received(self, call: HostCall, receipt: RecordedStep) -> RecordedStep:
        return replace(
            receipt,
            sequence=call.call_id,
            exchange_json=None,
            started_at=self.runner.clock.now(),
            duration_ms=0.0,
            attempt=self.execution.attempt,
            receipt_of_attempt=receipt.attempt,
        )

    def _outcome_of(self, step: RecordedStep, call: HostCall) -> Settled:
        # One way for what was just recorded and for what is replayed, so that a replay is told the very same.
        settled = rules.replayed(step, call.operation, rules.hash_arguments(call.arguments))
        self._settled_at = step.ended_at
        if settled.value is not None:
            return Settled.ok(self.host.restored(step.operation, settled.value))
        if settled.failure is not None and settled.failure.details is not None:
            failure = settled.failure
            self._failures[failure.name, failure.message] = json.loads(settled.failure.details)
        return settled

    def _perform(self, call: HostCall, arguments_sha256: bytes) -> RecordedStep:
        self._write()
        occurrence = self._occurrences[call.operation, arguments_sha256]
        self._occurrences[call.operation, arguments_sha256] += 1
        key = rules.idempotency_key(
            str(self.execution.reference.execution_id), call.operation, arguments_sha256, occurrence
        )
        clock = self.runner.clock
        started_at, started = clock.now(), clock.monotonic_seconds()
        try:
            performed = self.host.perform(call.operation, call.arguments, key)
        except InternalError:
            # Ours and passing, not the vendor's answer: the launch fails, and the next one makes the call again.
            raise
        except FastnError as error:
            performed = PerformedCall(error=error)
        if performed.error is not None and performed.error.retryable and self._must_yield():
            raise _CutOff
        error_json = rules.recorded_error(performed.error)
        # Masked before the program sees it too: a replay must be given what the first run was given.
        step = RecordedStep(
            sequence=call.call_id,
            operation=call.operation,
            arguments_sha256=arguments_sha256,
            arguments_json=self.host.masked_json(call.arguments),
            result_json=self._recorded_result(performed) if error_json is None else None,
            error_json=self.host.masked_json(error_json) if error_json is not None else None,
            exchange_json=performed.exchange_json,
            started_at=started_at,
            duration_ms=round((clock.monotonic_seconds() - started) * 1000, 3),
            attempt=self.execution.attempt,
        )
        self._unwritten.append(step)
        return step

    def _recorded_result(self, performed: PerformedCall) -> str:
        # A reference holds no secret, and must be found again even where a secret's value looks like a part of it.
        return performed.result_json if performed.is_reference else self.host.masked_json(performed.result_json)

    def _await_timer(self, run: Run) -> Completed | Failed | Yielded | None:
        # A timer the program cleared meanwhile is nobody's to wait for.
        self._timers = [timer for timer in self._timers if timer.call.call_id in run.pending]
        if not self._timers:
            return None
        # When a timer is due follows from the journal alone, so in a replay they fire in the first run's order.
        self._timers.sort(key=lambda timer: (timer.due_at, timer.call.call_id))
        timer = self._timers[0]
        if timer.fired is not None:
            self._fire(run, timer, timer.fired)
            return None
        now = self.runner.clock.now()
        limit = min(timer.due_at, self.execution.deadline)
        if self.yield_at is not None and limit > min(self.yield_at, now + timedelta(seconds=LONGEST_NAP_SECONDS)):
            return Yielded(limit)
        if limit > now:
            self._write()
            (self.runner.sleep or self.stop.sleep)((limit - now).total_seconds())
            self.stop.check()
        if self._time_is_up():
            return self._time_limit()
        fired = self._fired(timer)
        self._unwritten.append(fired)
        self._fire(run, timer, fired)
        return None

    def _fire(self, run: Run, timer: _Timer, fired: RecordedStep) -> None:
        self._timers.remove(timer)
        settled = self._outcome_of(fired, timer.call)
        run.set_now(self._now_ms())
        run.settle(timer.call.call_id, settled)

    def _timer(self, call: HostCall, fired: RecordedStep | None) -> _Timer:
        # Counted from the last thing that happened to the run, which the journal knows: a relaunched run
        # sleeps for what is left, not all over again.
        arguments = cast("dict[str, Any]", json.loads(call.arguments))
        milliseconds = max(0.0, float(arguments.get("ms") or 0))
        began_at = self._settled_at or self.execution.began_at
        return _Timer(call, began_at, began_at + timedelta(milliseconds=milliseconds), fired)

    def _fired(self, timer: _Timer) -> RecordedStep:
        return RecordedStep(
            sequence=timer.call.call_id,
            operation=timer.call.operation,
            arguments_sha256=rules.hash_arguments(timer.call.arguments),
            arguments_json=timer.call.arguments,
            result_json="null",
            error_json=None,
            exchange_json=None,
            started_at=timer.began_at,
            duration_ms=(self.runner.clock.now() - timer.began_at).total_seconds() * 1000,
            attempt=self.execution.attempt,
        )

    def _finish(self, end: Completed | Failed, console: list[dict[str, object]]) -> RunEnd:
        error = end.error if isinstance(end, Failed) else None
        outcome = Outcome(
            status=rules.final_status(error),
            output_json=self.host.masked_json(end.value) if isinstance(end, Completed) else None,
            error_json=self.host.masked_json(self._described(error)) if error else None,
            console_json=json.dumps(console, ensure_ascii=False),
            finished_at=self.runner.clock.now(),
        )
        delay = rules.retry_delay(self.execution.retry, self.execution.attempt, error)
        if delay is None:
            self.recorder.finish(self._unwritten, outcome)
            return outcome
        due_at = outcome.finished_at + delay
        self.recorder.fail_attempt(self._unwritten, outcome, due_at)
        return Yielded(due_at)

    def _described(self, error: ScriptError) -> str:
        # A call's failure that nobody caught: the engine tells its name and message, the journal the rest.
        details = self._failures.get((error.name, error.message))
        return json.dumps(rules.describe_script_error(error, details))

    def _write(self) -> None:
        if self._unwritten:
            self.recorder.keep(self._unwritten)
            self._unwritten.clear()

    def _input(self) -> RunInput:
        execution = self.execution
        began = execution.program_began
        return RunInput(
            input=JsonText(execution.input_json),
            headers=json.loads(execution.headers_json),
            started_at_ms=int((began.created_at if began else execution.created_at).timestamp() * 1000),
            random_seed=execution.random_seed,
        )

    def _limits(self) -> Limits:
        return Limits(wall_ms=max(1, int(self.execution.seconds_left(self.runner.clock.now()) * 1000)))

    def _time_is_up(self) -> bool:
        return self.runner.clock.now() >= self.execution.deadline

    def _must_yield(self) -> bool:
        return self.yield_at is not None and self.runner.clock.now() >= self.yield_at

    def _time_limit(self) -> Failed:
        seconds = self.execution.timeout_seconds
        return Failed(
            ScriptError(EngineFault.TIME_LIMIT, "TimedOut", f"The run exceeded its timeout of {seconds} seconds.")
        )

    def _now_ms(self) -> int:
        # The program's clock stands at the last thing that happened to it, not at the machine's time: that
        # is all a replay can know, and a Date.now() that ran on would make it diverge.
        now = self._settled_at or self.execution.began_at
        return int(now.timestamp() * 1000)
