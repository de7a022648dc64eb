"""Keep what a queue or function gave up on as a dead letter of its tenant, with payload and error."""

from collections.abc import Sequence

from fastn.events.wiring import keep_dead_letters
from fastn.http.consumers import QueueMessage, queue_consumer
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Queue


@queue_consumer(Queue.DEAD_LETTERS, needs={Need.DATABASE}, batch_size=10, max_concurrency=2)
def handler(messages: Sequence[QueueMessage], platform: Platform) -> list[str]:
    return keep_dead_letters(platform, messages)
