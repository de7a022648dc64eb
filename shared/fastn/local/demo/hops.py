"""Where one event was and when, read from what each hop itself recorded."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastn.events.store import find_event_times
from fastn.executions.store import list_executions_of_event
from fastn.local.demo.api import ApiCaller
from fastn.local.demo.setting import CUSTOMER
from fastn.platform.capabilities import Platform
from fastn.platform.clock import rfc3339
from fastn.platform.resources import Need, Setting
from fastn.platform.scope import Scope

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.02


class NeverArrived(Exception):
    """The event did not reach its end in time; the message says where it was seen last."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One station, and the time since the event was received."""

    name: str
    at: datetime
    ms: float

    def as_json(self) -> dict[str, object]:
        """The hop as `fastn demo --json` prints it."""
        return {"name": self.name, "at": rfc3339(self.at), "ms": self.ms}


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the stores know of the event so far."""

    event: Mapping[str, Any]
    execution: Mapping[str, Any] | None


def await_finished(platform: Platform, scope: Scope, event_id: uuid.UUID) -> Sighting:
    """The event once its execution has ended. Raises NeverArrived after 30 s."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    seen: Sighting | None = None
    while time.monotonic() < give_up_at:
        seen = _look(platform, scope, event_id)
        if seen is not None and seen.execution is not None and seen.execution["finished_at"] is not None:
            return seen
        time.sleep(POLL_SECONDS)
    raise NeverArrived(f"after {PATIENCE_SECONDS:.0f} s the event had got this far: {seen}; the logs tell more")


def hops_of(sighting: Sighting, *, machine_started_at: datetime, vendor_at: datetime | None) -> list[Hop]:
    """The eight stations of an event, in order; a station it never reached is left out."""
    event, execution = sighting.event, sighting.execution or {}
    stations = [
        ("received", event["received_at"]),
        ("outbox", event["stored_at"]),
        ("bus", event["published_at"]),
        ("routed", event["routed_at"]),
        ("step functions", machine_started_at),
        ("javascript run", execution["started_at"]),
        ("slack chat.postMessage", vendor_at),
        ("recorded", execution["finished_at"]),
    ]
    start: datetime = event["received_at"]
    return [Hop(name, at, round((at - start).total_seconds() * 1000, 1)) for name, at in stations if at is not None]


def machine_start(platform: Platform, execution_id: str) -> datetime:
    """When Step Functions began the first launch of this run."""
    machine = platform.settings[Setting.STANDARD_STATE_MACHINE_ARN]
    arn = machine.replace(":stateMachine:", ":execution:") + f":{execution_id}-1"
    answer = platform.client(Need.WORKFLOW_RUNS).describe_execution(executionArn=arn)
    started: datetime = answer["startDate"]
    return started.astimezone(UTC)


def trace_of(caller: ApiCaller, execution_id: str) -> dict[str, Any]:
    """The execution with its trace, through the API."""
    return caller.call("GET", f"/api/v1/tenants/{CUSTOMER}/executions/{execution_id}")


def _look(platform: Platform, scope: Scope, event_id: uuid.UUID) -> Sighting | None:
    with platform.database.transaction(scope) as session:
        times = find_event_times(session, scope, event_id)
        if times is None:
            return None
        executions = list_executions_of_event(session, scope, event_id)
    return Sighting(times, executions[0] if executions else None)
