"""The one source of the current time, so that tests can hold it still."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """The current instant, in UTC."""
        ...

    def monotonic_seconds(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The current instant, in UTC."""
        return datetime.now(UTC)

    def monotonic_seconds(self) -> float:
        """Seconds since some fixed point; never goes back."""
        return time.monotonic()


@dataclass(slots=True)
class FrozenClock:
    """A clock for tests: it moves only when told to."""

    current: datetime = field(default_factory=lambda: datetime(2026, 11, 22, 12, 0, tzinfo=UTC))

    def now(self) -> datetime:
        """The instant it was set to."""
        return self.current

    def monotonic_seconds(self) -> float:
        """The same instant, in seconds."""
        return self.current.timestamp()

    def advance(self, seconds: float) -> None:
        """Moves the clock forward."""
        self.current += timedelta(seconds=seconds)


def rfc3339(instant: datetime) -> str:
    """The instant in UTC with milliseconds and Z, as it goes over the wire (RFC 3339 section 5.6)."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
