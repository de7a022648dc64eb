"""Move the outbox to the event bus."""

from collections.abc import Sequence

from fastn.events.relaying import relay_and_clear
from fastn.events.wiring import markers_of, relay_of
from fastn.http.consumers import QueueMessage, queue_consumer
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Queue


@queue_consumer(
    Queue.RELAY,
    needs={Need.RELAY_DATABASE, Need.EVENT_BUS, Need.OUTBOX_MARKERS},
    batch_size=10,
    max_concurrency=4,
)
def handler(messages: Sequence[QueueMessage], platform: Platform) -> None:
    relay_and_clear(relay_of(platform), markers_of(platform), [message.json() for message in messages])
