"""Stops guests by time: a thread that advances the wasm engine's epoch, and the budget each guest runs on."""

import threading
import time
from collections.abc import Callable

TICK_SECONDS = 0.01
IDLE_TICKS_BEFORE_SLEEP = 20


class Watchdog:
    """Ticks the epoch about every 10 ms while a guest is running, and sleeps when none is.

    It starts on first use and lingers a few ticks after the last guest left, so a run of short steps does
    not wake it each time. A thread does not survive fork: the child starts its own.
    """

    def __init__(self, increment_epoch: Callable[[], None]) -> None:
        self._increment_epoch = increment_epoch
        self._wake = threading.Event()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._running = 0
        self._counting_lock = threading.Lock()

    def __enter__(self) -> None:
        with self._counting_lock:
            self._running += 1
        if not self._wake.is_set():
            self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def __exit__(self, *_: object) -> None:
        with self._counting_lock:
            self._running -= 1

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._tick, name="engine-watchdog", daemon=True)
                self._thread.start()

    def _tick(self) -> None:
        idle_ticks = 0
        while True:
            time.sleep(TICK_SECONDS)
            if self._running:
                idle_ticks = 0
                self._increment_epoch()
            elif (idle_ticks := idle_ticks + 1) > IDLE_TICKS_BEFORE_SLEEP:
                self._wake.clear()
                # A guest that entered between the test and the clear has already counted itself.
                if not self._running:
                    self._wake.wait()
                idle_ticks = 0


class Budget:
    """The time one guest has left: wall time since it was made, processor time while it is entered."""

    __slots__ = ("_cpu_left", "_deadline", "_entered_at")

    def __init__(self, *, wall_ms: float, cpu_ms: float) -> None:
        self._deadline = time.monotonic() + wall_ms / 1000
        self._cpu_left = cpu_ms / 1000
        self._entered_at: float | None = None

    def enter(self) -> None:
        """Start counting processor time of the calling thread."""
        self._entered_at = time.thread_time()

    def leave(self) -> None:
        """Stop counting. Must be called by the thread that entered."""
        if self._entered_at is not None:
            self._cpu_left -= time.thread_time() - self._entered_at
            self._entered_at = None

    @property
    def cpu_left_ms(self) -> float:
        """Processor time left, in milliseconds; asked by the thread that entered, it counts up to now."""
        spent = 0.0 if self._entered_at is None else time.thread_time() - self._entered_at
        return (self._cpu_left - spent) * 1000

    @property
    def wall_left_ms(self) -> float:
        """Wall time left, in milliseconds."""
        return (self._deadline - time.monotonic()) * 1000

    def is_spent(self) -> bool:
        """Whether either time has run out."""
        return time.monotonic() >= self._deadline or self.cpu_left_ms <= 0
