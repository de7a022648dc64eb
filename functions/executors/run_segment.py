"""Run a Standard or Long execution: one task of its state machine."""

from fastn.executions.wiring import run_segment
from fastn.http.consumers import Deadline, task
from fastn.http.declarations import Sizing
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@task(
    needs={
        Need.DATABASE,
        Need.ENGINE,
        Need.EGRESS,
        Need.TENANT_KEYS,
        Need.TENANT_DATABASE,
        Need.CANCEL_FLAGS,
        Need.STATE,
    },
    sizing=Sizing(memory_mb=1769, timeout_seconds=900),
)
def handler(event: dict[str, str], platform: Platform, deadline: Deadline) -> dict[str, str | int]:
    return run_segment(platform, event, deadline.remaining_seconds())
