"""Wake the relay where an outbox marker stands, once a minute, without waking the database."""

from fastn.events.wiring import sweeper_of
from fastn.http.consumers import Deadline, scheduled
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@scheduled(every_minutes=1, needs={Need.OUTBOX_MARKERS, Need.RELAY_NUDGE})
def handler(_event: object, platform: Platform, _deadline: Deadline) -> None:
    sweeper_of(platform).sweep()
