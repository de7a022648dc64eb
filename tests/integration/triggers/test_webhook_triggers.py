"""The API of webhook triggers, and the projection that deliveries are verified from."""

import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from psycopg.errors import LockNotAvailable

from fastn.access.models import KeyMode, Permission
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database, Role, Session
from fastn.platform.ids import TriggerId, new_id
from fastn.platform.resources import Need
from fastn.platform.scope import Scope
from fastn.secrets.errors import DecryptionFailed
from fastn.tenants.models import FoundedSpace
from fastn.triggers import store
from fastn.triggers.errors import ProjectionUnavailable
from fastn.triggers.models import secret_purpose
from fastn.triggers.projection import TableName, TriggerProjection
from fastn.triggers.service import project_all, sealer_of
from fastn.workflows.models import CreateWorkflow
from fastn.workflows.service import create_workflow
from functions.api.tenants.tenant_id.triggers.webhooks.create_webhook_trigger import handler as create_trigger
from functions.api.tenants.tenant_id.triggers.webhooks.list_webhook_triggers import handler as list_triggers
from functions.api.tenants.tenant_id.triggers.webhooks.trigger_id.delete_webhook_trigger import (
    handler as delete_trigger,
)
from tests.foundation.api_calls import body_of
from tests.foundation.platforms import IssueKey, PlatformFor
from tests.integration.triggers.cloud import TRIGGER_TABLE, CallFunction, Cloud, refusal_of
from tests.integration.triggers.query_plans import plans_of

PLANTED = "planted-signing-secret-4f9a1c"
MISSING = "01a201d1-23ff-7742-9f85-a8c5de91a729"
MakeWorkflow = Callable[..., str]


@pytest.fixture
def projection(cloud: Cloud) -> TriggerProjection:
    """The projection as the receiver reads it."""
    return TriggerProjection(TableName(TRIGGER_TABLE))


@pytest.fixture
def make_workflow(database: Database, clock: FrozenClock) -> MakeWorkflow:
    """Makes a workflow of a scope's tenant and gives its id."""

    def make(scope: Scope, name: str = "Orders") -> str:
        body = CreateWorkflow(name=name)
        made = create_workflow(database, scope, body=body, check_source=lambda _source, _language: None, clock=clock)
        return str(made.id)

    return make


@pytest.fixture
def key(issue_key: IssueKey, customer: Scope) -> str:
    return issue_key(customer).text


@pytest.fixture
def path(customer: Scope) -> Mapping[str, object]:
    return {"tenant_id": customer.tenant_id}


@pytest.fixture
def wanted(make_workflow: MakeWorkflow, customer: Scope) -> Mapping[str, Any]:
    """A trigger with one route to a workflow of the customer's own."""
    return {"name": "Orders", "routes": [{"workflowId": make_workflow(customer)}]}


def trigger_id_of(created: Mapping[str, Any]) -> TriggerId:
    """The id in a response body."""
    return TriggerId(uuid.UUID(created["id"]))


def lock_impatiently(database: Database, scope: Scope, trigger_id: TriggerId) -> None:
    """Locks a trigger for deletion, or gives up after 20 ms."""
    with database.transaction(scope) as session:
        session.execute("SET LOCAL lock_timeout = '20ms'")
        store.lock_trigger(session, trigger_id, environment="production")


def test_created_trigger_has_an_address_and_shows_its_secret_once(
    call: CallFunction, key: str, path: Mapping[str, object], customer: Scope, make_workflow: MakeWorkflow
) -> None:
    first, second = make_workflow(customer, "First"), make_workflow(customer, "Second")
    routes = [
        {"workflowId": second, "filter": {"action": {"$in": ["opened"]}}, "headers": {"x-github-event": ["issues"]}},
        {"workflowId": first},
    ]

    response = call(create_trigger, path=path, key=key, body={"name": "GitHub", "scheme": "github", "routes": routes})

    created = body_of(response)
    secret = created.pop("secret")
    assert response["statusCode"] == 201
    assert len(secret) == 43
    assert created["url"] == f"https://api.example.test/api/v1/clients/{customer.space_id}/webhooks/{created['id']}"
    assert [{name: route[name] for name in route if name != "id"} for route in created["routes"]] == [
        routes[0],
        {**routes[1], "filter": {}, "headers": {}},
    ]
    assert (created["name"], created["scheme"], created["environment"]) == ("GitHub", "github", "production")
    assert created["createdAt"] == "2026-11-22T12:00:00.000Z"
    listed = call(list_triggers, path=path, key=key)
    assert body_of(listed) == {"data": [created], "nextCursor": None}
    assert secret not in listed["body"]


