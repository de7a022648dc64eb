"""The executors' parts, put together from one function's platform and kept for its next event.

What a run needs (engine, connectors, HTTP client) is imported when the first run begins, so that a function
that only launches or answers does not pay for it at its cold start.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastn.executions.errors import RunSuperseded
from fastn.executions.inline import FlowExecutor
from fastn.executions.launching import Launcher
from fastn.executions.models import RunReference, Yielded
from fastn.executions.service import give_up
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Setting

if TYPE_CHECKING:
    from fastn.executions.running import Runner

ERROR_TEXT_LIMIT = 8_000
SEGMENT_MARGIN_SECONDS = 20.0
"""What is left of a function's time when a segment ends: a vendor call may still be under way."""


def runner_of(platform: Platform) -> "Runner":
    """The runner of this function. Needs DATABASE, ENGINE, EGRESS and TENANT_KEYS."""
    from fastn.executions.running import Runner

    return platform.keep(Runner, lambda: _runner(platform))


def flow_executor_of(platform: Platform) -> FlowExecutor:
    """What executes flows for callers of the API; the engine is loaded for the first Instant one."""
    return platform.keep(
        FlowExecutor,
        lambda: FlowExecutor(platform.database, lambda: runner_of(platform), Launcher(platform), platform.clock),
    )


def run_segment(platform: Platform, message: Mapping[str, Any], remaining_seconds: float) -> dict[str, str | int]:
    """Runs one launch for as long as this function has; what the state machine's choice reads.

    `state` is done, continue, or wait with the `seconds` to wait. A run that goes on elsewhere replays its
    journal there.
    """
    reference = RunReference.from_text(dict(message))
    now = platform.clock.now()
    yield_at = now + timedelta(seconds=max(0.0, remaining_seconds - SEGMENT_MARGIN_SECONDS))
    try:
        end = runner_of(platform).run(reference, yield_at=yield_at)
    except RunSuperseded:
        # Another launch of this run is ahead: it will bring the run to its end.
        end = None
    if not isinstance(end, Yielded):
        return {**reference.as_text(), "state": "done"}
    seconds = math.ceil((end.resume_at - platform.clock.now()).total_seconds())
    if seconds <= 0:
        return {**reference.as_text(), "state": "continue"}
    return {**reference.as_text(), "state": "wait", "seconds": seconds}


def run_instant(platform: Platform, message: Mapping[str, Any]) -> None:
    """Runs one launch of an Instant run to its end."""
    with suppress(RunSuperseded):
        runner_of(platform).run(RunReference.from_text(dict(message)))


def fail_execution(platform: Platform, message: Mapping[str, Any]) -> None:
    """Gives up the run in a state machine's error, with the cause it tells."""
    error: Mapping[str, Any] = message.get("error") or {}
    told = {
        "name": str(error.get("Error", "ExecutorFailed")),
        "message": str(error.get("Cause", "The executor did not answer."))[:ERROR_TEXT_LIMIT],
    }
    give_up(platform.database, RunReference.from_text(dict(message)), told, platform.clock)


def _runner(platform: Platform) -> "Runner":
    from fastn.connections.models import ConnectionForCall
    from fastn.connections.service import connection_for_call, connection_tools
    from fastn.engine.artifacts import EngineArtifacts
    from fastn.engine.runs import JavaScriptEngine
    from fastn.executions.hosting import ConnectorHost
    from fastn.executions.models import RunnableExecution
    from fastn.executions.running import Runner
    from fastn.platform.egress import GuardedClient

    directory = Path(platform.settings[Setting.ENGINE_DIRECTORY])
    platform.require(Need.ENGINE)
    platform.require(Need.EGRESS)
    engine = platform.keep(JavaScriptEngine, lambda: JavaScriptEngine(EngineArtifacts.load(directory)))
    tools = connection_tools(platform)
    http = platform.keep(GuardedClient, lambda: GuardedClient(platform.clock, loopback_routes=platform.loopback_routes))

    def find_connection(run: RunnableExecution, slug: str, name: str) -> ConnectionForCall:
        return connection_for_call(tools, run.reference.scope, run.environment, slug, name=name)

    def host_of(execution: RunnableExecution, until: datetime) -> ConnectorHost:
        seconds_left = max(0.0, (until - platform.clock.now()).total_seconds())
        return ConnectorHost(
            execution=execution,
            catalog=tools.catalog,
            find_connection=find_connection,
            http=http,
            clock=platform.clock,
            deadline_seconds=platform.clock.monotonic_seconds() + seconds_left,
        )

    return Runner(platform.database, engine, host_of, platform.clock)
