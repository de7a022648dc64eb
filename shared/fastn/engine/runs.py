"""One run of a program as a step machine: advance, answer its host calls, advance again.

Nothing of a run lives outside its guest's memory but the ids of its pending calls, its counters and its
clock; so a run can be taken up from a memory image, or repeated from a journal of its settlements.
"""

import json
from functools import cached_property
from typing import TYPE_CHECKING

from fastn.engine.channel import Channel, state_at_start
from fastn.engine.errors import GuestStopped, GuestThrew, RunImageUnusable, RunNotWaiting
from fastn.engine.foundation import Foundation
from fastn.engine.guest import Sandbox, fault_of_thrown
from fastn.engine.images import RunImage, program_identity
from fastn.engine.languages import Language
from fastn.engine.models import (
    BuildId,
    CallId,
    Completed,
    ConsoleLine,
    EngineFault,
    Failed,
    HostCall,
    Limits,
    Program,
    RunInput,
    RunState,
    ScriptError,
    Settled,
    Waiting,
)
from fastn.engine.program import ENTRY_MODULE, ENTRY_SOURCE, ProgramCompiler
from fastn.engine.rules import align_lines, own_frames, program_line, renumber_frames, source_line, strip_auth_headers
from fastn.engine.watchdog import Budget

if TYPE_CHECKING:
    from fastn.engine.artifacts import EngineArtifacts

NEARLY_ALL_MEMORY = 0.9
DEADLOCKED = "The workflow awaits something that can never happen."


class Run:
    """One run. Use it from one thread at a time; `close` it when done with it."""

    def __init__(
        self, foundation: Foundation, program: Program, *, channel: Channel, budget: Budget, has_begun: bool
    ) -> None:
        self._foundation = foundation
        self._program = program
        self._channel = channel
        self._budget = budget
        self._has_begun = has_begun
        self._final: Completed | Failed | None = None
        self._guest = foundation.new_guest(channel, budget, heap_bytes=channel.limits.memory_bytes)
        channel.guest = self._guest

    @classmethod
    def start(cls, foundation: Foundation, program: Program, *, run_input: RunInput, limits: Limits) -> "Run":
        """A run at its beginning. Raises ValueError when the input is not JSON."""
        channel = Channel(program, state_at_start(run_input), limits)
        budget = Budget(wall_ms=limits.wall_ms, cpu_ms=limits.cpu_ms)
        run = cls(foundation, program, channel=channel, budget=budget, has_begun=False)
        try:
            with run._guest.entered():
                run._configure(run_input)
        except GuestThrew as threw:
            run._end(Failed(run._describe(threw.name, threw.message, threw.stack)))
        except GuestStopped as stopped:
            run._end(_stopped(stopped))
        except ValueError:
            run.close()
            raise
        return run

    @classmethod
    def resume(cls, foundation: Foundation, program: Program, image: RunImage, *, wall_ms: float) -> "Run":
        """The run the image was taken of, with this much wall time left. Raises RunImageUnusable."""
        foundation.check(image)
        if image.program != program_identity(program):
            raise RunImageUnusable("The image of the run belongs to another program.")
        channel = Channel(program, image.channel, image.limits)
        budget = Budget(wall_ms=wall_ms, cpu_ms=image.cpu_left_ms)
        run = cls(foundation, program, channel=channel, budget=budget, has_begun=True)
        try:
            foundation.restore(run._guest, image.memory)
        except RunImageUnusable:
            run.close()
            raise
        return run

    def _configure(self, run_input: RunInput) -> None:
        self._guest.set_heap_limit(self._channel.limits.memory_bytes)
        headers = json.dumps(strip_auth_headers(run_input.headers))
        options = (
            f'{{"input":{run_input.input},"headers":{headers},"startedAtMs":{run_input.started_at_ms},'
            f'"seed":{list(run_input.random_seed)}}}'
        )
        self._guest.call_function(self._foundation.prelude.configure, self._guest.parse_json(options))

    def snapshot(self) -> RunImage:
        """The run as it waits now; this one may go on or be closed, as if nothing had been taken of it.

        Calls may already be settled: the program then moves at the resumed run's next `advance`. Raises
        RunNotWaiting unless the last `advance` returned Waiting and no settlement has ended the run since.
        """
        if self._final is not None or not self._has_begun:
            raise RunNotWaiting("The run does not wait for anything.")
        return RunImage(
            build_id=self._foundation.build_id,
            prelude_sha256=self._foundation.prelude_sha256,
            program=program_identity(self._program),
            memory=self._foundation.difference(self._guest),
            channel=self._channel.state(),
            limits=self._channel.limits,
            wall_left_ms=self._budget.wall_left_ms,
            cpu_left_ms=self._budget.cpu_left_ms,
        )

    @property
    def console(self) -> tuple[ConsoleLine, ...]:
        """What the program wrote so far."""
        return tuple(self._channel.console)

    @property
    def pending(self) -> frozenset[CallId]:
        """The calls the program still waits for; a timer it cleared is no longer among them."""
        return frozenset(self._channel.pending)

    @property
    def pending_calls(self) -> tuple[HostCall, ...]:
        """The same calls in full, in the order they were made: what a process that resumes the run has to answer."""
        return tuple(self._channel.pending.values())

    def set_now(self, now_ms: int) -> None:
        """Set the program's clock, in milliseconds since the epoch; it never goes back."""
        self._channel.set_now(now_ms)

    def advance(self) -> RunState:
        """Run until the program cannot move.

        Calls made without awaiting them are handed out before the result. Once the run is over, each further
        advance returns the same state.
        """
        if self._final is not None:
            return self._final
        try:
            with self._guest.entered():
                if not self._has_begun:
                    self._begin()
                self._guest.run_jobs()
        except GuestStopped as stopped:
            return self._end(_stopped(stopped))
        except GuestThrew as threw:
            return self._end(Failed(self._describe(threw.name, threw.message, threw.stack)))
        return self._state()

    def _begin(self) -> None:
        self._has_begun = True
        evaluation = self._guest.evaluate_module(ENTRY_MODULE, ENTRY_SOURCE)
        self._guest.call_function(self._foundation.prelude.watch, evaluation)

    def _state(self) -> RunState:
        channel = self._channel
        calls, channel.unseen = tuple(channel.unseen), []
        if calls:
            return Waiting(calls)
        if channel.thrown is not None:
            return self._end(Failed(self._describe_thrown(channel.thrown)))
        if channel.result is not None:
            return self._end(Completed(channel.result))
        if channel.pending:
            return Waiting(())
        if self._guest.size_bytes >= channel.limits.memory_bytes * NEARLY_ALL_MEMORY:
            # A job that finds no memory ends without settling its promise: what looks like a deadlock is not one.
            return self._end(_stopped(GuestStopped(EngineFault.MEMORY_LIMIT, "The program ran out of memory.")))
        return self._end(Failed(ScriptError(EngineFault.DEADLOCK, "Deadlock", DEADLOCKED)))

    def settle(self, call_id: CallId, outcome: Settled) -> None:
        """Answer a pending call; the program moves at the next advance.

        A call that is not pending (a cleared timer, a run that is over) is left alone. Raises ValueError
        when a value or details are not JSON.
        """
        if self._final is not None or call_id not in self._channel.pending:
            return
        try:
            with self._guest.entered():
                argument = self._guest.parse_json(_outcome_text(call_id, outcome))
                del self._channel.pending[call_id]
                self._guest.call_function(self._foundation.prelude.settle, argument)
        except GuestStopped as stopped:
            self._end(_stopped(stopped))
        except GuestThrew as threw:
            self._end(Failed(self._describe(threw.name, threw.message, threw.stack)))

    def interrupt(self) -> None:
        """Stop the program within some 10 ms, wherever it is; for another thread than the one that advances it."""
        self._guest.interrupt()

    def close(self) -> None:
        """Free the guest. Idempotent; the console stays readable."""
        self._guest.close()
        if self._final is None:
            self._final = Failed(ScriptError(EngineFault.ENGINE_CRASH, "Closed", "The run was closed."))

    def _end(self, final: Completed | Failed) -> Completed | Failed:
        self._final = final
        self._channel.pending.clear()
        self._guest.close()
        return final

    def _describe_thrown(self, thrown: dict[str, str]) -> ScriptError:
        name, message = thrown.get("name") or "Error", thrown.get("message") or ""
        return self._describe(name, message, thrown.get("stack") or "", thrown.get("code"))

    def _describe(self, name: str, message: str, stack: str, code: str | None = None) -> ScriptError:
        line, frames = program_line(stack), own_frames(stack)
        if self._program.language is Language.TYPESCRIPT:
            line = None if line is None or not self._line_map else source_line(self._line_map, line)
            frames = renumber_frames(frames, self._line_map)
        return ScriptError(fault_of_thrown(name, message), name, message, frames, line, code)

    @cached_property
    def _line_map(self) -> tuple[int, ...]:
        return align_lines(self._program.source, self._program.javascript)


