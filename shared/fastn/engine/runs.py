"""One run of a program as a step machine: advance, answer its host calls, advance again.

Nothing of a run lives outside its guest's memory but the ids of its pending calls, its counters and its
clock; so a run can be taken up from a memory image, or repeated from a journal of its settlements.
"""

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, cast

from fastn.engine.errors import GuestStopped, GuestThrew
from fastn.engine.guest import Guest, Sandbox, fault_of_thrown
from fastn.engine.languages import Language
from fastn.engine.models import (
    CallId,
    Completed,
    ConsoleLevel,
    ConsoleLine,
    EngineFault,
    Failed,
    HostCall,
    JsonText,
    Limits,
    Program,
    RunInput,
    RunState,
    ScriptError,
    Settled,
    Waiting,
)
from fastn.engine.program import ENTRY_MODULE, ENTRY_SOURCE, ModuleGate, ProgramCompiler
from fastn.engine.rules import (
    OPERATION,
    align_lines,
    own_frames,
    program_line,
    renumber_frames,
    source_line,
    strip_auth_headers,
)
from fastn.engine.watchdog import Budget

if TYPE_CHECKING:
    from fastn.engine.artifacts import EngineArtifacts

# What a guest instance needs besides its JavaScript heap: its data, its stack, the allocator's slack.
GUEST_OVERHEAD_BYTES = 8 * 1024 * 1024
# An error's three texts, each up to 16 KiB of characters that JSON may write as six.
MESSAGE_OVERHEAD_BYTES = 512 * 1024
CONSOLE_LINE_OVERHEAD_BYTES = 16
HEAD_SEPARATOR = "\n"
NEARLY_ALL_MEMORY = 0.9
DEADLOCKED = "The workflow awaits something that can never happen."


class _Channel(ModuleGate):
    """The host's end of one run: takes the prelude's messages, counts what they cost, keeps the clock."""

    def __init__(self, program: Program, run_input: RunInput, limits: Limits) -> None:
        super().__init__(program.javascript)
        self.console: list[ConsoleLine] = []
        self.calls: list[HostCall] = []
        self.pending: set[CallId] = set()
        self.result: JsonText | None = None
        self.thrown: dict[str, str] | None = None
        self.guest: Guest | None = None
        self._limits = limits
        self._console_bytes = 0
        self._calls_made = 0
        self._now_ms = run_input.started_at_ms
        self._seed = run_input.random_seed
        self._drawn = 0

    @property
    def max_message_bytes(self) -> int:
        """The largest message that can be within some limit."""
        limits = self._limits
        largest = max(limits.result_bytes, limits.console_bytes, limits.call_argument_bytes)
        return largest + MESSAGE_OVERHEAD_BYTES

    def refuse_message(self, length_bytes: int) -> None:
        """End the run: it said more at once than any limit allows."""
        self._stop(EngineFault.OUTPUT_LIMIT, f"The program handed over {length_bytes} bytes at once.")

    def take_message(self, message: str) -> bool:
        """Take one message of the prelude; False when the guest is to be stopped, or it is not understood.

        The prelude keeps the channel to itself; a message is still read as if the program had written it.
        """
        takers = {
            "C": self._take_call,
            "L": self._take_console,
            "R": self._take_result,
            "E": self._take_error,
            "O": self._take_exhaustion,
            "X": self._withdraw,
        }
        taker = takers.get(message[:1])
        try:
            return taker is not None and taker(message[1:])
        except ValueError:
            return False

    def _take_call(self, body: str) -> bool:
        head, _, arguments = body.partition(HEAD_SEPARATOR)
        id_text, _, operation = head.partition(" ")
        if OPERATION.fullmatch(operation) is None:
            return False
        self._calls_made += 1
        if self._calls_made > self._limits.max_host_calls:
            limit = self._limits.max_host_calls
            return self._stop(EngineFault.CALL_LIMIT, f"The program made more than {limit} host calls.")
        if len(arguments.encode()) > self._limits.call_argument_bytes:
            limit = self._limits.call_argument_bytes
            return self._stop(EngineFault.OUTPUT_LIMIT, f"The arguments of {operation} exceed {limit} bytes.")
        if int(id_text) != self._calls_made:
            return False
        call = HostCall(CallId(self._calls_made), operation, JsonText(arguments))
        self.calls.append(call)
        self.pending.add(call.call_id)
        return True

    def _take_console(self, body: str) -> bool:
        level, _, text = body.partition(" ")
        self._console_bytes += len(text.encode()) + CONSOLE_LINE_OVERHEAD_BYTES
        if self._console_bytes > self._limits.console_bytes:
            limit = self._limits.console_bytes
            return self._stop(EngineFault.OUTPUT_LIMIT, f"The console output exceeds {limit} bytes.")
        self.console.append(ConsoleLine(ConsoleLevel(level), text, self._now_ms))
        return True

    def _take_result(self, body: str) -> bool:
        if len(body.encode()) > self._limits.result_bytes:
            return self._stop(EngineFault.OUTPUT_LIMIT, f"The result exceeds {self._limits.result_bytes} bytes.")
        if self.result is None and self.thrown is None:
            self.result = JsonText(body)
        return True

    def _take_error(self, body: str) -> bool:
        fields: object = json.loads(body)
        if self.result is None and self.thrown is None and isinstance(fields, dict):
            items = cast("dict[str, object]", fields).items()
            self.thrown = {field: value for field, value in items if isinstance(value, str)}
        return True

    def _take_exhaustion(self, _body: str) -> bool:
        return self._stop(EngineFault.MEMORY_LIMIT, "The program ran out of memory.")

    def _withdraw(self, body: str) -> bool:
        call_id = CallId(int(body))
        self.pending.discard(call_id)
        self.calls = [call for call in self.calls if call.call_id != call_id]
        return True

    def _stop(self, fault: EngineFault, message: str) -> bool:
        if self.guest is not None:
            self.guest.stop(fault, message)
        return False

    def now_ms(self) -> int:
        """The run's clock."""
        return self._now_ms

    def set_now(self, now_ms: int) -> None:
        """Move the clock; it never goes back."""
        self._now_ms = max(self._now_ms, now_ms)

    def draw_random(self, length: int) -> bytes:
        """Bytes that follow from the run's seed."""
        self._drawn += 1
        return hashlib.shake_256(self._seed + self._drawn.to_bytes(8, "big")).digest(length)


