"""Count parts every minute."""

from typing import Any

from fastn.http.consumers import Deadline, scheduled
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@scheduled(every_minutes=1, needs={Need.OUTBOX_MARKERS, Need.RELAY_NUDGE})
def handler(_event: Any, _platform: Platform, _deadline: Deadline) -> None:  # the clock says nothing of interest
    return None
