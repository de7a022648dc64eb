"""The webhook receiver: verify against the projection, then store event and outbox row in one transaction."""

import base64
import json
import uuid
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fastn.connectors.models import Webhooks
from fastn.connectors.signatures import SignatureCheck, verify_signature
from fastn.connectors.webhooks import read_delivery
from fastn.engine.rules import strip_auth_headers
from fastn.errors import NotFound
from fastn.events import rules, store
from fastn.events.announcing import Announcer
from fastn.events.errors import SignatureRefused
from fastn.events.models import Delivery, EventSource, HandshakeReply, NewEvent, Priority, Receipt
from fastn.platform.clock import Clock
from fastn.platform.database import Database, DatabaseUnavailable
from fastn.platform.ids import EventId, TriggerId, new_id, parse_id
from fastn.platform.scope import Scope
from fastn.secrets.portable import PortableSealer
from fastn.triggers.models import ProjectedTrigger, secret_purpose
from fastn.triggers.projection import TriggerProjection

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

POSTGRES_PATIENCE_SECONDS = 1.0


class EventKeeper:
    """Stores verified events: twice the same delivery is one event."""

    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._database = database
        self._announcer = announcer

    def keep(self, event: NewEvent) -> tuple[EventId, bool]:
        """The stored event's id and whether this delivery is new. Raises DatabaseUnavailable."""
        self._announcer.before_commit(event.scope)
        with self._database.transaction(event.scope) as session:
            earlier = store.insert_event(session, event, new_id(event.received_at))
        if earlier is not None:
            return earlier, False
        self._announcer.after_commit()
        return event.id, True

    def close(self) -> None:
        """Ends its connection."""
        self._database.close()


class RawEventQueue:
    """Where a verified event waits while PostgreSQL does not answer."""

    def __init__(self, queue: "SQSClient", queue_url: str) -> None:
        self._queue = queue
        self._queue_url = queue_url

    def park(self, event: NewEvent) -> None:
        """Sends the whole event; compressed, because a message may have 1 MiB at most."""
        body = base64.b64encode(zlib.compress(json.dumps(_parked(event)).encode(), 1)).decode()
        self._queue.send_message(QueueUrl=self._queue_url, MessageBody=body)

    @staticmethod
    def unpark(body: str) -> NewEvent:
        """The event in a message. Raises ValueError or KeyError if it is not one of ours."""
        return _unparked(RawEventQueue.read(body))

    @staticmethod
    def read(body: str) -> dict[str, Any]:  # JSON
        """The JSON in a message."""
        return json.loads(zlib.decompress(base64.b64decode(body)))


