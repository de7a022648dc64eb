"""How a run is stopped from another thread, wherever it is: in its program, asleep, or in a call to a vendor."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not at run time: who only reads or cancels executions never calls a vendor.
    from fastn.connectors.calls import HttpSender
    from fastn.platform.egress import OutboundRequest, OutboundResponse


class RunStopped(Exception):
    """The run was cancelled: its process lets go of it, and records nothing more of it."""


class StopSignal:
    """Whether a run is to stop, and what interrupts the thing it is doing. Thread-safe."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._interrupts: list[Callable[[], None]] = []

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Stops the run; what it is doing at the moment is interrupted."""
        with self._lock:
            self._stopped.set()
            interrupts = list(self._interrupts)
        for interrupt in interrupts:
            interrupt()

    def check(self) -> None:
        """Raises RunStopped once the run is to stop."""
        if self._stopped.is_set():
            raise RunStopped

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Generator[None]:
        """While the block runs, `stop` calls this too, from its own thread; at once if it is stopped already."""
        with self._lock:
            self._interrupts.append(interrupt)
        try:
            if self._stopped.is_set():
                interrupt()
            yield
        finally:
            with self._lock:
                self._interrupts.remove(interrupt)

    def sleep(self, seconds: float) -> None:
        """Waits that long. Raises RunStopped if the run is stopped before."""
        self._stopped.wait(seconds)
        self.check()


@dataclass(slots=True)
class _Errand:
    request: "OutboundRequest"
    answer: "OutboundResponse | None" = None
    error: Exception | None = None
    over: threading.Event = field(default_factory=threading.Event)


class _Courier:
    """A thread that sends one request after the other."""

    def __init__(self, http: "HttpSender") -> None:
        self._http = http
        self._errands: SimpleQueue[_Errand | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="vendor-calls", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """False in a child of the process that made it: threads do not survive a fork."""
        return self._thread.is_alive()

    def send(self, errand: _Errand) -> None:
        self._errands.put(errand)

    def dismiss(self) -> None:
        """The thread ends after the errand it is on."""
        self._errands.put(None)

    def _work(self) -> None:
        while (errand := self._errands.get()) is not None:
            try:
                errand.answer = self._http.send(errand.request)
            except Exception as error:  # noqa: BLE001  # raised again in the thread that waits for it
                errand.error = error
            errand.over.set()


class Couriers:
    """Sends requests from a thread of its own, so that who waits for the answer can be called away.

    A request that is under way cannot be taken back; its answer is then dropped. Neither name resolution
    nor a TLS handshake can be interrupted in any other way.
    """

    def __init__(self, http: "HttpSender") -> None:
        self._http = http
        self._courier: _Courier | None = None

    def for_run(self, stop: StopSignal) -> "StoppableHttp":
        """The client of one run."""
        return StoppableHttp(self, stop)

    def send(self, request: "OutboundRequest", stop: StopSignal) -> "OutboundResponse":
        """As `HttpSender.send`. Raises RunStopped as soon as the run is stopped."""
        stop.check()
        if self._courier is None or not self._courier.is_alive:
            self._courier = _Courier(self._http)
        errand = _Errand(request)
        with stop.interrupting(errand.over.set):
            self._courier.send(errand)
            errand.over.wait()
        if stop.is_stopped:
            self._courier.dismiss()
            self._courier = None
            raise RunStopped
        if errand.error is not None:
            raise errand.error
        assert errand.answer is not None
        return errand.answer


@dataclass(frozen=True, slots=True)
class StoppableHttp:
    """An HTTP client whose calls end with their run."""

    couriers: Couriers
    stop: StopSignal

    def send(self, request: "OutboundRequest") -> "OutboundResponse":
        """As `HttpSender.send`. Raises RunStopped as soon as the run is stopped."""
        return self.couriers.send(request, self.stop)
