"""Run an Instant execution that a trigger started, or that outlived its caller's patience."""

from fastn.executions.wiring import run_instant
from fastn.http.consumers import Deadline, task
from fastn.http.declarations import Sizing
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@task(
    needs={
        Need.DATABASE, Need.ENGINE, Need.EGRESS, Need.TENANT_KEYS, Need.TENANT_DATABASE,
        Need.STATE, Need.CANCEL_FLAGS, Need.WORKFLOW_RUNS,
    },
    asynchronous=True,
    sizing=Sizing(memory_mb=1769, timeout_seconds=150),
)  # fmt: skip
def handler(event: dict[str, str], platform: Platform, _deadline: Deadline) -> None:
    run_instant(platform, event)
