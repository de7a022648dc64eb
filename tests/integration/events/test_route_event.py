"""Events become runs: once for each matching route, launched after the commit, never for a stranger."""

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest

from fastn.events.models import RoutedEvent
from fastn.events.routing import Router
from fastn.executions.launching import Launcher
from fastn.platform.ids import EventId
from fastn.platform.resources import Need
from fastn.platform.scope import Scope
from fastn.triggers.views import NewRoute
from fastn.workflows import service as workflows
from functions.events.route_event import handler as route_event
from tests.foundation.platforms import SETTINGS
from tests.integration.events.cloud import Cloud, ServiceDown, sqs_record
from tests.integration.events.scene import Scene

EXECUTIONS = """SELECT id, workflow_id, version_number, environment, tier, status, launch, triggered_by, event_id,
    input::text AS input, headers::text AS headers, trace_id FROM executions ORDER BY id"""
LAUNCHES = frozenset({Need.WORKFLOW_RUNS, Need.INSTANT_RUNS})


def route(scene: Scene, *messages: dict[str, object]) -> list[str]:
    """Hands these bus events to the router; the ids of the messages it failed."""
    records = [sqs_record(message, message_id=f"m-{number}") for number, message in enumerate(messages, 1)]
    return scene.functions.consume(route_event, *records)


def archive(scene: Scene, workflow_id: uuid.UUID) -> None:
    with scene.database.transaction(scene.scope) as session:
        session.execute("UPDATE workflows SET archived_at = %s WHERE id = %s", (scene.clock.now(), workflow_id))


def deactivate(scene: Scene, workflow_id: uuid.UUID) -> None:
    with scene.database.transaction(scene.scope) as session:
        session.execute("UPDATE workflows SET is_active = false WHERE id = %s", (workflow_id,))


def test_standard_run_is_started_by_ids_alone(scene: Scene, cloud: Cloud) -> None:
    workflow_id = scene.live(tier="standard")
    event = scene.stored_event(scene.trigger(workflow_id), payload={"n": 1}, headers={"x-github-event": "issues"})

    failed = route(scene, scene.bus_message(event))

    [execution] = scene.rows(EXECUTIONS)
    assert failed == []
    assert cloud.machines.started == [
        {
            "stateMachineArn": SETTINGS["FASTN_STANDARD_STATE_MACHINE_ARN"],
            "name": f"{execution['id']}-1",
            "input": json.dumps({**scene.scope.as_text(), "executionId": str(execution["id"]), "launch": 1}),
        }
    ]
    assert cloud.functions.invoked == []
    assert execution == {
        "id": execution["id"],
        "workflow_id": workflow_id,
        "version_number": 1,
        "environment": "production",
        "tier": "standard",
        "status": "pending",
        "launch": 1,
        "triggered_by": "webhook",
        "event_id": event.id,
        "input": '{"n": 1}',
        "headers": '{"x-github-event": "issues"}',
        "trace_id": "trace-1",
    }


def test_long_run_is_started_on_its_own_machine(scene: Scene, cloud: Cloud) -> None:
    event = scene.stored_event(scene.trigger(scene.live(tier="long")))

    route(scene, scene.bus_message(event))

    assert [start["stateMachineArn"] for start in cloud.machines.started] == [SETTINGS["FASTN_LONG_STATE_MACHINE_ARN"]]


def test_instant_run_is_invoked_and_not_waited_for(scene: Scene, cloud: Cloud) -> None:
    event = scene.stored_event(scene.trigger(scene.live(tier="instant")))

    route(scene, scene.bus_message(event))

    [execution] = scene.rows(EXECUTIONS)
    assert cloud.functions.invoked == [
        {
            "FunctionName": "execute_instant",
            "InvocationType": "Event",
            "Payload": json.dumps({**scene.scope.as_text(), "executionId": str(execution["id"]), "launch": 1}),
        }
    ]
    assert cloud.machines.started == []


