"""An event at each stage of the pipeline."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from fastn.platform.clock import rfc3339
from fastn.platform.ids import EventId, TriggerId
from fastn.platform.scope import Scope
from fastn.platform.wire import WireModel


class Priority(IntEnum):
    """Which of the four queues an event takes."""

    USER = 1
    EVENT = 2
    SCHEDULED = 3
    POLLING = 4


class EventSource(StrEnum):
    """What made the event."""

    WEBHOOK = "webhook"
    SCHEDULE = "schedule"
    POLL = "poll"
    MANUAL = "manual"


class Stage(StrEnum):
    """Where in the pipeline an event stopped."""

    RECEIVE = "receive"
    RELAY = "relay"
    ROUTE = "route"
    EXECUTE = "execute"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook as it arrived."""

    space_reference: str
    trigger_reference: str
    headers: Mapping[str, str]
    raw_body: bytes
    trace_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """A verified event, about to be stored. `payload_json` and `headers_json` are JSON text."""

    id: EventId
    scope: Scope
    environment: str
    trigger_id: TriggerId | None
    source: EventSource
    type: str
    idempotency_key: bytes
    priority: Priority
    headers_json: str
    payload_json: str
    trace_id: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """An event that is stored and not yet on the bus."""

    id: uuid.UUID
    scope: Scope
    event_id: EventId
    environment: str
    trigger_id: TriggerId | None
    source: EventSource
    type: str
    idempotency_key: bytes
    priority: Priority
    trace_id: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalizedEvent:
    """What travels on the bus: ids and what rules match on, never the payload (256 KiB is the bus's limit)."""

    scope: Scope
    event_id: EventId
    trigger_id: TriggerId | None
    environment: str
    source: EventSource
    type: str
    idempotency_key: str
    priority: Priority
    trace_id: str
    received_at: datetime
    published_at: datetime

    def as_text(self) -> dict[str, str | int | None]:
        """The event as JSON members: the bus event's detail."""
        return {
            **self.scope.as_text(),
            "eventId": str(self.event_id),
            "triggerId": str(self.trigger_id) if self.trigger_id else None,
            "environment": self.environment,
            "source": str(self.source),
            "type": self.type,
            "idempotencyKey": self.idempotency_key,
            "priority": f"P{int(self.priority)}",
            "traceId": self.trace_id,
            "receivedAt": rfc3339(self.received_at),
            "publishedAt": rfc3339(self.published_at),
        }


@dataclass(frozen=True, slots=True)
class RoutedEvent:
    """The part of a bus event that routing needs."""

    scope: Scope
    event_id: EventId
    published_at: datetime

    @classmethod
    def from_text(cls, text: dict[str, str]) -> "RoutedEvent":
        """The event in a bus event's detail. Raises KeyError or ValueError if it is not one of ours."""
        return cls(
            Scope.from_text(text),
            EventId(uuid.UUID(text["eventId"])),
            datetime.fromisoformat(text["publishedAt"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as the router reads it back."""

    id: EventId
    environment: str
    trigger_id: TriggerId | None
    source: EventSource
    headers_json: str
    payload_json: str
    trace_id: str


class Receipt(WireModel):
    """What the sender of a webhook is told."""

    event_id: uuid.UUID
    status: str
    """`accepted`; `duplicate` for a delivery that was received before; `parked` while the database sleeps."""


class HandshakeReply(WireModel):
    """The answer to a vendor's check that this address is ours."""

    challenge: str