class JavaScriptEngine:
    """Compiles and runs programs: one per process, safe to use from several threads."""

    def __init__(self, artifacts: "EngineArtifacts") -> None:
        sandbox = Sandbox(artifacts.engine)
        self._foundation = Foundation(artifacts, sandbox)
        self._compiler = ProgramCompiler(artifacts, sandbox)

    @property
    def build_id(self) -> BuildId:
        """The build a run's image belongs to."""
        return self._foundation.build_id

    def compile(self, source: str, language: Language) -> Program:
        """Check a program without running any of it. Raises ProgramInvalid."""
        return self._compiler.compile(source, language)

    def start(self, program: Program, run_input: RunInput, limits: Limits | None = None) -> Run:
        """A run of its own instance, shared with no other. Raises ValueError when the input is not JSON."""
        return Run.start(self._foundation, program, run_input=run_input, limits=limits or Limits())

    def resume(self, program: Program, image: RunImage, *, wall_ms: float | None = None) -> Run:
        """The run the image was taken of, in an instance of its own; its limits and counters go on.

        `wall_ms` is its wall time from now, by default what was left when the image was taken. The first
        `advance` hands out no call a second time: what the run waits for is in `pending_calls`. Raises
        EngineBuildMismatch if the image is another build's, RunImageUnusable if it is another program's.
        """
        wall_left_ms = image.wall_left_ms if wall_ms is None else wall_ms
        return Run.resume(self._foundation, program, image, wall_ms=wall_left_ms)


def _stopped(stopped: GuestStopped) -> Failed:
    return Failed(ScriptError(stopped.fault, stopped.fault.value, stopped.message))


def _outcome_text(call_id: CallId, outcome: Settled) -> str:
    failure = outcome.failure
    if failure is None:
        return f"[{call_id},true,{outcome.value}]"
    name, message = json.dumps(failure.name), json.dumps(failure.message)
    return f'[{call_id},false,{{"name":{name},"message":{message},"details":{failure.details or "null"}}}]'