def test_message_seen_twice_makes_one_run_under_one_name(scene: Scene, cloud: Cloud) -> None:
    event = scene.stored_event(scene.trigger(scene.live(tier="standard")))
    message = scene.bus_message(event)

    route(scene, message, message)
    route(scene, message)

    [execution] = scene.rows(EXECUTIONS)
    assert [start["name"] for start in cloud.machines.started] == [f"{execution['id']}-1"]
    assert cloud.machines.refused == [f"{execution['id']}-1"] * 2


def test_crash_between_commit_and_launch_is_made_good_by_the_redelivery(scene: Scene, cloud: Cloud) -> None:
    event = scene.stored_event(scene.trigger(scene.live(tier="standard")))
    router = Router(scene.database, Launcher(scene.functions.platform("crashing", LAUNCHES)), scene.clock, bytes)
    cloud.machines.is_down = True

    with pytest.raises(ServiceDown):
        router.route(RoutedEvent(scene.scope, event.id, scene.clock.now()))

    [execution] = scene.rows(EXECUTIONS)
    assert (execution["status"], cloud.machines.started) == ("pending", [])
    cloud.machines.is_down = False
    assert route(scene, scene.bus_message(event)) == []
    assert [start["name"] for start in cloud.machines.started] == [f"{execution['id']}-1"]


def test_run_that_somebody_has_begun_is_not_launched_again(scene: Scene, cloud: Cloud) -> None:
    event = scene.stored_event(scene.trigger(scene.live(tier="instant")))
    route(scene, scene.bus_message(event))
    with scene.database.transaction(scene.scope) as session:
        session.execute("UPDATE executions SET status = 'running', started_at = now()")

    route(scene, scene.bus_message(event))

    assert len(cloud.functions.invoked) == 1


def test_one_message_that_cannot_be_routed_does_not_hold_up_the_others(scene: Scene, cloud: Cloud) -> None:
    event = scene.stored_event(scene.trigger(scene.live(tier="standard")))

    failed = route(scene, {"detail": {"eventId": "nonsense"}}, {"no": "detail"}, scene.bus_message(event))

    assert failed == ["m-1", "m-2"]
    assert len(cloud.machines.started) == 1


@pytest.mark.parametrize(
    ("body_filter", "header_filter", "starts"),
    [
        ({}, {}, True),
        ({"action": "opened"}, {}, True),
        ({"action": "closed"}, {}, False),
        ({"issue.number": {"$gt": 6}}, {"X-GitHub-Event": ["issues", "push"]}, True),
        ({"issue.number": {"$gt": 7}}, {}, False),
        ({}, {"x-github-event": "issues"}, True),
        ({}, {"x-github-event": "push"}, False),
        ({}, {"x-absent": "push"}, False),
    ],
)
def test_route_takes_what_its_filters_let_through(
    scene: Scene, cloud: Cloud, body_filter: dict[str, Any], header_filter: dict[str, Any], starts: bool
) -> None:
    wanted = NewRoute(workflow_id=scene.live(), filter=body_filter, headers=header_filter)
    event = scene.stored_event(
        scene.trigger(wanted),
        payload={"action": "opened", "issue": {"number": 7}},
        headers={"x-github-event": "issues"},
    )

    route(scene, scene.bus_message(event))

    assert len(scene.rows(EXECUTIONS)) == int(starts)
    assert [row["routed_at"] for row in scene.rows("SELECT routed_at FROM events")] == [scene.clock.now()]


def _leave_alone(_scene: Scene, _workflow_id: uuid.UUID) -> None:
    pass


def test_two_matching_routes_are_two_runs(scene: Scene, cloud: Cloud) -> None:
    first, second = scene.live("First", tier="standard"), scene.live("Second", tier="instant")
    event = scene.stored_event(scene.trigger(first, second))

    route(scene, scene.bus_message(event))

    assert {row["workflow_id"] for row in scene.rows(EXECUTIONS)} == {first, second}
    assert (len(cloud.machines.started), len(cloud.functions.invoked)) == (1, 1)


def test_two_routes_to_one_workflow_are_two_runs(scene: Scene) -> None:
    workflow_id = scene.live()
    event = scene.stored_event(scene.trigger(workflow_id, workflow_id))

    route(scene, scene.bus_message(event))

    assert len(scene.rows(EXECUTIONS)) == 2


