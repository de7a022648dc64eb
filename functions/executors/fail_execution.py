"""Give up an execution that its state machine could not bring to an end."""

from fastn.executions.wiring import fail_execution
from fastn.http.consumers import Deadline, task
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@task(needs={Need.DATABASE})
def handler(event: dict[str, str], platform: Platform, _deadline: Deadline) -> None:
    fail_execution(platform, event)
