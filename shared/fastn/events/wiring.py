"""The pipeline's parts, put together from one function's platform and kept for its next event.

Each function of the pipeline uses one part of it, and imports that part when its first event comes: a cold
start does not pay for the others.
"""

import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from fastn.errors import InternalError
from fastn.events.models import RoutedEvent, Stage
from fastn.platform.capabilities import Platform
from fastn.platform.database import Database
from fastn.platform.resources import Need, Setting
from fastn.platform.scope import Scope

if TYPE_CHECKING:
    from fastn.connectors.catalog import ConnectorCatalog
    from fastn.connectors.models import Webhooks
    from fastn.events.markers import OutboxMarkers
    from fastn.events.receiving import Receiver
    from fastn.events.relaying import Relay, Sweeper


class Message(Protocol):
    """A queue message, as far as the pipeline reads it."""

    @property
    def id(self) -> str: ...
    @property
    def body(self) -> str: ...
    @property
    def source_queue(self) -> str: ...


def receiver_of(platform: Platform) -> "Receiver":
    """The webhook receiver of this function."""
    from fastn.events.receiving import Receiver

    return platform.keep(Receiver, lambda: _receiver(platform))


def relay_of(platform: Platform) -> "Relay":
    """The relay of this function."""
    from fastn.events.relaying import Relay

    return platform.keep(
        Relay,
        lambda: Relay(
            platform.relay_database,
            platform.client(Need.EVENT_BUS),
            platform.settings[Setting.EVENT_BUS_NAME],
            platform.clock,
        ),
    )


def markers_of(platform: Platform) -> "OutboxMarkers":
    """The outbox markers, for who reads and clears them."""
    from fastn.events.markers import OutboxMarkers

    platform.require(Need.OUTBOX_MARKERS)
    return platform.keep(OutboxMarkers, lambda: OutboxMarkers(platform.settings[Setting.MARKER_TABLE], platform.clock))


def sweeper_of(platform: Platform) -> "Sweeper":
    """The sweeper of this function."""
    from fastn.events.relaying import Sweeper

    return Sweeper(
        markers_of(platform),
        platform.client(Need.RELAY_NUDGE),
        platform.settings[Setting.RELAY_QUEUE_URL],
        platform.clock,
    )


def store_parked(platform: Platform, messages: Sequence[Message]) -> list[str]:
    """Stores parked deliveries; the ids of the messages that could not be stored yet."""
    from fastn.events.announcing import Announcer
    from fastn.events.receiving import EventKeeper, RawEventQueue

    keeper = platform.keep(EventKeeper, lambda: EventKeeper(platform.database, Announcer.from_platform(platform)))
    return _each(messages, lambda message: keeper.keep(RawEventQueue.unpark(message.body)))


def route_messages(platform: Platform, messages: Sequence[Message]) -> list[str]:
    """Routes bus events; the ids of the messages that could not be routed yet."""
    from fastn.events.routing import Router
    from fastn.executions.launching import Launcher

    router = platform.keep(Router, lambda: Router(platform.database, Launcher(platform), platform.clock, os.urandom))
    return _each(messages, lambda message: router.route(RoutedEvent.from_text(json.loads(message.body)["detail"])))


def keep_dead_letters(platform: Platform, messages: Sequence[Message]) -> list[str]:
    """Keeps dead letters of tenants; the ids of those that could not be kept yet.

    A letter without an owner (a relay's nudge) carries no data: the outbox row it was about is still there.
    """
    return _each(messages, lambda message: _keep_dead_letter(platform, message))


def _keep_dead_letter(platform: Platform, message: Message) -> None:
    from fastn.events import store
    from fastn.executions.models import RunReference
    from fastn.executions.service import give_up

    content = _letter(message.body)
    if "requestPayload" in content:
        reference = RunReference.from_text(content["requestPayload"])
        error = {"name": "ExecutorFailed", "message": "The executor ended without recording a result."}
        give_up(platform.database, reference, error, platform.clock)
        return
    detail: Mapping[str, Any] = content.get("detail") or content
    owner = detail.get("scope") or detail
    if "tenantId" not in owner:
        return
    scope = Scope.from_text(cast("dict[str, str]", owner))
    stage = Stage.ROUTE if "detail" in content else Stage.RECEIVE
    event_id = detail.get("eventId") if stage is Stage.ROUTE else None
    ids = {"letter": uuid.UUID(message.id), "event": uuid.UUID(event_id) if event_id else None}
    error = {"name": "RetriesExhausted", "message": f"{message.source_queue} gave this message up."}
    with platform.database.transaction(scope) as session:
        store.insert_dead_letter(
            session, scope, stage, ids=ids, payload=content, error=error, created_at=platform.clock.now()
        )


def _letter(body: str) -> dict[str, Any]:
    from fastn.events.receiving import RawEventQueue

    try:
        return cast("dict[str, Any]", json.loads(body))
    except ValueError:
        return RawEventQueue.read(body)


def _each(messages: Sequence[Message], work: Callable[[Message], object]) -> list[str]:
    failed: list[str] = []
    first: Exception | None = None
    for message in messages:
        try:
            work(message)
        except Exception as error:  # noqa: BLE001  # whatever one message does, the others of its batch are not held up
            failed.append(message.id)
            first = first or error
    if first is not None and len(failed) == len(messages):
        # Nothing succeeded: fail the whole batch, so that the error shows in the function's own metrics.
        raise InternalError(f"{len(failed)} of {len(messages)} messages failed") from first
    return failed


def _receiver(platform: Platform) -> "Receiver":
    from fastn.connectors.catalog import ConnectorCatalog
    from fastn.events.announcing import Announcer
    from fastn.events.receiving import EventKeeper, RawEventQueue, Receiver
    from fastn.secrets.kms import KmsKeyService
    from fastn.secrets.portable import PortableSealer
    from fastn.triggers.projection import TableName, TriggerProjection

    catalog = platform.keep(ConnectorCatalog, ConnectorCatalog)
    announcer = Announcer.from_platform(platform)
    keys = KmsKeyService(platform.client(Need.TENANT_KEYS), platform.settings[Setting.TENANT_KEY_ARN])
    return Receiver(
        platform.keep(
            TriggerProjection, lambda: TriggerProjection(TableName(platform.settings[Setting.TRIGGER_TABLE]))
        ),
        PortableSealer(keys, platform.clock),
        webhooks_named=lambda scheme: _webhooks(catalog, scheme),
        keeper=lambda: EventKeeper(
            Database(platform.settings[Setting.DATABASE_URL], connect_timeout_seconds=2.0), announcer
        ),
        parking=RawEventQueue(platform.client(Need.RAW_EVENTS), platform.settings[Setting.RAW_EVENT_QUEUE_URL]),
        clock=platform.clock,
    )


def _webhooks(catalog: "ConnectorCatalog", scheme: str) -> "Webhooks":
    from fastn.connectors.models import DeliveryRoute, Webhooks
    from fastn.connectors.signatures import FASTN_SCHEME
    from fastn.triggers.models import OWN_SCHEME

    if scheme == OWN_SCHEME:
        return Webhooks(FASTN_SCHEME, DeliveryRoute())
    webhooks = catalog.load_connector(scheme).webhooks
    if webhooks is None:
        raise InternalError(f"the connector {scheme} signs no webhooks")
    return webhooks