class Run:
    """One run. Use it from one thread at a time; `close` it when done with it."""

    def __init__(
        self,
        artifacts: "EngineArtifacts",
        sandbox: Sandbox,
        program: Program,
        *,
        run_input: RunInput,
        limits: Limits,
    ) -> None:
        self._program = program
        self._prelude = artifacts.prelude
        self._channel = _Channel(program, run_input, limits)
        self._final: Completed | Failed | None = None
        self._begun = False
        self._guest = Guest(
            sandbox,
            artifacts.guest,
            self._channel,
            budget=Budget(wall_ms=limits.wall_ms, cpu_ms=limits.cpu_ms),
            memory_bytes=limits.memory_bytes + GUEST_OVERHEAD_BYTES,
        )
        self._channel.guest = self._guest
        try:
            with self._guest.entered():
                self._prepare(run_input, limits)
        except GuestThrew as threw:
            self._end(Failed(self._describe(threw.name, threw.message, threw.stack)))
        except GuestStopped as stopped:
            self._end(_stopped(stopped))
        except ValueError:
            self.close()
            raise

    def _prepare(self, run_input: RunInput, limits: Limits) -> None:
        self._guest.restore(self._prelude.memory)
        self._memory_bytes = limits.memory_bytes
        self._guest.set_heap_limit(limits.memory_bytes)
        headers = json.dumps(strip_auth_headers(run_input.headers))
        options = (
            f'{{"input":{run_input.input},"headers":{headers},"startedAtMs":{run_input.started_at_ms},'
            f'"seed":{list(run_input.random_seed)}}}'
        )
        self._guest.call_function(self._prelude.configure, self._guest.parse_json(options))

    @property
    def console(self) -> tuple[ConsoleLine, ...]:
        """What the program wrote so far."""
        return tuple(self._channel.console)

    @property
    def pending(self) -> frozenset[CallId]:
        """The calls the program still waits for; a timer it cleared is no longer among them."""
        return frozenset(self._channel.pending)

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
                if not self._begun:
                    self._begin()
                self._guest.run_jobs()
        except GuestStopped as stopped:
            return self._end(_stopped(stopped))
        except GuestThrew as threw:
            return self._end(Failed(self._describe(threw.name, threw.message, threw.stack)))
        return self._state()

    def _begin(self) -> None:
        self._begun = True
        evaluation = self._guest.evaluate_module(ENTRY_MODULE, ENTRY_SOURCE)
        self._guest.call_function(self._prelude.watch, evaluation)

    def _state(self) -> RunState:
        channel = self._channel
        calls, channel.calls = tuple(channel.calls), []
        if calls:
            return Waiting(calls)
        if channel.thrown is not None:
            return self._end(Failed(self._describe_thrown(channel.thrown)))
        if channel.result is not None:
            return self._end(Completed(channel.result))
        if channel.pending:
            return Waiting(())
        if self._guest.size_bytes >= self._memory_bytes * NEARLY_ALL_MEMORY:
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
                self._channel.pending.discard(call_id)
                self._guest.call_function(self._prelude.settle, argument)
        except GuestStopped as stopped:
            self._end(_stopped(stopped))
        except GuestThrew as threw:
            self._end(Failed(self._describe(threw.name, threw.message, threw.stack)))

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
        self._artifacts = artifacts
        self._sandbox = Sandbox(artifacts.engine)
        self._compiler = ProgramCompiler(artifacts, self._sandbox)

    @property
    def build_id(self) -> str:
        """The build a run's memory belongs to."""
        return self._artifacts.build_id

    def compile(self, source: str, language: Language) -> Program:
        """Check a program without running any of it. Raises ProgramInvalid."""
        return self._compiler.compile(source, language)

    def start(self, program: Program, run_input: RunInput, limits: Limits | None = None) -> Run:
        """A run of its own instance, shared with no other. Raises ValueError when the input is not JSON."""
        return Run(self._artifacts, self._sandbox, program, run_input=run_input, limits=limits or Limits())


def _stopped(stopped: GuestStopped) -> Failed:
    return Failed(ScriptError(stopped.fault, stopped.fault.value, stopped.message))


def _outcome_text(call_id: CallId, outcome: Settled) -> str:
    failure = outcome.failure
    if failure is None:
        return f"[{call_id},true,{outcome.value}]"
    name, message = json.dumps(failure.name), json.dumps(failure.message)
    return f'[{call_id},false,{{"name":{name},"message":{message},"details":{failure.details or "null"}}}]'
