"""Saying that the outbox has rows: the marker before the commit, the nudge after it."""

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from fastn.events import rules
from fastn.events.markers import SHARDS, OutboxMarkers
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Setting
from fastn.platform.scope import Scope

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

NUDGE = json.dumps({"reason": "committed"})


class Announcer:
    """Tells the relay of new outbox rows. A lost nudge is made good by the sweeper, which reads the marker."""

    def __init__(self, markers: OutboxMarkers, queue: "SQSClient", queue_url: str) -> None:
        self._markers = markers
        self._queue = queue
        self._queue_url = queue_url

    @classmethod
    def from_platform(cls, platform: Platform) -> "Announcer":
        """The announcer of this function. Needs OUTBOX_ANNOUNCE."""
        platform.require(Need.OUTBOX_ANNOUNCE)
        markers = OutboxMarkers(platform.settings[Setting.MARKER_TABLE], platform.clock)
        return cls(markers, platform.client(Need.OUTBOX_ANNOUNCE), platform.settings[Setting.RELAY_QUEUE_URL])

    def before_commit(self, scope: Scope) -> None:
        """To be called before the transaction that writes an outbox row commits."""
        self._markers.mark(rules.shard_of(str(scope.space_id), SHARDS))

    def after_commit(self) -> None:
        """Wakes the relay. A nudge that cannot be sent is no failure: the row is committed and marked."""
        from botocore.exceptions import BotoCoreError, ClientError

        with suppress(BotoCoreError, ClientError):
            self._queue.send_message(QueueUrl=self._queue_url, MessageBody=NUDGE)
