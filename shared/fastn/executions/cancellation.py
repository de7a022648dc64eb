"""Cancel flags in DynamoDB: how the executor of a run learns, without asking PostgreSQL, that it was cancelled.

PostgreSQL is the truth: a run is recorded as cancelled before its flag is raised, and a cancelled run takes
no further step there. The flag only spares the executor the work, and the vendor the calls.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastn.executions.models import RunReference
from fastn.executions.stopping import StopSignal
from fastn.platform.clock import Clock

if TYPE_CHECKING:
    from fastn.executions.cancel_flag_table import CancelFlagItem

LOOK_SECONDS = 1.0
"""How often the executor looks, and after how long for the first time: a short run never does."""
FLAG_SECONDS = 3600.0
"""How long a flag is kept: no executor goes on for longer with a run whose journal it cannot write."""


@dataclass(slots=True)
class CancelFlags:
    """The flags of one installation."""

    table: str
    clock: Clock
    _items: "type[CancelFlagItem] | None" = field(default=None, init=False, repr=False)

    def put_up(self, reference: RunReference) -> None:
        """Tells whoever executes this run to stop."""
        expires_at = int(self.clock.now().timestamp() + FLAG_SECONDS)
        self._model()(_key(reference), expires_at=expires_at).save()

    def is_up(self, reference: RunReference) -> bool:
        """Whether this run was cancelled; read consistently."""
        items = self._model()
        from pynamodb.exceptions import DoesNotExist

        try:
            items.get(_key(reference), consistent_read=True)
        except DoesNotExist:
            return False
        return True

    def _model(self) -> "type[CancelFlagItem]":
        if self._items is None:
            # PynamoDB takes 0.3 s to import: a run that is over within a second never pays for it.
            from fastn.executions.cancel_flag_table import item_model

            self._items = item_model(self.table)
        return self._items


def _key(reference: RunReference) -> str:
    return f"{reference.scope.tenant_id}/{reference.execution_id}"


@dataclass(slots=True)
class _Watched:
    reference: RunReference
    signal: StopSignal
    look_at: float


class CancelWatch:
    """Looks once a second whether the run of this process was cancelled, from a thread of its own."""

    def __init__(self, is_cancelled: Callable[[RunReference], bool], *, look_seconds: float = LOOK_SECONDS) -> None:
        self._is_cancelled = is_cancelled
        self._look_seconds = look_seconds
        self._changed = threading.Condition()
        self._watched: _Watched | None = None
        self._is_idle = True
        self._thread: threading.Thread | None = None

    @contextmanager
    def __call__(self, reference: RunReference) -> Generator[StopSignal]:
        """The signal that stops this run, watched for as long as the block runs."""
        watched = _Watched(reference, StopSignal(), time.monotonic() + self._look_seconds)
        self._start()
        with self._changed:
            self._watched = watched
            # A thread that still waits for an earlier run's look wakes by itself, and before this one's is due.
            if self._is_idle:
                self._changed.notify()
        try:
            yield watched.signal
        finally:
            with self._changed:
                self._watched = None

    def _start(self) -> None:
        # A thread does not survive a fork, and what it held would stay locked: the child makes its own.
        if self._thread is None or not self._thread.is_alive():
            self._changed = threading.Condition()
            self._is_idle = True
            self._thread = threading.Thread(target=self._look, name="cancel-watch", daemon=True)
            self._thread.start()

    def _look(self) -> None:
        while True:
            watched = self._next_due()
            try:
                is_cancelled = self._is_cancelled(watched.reference)
            except Exception:  # noqa: BLE001  # the thread's outermost: a flag that cannot be read is read again
                is_cancelled = False
            if is_cancelled:
                watched.signal.stop()
            watched.look_at = float("inf") if is_cancelled else time.monotonic() + self._look_seconds

    def _next_due(self) -> _Watched:
        with self._changed:
            while True:
                watched = self._watched
                if watched is None:
                    self._is_idle = True
                    self._changed.wait()
                    continue
                self._is_idle = False
                wait = watched.look_at - time.monotonic()
                if wait <= 0:
                    return watched
                self._changed.wait(min(wait, self._look_seconds))


@contextmanager
def unwatched(reference: RunReference) -> Generator[StopSignal]:  # noqa: ARG001  # what a watch is called with
    """A signal that nobody sets."""
    yield StopSignal()