class Receiver:
    """Receives deliveries for every trigger of the installation."""

    def __init__(
        self,
        projection: TriggerProjection,
        sealer: PortableSealer,
        *,
        webhooks_named: Callable[[str], Webhooks],
        keeper: Callable[[], EventKeeper],
        parking: RawEventQueue,
        clock: Clock,
    ) -> None:
        """`keeper` makes a keeper with a connection of its own: one that did not answer in time is abandoned."""
        self._projection = projection
        self._sealer = sealer
        self._webhooks_named = webhooks_named
        self._make_keeper = keeper
        self._keeper: EventKeeper | None = None
        self._parking = parking
        self._clock = clock
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-keeper")

    def receive(self, delivery: Delivery) -> Receipt | HandshakeReply:
        """The receipt for a genuine delivery; it is stored, or parked if PostgreSQL does not answer within 1 s.

        A vendor's signed check of the address is answered and not stored. Raises NotFound for an unknown
        trigger, SignatureRefused for a delivery that is not signed as the trigger demands, ValidationFailed
        for a body that is not JSON; nothing is stored in these cases.
        """
        trigger = self._trigger(delivery)
        webhooks = self._webhooks_named(trigger.scheme)
        check = self._check(trigger, webhooks, delivery)
        payload_json, payload = rules.parse_payload(delivery.raw_body)
        facts = read_delivery(webhooks, headers=delivery.headers, payload=payload)
        if facts.handshake_reply is not None:
            return HandshakeReply(challenge=facts.handshake_reply)
        now = self._clock.now()
        key = rules.idempotency_key(
            str(trigger.id),
            check.delivery_id or facts.delivery_id,
            raw_body=delivery.raw_body,
            signed_at=check.signed_at,
        )
        event = NewEvent(
            id=EventId(new_id(now)),
            scope=trigger.scope,
            environment=trigger.environment,
            trigger_id=trigger.id,
            source=EventSource.WEBHOOK,
            type=rules.event_type(check.event or facts.event, payload),
            idempotency_key=key,
            priority=Priority.EVENT,
            headers_json=rules.header_text(strip_auth_headers(delivery.headers)),
            payload_json=payload_json,
            trace_id=delivery.trace_id,
            received_at=now,
        )
        return self._keep_or_park(event)

    def close(self) -> None:
        """Ends the connection and the thread; for a process that lives on without it."""
        self._threads.shutdown()
        if self._keeper is not None:
            self._keeper.close()

    def _trigger(self, delivery: Delivery) -> ProjectedTrigger:
        trigger_id = parse_id(delivery.trigger_reference)
        trigger = self._projection.get(TriggerId(trigger_id)) if trigger_id else None
        if trigger is None or str(trigger.scope.space_id) != delivery.space_reference.lower():
            raise NotFound
        return trigger

    def _check(self, trigger: ProjectedTrigger, webhooks: Webhooks, delivery: Delivery) -> SignatureCheck:
        secret = self._sealer.open(trigger.scope, trigger.sealed_secret, purpose=secret_purpose(trigger.id))
        check = verify_signature(
            webhooks.scheme,
            secret,
            headers=delivery.headers,
            raw_body=delivery.raw_body,
            now=self._clock.now(),
        )
        if check.failure is not None:
            raise SignatureRefused(
                "The delivery is not signed as this trigger demands.", details={"reason": str(check.failure)}
            )
        return check

    def _keep_or_park(self, event: NewEvent) -> Receipt:
        # In a thread, because a connection that hangs cannot be left otherwise. If it does store the event
        # after all, the parked copy is recognised as the same delivery.
        keeper = self._keeper = self._keeper or self._make_keeper()
        outcome: Future[tuple[EventId, bool]] = self._threads.submit(keeper.keep, event)
        try:
            event_id, is_new = outcome.result(POSTGRES_PATIENCE_SECONDS)
        except (FutureTimeout, DatabaseUnavailable):
            self._keeper = None
            self._threads.shutdown(wait=False)
            self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-keeper")
            self._parking.park(event)
            return Receipt(event_id=event.id, status="parked")
        return Receipt(event_id=event_id, status="accepted" if is_new else "duplicate")


def _parked(event: NewEvent) -> dict[str, Any]:  # JSON
    return {
        "scope": event.scope.as_text(),
        "id": str(event.id),
        "environment": event.environment,
        "triggerId": str(event.trigger_id),
        "source": str(event.source),
        "type": event.type,
        "idempotencyKey": event.idempotency_key.hex(),
        "priority": int(event.priority),
        "headers": event.headers_json,
        "payload": event.payload_json,
        "traceId": event.trace_id,
        "receivedAt": event.received_at.isoformat(),
    }


def _unparked(text: Mapping[str, Any]) -> NewEvent:  # JSON
    return NewEvent(
        id=EventId(uuid.UUID(text["id"])),
        scope=Scope.from_text(text["scope"]),
        environment=text["environment"],
        trigger_id=TriggerId(uuid.UUID(text["triggerId"])),
        source=EventSource(text["source"]),
        type=text["type"],
        idempotency_key=bytes.fromhex(text["idempotencyKey"]),
        priority=Priority(text["priority"]),
        headers_json=text["headers"],
        payload_json=text["payload"],
        trace_id=text["traceId"],
        received_at=datetime.fromisoformat(text["receivedAt"]),
    )
