"""The only doors out of a guest: twelve imports, all answered here, none of which reaches the system.

Signatures: the guest's own import section, and WASI preview 1 (witx) for `wasi_snapshot_preview1`.
"""

import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from fastn.engine.errors import GuestStopped
from fastn.engine.models import EngineFault

if TYPE_CHECKING:
    import wasmtime

WASI_OK = 0
WASI_BAD_DESCRIPTOR = 8
WASI_FAULT = 21
HOST_CALL_REFUSED = -1
REFUSALS: dict[str, int | None] = {
    "proc_exit": None,
    "host_call": HOST_CALL_REFUSED,
    "host_module_normalize": 0,
    "host_module_load": 0,
}
STANDARD_DESCRIPTORS = (1, 2)
CHARACTER_DEVICE = 2


class GuestSide(Protocol):
    """What an import needs of the guest that called it."""

    def read_bytes(self, pointer: int, length: int) -> bytes: ...
    def write_bytes(self, pointer: int, content: bytes) -> None: ...
    def answer_host_call(self, argument_count: int, arguments_pointer: int) -> int: ...
    def answer_module_name(self, base: bytes, specifier: bytes, length_pointer: int) -> int: ...
    def answer_module_source(self, name: bytes, length_pointer: int) -> int: ...
    def now_ns(self) -> int: ...
    def draw_random(self, length: int) -> bytes: ...
    def note_diagnostic(self, text: bytes) -> None: ...
    def must_stop(self) -> bool: ...
    def stop(self, fault: EngineFault, message: str) -> None: ...


class ActiveGuest(threading.local):
    """The guest running on the calling thread.

    wasmtime-py keeps host functions in one unlocked table of the process, so they are registered once per
    engine and find their guest here, instead of being registered again for each instance.
    """

    guest: GuestSide | None = None

    def current(self) -> GuestSide:
        """The running guest. Raises RuntimeError outside one: imports fire during a guest call only."""
        if self.guest is None:
            raise RuntimeError("an import was called outside a guest")
        return self.guest


def build_linker(engine: "wasmtime.Engine", active: ActiveGuest) -> "wasmtime.Linker":
    """A linker with every import of both guest modules; anything else a module asks for fails to link."""
    import wasmtime

    linker = wasmtime.Linker(engine)
    types = {"i": wasmtime.ValType.i32, "I": wasmtime.ValType.i64}

    def define(module: str, name: str, signature: str, answer: Callable[..., int | None]) -> None:
        parameters, _, results = signature.partition(">")
        function_type = wasmtime.FuncType([types[c]() for c in parameters], [types[c]() for c in results])
        linker.define_func(module, name, function_type, _contained(active, answer, REFUSALS.get(name, WASI_FAULT)))

    _define_environment(define, active)
    _define_wasi(define, active)
    return linker


def _contained(
    active: ActiveGuest, answer: Callable[..., int | None], refusal: int | None
) -> Callable[..., int | None]:
    """The answer, kept from raising.

    wasmtime-py carries an exception out of an import through one variable of the process, where another
    thread's guest could pick it up. A guest that was stopped inside its import traps by itself right after.
    """

    def contained(*arguments: int) -> int | None:
        try:
            return answer(*arguments)
        except GuestStopped:
            return refusal
        except IndexError:
            active.current().stop(EngineFault.ENGINE_CRASH, "The engine failed while running the program.")
            return refusal

    return contained


def _define_environment(define: Callable[..., None], active: ActiveGuest) -> None:
    def host_call(_name: int, _length: int, _this: int, count: int, arguments: int) -> int:
        return active.current().answer_host_call(count, arguments)

    def host_interrupt() -> int:
        return 0  # time is kept by the epoch, which also stops what never polls

    def module_normalize(base: int, base_length: int, name: int, name_length: int, out: int) -> int:
        guest = active.current()
        base_name = guest.read_bytes(base, base_length)
        return guest.answer_module_name(base_name, guest.read_bytes(name, name_length), out)

    def module_load(name: int, length: int, out: int) -> int:
        guest = active.current()
        return guest.answer_module_source(guest.read_bytes(name, length), out)

    define("env", "host_call", "iiiii>i", host_call)
    define("env", "host_interrupt", ">i", host_interrupt)
    define("env", "host_module_normalize", "iiiii>i", module_normalize)
    define("env", "host_module_load", "iii>i", module_load)


def _define_wasi(define: Callable[..., None], active: ActiveGuest) -> None:
    wasi = "wasi_snapshot_preview1"

    def random_get(pointer: int, length: int) -> int:
        guest = active.current()
        guest.write_bytes(pointer, guest.draw_random(length))
        return WASI_OK

    def clock_time_get(_clock: int, _precision: int, out: int) -> int:
        guest = active.current()
        guest.write_bytes(out, struct.pack("<Q", guest.now_ns()))
        return WASI_OK

    def environ_get(_pointers: int, _buffer: int) -> int:
        return WASI_OK

    def environ_sizes_get(count_out: int, size_out: int) -> int:
        guest = active.current()
        guest.write_bytes(count_out, bytes(4))
        guest.write_bytes(size_out, bytes(4))
        return WASI_OK

    def fd_write(descriptor: int, vectors: int, count: int, written_out: int) -> int:
        if descriptor not in STANDARD_DESCRIPTORS:
            return WASI_BAD_DESCRIPTOR
        guest = active.current()
        written = 0
        for pointer, length in struct.iter_unpack("<II", guest.read_bytes(vectors, 8 * count)):
            guest.note_diagnostic(guest.read_bytes(pointer, length))
            written += length
        guest.write_bytes(written_out, struct.pack("<I", written))
        return WASI_OK

    def fd_fdstat_get(descriptor: int, out: int) -> int:
        if descriptor not in STANDARD_DESCRIPTORS:
            return WASI_BAD_DESCRIPTOR
        active.current().write_bytes(out, struct.pack("<B23x", CHARACTER_DEVICE))
        return WASI_OK

    def refuse_descriptor(*_: int) -> int:
        return WASI_BAD_DESCRIPTOR

    def proc_exit(_code: int) -> None:
        return None  # declared "noreturn": the guest's next instruction is `unreachable`, which traps

    define(wasi, "random_get", "ii>i", random_get)
    define(wasi, "clock_time_get", "iIi>i", clock_time_get)
    define(wasi, "environ_get", "ii>i", environ_get)
    define(wasi, "environ_sizes_get", "ii>i", environ_sizes_get)
    define(wasi, "fd_write", "iiii>i", fd_write)
    define(wasi, "fd_fdstat_get", "ii>i", fd_fdstat_get)
    define(wasi, "fd_close", "i>i", refuse_descriptor)
    define(wasi, "fd_seek", "iIii>i", refuse_descriptor)
    define(wasi, "proc_exit", "i>", proc_exit)
