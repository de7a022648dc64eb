"""The outbox goes to the bus: most urgent first, at least once, each row by one relay."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fastn.events.errors import PublishFailed
from fastn.events.markers import CLEARABLE_AFTER_SECONDS, OutboxMarkers
from fastn.events.models import NewEvent, Priority
from fastn.events.relaying import ROWS_A_TRANSACTION, Relay
from fastn.events.rules import shard_of
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database, Role
from fastn.platform.resources import Setting
from functions.events.relay_outbox import handler as relay_outbox
from functions.events.sweep_outbox import handler as sweep_outbox
from tests.foundation.platforms import SETTINGS
from tests.integration.events.cloud import Bus, Cloud, Functioning, ServiceDown, sqs_record
from tests.integration.events.scene import Scene

NUDGE = sqs_record({"reason": "committed"}, queue="relay")
OUTBOX = "SELECT event_id FROM outbox ORDER BY id"


@pytest.fixture
def relay(relay_database: Database, cloud: Cloud, clock: FrozenClock) -> Relay:
    """A relay of its own connection."""
    return Relay(relay_database, cloud.bus, "events", clock)  # pyright: ignore[reportArgumentType]  # all it asks of the client


@pytest.fixture
def markers(cloud: Cloud, clock: FrozenClock) -> OutboxMarkers:
    """The markers as another process sets them."""
    return OutboxMarkers(SETTINGS[Setting.MARKER_TABLE], clock)


def waiting(scene: Scene) -> list[str]:
    """The events that are in the outbox."""
    return [str(row["event_id"]) for row in scene.rows(OUTBOX)]


def ids(events: list[NewEvent]) -> list[str]:
    return [str(event.id) for event in events]


def test_bus_is_told_what_rules_match_on_and_never_the_payload(scene: Scene, cloud: Cloud) -> None:
    event = scene.stored_event(payload={"planted": "payload"}, headers={"planted": "header"}, priority=Priority.USER)

    failed = scene.functions.consume(relay_outbox, NUDGE)

    [entry] = cloud.bus.taken
    assert failed == []
    assert waiting(scene) == []
    assert (entry["EventBusName"], entry["Source"], entry["DetailType"]) == (
        "events", "fastn.events", "NormalizedEvent",
    )  # fmt: skip
    assert entry["Detail"] == {
        "organizationId": str(scene.scope.organization_id),
        "spaceId": str(scene.scope.space_id),
        "tenantId": str(scene.scope.tenant_id),
        "eventId": str(event.id),
        "triggerId": None,
        "environment": "production",
        "source": "webhook",
        "type": "issues.opened",
        "idempotencyKey": event.idempotency_key.hex(),
        "priority": "P1",
        "traceId": "trace-1",
        "receivedAt": "2026-11-22T12:00:00.000Z",
        "publishedAt": "2026-11-22T12:00:00.000Z",
    }
    assert "planted" not in json.dumps(entry["Detail"])


def test_client_of_a_real_bus_accepts_the_entries(scene: Scene, cloud: Cloud, relay_database: Database) -> None:
    events = cloud.clients["events"]
    events.create_event_bus(Name="events")
    scene.stored_event(priority=Priority.USER)

    published = Relay(relay_database, events, "events", scene.clock).drain()

    assert published == 1
    assert waiting(scene) == []


def test_most_urgent_first_and_the_oldest_among_equals(
    scene: Scene, stranger: Scene, relay: Relay, cloud: Cloud
) -> None:
    made: list[NewEvent] = []
    for priority in (Priority.POLLING, Priority.EVENT, Priority.USER, Priority.EVENT, Priority.SCHEDULED):
        scene.clock.advance(1)
        made.append((scene if len(made) % 2 else stranger).stored_event(priority=priority))

    relay.drain()

    polling, first, user, second, scheduled = ids(made)
    assert cloud.bus.event_ids == [user, first, second, scheduled, polling]


def test_outbox_longer_than_a_transaction_is_drained_in_calls_of_ten(scene: Scene, relay: Relay, cloud: Cloud) -> None:
    made = [scene.stored_event() for _ in range(ROWS_A_TRANSACTION + 3)]

    published = relay.drain()

    assert published == len(made)
    assert sorted(cloud.bus.event_ids) == sorted(ids(made))
    assert cloud.bus.calls == 6
    assert relay.is_empty()


def test_what_the_bus_refused_stays_and_the_rest_is_gone(scene: Scene, relay: Relay, cloud: Cloud) -> None:
    made = [scene.stored_event() for _ in range(12)]
    refused = {str(made[1].id), str(made[11].id)}
    cloud.bus.refuses = lambda detail: detail["eventId"] in refused

    with pytest.raises(PublishFailed):
        relay.drain()

    assert sorted(waiting(scene)) == sorted(refused)
    cloud.bus.refuses = lambda _detail: False
    assert relay.drain() == 2
    assert sorted(cloud.bus.event_ids) == sorted(ids(made))


def test_refusal_fails_the_nudge_so_that_it_comes_again(scene: Scene, cloud: Cloud) -> None:
    scene.stored_event()
    cloud.bus.refuses = lambda _detail: True

    with pytest.raises(PublishFailed):
        scene.functions.consume(relay_outbox, NUDGE)

    assert len(waiting(scene)) == 1


def test_crash_between_publishing_and_commit_publishes_again(scene: Scene, relay: Relay, cloud: Cloud) -> None:
    made = [scene.stored_event() for _ in range(11)]

    class CrashingBus(Bus):
        def put_events(self, **call: Any) -> dict[str, Any]:
            answer = Bus.put_events(self, **call)
            if self.calls == 2:
                raise ServiceDown
            return answer

    crashing = CrashingBus()
    doomed = Relay(relay._database, crashing, "events", scene.clock)  # type: ignore[arg-type]  # the same connection, as the next event of one process has

    with pytest.raises(ServiceDown):
        doomed.drain()

    assert len(crashing.taken) == 11
    assert len(waiting(scene)) == 11
    assert relay.drain() == 11
    assert sorted(cloud.bus.event_ids) == sorted(ids(made))


def test_two_relays_at_once_never_both_take_a_row(
    scene: Scene, cloud: Cloud, databases: dict[Role, str], clock: FrozenClock
) -> None:
    made = [scene.stored_event() for _ in range(ROWS_A_TRANSACTION + 20)]
    both_hold_rows = threading.Barrier(2, timeout=20)
    buses = [Bus(), Bus()]

    def drain(bus: Bus) -> int:
        def meet_once() -> None:
            # Both hold their locks here, before either has deleted anything.
            if bus.calls == 0:
                both_hold_rows.wait()

        bus.before_call = meet_once
        database = Database(databases[Role.RELAY])
        try:
            return Relay(database, bus, "events", clock).drain()  # type: ignore[arg-type]  # all it asks of the client
        finally:
            database.close()

    with ThreadPoolExecutor(2) as threads:
        published = list(threads.map(drain, buses))

    assert sum(published) == len(made)
    assert sorted(buses[0].event_ids + buses[1].event_ids) == sorted(ids(made))
    assert all(published)


def test_relay_sees_no_other_table(scene: Scene, relay_database: Database) -> None:
    scene.stored_event()

    with pytest.raises(Exception, match="permission denied"), relay_database.transaction(None) as session:
        session.execute("SELECT 1 FROM events")


# ── Markers ───────────────────────────────────────────────────────────────────────────────────────


def swept_nudge(functions: Functioning, cloud: Cloud) -> dict[str, Any]:
    """The one nudge that a sweep sends."""
    functions.call(sweep_outbox, {})
    [nudge] = cloud.take(Setting.RELAY_QUEUE_URL)
    return nudge


def test_sweeper_nudges_once_for_all_markers_and_names_the_clearable(
    functions: Functioning, cloud: Cloud, markers: OutboxMarkers, clock: FrozenClock
) -> None:
    markers.mark(1)
    clock.advance(CLEARABLE_AFTER_SECONDS)
    markers.mark(2)

    nudge = swept_nudge(functions, cloud)

    body = json.loads(nudge["body"])
    assert body["reason"] == "swept"
    assert [marker["shard"] for marker in body["clearable"]] == [1]


def test_sweeper_is_silent_where_nothing_is_marked_and_never_asks_for_a_database(
    functions: Functioning, cloud: Cloud
) -> None:
    functions.call(sweep_outbox, {})

    assert cloud.take(Setting.RELAY_QUEUE_URL) == []
    assert not any("database" in need for need in sweep_outbox.declaration.needs)


def test_old_marker_of_an_empty_outbox_is_cleared(
    functions: Functioning, cloud: Cloud, markers: OutboxMarkers, clock: FrozenClock
) -> None:
    markers.mark(1)
    clock.advance(CLEARABLE_AFTER_SECONDS)

    functions.consume(relay_outbox, swept_nudge(functions, cloud))

    assert cloud.marked_shards() == {}


def test_young_marker_of_an_empty_outbox_stays(
    functions: Functioning, cloud: Cloud, markers: OutboxMarkers, clock: FrozenClock
) -> None:
    markers.mark(1)
    clock.advance(CLEARABLE_AFTER_SECONDS - 1)

    functions.consume(relay_outbox, swept_nudge(functions, cloud))

    assert list(cloud.marked_shards()) == ["1"]


def test_nudge_of_a_commit_clears_nothing(
    functions: Functioning, cloud: Cloud, markers: OutboxMarkers, clock: FrozenClock
) -> None:
    markers.mark(1)
    clock.advance(CLEARABLE_AFTER_SECONDS)

    functions.consume(relay_outbox, NUDGE)

    assert list(cloud.marked_shards()) == ["1"]


def test_marker_stays_while_another_relay_holds_a_row(
    scene: Scene, cloud: Cloud, markers: OutboxMarkers, databases: dict[Role, str]
) -> None:
    markers.mark(1)
    scene.clock.advance(CLEARABLE_AFTER_SECONDS)
    scene.stored_event()
    nudge = swept_nudge(scene.functions, cloud)
    other = Database(databases[Role.RELAY])

    with other.transaction(None) as session:
        session.execute("SELECT 1 FROM outbox FOR UPDATE")
        scene.functions.consume(relay_outbox, nudge)
    other.close()

    assert cloud.bus.taken == []
    assert list(cloud.marked_shards()) == ["1"]


def test_mark_set_during_the_drain_survives_it(
    scene: Scene, cloud: Cloud, markers: OutboxMarkers, clock: FrozenClock
) -> None:
    shard = shard_of(str(scene.scope.space_id), 16)
    markers.mark(shard)
    [old_token] = cloud.marked_shards().values()
    clock.advance(CLEARABLE_AFTER_SECONDS)
    scene.stored_event()
    nudge = swept_nudge(scene.functions, cloud)
    cloud.bus.before_call = lambda: markers.mark(shard)

    scene.functions.consume(relay_outbox, nudge)

    [new_token] = cloud.marked_shards().values()
    assert new_token != old_token
    assert waiting(scene) == []


def test_lost_nudge_is_made_good_by_the_sweeper(scene: Scene, cloud: Cloud, markers: OutboxMarkers) -> None:
    markers.mark(shard_of(str(scene.scope.space_id), 16))
    event = scene.stored_event()

    scene.functions.consume(relay_outbox, swept_nudge(scene.functions, cloud))

    assert cloud.bus.event_ids == [str(event.id)]


@pytest.mark.parametrize("body", [[], 7, {"clearable": []}, {"reason": "?"}], ids=str)
def test_nudge_that_says_nothing_still_drains(scene: Scene, cloud: Cloud, body: object) -> None:
    event = scene.stored_event()

    scene.functions.consume(relay_outbox, sqs_record(body, queue="relay"))

    assert cloud.bus.event_ids == [str(event.id)]
