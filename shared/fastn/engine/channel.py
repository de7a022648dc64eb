"""The host's end of one run: what the prelude's messages say, what they cost, the run's clock and randomness."""

import hashlib
import json
from typing import cast

from fastn.engine.guest import Guest
from fastn.engine.images import ChannelState
from fastn.engine.models import (
    CallId,
    ConsoleLevel,
    ConsoleLine,
    EngineFault,
    HostCall,
    JsonText,
    Limits,
    Program,
    RunInput,
)
from fastn.engine.program import ModuleGate
from fastn.engine.rules import OPERATION

# An error's three texts, each up to 16 KiB of characters that JSON may write as six.
MESSAGE_OVERHEAD_BYTES = 512 * 1024
CONSOLE_LINE_OVERHEAD_BYTES = 16
HEAD_SEPARATOR = "\n"


def state_at_start(run_input: RunInput) -> ChannelState:
    """The state of a run that has not said anything yet."""
    return ChannelState(
        pending=(),
        unseen=(),
        calls_made=0,
        console=(),
        console_bytes=0,
        result=None,
        thrown=None,
        now_ms=run_input.started_at_ms,
        random_seed=run_input.random_seed,
        drawn=0,
    )


class Channel(ModuleGate):
    """The host's end of one run: takes the prelude's messages, counts what they cost, keeps the clock."""

    def __init__(self, program: Program, state: ChannelState, limits: Limits) -> None:
        super().__init__(program.javascript)
        self.console = list(state.console)
        self.unseen = list(state.unseen)
        self.pending = {call.call_id: call for call in state.pending}
        self.result = state.result
        self.thrown = state.thrown
        self.limits = limits
        self.guest: Guest | None = None
        self._console_bytes = state.console_bytes
        self._calls_made = state.calls_made
        self._now_ms = state.now_ms
        self._seed = state.random_seed
        self._drawn = state.drawn

    def state(self) -> ChannelState:
        """What another channel needs to go on from here."""
        return ChannelState(
            pending=tuple(self.pending.values()),
            unseen=tuple(self.unseen),
            calls_made=self._calls_made,
            console=tuple(self.console),
            console_bytes=self._console_bytes,
            result=self.result,
            thrown=self.thrown,
            now_ms=self._now_ms,
            random_seed=self._seed,
            drawn=self._drawn,
        )

    @property
    def max_message_bytes(self) -> int:
        """The largest message that can be within some limit."""
        limits = self.limits
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
        if self._calls_made > self.limits.max_host_calls:
            limit = self.limits.max_host_calls
            return self._stop(EngineFault.CALL_LIMIT, f"The program made more than {limit} host calls.")
        if len(arguments.encode()) > self.limits.call_argument_bytes:
            limit = self.limits.call_argument_bytes
            return self._stop(EngineFault.OUTPUT_LIMIT, f"The arguments of {operation} exceed {limit} bytes.")
        if int(id_text) != self._calls_made:
            return False
        call = HostCall(CallId(self._calls_made), operation, JsonText(arguments))
        self.unseen.append(call)
        self.pending[call.call_id] = call
        return True

    def _take_console(self, body: str) -> bool:
        level, _, text = body.partition(" ")
        self._console_bytes += len(text.encode()) + CONSOLE_LINE_OVERHEAD_BYTES
        if self._console_bytes > self.limits.console_bytes:
            limit = self.limits.console_bytes
            return self._stop(EngineFault.OUTPUT_LIMIT, f"The console output exceeds {limit} bytes.")
        self.console.append(ConsoleLine(ConsoleLevel(level), text, self._now_ms))
        return True

    def _take_result(self, body: str) -> bool:
        if len(body.encode()) > self.limits.result_bytes:
            return self._stop(EngineFault.OUTPUT_LIMIT, f"The result exceeds {self.limits.result_bytes} bytes.")
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
        self.pending.pop(call_id, None)
        self.unseen = [call for call in self.unseen if call.call_id != call_id]
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
