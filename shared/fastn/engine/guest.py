"""One instance of the QuickJS guest and its calling convention.

The convention is that of the guest inside quickjs-rs 0.2.6 (exports as in its `_guest.wasm`): values are
opaque i32 handles the caller frees, out-parameters are pointers into guest memory, text results wait in one
slot (`qjs_last_ptr`, `qjs_last_len`) until `qjs_result_free`.
"""

import struct
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

from fastn.engine.errors import GuestStopped, GuestThrew
from fastn.engine.imports import HOST_CALL_REFUSED, ActiveGuest, build_linker
from fastn.engine.models import EngineFault, MemoryImage
from fastn.engine.native import EpochGate, InstanceExports
from fastn.engine.watchdog import Budget, Watchdog

if TYPE_CHECKING:
    import wasmtime

PAGE_BYTES = 65536
STATUS_OK = 0
STATUS_JS_ERROR = 1
MAX_DIAGNOSTIC_BYTES = 4096
SCRATCH_BYTES = 16
# The guest's stack and heap checks report these; anything a program throws under the same words only
# mislabels its own failure.
OUT_OF_MEMORY = ("InternalError", "out of memory")
STACK_OVERFLOWED = (("RangeError", "Maximum call stack size exceeded"), ("InternalError", "stack overflow"))


def fault_of_thrown(name: str, message: str) -> EngineFault:
    """The fault an error thrown inside the guest stands for."""
    if (name, message) == OUT_OF_MEMORY:
        return EngineFault.MEMORY_LIMIT
    return EngineFault.STACK_OVERFLOW if (name, message) in STACK_OVERFLOWED else EngineFault.SCRIPT_ERROR


class GuestHost(Protocol):
    """What a guest's owner answers. None of these may raise."""

    @property
    def max_message_bytes(self) -> int: ...
    def take_message(self, message: str) -> bool: ...
    def refuse_message(self, length_bytes: int) -> None: ...
    def resolve_module(self, base: str, specifier: str) -> str | None: ...
    def module_source(self, name: str) -> str | None: ...
    def now_ms(self) -> int: ...
    def draw_random(self, length: int) -> bytes: ...


class Sandbox:
    """What all guests of a process share: the wasm engine, its imports, the watchdog."""

    def __init__(self, engine: "wasmtime.Engine") -> None:
        self.engine = engine
        self.active = ActiveGuest()
        self.linker = build_linker(engine, self.active)
        self.watchdog = Watchdog(engine.increment_epoch)
        self.gate = EpochGate(lambda: self.active.current().must_stop())


