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
from fastn.executions.trying import Trials
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Setting
from fastn.workflows.models import Tier

if TYPE_CHECKING:
    from fastn.executions.running import Runner

ERROR_TEXT_LIMIT = 8_000
SEGMENT_MARGIN_SECONDS = 20.0
"""What is left of a function's time when a segment ends: a vendor call may still be under way."""


def runner_of(platform: Platform) -> "Runner":
    """The runner of this function. Needs DATABASE, ENGINE, EGRESS, TENANT_KEYS and CANCEL_FLAGS."""
    from fastn.executions.running import Runner

    return platform.keep(Runner, lambda: _runner(platform))


def flow_executor_of(platform: Platform) -> FlowExecutor:
    """What executes flows for callers of the API; the engine is loaded for the first Instant one."""
    return platform.keep(
        FlowExecutor,
        lambda: FlowExecutor(platform.database, lambda: runner_of(platform), Launcher(platform), platform.clock),
    )


def trials_of(platform: Platform) -> Trials:
    """What runs programs that are not saved."""
    return platform.keep(Trials, lambda: Trials(lambda: runner_of(platform), platform.clock))


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
    """Runs one launch of an Instant run to its end; one that failed and is to be tried again waits elsewhere."""
    reference = RunReference.from_text(dict(message))
    with suppress(RunSuperseded):
        end = runner_of(platform).run(reference)
        if isinstance(end, Yielded):
            # A state machine waits for nothing; this function would have to be paid for.
            Launcher(platform).launch(reference, Tier.STANDARD)


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
    from fastn.databases.service import database_tools
    from fastn.engine.artifacts import EngineArtifacts
    from fastn.engine.runs import JavaScriptEngine
    from fastn.executions.cancellation import CancelFlags, CancelWatch
    from fastn.executions.database_calls import DATABASE_OPERATION, DatabaseSessions
    from fastn.executions.hosting import CONNECTOR_OPERATION, ConnectorHost, Operations, RunHost
    from fastn.executions.masking import UsedSecrets
    from fastn.executions.models import RunnableExecution
    from fastn.executions.running import Runner
    from fastn.executions.secret_calls import SECRET_OPERATION, SecretCalls
    from fastn.executions.state_calls import STATE_OPERATION, StateCalls
    from fastn.executions.stopping import Couriers, StopSignal
    from fastn.platform.egress import GuardedClient
    from fastn.secrets.named_models import OpenedSecret, SecretReference
    from fastn.secrets.service import SecretTools, read_current, read_version
    from fastn.state.store import StateStore, TableName

    directory = Path(platform.settings[Setting.ENGINE_DIRECTORY])
    platform.require(Need.ENGINE)
    platform.require(Need.EGRESS)
    platform.require(Need.CANCEL_FLAGS)
    engine = platform.keep(JavaScriptEngine, lambda: JavaScriptEngine(EngineArtifacts.load(directory)))
    tools = connection_tools(platform)
    http = platform.keep(GuardedClient, lambda: GuardedClient(platform.clock, loopback_routes=platform.loopback_routes))

    secret_tools = SecretTools(tools.database, tools.vault, tools.clock)
    state = platform.keep(
        StateStore, lambda: StateStore(TableName(platform.settings[Setting.STATE_TABLE]), tools.clock)
    )

    def current_secret(run: RunnableExecution, name: str) -> OpenedSecret:
        return read_current(secret_tools, run.reference.scope, run.environment, name)

    def secret_version(run: RunnableExecution, reference: SecretReference) -> OpenedSecret:
        return read_version(secret_tools, run.reference.scope, run.environment, reference)

    def find_connection(run: RunnableExecution, slug: str, name: str) -> ConnectionForCall:
        return connection_for_call(tools, run.reference.scope, run.environment, slug, name=name)

    couriers = Couriers(http)
    databases = DatabaseSessions(lambda: database_tools(platform, tools.vault), platform.clock)

    def host_of(execution: RunnableExecution, until: datetime, stop: StopSignal) -> RunHost:
        used_secrets = UsedSecrets()
        seconds_left = max(0.0, (until - platform.clock.now()).total_seconds())
        operations: dict[str, Operations] = {
            CONNECTOR_OPERATION: ConnectorHost(
                execution=execution,
                catalog=tools.catalog,
                find_connection=find_connection,
                http=couriers.for_run(stop),
                clock=platform.clock,
                sleep=stop.sleep,
                used_secrets=used_secrets,
                deadline_seconds=platform.clock.monotonic_seconds() + seconds_left,
            ),
            DATABASE_OPERATION: databases.for_run(execution, platform.clock.monotonic_seconds() + seconds_left),
            STATE_OPERATION: StateCalls(execution, state, used_secrets),
            SECRET_OPERATION: SecretCalls(execution, current_secret, secret_version, used_secrets),
        }
        return RunHost(operations, used_secrets)

    flags = CancelFlags(platform.settings[Setting.CANCEL_FLAG_TABLE], platform.clock)
    return Runner(platform.database, engine, host_of, platform.clock, watch=CancelWatch(flags.is_up))
