"""Load from several clients, each a thread with a connection of its own, and the time each call took."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Closing(Protocol):
    """A client that holds a connection."""

    def close(self) -> None: ...


ClientT = TypeVar("ClientT", bound=Closing)


@dataclass(frozen=True, slots=True)
class Load:
    """How long the whole load and each of its calls took."""

    seconds: float
    call_ms: list[float]

    @property
    def per_second(self) -> float:
        """Calls a second."""
        return len(self.call_ms) / self.seconds


def from_clients(
    clients: int, work: Sequence[str], new_client: Callable[[], ClientT], call: Callable[[ClientT, str], None]
) -> Load:
    """Shares the work out to the clients and waits for all of it. Raises what a client raised."""
    times: list[float] = []
    errors: list[BaseException] = []

    def client(share: Sequence[str]) -> None:
        own = new_client()
        try:
            for item in share:
                started = time.perf_counter()
                call(own, item)
                times.append((time.perf_counter() - started) * 1000)
        except BaseException as error:  # noqa: BLE001  # handed to the caller below
            errors.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=client, args=(work[number::clients],)) for number in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Load(time.perf_counter() - started, times)