class WasmInstance:
    """A wasm instance that is bounded in time and memory, and thrown away once it was stopped."""

    def __init__(self, sandbox: Sandbox, module: "wasmtime.Module", budget: Budget, *, memory_bytes: int) -> None:
        import wasmtime

        self._sandbox = sandbox
        self._budget = budget
        self._stop: tuple[EngineFault, str] | None = None
        self._diagnostic = b""
        self._wasmtime_errors = (wasmtime.WasmtimeError, wasmtime.Trap)
        self._store = wasmtime.Store(sandbox.engine)
        self._store.set_limits(memory_size=memory_bytes)
        sandbox.gate.attach(self._store)
        self._exports = InstanceExports(self._store, sandbox.linker.instantiate(self._store, module))
        self._memory = cast("wasmtime.Memory", self._exports.find("memory"))

    def close(self) -> None:
        """Free the instance's memory. Idempotent."""
        self._store.close()

    def stop(self, fault: EngineFault, message: str) -> None:
        """End the guest at its next instruction that looks (a loop or a call), from inside one of its imports."""
        if self._stop is None:
            self._stop = (fault, message)
            self._store.set_epoch_deadline(0)

    def interrupt(self) -> None:
        """End the guest at the watchdog's next tick. Safe from any thread: the store is left alone."""
        if self._stop is None:
            self._stop = (EngineFault.TIME_LIMIT, "The run was interrupted.")

    def must_stop(self) -> bool:
        """Whether the guest may not run on; asked each time the epoch moves."""
        if self._stop is None and self._budget.is_spent():
            self._stop = (EngineFault.TIME_LIMIT, "The program ran out of time.")
        return self._stop is not None

    @contextmanager
    def entered(self) -> Generator[None]:
        """Make this the running guest of the calling thread. Raises GuestStopped once it was stopped."""
        if self.must_stop():
            raise self.stopped()
        active = self._sandbox.active
        outer, active.guest = active.guest, self
        self._budget.enter()
        try:
            with self._sandbox.watchdog:
                yield
        finally:
            self._budget.leave()
            active.guest = outer

    def call(self, name: str, *arguments: int) -> int:
        """Call an export; its i32 result, 0 for none. Raises GuestStopped when the guest trapped or was stopped."""
        try:
            return self._exports.call(name, arguments)
        except self._wasmtime_errors as error:
            self.stop(*self._explain(error))
            raise self.stopped() from error

    def stopped(self) -> GuestStopped:
        """The reason this guest was stopped."""
        fault, message = self._stop or (EngineFault.ENGINE_CRASH, "The engine stopped.")
        return GuestStopped(fault, message)

    def _explain(self, error: Exception) -> tuple[EngineFault, str]:
        import wasmtime

        code = error.trap_code if isinstance(error, wasmtime.Trap) else None
        if code in (wasmtime.TrapCode.STACK_OVERFLOW, wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS):
            # The guest's data stack lies at address 0 and grows down: running off it is out of bounds.
            return EngineFault.STACK_OVERFLOW, "The program is nested too deeply."
        if b"memory allocation" in self._diagnostic:
            return EngineFault.MEMORY_LIMIT, "The program ran out of memory."
        return EngineFault.ENGINE_CRASH, "The engine failed while running the program."

    def read_bytes(self, pointer: int, length: int) -> bytes:
        """A copy of guest memory. Raises IndexError outside it."""
        start, size = pointer & 0xFFFFFFFF, length & 0xFFFFFFFF
        if start + size > self._memory.data_len(self._store):
            raise IndexError("outside guest memory")
        return bytes(self._memory.read(self._store, start, start + size))

    def write_bytes(self, pointer: int, content: bytes) -> None:
        """Write into guest memory. Raises IndexError outside it."""
        self._memory.write(self._store, content, pointer & 0xFFFFFFFF)

    # -- imports: a plain instance is given nothing ---------------------------------------------------
    def note_diagnostic(self, text: bytes) -> None:
        """Keep the first of what the guest prints about its own failure."""
        self._diagnostic = (self._diagnostic + text)[:MAX_DIAGNOSTIC_BYTES]

    def answer_host_call(self, argument_count: int, arguments_pointer: int) -> int:  # noqa: ARG002 (refused)
        """Refuse a host call."""
        return HOST_CALL_REFUSED

    def answer_module_name(self, base: bytes, specifier: bytes, length_pointer: int) -> int:  # noqa: ARG002 (refused)
        """Refuse to name a module."""
        return 0

    def answer_module_source(self, name: bytes, length_pointer: int) -> int:  # noqa: ARG002 (refused)
        """Refuse to load a module."""
        return 0

    def now_ns(self) -> int:
        """The clock, in nanoseconds since the epoch."""
        return 0

    def draw_random(self, length: int) -> bytes:
        """Randomness for the instance's own hash tables."""
        return bytes(length)