@pytest.mark.parametrize("state", ["draft", "archived", "inactive", "elsewhere"])
def test_workflow_that_is_not_live_there_is_not_run_and_the_event_counts_as_routed(
    scene: Scene, cloud: Cloud, state: str
) -> None:
    makers = {"draft": scene.draft, "elsewhere": lambda: scene.live(environment="staging")}
    workflow_id = makers.get(state, scene.live)()
    event = scene.stored_event(scene.trigger(workflow_id))
    {"archived": archive, "inactive": deactivate}.get(state, _leave_alone)(scene, workflow_id)

    failed = route(scene, scene.bus_message(event))

    assert failed == []
    assert scene.rows(EXECUTIONS) == []
    [row] = scene.rows("SELECT published_at, routed_at FROM events")
    assert (row["routed_at"], row["published_at"].second) == (scene.clock.now(), 1)
    assert cloud.machines.started == cloud.functions.invoked == []


def test_shared_workflow_runs_for_the_customer_and_as_the_customers_own_run(
    scene: Scene, default_scene: Scene, cloud: Cloud
) -> None:
    shared = default_scene.live("Shared", tier="standard")
    event = scene.stored_event(scene.trigger(shared))

    route(scene, scene.bus_message(event))

    assert [row["workflow_id"] for row in scene.rows(EXECUTIONS)] == [shared]
    assert default_scene.rows(EXECUTIONS) == []
    assert json.loads(cloud.machines.started[0]["input"])["tenantId"] == str(scene.scope.tenant_id)


def test_siblings_workflow_is_out_of_reach_even_for_a_route_that_names_it(
    scene: Scene, sibling: Scope, cloud: Cloud
) -> None:
    private = replace(scene, scope=sibling).live("Private")
    trigger_id = scene.trigger(scene.draft("Own"))
    with scene.database.transaction(scene.scope) as session:
        # The foreign key only asks that both are of one space: the router's own look-up must refuse.
        session.execute("UPDATE webhook_routes SET workflow_id = %s", (private,))
    event = scene.stored_event(trigger_id)

    failed = route(scene, scene.bus_message(event))

    assert failed == []
    assert scene.rows(EXECUTIONS) == replace(scene, scope=sibling).rows(EXECUTIONS) == []
    assert cloud.machines.started == cloud.functions.invoked == []


@pytest.mark.parametrize("whose", ["nobody's", "stranger's"])
def test_unknown_or_foreign_event_does_nothing(scene: Scene, stranger: Scene, cloud: Cloud, whose: str) -> None:
    foreign = stranger.stored_event(stranger.trigger(stranger.live()))
    event_id = foreign.id if whose == "stranger's" else EventId(uuid.UUID(int=0))

    failed = route(scene, scene.bus_message(event_id))

    assert failed == []
    assert scene.rows(EXECUTIONS) == stranger.rows(EXECUTIONS) == []
    assert stranger.rows("SELECT routed_at FROM events") == [{"routed_at": None}]
    assert cloud.machines.started == cloud.functions.invoked == []


def test_event_of_a_deleted_trigger_is_routed_nowhere(scene: Scene, cloud: Cloud) -> None:
    event = scene.stored_event(scene.trigger(scene.live()))
    with scene.database.transaction(scene.scope) as session:
        session.execute("DELETE FROM triggers")

    failed = route(scene, scene.bus_message(event))

    assert (failed, scene.rows(EXECUTIONS)) == ([], [])


def test_version_is_pinned_when_the_event_is_routed(scene: Scene) -> None:
    workflow_id = scene.live()
    event = scene.stored_event(scene.trigger(workflow_id))
    route(scene, scene.bus_message(event))
    workflows.publish_workflow(
        scene.database, scene.scope, workflow_id=workflow_id, actor="api_key:1", clock=scene.clock
    )

    route(scene, scene.bus_message(event))

    assert [row["version_number"] for row in scene.rows(EXECUTIONS)] == [1]
