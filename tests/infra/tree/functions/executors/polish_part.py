"""Polish a part without anybody waiting."""

from typing import Any

from fastn.http.consumers import Deadline, task
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@task(asynchronous=True, needs={Need.ENGINE, Need.EGRESS})
def handler(_event: Any, _platform: Platform, _deadline: Deadline) -> None:  # ids only
    return None
