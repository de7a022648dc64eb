"""The outbox's dirty markers in DynamoDB: how a sweeper knows, without waking Aurora, that rows may wait.

The invariant: whenever a committed outbox row is not on the bus, its shard has a marker. A marker is
set before the row's transaction commits. It is cleared only by a relay that found the outbox empty, only
if nobody set it again since (its token is unchanged), and only when it is older than
`CLEARABLE_AFTER_SECONDS`, by which time every transaction begun under it has ended (the roles' statement
and idle time-outs see to that). Because of that age, a process may lean on its own marker for
`REUSABLE_SECONDS` and save the write.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastn.platform.clock import Clock

if TYPE_CHECKING:
    from fastn.events.marker_table import MarkerItem

SHARDS = 16
REUSABLE_SECONDS = 15.0
LONGEST_TRANSACTION_SECONDS = 45.0
CLEARABLE_AFTER_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Marker:
    """A shard's marker as it was read."""

    shard: int
    token: str
    marked_at_seconds: float

    def is_clearable(self, now_seconds: float) -> bool:
        """Whether every transaction that began under it has ended."""
        return now_seconds - self.marked_at_seconds >= CLEARABLE_AFTER_SECONDS

    def as_text(self) -> dict[str, str | int | float]:
        """The marker as JSON members."""
        return {"shard": self.shard, "token": self.token, "markedAt": self.marked_at_seconds}

    @classmethod
    def from_text(cls, text: Mapping[str, Any]) -> "Marker":
        """The marker `as_text` wrote. Raises KeyError or ValueError if it did not."""
        return cls(int(text["shard"]), str(text["token"]), float(text["markedAt"]))


@dataclass(slots=True)
class OutboxMarkers:
    """The markers of one installation."""

    table: str
    clock: Clock
    _marked_at: dict[int, float] = field(default_factory=dict[int, float])
    _items: "type[MarkerItem] | None" = field(default=None, init=False, repr=False)

    def mark(self, shard: int) -> None:
        """Makes sure the shard has a marker that outlives any transaction begun now."""
        now = self.clock.now().timestamp()
        if now - self._marked_at.get(shard, float("-inf")) < REUSABLE_SECONDS:
            return
        self._model()(str(shard), token=uuid.uuid4().hex, marked_at=now).save()
        self._marked_at[shard] = now

    def read(self) -> list[Marker]:
        """Every shard's marker that is set."""
        items = self._model().batch_get([str(shard) for shard in range(SHARDS)], consistent_read=True)
        return [Marker(int(item.shard), item.token, float(item.marked_at)) for item in items]

    def clear(self, markers: Sequence[Marker]) -> None:
        """Removes the markers that nobody has set again since they were read."""
        from pynamodb.exceptions import DeleteError

        for marker in markers:
            item = self._model()
            try:
                item(str(marker.shard)).delete(condition=item.token == marker.token)
            except DeleteError as error:
                if error.cause_response_code != "ConditionalCheckFailedException":
                    raise

    def _model(self) -> "type[MarkerItem]":
        if self._items is None:
            # PynamoDB takes 0.3 s to import: only who speaks to DynamoDB pays for it.
            from fastn.events.marker_table import item_model

            self._items = item_model(self.table)
        return self._items
