"""Store the deliveries that were parked while PostgreSQL slept."""

from collections.abc import Sequence

from fastn.events.wiring import store_parked
from fastn.http.consumers import QueueMessage, queue_consumer
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Queue


@queue_consumer(Queue.RAW_EVENTS, needs={Need.DATABASE, Need.OUTBOX_ANNOUNCE}, batch_size=1, max_concurrency=5)
def handler(messages: Sequence[QueueMessage], platform: Platform) -> list[str]:
    return store_parked(platform, messages)