def test_receiver_finds_the_trigger_and_its_secret_in_the_projection(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    wanted: Mapping[str, Any],
    customer: Scope,
    projection: TriggerProjection,
    platform_for: PlatformFor,
    cloud: Cloud,
) -> None:
    created = body_of(call(create_trigger, path=path, key=key, body=wanted, headers={"stage": "staging"}))

    found = projection.get(trigger_id_of(created))

    sealer = sealer_of(platform_for({Need.TENANT_KEYS}, clients=cloud.client, settings=cloud.settings))
    assert found is not None
    assert (found.scope, found.environment, found.scheme) == (customer, "staging", "fastn")
    opened = sealer.open(found.scope, found.sealed_secret, purpose=secret_purpose(found.id))
    assert opened == created["secret"].encode()
    assert created["secret"].encode() not in found.sealed_secret


def test_secret_sealed_for_one_trigger_does_not_open_for_another(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    wanted: Mapping[str, Any],
    projection: TriggerProjection,
    platform_for: PlatformFor,
    cloud: Cloud,
) -> None:
    found = [
        projection.get(trigger_id_of(body_of(call(create_trigger, path=path, key=key, body=wanted)))) for _ in range(2)
    ]
    sealer = sealer_of(platform_for({Need.TENANT_KEYS}, clients=cloud.client, settings=cloud.settings))
    assert found[0] is not None
    assert found[1] is not None

    with pytest.raises(DecryptionFailed):
        sealer.open(found[0].scope, found[1].sealed_secret, purpose=secret_purpose(found[0].id))