class Guest(WasmInstance):
    """One QuickJS runtime with one context, and the values a host passes in and out of it."""

    def __init__(
        self,
        sandbox: Sandbox,
        module: "wasmtime.Module",
        host: GuestHost,
        *,
        budget: Budget,
        memory_bytes: int,
    ) -> None:
        super().__init__(sandbox, module, budget, memory_bytes=memory_bytes)
        self._host = host
        self._stack_pointer = cast("wasmtime.Global", self._exports.find("__stack_pointer"))

    # -- values ------------------------------------------------------------------------------------
    def place_bytes(self, content: bytes) -> int:
        """A pointer to a copy of `content` in guest memory. Raises GuestStopped when it does not fit."""
        pointer = self.call("qjs_alloc", len(content))
        if pointer == 0 and content:
            self.stop(EngineFault.MEMORY_LIMIT, "The program ran out of memory.")
            raise self.stopped()
        if content:
            self.write_bytes(pointer, content)
        return pointer

    def parse_json(self, text: str) -> int:
        """A handle to the parsed JSON. Raises ValueError when it is not JSON."""
        content = text.encode()
        pointer = self.place_bytes(content)
        out = self.call("qjs_alloc", SCRATCH_BYTES)
        status = self.call("new_from_json", pointer, len(content), out)
        handle = self._read_handle(out)
        self.call("qjs_free", out, SCRATCH_BYTES)
        self.call("qjs_free", pointer, len(content))
        if status == STATUS_JS_ERROR:
            threw = self._take_exception()
            if fault_of_thrown(threw.name, threw.message) is EngineFault.SCRIPT_ERROR:
                raise ValueError("not JSON") from threw
            raise threw
        if status != STATUS_OK:
            raise ValueError("not JSON, or too large")
        return handle

    def call_function(self, function: int, argument: int) -> None:
        """Call a function handle with one argument, which is freed. Raises GuestThrew when it throws."""
        undefined = self.call("new_undefined")
        scratch = self.place_bytes(struct.pack("<ii8x", argument, 0))
        status = self.call("call_function", function, undefined, scratch, 1, scratch + 4)
        result = self._read_handle(scratch + 4)
        self.call("qjs_free", scratch, SCRATCH_BYTES)
        self.call("free_value", argument)
        self.call("free_value", undefined)
        if status == STATUS_JS_ERROR:
            raise self._take_exception()
        if status != STATUS_OK:
            raise GuestThrew("InternalError", f"call status {status}", "")
        self.call("free_value", result)

    def evaluate_module(self, name: str, source: str, *, awaiting: bool = True) -> int:
        """Evaluate an ES module; a handle to its evaluation promise, or to its namespace if not `awaiting`.

        Raises GuestThrew when it does not parse or link.
        """
        code, label = source.encode(), name.encode()
        code_at, label_at = self.place_bytes(code), self.place_bytes(label)
        out = self.call("qjs_alloc", SCRATCH_BYTES)
        export = "eval_module_async" if awaiting else "eval_module"
        status = self.call(export, code_at, len(code), label_at, len(label), out)
        handle = self._read_handle(out)
        self.call("qjs_free", out, SCRATCH_BYTES)
        self.call("qjs_free", code_at, len(code))
        self.call("qjs_free", label_at, len(label))
        if status != STATUS_OK:
            raise self._take_exception()
        return handle

    def run_jobs(self) -> None:
        """Run promise jobs until none is left."""
        while self.call("execute_pending_jobs") > 0:
            pass

    def get_property(self, handle: int, name: str) -> int:
        """A handle to a property's value. Raises GuestThrew when reading it throws."""
        key = name.encode()
        key_at, out = self.place_bytes(key), self.call("qjs_alloc", SCRATCH_BYTES)
        status = self.call("get_prop", handle, key_at, len(key), out)
        value = self._read_handle(out)
        self.call("qjs_free", out, SCRATCH_BYTES)
        self.call("qjs_free", key_at, len(key))
        if status != STATUS_OK:
            raise GuestThrew("TypeError", f"the property {name} cannot be read", "")
        return value

    def define_host_function(self, name: str) -> None:
        """Put the function that reaches `take_message` on the global object."""
        key = name.encode()
        key_at = self.place_bytes(key)
        function, target = self.call("new_function", key_at, len(key)), self.call("global_object")
        self.call("set_prop", target, key_at, len(key), function)
        for handle in (function, target):
            self.call("free_value", handle)
        self.call("qjs_free", key_at, len(key))

    def _read_handle(self, pointer: int) -> int:
        return int.from_bytes(self.read_bytes(pointer, 4), "little", signed=True)

    def _text_of(self, handle: int) -> str | None:
        if self.call("get_string", handle) != STATUS_OK:
            return None
        length = self.call("qjs_last_len")
        content = self.read_bytes(self.call("qjs_last_ptr"), length) if length else b""
        self.call("qjs_result_free")
        return content.decode(errors="replace")

    def _take_exception(self) -> GuestThrew:
        out = self.call("qjs_alloc", SCRATCH_BYTES)
        status = self.call("last_exception", out)
        thrown = self._read_handle(out)
        self.call("qjs_free", out, SCRATCH_BYTES)
        if status != STATUS_OK:
            return GuestThrew("Error", "the program failed without an error", "")
        fields: dict[str, str] = {}
        for field in ("name", "message", "stack"):
            try:
                value = self.get_property(thrown, field)
            except GuestThrew:
                continue
            fields[field] = self._text_of(value) or ""
            self.call("free_value", value)
        message = fields.get("message") or ("" if fields.get("name") else self._text_of(thrown) or "")
        self.call("free_value", thrown)
        return GuestThrew(fields.get("name") or "Error", message, fields.get("stack", ""))

    # -- memory ------------------------------------------------------------------------------------
    def set_heap_limit(self, heap_bytes: int) -> None:
        """Bound the JavaScript heap, so that crossing it throws.

        There is no such bound for the stack: the guest is built without stack checks (`set_max_stack_size`
        changes nothing, tried from 16 KiB up), so too deep a recursion always traps.
        """
        self.call("set_memory_limit", heap_bytes)

    @property
    def size_bytes(self) -> int:
        """How much linear memory the guest has taken; it never gives any back."""
        return self._memory.data_len(self._store)

    def memory_bytes(self) -> bytes:
        """The whole linear memory: with the stack pointer, the complete state of the program."""
        return self.read_bytes(0, self._memory.data_len(self._store))

    def stack_pointer(self) -> int:
        """The guest's data stack pointer."""
        return int(self._stack_pointer.value(self._store))

    def restore(self, image: MemoryImage) -> None:
        """Become the guest the image was taken of. This must be a fresh instance of the same build."""
        import ctypes

        missing = image.size_bytes - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // PAGE_BYTES))
        base = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        size = self._memory.data_len(self._store)
        for offset, content in image.chunks:
            if offset < 0 or offset + len(content) > size:
                raise IndexError("outside guest memory")
            ctypes.memmove(base + offset, content, len(content))
        self._stack_pointer.set_value(self._store, image.stack_pointer)

    # -- imports -----------------------------------------------------------------------------------
    def answer_host_call(self, argument_count: int, arguments_pointer: int) -> int:
        """One message of the prelude: its text is the only argument."""
        if argument_count != 1:
            return HOST_CALL_REFUSED
        if self.call("get_string", self._read_handle(arguments_pointer)) != STATUS_OK:
            return HOST_CALL_REFUSED
        length = self.call("qjs_last_len")
        if length > self._host.max_message_bytes:
            self.call("qjs_result_free")
            self._host.refuse_message(length)
            return HOST_CALL_REFUSED
        message = self.read_bytes(self.call("qjs_last_ptr"), length)
        self.call("qjs_result_free")
        if not self._host.take_message(message.decode(errors="replace")):
            return HOST_CALL_REFUSED
        return self.call("new_undefined")

    def answer_module_name(self, base: bytes, specifier: bytes, length_pointer: int) -> int:
        """The full name of an imported module, as a guest pointer; 0 when it may not be imported."""
        name = self._host.resolve_module(base.decode(errors="replace"), specifier.decode(errors="replace"))
        return 0 if name is None else self._place_counted(name, length_pointer)

    def answer_module_source(self, name: bytes, length_pointer: int) -> int:
        """A module's source, as a guest pointer; 0 when there is none."""
        source = self._host.module_source(name.decode(errors="replace"))
        return 0 if source is None else self._place_counted(source, length_pointer)

    def _place_counted(self, text: str, length_pointer: int) -> int:
        content = text.encode()
        pointer = self.call("qjs_alloc", len(content))
        if pointer:
            self.write_bytes(pointer, content)
            self.write_bytes(length_pointer, struct.pack("<I", len(content)))
        return pointer

    def now_ns(self) -> int:
        """The run's clock, in nanoseconds since the epoch."""
        return self._host.now_ms() * 1_000_000

    def draw_random(self, length: int) -> bytes:
        """Randomness for the guest's own hash tables."""
        return self._host.draw_random(length)
