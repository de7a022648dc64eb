"""The three places where wasmtime-py's public surface is too narrow: export lookup, calls, epoch callbacks.

All go to the C API of the same pinned wheel (wasmtime/instance.h, func.h, store.h). Measured on the public
surface: listing a guest's 60 exports 250 us, one call 25 us; here a few microseconds each.
"""

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wasmtime

# pyright: reportPrivateUsage=false
# (this module is the boundary to the wheel's private bindings; nothing of them leaves it)

WITHOUT_RESULT = frozenset(
    {
        "free_value", "qjs_free", "qjs_result_free", "run_gc", "set_memory_limit",
        "qjst_free", "qjst_result_free",
    }
)  # fmt: skip


class InstanceExports:
    """The exports of one instance; functions take and give i32 only, which the C API checks."""

    def __init__(self, store: "wasmtime.Store", instance: "wasmtime.Instance") -> None:
        from wasmtime import _bindings as bindings

        self._bindings: Any = bindings
        self._store = store
        self._instance = instance
        self._functions: dict[str, Callable[..., int]] = {}

    def find(self, name: str) -> Any:
        """The export of this name, as its wasmtime object. Raises KeyError when there is none."""
        from wasmtime._extern import wrap_extern

        item = self._bindings.wasmtime_extern_t()
        encoded = name.encode()
        found = self._bindings.wasmtime_instance_export_get(
            self._store._context(),
            ctypes.byref(self._instance._instance),
            ctypes.create_string_buffer(encoded),
            len(encoded),
            ctypes.byref(item),
        )
        if not found:
            raise KeyError(name)
        return wrap_extern(item)

    def call(self, name: str, arguments: tuple[int, ...]) -> int:
        """Call an exported function; its result, 0 for none. Raises wasmtime.Trap or WasmtimeError."""
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._bind(name, len(arguments))
        return function(*arguments)

    def _bind(self, name: str, arity: int) -> Callable[..., int]:
        import wasmtime

        bindings = self._bindings
        store, native_call = self._store, bindings._wasmtime_func_call
        target = ctypes.byref(self.find(name)._func)
        result_count = 0 if name in WITHOUT_RESULT else 1
        parameters = (bindings.wasmtime_val_t * arity)()
        results = (bindings.wasmtime_val_t * result_count)()
        slots = [parameter.of for parameter in parameters]
        pointer_to: Callable[[Any], Any] = ctypes.POINTER
        trap_type = pointer_to(bindings.wasm_trap_t)

        def call(*arguments: int) -> int:
            for slot, argument in zip(slots, arguments, strict=True):
                slot.i32 = argument
            trap = trap_type()
            error = native_call(store._context(), target, parameters, arity, results, result_count, ctypes.byref(trap))
            if error:
                raise wasmtime.WasmtimeError._from_ptr(error)
            if trap:
                raise wasmtime.Trap._from_ptr(trap)
            return results[0].of.i32 if result_count else 0

        return call


class EpochGate:
    """Asks `must_stop` on the guest's own thread each time the epoch moves, and traps the guest on True.

    The public surface has the fixed deadline only; that counts wall time, and would end a run that a busy
    machine merely kept waiting.
    """

    def __init__(self, must_stop: Callable[[], bool]) -> None:
        from wasmtime import _bindings as bindings

        self._bindings: Any = bindings
        prototype: Any = self._bindings._wasmtime_store_epoch_deadline_callback.argtypes
        callback_type, finalizer_type = prototype[1], prototype[3]

        def on_epoch(_context: object, _data: object, delta: Any, _kind: object) -> int:
            if not must_stop():
                delta[0] = 1  # ticks until the next question; the kind is "continue" already
                return 0
            error = self._bindings.wasmtime_error_new(b"stopped")
            return ctypes.cast(error, ctypes.c_void_p).value or 0

        # wasmtime keeps the raw pointers: these two must live as long as any store.
        self._callback = callback_type(on_epoch)
        self._finalizer = finalizer_type()

    def attach(self, store: "wasmtime.Store") -> None:
        """Put this gate before everything the store runs."""
        store.set_epoch_deadline(1)
        self._bindings.wasmtime_store_epoch_deadline_callback(store.ptr(), self._callback, None, self._finalizer)
