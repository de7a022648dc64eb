"""The router: an event's trigger names routes, matching routes become runs, runs are launched after the commit."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from fastn.events import store
from fastn.events.models import EventSource, RoutedEvent, StoredEvent
from fastn.executions import store as executions
from fastn.executions.launching import Launcher
from fastn.executions.models import NewExecution
from fastn.platform.clock import Clock
from fastn.platform.database import Database, Session
from fastn.platform.ids import ExecutionId, new_id
from fastn.platform.scope import Scope
from fastn.triggers.models import Route
from fastn.triggers.rules import headers_match, matches
from fastn.triggers.store import list_routes
from fastn.workflows.store import find_runnable_by_id

RANDOM_SEED_BYTES = 32
TRIGGERED_BY: dict[EventSource, str] = {
    EventSource.WEBHOOK: "webhook",
    EventSource.SCHEDULE: "scheduler",
    EventSource.POLL: "app_event",
    EventSource.MANUAL: "manual",
}


class Router:
    """Turns events into runs: one for each matching route whose workflow is deployed and active."""

    def __init__(
        self, database: Database, launcher: Launcher, clock: Clock, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._database = database
        self._launcher = launcher
        self._clock = clock
        self._random_bytes = random_bytes

    def route(self, event: RoutedEvent) -> int:
        """Creates the event's runs and launches them; how many were launched.

        Seen twice, an event creates nothing new; runs of it that nobody has begun are launched again, under
        the same name, so that a crash between the commit and the launch loses nothing.
        """
        with self._database.transaction(event.scope) as session:
            stored = store.mark_routed(
                session, event.scope, event.event_id, published_at=event.published_at, now=self._clock.now()
            )
            if stored is None:
                return 0
            for route in self._matching(session, stored):
                self._create(session, event.scope, stored, route)
            pending = executions.list_pending_of_event(session, event.scope, event.event_id)
        for reference, tier in pending:
            self._launcher.launch(reference, tier)
        return len(pending)

    def _matching(self, session: Session, event: StoredEvent) -> Sequence[Route]:
        if event.trigger_id is None:
            return ()
        routes = list_routes(session, [event.trigger_id]).get(event.trigger_id, ())
        payload: Any = json.loads(event.payload_json)
        headers: dict[str, str] = json.loads(event.headers_json)
        return [
            route
            for route in routes
            if matches(route.body_filter, payload) and headers_match(route.header_filter, headers)
        ]

    def _create(self, session: Session, scope: Scope, event: StoredEvent, route: Route) -> None:
        runnable = find_runnable_by_id(session, scope, route.workflow_id, event.environment)
        if runnable is None:
            return
        now = self._clock.now()
        executions.insert_execution(
            session,
            scope,
            NewExecution(
                id=ExecutionId(new_id(now)),
                environment=event.environment,
                workflow_id=route.workflow_id,
                version_number=runnable.version_number,
                source_sha256=runnable.source_sha256,
                tier=runnable.tier,
                timeout_seconds=runnable.timeout_seconds,
                triggered_by=TRIGGERED_BY[event.source],
                event_id=event.id,
                route_id=route.id,
                input_json=event.payload_json,
                headers_json=event.headers_json,
                random_seed=self._random_bytes(RANDOM_SEED_BYTES),
                trace_id=event.trace_id,
                created_at=now,
                retry=runnable.retry,
            ),
        )
