"""The relay: outbox rows become normalized events on the bus, at least once."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from fastn.events import rules, store
from fastn.events.errors import PublishFailed
from fastn.events.markers import Marker, OutboxMarkers
from fastn.events.models import NormalizedEvent, OutboxRow
from fastn.platform.clock import Clock
from fastn.platform.database import Database

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef
    from mypy_boto3_sqs import SQSClient

EVENT_SOURCE = "fastn.events"
DETAIL_TYPE = "NormalizedEvent"
ROWS_A_TRANSACTION = 50
ENTRIES_A_CALL = 10


class Relay:
    """Moves the outbox of every customer to the bus.

    The rows are locked, published, deleted and committed, in this order: a crash before the commit leaves them
    for the next relay, which publishes them again. Rows another relay has locked are skipped, not waited for.
    """

    def __init__(self, database: Database, bus: "EventBridgeClient", bus_name: str, clock: Clock) -> None:
        self._database = database
        self._bus = bus
        self._bus_name = bus_name
        self._clock = clock

    def drain(self) -> int:
        """Publishes what waits, until nothing unlocked is left; how many events that were.

        Raises PublishFailed if the bus refused some; those stay in the outbox, the others are gone from it.
        """
        published = 0
        while True:
            with self._database.transaction(None) as session:
                rows = store.lock_outbox_rows(session, ROWS_A_TRANSACTION)
                accepted = self._publish(rows)
                if accepted:
                    store.delete_outbox_rows(session, accepted)
            published += len(accepted)
            if len(accepted) < len(rows):
                raise PublishFailed(f"the bus refused {len(rows) - len(accepted)} of {len(rows)} events")
            if len(rows) < ROWS_A_TRANSACTION:
                return published

    def is_empty(self) -> bool:
        """Whether the outbox holds no row at all, locked or not."""
        with self._database.transaction(None) as session:
            return store.outbox_is_empty(session)

    def _publish(self, rows: Sequence[OutboxRow]) -> list[OutboxRow]:
        accepted: list[OutboxRow] = []
        for start in range(0, len(rows), ENTRIES_A_CALL):
            chunk = rows[start : start + ENTRIES_A_CALL]
            answer = self._bus.put_events(
                Entries=[self._entry(rules.normalize(row, self._clock.now())) for row in chunk]
            )
            accepted += [row for row, entry in zip(chunk, answer["Entries"], strict=True) if "EventId" in entry]
        return accepted

    def _entry(self, event: NormalizedEvent) -> "PutEventsRequestEntryTypeDef":
        return {
            "EventBusName": self._bus_name,
            "Source": EVENT_SOURCE,
            "DetailType": DETAIL_TYPE,
            "Time": event.received_at,
            "Detail": json.dumps(event.as_text(), separators=(",", ":")),
        }


class Sweeper:
    """Wakes the relay where a marker stands, in case its nudge was lost. Reads DynamoDB only."""

    def __init__(self, markers: OutboxMarkers, queue: "SQSClient", queue_url: str, clock: Clock) -> None:
        self._markers = markers
        self._queue = queue
        self._queue_url = queue_url
        self._clock = clock

    def sweep(self) -> int:
        """Sends one nudge if any marker is set, with those that may be cleared; how many markers were set."""
        markers = self._markers.read()
        if markers:
            now = self._clock.now().timestamp()
            clearable = [marker.as_text() for marker in markers if marker.is_clearable(now)]
            body = json.dumps({"reason": "swept", "clearable": clearable})
            self._queue.send_message(QueueUrl=self._queue_url, MessageBody=body)
        return len(markers)


def relay_and_clear(relay: Relay, markers: OutboxMarkers, nudges: Sequence[object]) -> int:
    """Drains the outbox once for all these nudges, then clears the markers they named if nothing is left."""
    published = relay.drain()
    named = [marker for nudge in nudges for marker in _clearable(nudge)]
    if named and relay.is_empty():
        markers.clear(named)
    return published


def _clearable(nudge: object) -> list[Marker]:
    if not isinstance(nudge, dict):
        return []
    texts = cast("dict[str, list[dict[str, object]]]", nudge).get("clearable", [])
    return [Marker.from_text(text) for text in texts]
