"""Assemble a part in the JavaScript engine."""

from typing import Any

from fastn.http.consumers import Deadline, task
from fastn.http.declarations import Sizing
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@task(needs={Need.DATABASE, Need.ENGINE, Need.TENANT_KEYS}, sizing=Sizing(memory_mb=1769, timeout_seconds=300))
def handler(_event: Any, _platform: Platform, _deadline: Deadline) -> None:  # ids only
    return None
