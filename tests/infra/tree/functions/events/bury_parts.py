"""Keep what nobody could handle."""

from collections.abc import Sequence

from fastn.http.consumers import QueueMessage, queue_consumer
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Queue


@queue_consumer(Queue.DEAD_LETTERS, needs={Need.DATABASE})
def handler(_messages: Sequence[QueueMessage], _platform: Platform) -> Sequence[str]:
    return ()
