"""Move parts along two queues."""

from collections.abc import Sequence

from fastn.http.consumers import QueueMessage, queue_consumer
from fastn.http.declarations import Sizing
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Queue


@queue_consumer(
    Queue.RELAY,
    Queue.P2,
    needs={Need.RELAY_DATABASE, Need.EVENT_BUS, Need.OUTBOX_MARKERS},
    batch_size=7,
    batching_window_seconds=1,
    max_concurrency=3,
    sizing=Sizing(timeout_seconds=40),
)
def handler(_messages: Sequence[QueueMessage], _platform: Platform) -> Sequence[str]:
    return ()