def test_given_secret_is_kept_and_shows_nowhere_but_in_the_creation(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    wanted: Mapping[str, Any],
    customer: Scope,
    database: Database,
    cloud: Cloud,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = {**wanted, "secret": PLANTED}
    created = call(create_trigger, path=path, key=key, body=body)
    answers = [
        call(create_trigger, path=path, key=key, body={**body, "scheme": "unknown"}),
        call(create_trigger, path=path, key=key, body={**body, "name": ""}),
        call(create_trigger, path=path, key=key, body={**body, "secret": [PLANTED]}),
        call(create_trigger, path=path, key=key, body={**body, "secret": PLANTED * 100}),
        call(create_trigger, path=path, key=key, body={**body, "routes": [{"workflowId": MISSING}]}),
        call(list_triggers, path=path, key=key),
    ]
    with database.transaction(customer) as session:
        rows = session.execute("SELECT * FROM triggers").fetchall()
    items = cloud.clients.dynamodb.scan(TableName=TRIGGER_TABLE)["Items"]

    printed = capsys.readouterr()
    logged = [vars(record) for record in caplog.records]
    assert [answer["statusCode"] for answer in answers] == [400, 400, 400, 400, 404, 200]
    assert body_of(created)["secret"] == PLANTED
    stored = [bytes(rows[0].pop("secret_ciphertext")), bytes(items[0].pop("sealed_secret").get("B", PLANTED.encode()))]
    assert len(rows) == len(items) == 1
    assert all(PLANTED.encode() not in sealed for sealed in stored)
    assert len([record for record in logged if record["message"] == "request"]) == len(answers) + 1
    assert PLANTED not in f"{answers} {rows} {items} {logged} {printed.out} {printed.err}"


@pytest.mark.parametrize("secret", ["", " ", "short", "x" * 1025, 5])
def test_trigger_without_a_proper_secret_cannot_exist(
    call: CallFunction, key: str, path: Mapping[str, object], wanted: Mapping[str, Any], secret: object
) -> None:
    response = call(create_trigger, path=path, key=key, body={**wanted, "secret": secret})

    assert refusal_of(response) == (400, "VALIDATION_FAILED")
    assert body_of(call(list_triggers, path=path, key=key))["data"] == []


def test_generated_secrets_differ(
    call: CallFunction, key: str, path: Mapping[str, object], wanted: Mapping[str, Any]
) -> None:
    secrets = {body_of(call(create_trigger, path=path, key=key, body=wanted))["secret"] for _ in range(3)}

    assert len(secrets) == 3


UNCLEAR: list[tuple[dict[str, object], str]] = [
    ({"scheme": "unknown"}, '"scheme"'),
    ({"scheme": "http"}, '"scheme"'),
    ({"scheme": "../slack"}, '"scheme"'),
    ({"name": ""}, '"name"'),
    ({"name": "nul\x00"}, '"name"'),
    ({"routes": []}, '"routes"'),
    ({"routes": [{}]}, "routes.0.workflowId"),
    ({"routes": [{"workflowId": "1"}]}, "routes.0.workflowId"),
    ({"unknown": 1}, '"unknown"'),
]


@pytest.mark.parametrize(("change", "field"), UNCLEAR)
def test_unclear_trigger_is_refused_naming_the_member(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    wanted: Mapping[str, Any],
    change: Mapping[str, object],
    field: str,
) -> None:
    response = call(create_trigger, path=path, key=key, body={**wanted, **change})

    assert refusal_of(response) == (400, "VALIDATION_FAILED")
    assert field in response["body"]
    assert body_of(call(list_triggers, path=path, key=key))["data"] == []


def test_unclear_filters_are_all_named(
    call: CallFunction, key: str, path: Mapping[str, object], wanted: Mapping[str, Any]
) -> None:
    workflow_id = wanted["routes"][0]["workflowId"]
    routes: list[dict[str, object]] = [
        {"workflowId": workflow_id, "filter": {"a": {"$regex": "(a+)+"}}},
        {"workflowId": workflow_id, "filter": {"b": {}}, "headers": {"x-event": [], "Authorization": "x"}},
    ]

    response = call(create_trigger, path=path, key=key, body={**wanted, "routes": routes})

    assert refusal_of(response) == (400, "VALIDATION_FAILED")
    assert [problem["field"] for problem in body_of(response)["details"]["problems"]] == [
        "routes.0.filter.a.$regex",
        "routes.1.filter.b",
        "routes.1.headers.x-event",
        "routes.1.headers.Authorization",
    ]


@pytest.mark.parametrize(
    ("member", "field"),
    [
        ('"filter": {"a": NaN}', "routes.0.filter"),
        ('"filter": {"a": {"$in": [1, 1e999]}}', "routes.0.filter"),
        ('"filter": {"a": {"$eq": {"b\\u0000": 1}}}', "routes.0.filter"),
        ('"headers": {"x-event": ["push", "\\u0000"]}', "routes.0.headers"),
        ('"headers": {"x-\\u0000": "push"}', "routes.0.headers"),
    ],
)
def test_filter_that_jsonb_cannot_hold_is_refused(
    call: CallFunction, key: str, path: Mapping[str, object], wanted: Mapping[str, Any], member: str, field: str
) -> None:
    workflow_id = wanted["routes"][0]["workflowId"]
    body = f'{{"name": "n", "routes": [{{"workflowId": "{workflow_id}", {member}}}]}}'

    response = call(create_trigger, path=path, key=key, body=body)

    assert refusal_of(response) == (400, "VALIDATION_FAILED")
    assert [problem["field"] for problem in body_of(response)["details"]["problems"]] == [field]


def test_route_may_name_own_and_shared_workflows_and_no_other(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    founded: FoundedSpace,
    other_founded: FoundedSpace,
    sibling: Scope,
    customer: Scope,
    make_workflow: MakeWorkflow,
    database: Database,
) -> None:
    own, shared, archived = make_workflow(customer), make_workflow(founded.scope), make_workflow(customer, "Old")
    with database.transaction(customer) as session:
        session.execute("UPDATE workflows SET archived_at = now() WHERE id = %s", (archived,))
    routes = [{"workflowId": own}, {"workflowId": shared}, {"workflowId": own}]

    allowed = call(create_trigger, path=path, key=key, body={"name": "n", "routes": routes})
    refused = [
        call(
            create_trigger,
            path=path,
            key=key,
            body={"name": "n", "routes": [{"workflowId": own}, {"workflowId": other}]},
        )
        for other in (MISSING, make_workflow(sibling), make_workflow(other_founded.scope), archived)
    ]

    assert [route["workflowId"] for route in body_of(allowed)["routes"]] == [own, shared, own]
    assert all(response == refused[0] for response in refused)
    assert refusal_of(refused[0]) == (404, "NOT_FOUND")
    assert len(body_of(call(list_triggers, path=path, key=key))["data"]) == 1


def test_unknown_environment_is_refused(
    call: CallFunction, key: str, path: Mapping[str, object], wanted: Mapping[str, Any]
) -> None:
    response = call(create_trigger, path=path, key=key, body=wanted, headers={"stage": "moon"})

    assert refusal_of(response) == (400, "VALIDATION_FAILED")


def test_deleted_trigger_is_gone_from_rows_and_projection(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    wanted: Mapping[str, Any],
    customer: Scope,
    database: Database,
    projection: TriggerProjection,
) -> None:
    kept, doomed = (body_of(call(create_trigger, path=path, key=key, body=wanted)) for _ in range(2))
    at = {**path, "trigger_id": doomed["id"]}

    response = call(delete_trigger, path=at, key=key)

    assert response["statusCode"] == 204
    assert "body" not in response
    assert projection.get(trigger_id_of(doomed)) is None
    assert projection.get(trigger_id_of(kept)) is not None
    assert [item["id"] for item in body_of(call(list_triggers, path=path, key=key))["data"]] == [kept["id"]]
    with database.transaction(customer) as session:
        routes = session.execute("SELECT trigger_id FROM webhook_routes").fetchall()
    assert [str(route["trigger_id"]) for route in routes] == [kept["id"]]
    assert refusal_of(call(delete_trigger, path=at, key=key)) == (404, "NOT_FOUND")


def test_delete_that_cannot_reach_the_projection_removes_nothing(
    call: CallFunction, key: str, path: Mapping[str, object], wanted: Mapping[str, Any], cloud: Cloud
) -> None:
    created = body_of(call(create_trigger, path=path, key=key, body=wanted))
    at = {**path, "trigger_id": created["id"]}
    cloud.lose_trigger_table()

    response = call(delete_trigger, path=at, key=key)

    assert refusal_of(response) == (500, "INTERNAL_ERROR")
    assert len(body_of(call(list_triggers, path=path, key=key))["data"]) == 1
    cloud.create_trigger_table()
    assert call(delete_trigger, path=at, key=key)["statusCode"] == 204


def test_creation_that_was_not_projected_fails_and_is_repaired_later(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    wanted: Mapping[str, Any],
    customer: Scope,
    database: Database,
    projection: TriggerProjection,
    cloud: Cloud,
) -> None:
    cloud.lose_trigger_table()

    response = call(create_trigger, path=path, key=key, body={**wanted, "secret": PLANTED})

    assert refusal_of(response) == (500, "INTERNAL_ERROR")
    assert PLANTED not in response["body"]
    (listed,) = body_of(call(list_triggers, path=path, key=key))["data"]
    with pytest.raises(ProjectionUnavailable):
        projection.get(trigger_id_of(listed))
    cloud.create_trigger_table()
    assert projection.get(trigger_id_of(listed)) is None
    assert project_all(database, projection, customer) == 1
    assert projection.get(trigger_id_of(listed)) is not None


def test_lost_projection_is_rebuilt_for_every_environment_of_one_tenant(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    wanted: Mapping[str, Any],
    customer: Scope,
    sibling: Scope,
    make_workflow: MakeWorkflow,
    issue_key: IssueKey,
    database: Database,
    projection: TriggerProjection,
    cloud: Cloud,
) -> None:
    created = [
        trigger_id_of(body_of(call(create_trigger, path=path, key=key, body=wanted, headers={"stage": stage})))
        for stage in ("staging", "production", "DRAFT")
    ]
    of_sibling = {"name": "n", "routes": [{"workflowId": make_workflow(sibling)}]}
    foreign = body_of(
        call(create_trigger, path={"tenant_id": sibling.tenant_id}, key=issue_key(sibling).text, body=of_sibling)
    )
    before = [projection.get(trigger_id) for trigger_id in created]
    cloud.lose_trigger_table()
    cloud.create_trigger_table()

    assert project_all(database, projection, customer) == 3

    assert [projection.get(trigger_id) for trigger_id in created] == before
    assert projection.get(trigger_id_of(foreign)) is None


def test_rebuilding_goes_on_past_one_batch(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    wanted: Mapping[str, Any],
    customer: Scope,
    database: Database,
    projection: TriggerProjection,
    clock: FrozenClock,
) -> None:
    call(create_trigger, path=path, key=key, body=wanted)
    with database.transaction(customer) as session:
        session.execute_many(
            """INSERT INTO triggers (organization_id, space_id, tenant_id, id, environment, kind, name, scheme,
                                     secret_ciphertext, created_at, updated_at)
               SELECT organization_id, space_id, tenant_id, %s, environment, kind, name, scheme, secret_ciphertext,
                      created_at, updated_at FROM triggers LIMIT 1""",
            [(new_id(clock.now() + timedelta(seconds=number)),) for number in range(1, 205)],
        )

    assert project_all(database, projection, customer) == 205


def test_trigger_cannot_be_deleted_while_it_is_being_projected(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    wanted: Mapping[str, Any],
    customer: Scope,
    databases: Mapping[Role, str],
    database: Database,
) -> None:
    trigger_id = trigger_id_of(body_of(call(create_trigger, path=path, key=key, body=wanted)))
    other = Database(databases[Role.APP])

    holds: list[Callable[[Session], object]] = [
        lambda session: store.hold_trigger(session, trigger_id),
        lambda session: store.list_triggers_to_project(session, after=None, limit=10),
    ]
    for hold in holds:
        with database.transaction(customer) as projecting:
            assert hold(projecting)
            with pytest.raises(LockNotAvailable):
                lock_impatiently(other, customer, trigger_id)
    other.close()


def test_routes_and_lists_are_read_through_indexes(database: Database, customer: Scope) -> None:
    asked: list[Callable[[Session], object]] = [
        lambda session: store.list_routes(session, [uuid.uuid4()]),
        lambda session: store.list_triggers(session, environment="production", after=uuid.uuid4(), limit=21),
        lambda session: store.list_triggers_to_project(session, after=uuid.uuid4(), limit=10),
        lambda session: store.hold_trigger(session, uuid.uuid4()),
        lambda session: store.lock_trigger(session, uuid.uuid4(), environment="production"),
        lambda session: store.find_runnable_workflows(session, [uuid.uuid4()]),
    ]

    for plan in plans_of(database, customer, asked):
        assert "Index" in plan
        assert "Seq Scan" not in plan


def test_list_is_paged_newest_first_within_one_environment(
    call: CallFunction, key: str, path: Mapping[str, object], wanted: Mapping[str, Any], clock: FrozenClock
) -> None:
    for number in range(3):
        call(create_trigger, path=path, key=key, body={**wanted, "name": f"t{number}"})
        clock.advance(1)
    call(create_trigger, path=path, key=key, body=wanted, headers={"stage": "staging"})

    first = body_of(call(list_triggers, path=path, key=key, query={"limit": "2"}))
    last = body_of(call(list_triggers, path=path, key=key, query={"limit": "2", "cursor": first["nextCursor"]}))

    assert [item["name"] for item in first["data"]] == ["t2", "t1"]
    assert [item["name"] for item in last["data"]] == ["t0"]
    assert last["nextCursor"] is None
    assert all(len(item["routes"]) == 1 for item in first["data"])


def test_test_key_reaches_every_environment_but_production(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    wanted: Mapping[str, Any],
    customer: Scope,
    issue_key: IssueKey,
) -> None:
    test_key = issue_key(customer, mode=KeyMode.TEST).text
    staging = {"stage": "staging"}
    in_production = {**path, "trigger_id": body_of(call(create_trigger, path=path, key=key, body=wanted))["id"]}

    refused = [
        call(create_trigger, path=path, key=test_key, body=wanted),
        call(list_triggers, path=path, key=test_key),
        call(delete_trigger, path=in_production, key=test_key),
    ]
    smuggled = call(delete_trigger, path=in_production, key=test_key, headers=staging)
    created = call(create_trigger, path=path, key=test_key, body=wanted, headers=staging)
    at = {**path, "trigger_id": body_of(created)["id"]}
    allowed = [
        call(list_triggers, path=path, key=test_key, headers=staging),
        call(delete_trigger, path=at, key=test_key, headers=staging),
    ]

    assert [refusal_of(response) for response in refused] == [(403, "FORBIDDEN")] * 3
    assert refusal_of(smuggled) == (404, "NOT_FOUND")
    assert [response["statusCode"] for response in [created, *allowed]] == [201, 200, 204]


def test_calls_without_a_key_or_the_permission_are_refused(
    call: CallFunction, path: Mapping[str, object], wanted: Mapping[str, Any], customer: Scope, issue_key: IssueKey
) -> None:
    at = {**path, "trigger_id": MISSING}
    reader = issue_key(customer, permissions=set(Permission) - {Permission.TRIGGERS_WRITE}).text
    writer = issue_key(customer, permissions=set(Permission) - {Permission.TRIGGERS_READ}).text

    unauthorized = [
        call(create_trigger, path=path, body=wanted),
        call(list_triggers, path=path),
        call(delete_trigger, path=at),
    ]
    forbidden = [
        call(create_trigger, path=path, key=reader, body=wanted),
        call(list_triggers, path=path, key=writer),
        call(delete_trigger, path=at, key=reader),
    ]

    assert [refusal_of(response) for response in unauthorized] == [(401, "UNAUTHORIZED")] * 3
    assert [refusal_of(response) for response in forbidden] == [(403, "FORBIDDEN")] * 3


def test_foreign_trigger_looks_exactly_like_a_missing_one(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    wanted: Mapping[str, Any],
    sibling: Scope,
    other_founded: FoundedSpace,
    issue_key: IssueKey,
    projection: TriggerProjection,
) -> None:
    created = body_of(call(create_trigger, path=path, key=key, body=wanted))
    expected = call(delete_trigger, path={**path, "trigger_id": MISSING}, key=key)

    for scope in (sibling, other_founded.scope):
        stranger = issue_key(scope).text
        own_path = {"tenant_id": scope.tenant_id}
        answers = [
            call(delete_trigger, path={**own_path, "trigger_id": created["id"]}, key=stranger),
            call(delete_trigger, path={**path, "trigger_id": created["id"]}, key=stranger),
            call(create_trigger, path=path, key=stranger, body=wanted),
            call(create_trigger, path=own_path, key=stranger, body=wanted),
            call(list_triggers, path=path, key=stranger),
        ]

        assert all(answer == expected for answer in answers)
        assert body_of(call(list_triggers, path=own_path, key=stranger))["data"] == []
    assert refusal_of(expected) == (404, "NOT_FOUND")
    assert projection.get(trigger_id_of(created)) is not None


def test_malformed_trigger_id_is_a_missing_one(call: CallFunction, key: str, path: Mapping[str, object]) -> None:
    response = call(delete_trigger, path={**path, "trigger_id": "%2e%2e%2f"}, key=key)

    assert refusal_of(response) == (404, "NOT_FOUND")


def test_nothing_is_projected_under_an_unknown_id(projection: TriggerProjection) -> None:
    assert projection.get(TriggerId(uuid.UUID(MISSING))) is None
