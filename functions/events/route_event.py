"""Turn events into runs of the workflows their routes name."""

from collections.abc import Sequence

from fastn.events.wiring import route_messages
from fastn.http.consumers import QueueMessage, queue_consumer
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Queue


@queue_consumer(
    Queue.P1,
    Queue.P2,
    Queue.P3,
    Queue.P4,
    needs={Need.DATABASE, Need.WORKFLOW_RUNS, Need.INSTANT_RUNS},
    batch_size=10,
)
def handler(messages: Sequence[QueueMessage], platform: Platform) -> list[str]:
    return route_messages(platform, messages)
