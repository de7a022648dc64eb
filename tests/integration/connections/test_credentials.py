"""The credentials API: what is stored, who may see it, and that a secret never comes back."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fastn.access.models import KeyMode, Permission
from fastn.connections import store
from fastn.connections.errors import NotConnected
from fastn.connections.models import ConnectionId, Rotation
from fastn.connections.service import ConnectionTools, connection_for_call, connection_tools
from fastn.errors import AuthExpired, NotFound
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database, Session
from fastn.platform.resources import Need
from fastn.platform.scope import Scope
from fastn.secrets.errors import DecryptionFailed
from fastn.tenants.models import FoundedSpace
from functions.api.tenants.tenant_id.credentials.create_credential import handler as create_credential
from functions.api.tenants.tenant_id.credentials.credential_id.rotate_credential import handler as rotate_credential
from functions.api.tenants.tenant_id.credentials.list_credentials import handler as list_credentials
from tests.foundation.api_calls import body_of
from tests.foundation.platforms import IssueKey, PlatformFor
from tests.integration.triggers.cloud import CallFunction, Cloud, refusal_of
from tests.integration.triggers.query_plans import plans_of

PLANTED = "xoxb-planted-4f9a1c"
SLACK: Mapping[str, Any] = {
    "connector": "slack",
    "authMethod": "bearer",
    "secret": {"access_token": PLANTED},
}


@pytest.fixture
def tools(platform_for: PlatformFor, cloud: Cloud) -> ConnectionTools:
    needs = {Need.DATABASE, Need.TENANT_KEYS}
    return connection_tools(platform_for(needs, clients=cloud.client, settings=cloud.settings))


@pytest.fixture
def key(issue_key: IssueKey, customer: Scope) -> str:
    return issue_key(customer).text


@pytest.fixture
def path(customer: Scope) -> Mapping[str, object]:
    return {"tenant_id": customer.tenant_id}


def test_stored_credential_is_described_without_its_secret(
    call: CallFunction, key: str, path: Mapping[str, object]
) -> None:
    response = call(create_credential, path=path, key=key, body=SLACK)

    created = body_of(response)
    assert response["statusCode"] == 201
    assert response["headers"]["etag"] == '"1"'
    assert {name: created[name] for name in created if name != "id"} == {
        "connector": "slack",
        "name": "default",
        "environment": "production",
        "authMethod": "bearer",
        "config": {},
        "status": "active",
        "revision": 1,
        "createdAt": "2026-11-22T12:00:00.000Z",
        "updatedAt": "2026-11-22T12:00:00.000Z",
    }
    assert body_of(call(list_credentials, path=path, key=key)) == {"data": [created], "nextCursor": None}


def test_executor_gets_what_was_stored(
    call: CallFunction, key: str, path: Mapping[str, object], customer: Scope, tools: ConnectionTools
) -> None:
    config = {"baseUrl": "https://api.example.com", "hosts": ["api.example.com"]}
    http = {"connector": "http", "name": "erp", "config": config, "secret": {"username": "u", "password": "p"}}
    call(create_credential, path=path, key=key, body=http)

    found = connection_for_call(tools, customer, "production", "http", name="erp")

    assert found.authentication().fields == {"username": "u", "password": "p"}
    assert (found.auth_method, found.config, found.credential_version) == ("basic", config, 1)


def test_connector_without_secrets_stores_none(
    call: CallFunction, key: str, path: Mapping[str, object], customer: Scope, tools: ConnectionTools
) -> None:
    config = {"baseUrl": "https://api.example.com", "hosts": ["api.example.com"]}
    response = call(create_credential, path=path, key=key, body={"connector": "http", "config": config})

    assert body_of(response)["authMethod"] == "none"
    assert connection_for_call(tools, customer, "production", "http").credential == {}


def test_only_ciphertext_reaches_the_database(
    call: CallFunction, key: str, path: Mapping[str, object], customer: Scope, database: Database
) -> None:
    call(create_credential, path=path, key=key, body=SLACK)

    with database.transaction(customer) as session:
        row = session.execute("SELECT * FROM connections").fetchone()

    assert row is not None
    assert row["credential_ciphertext"] is not None
    assert PLANTED.encode() not in bytes(row["credential_ciphertext"])
    assert PLANTED not in str({**row, "credential_ciphertext": None})


def test_planted_secret_is_in_no_response_and_no_log_line(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    created = call(create_credential, path=path, key=key, body=SLACK)
    at = {**path, "credential_id": body_of(created)["id"]}
    secret = {"access_token": PLANTED}
    answers = [
        created,
        call(create_credential, path=path, key=key, body=SLACK),
        call(create_credential, path=path, key=key, body={**SLACK, "connector": "unknown"}),
        call(create_credential, path=path, key=key, body={**SLACK, "authMethod": "basic"}),
        call(create_credential, path=path, key=key, body={**SLACK, "name": "b", "secret": {"token": PLANTED}}),
        call(create_credential, path=path, key=key, body={**SLACK, "secret": PLANTED}),
        call(create_credential, path=path, key=key, body={**SLACK, "secret": {"access_token": [PLANTED]}}),
        call(create_credential, path=path, key=key, body={**SLACK, "secret": {"access_token": PLANTED * 2000}}),
        call(list_credentials, path=path, key=key),
        call(rotate_credential, path=at, key=key, body={"secret": secret}),
        call(rotate_credential, path=at, key=key, body={"secret": {"wrong": PLANTED}}),
        call(rotate_credential, path=at, key=key, body={"secret": secret}, headers={"if-match": '"1"'}),
        call(list_credentials, path=path, key=key),
    ]

    printed = capsys.readouterr()
    logged = [vars(record) for record in caplog.records]
    assert [answer["statusCode"] for answer in answers] == [
        201, 409, 400, 400, 400, 400, 400, 400, 200, 200, 400, 412, 200,
    ]  # fmt: skip
    assert PLANTED not in str(answers)
    assert len([record for record in logged if record["message"] == "request"]) == len(answers)
    assert PLANTED not in f"{logged} {printed.out} {printed.err}"


def test_name_is_taken_per_connector_and_environment(
    call: CallFunction, key: str, path: Mapping[str, object], sibling: Scope, issue_key: IssueKey
) -> None:
    statuses = [
        call(create_credential, path=path, key=key, body=SLACK)["statusCode"],
        call(create_credential, path=path, key=key, body={**SLACK, "name": "second"})["statusCode"],
        call(create_credential, path=path, key=key, body={**SLACK, "connector": "github"})["statusCode"],
        call(create_credential, path=path, key=key, body=SLACK, headers={"stage": "staging"})["statusCode"],
        call(create_credential, path={"tenant_id": sibling.tenant_id}, key=issue_key(sibling).text, body=SLACK)[
            "statusCode"
        ],
    ]
    again = call(create_credential, path=path, key=key, body=SLACK)

    assert statuses == [201] * 5
    assert refusal_of(again) == (409, "CONFLICT")


def test_rotation_replaces_the_secret_and_counts_up(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    customer: Scope,
    tools: ConnectionTools,
    clock: FrozenClock,
) -> None:
    created = body_of(call(create_credential, path=path, key=key, body=SLACK))
    clock.advance(60)

    at = {**path, "credential_id": created["id"]}
    response = call(rotate_credential, path=at, key=key, body={"secret": {"access_token": "new"}})

    assert response["statusCode"] == 200
    assert response["headers"]["etag"] == '"2"'
    assert body_of(response) == {**created, "revision": 2, "updatedAt": "2026-11-22T12:01:00.000Z"}
    found = connection_for_call(tools, customer, "production", "slack")
    assert (dict(found.credential), found.credential_version) == ({"access_token": "new"}, 2)


def test_rotation_replaces_the_config_only_if_one_is_sent(
    call: CallFunction, key: str, path: Mapping[str, object], customer: Scope, tools: ConnectionTools
) -> None:
    first = {"baseUrl": "https://one.example.com", "hosts": ["one.example.com"]}
    second = {"baseUrl": "https://two.example.com", "hosts": ["two.example.com"]}
    http = {"connector": "http", "config": first, "secret": {"access_token": "a"}, "authMethod": "bearer"}
    at = {**path, "credential_id": body_of(call(create_credential, path=path, key=key, body=http))["id"]}

    call(rotate_credential, path=at, key=key, body={"secret": {"access_token": "b"}})
    kept = connection_for_call(tools, customer, "production", "http").config
    call(rotate_credential, path=at, key=key, body={"secret": {"access_token": "c"}, "config": second})
    replaced = connection_for_call(tools, customer, "production", "http").config

    assert (kept, replaced) == (first, second)


def test_rotation_of_a_superseded_version_changes_nothing(
    call: CallFunction, key: str, path: Mapping[str, object], customer: Scope, tools: ConnectionTools
) -> None:
    at = {**path, "credential_id": body_of(call(create_credential, path=path, key=key, body=SLACK))["id"]}
    rotated = {"secret": {"access_token": "second"}}
    first = call(rotate_credential, path=at, key=key, body=rotated, headers={"if-match": '"1"'})

    late = call(
        rotate_credential, path=at, key=key, body={"secret": {"access_token": "late"}}, headers={"if-match": '"1"'}
    )

    assert first["statusCode"] == 200
    assert refusal_of(late) == (412, "PRECONDITION_FAILED")
    assert connection_for_call(tools, customer, "production", "slack").credential == {"access_token": "second"}


def test_rotation_that_loses_a_race_changes_nothing(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    customer: Scope,
    tools: ConnectionTools,
    database: Database,
    clock: FrozenClock,
) -> None:
    created = body_of(call(create_credential, path=path, key=key, body=SLACK))
    at = {**path, "credential_id": created["id"]}
    call(rotate_credential, path=at, key=key, body={"secret": {"access_token": "second"}})

    # Both had read version 1 before either wrote.
    late = Rotation(credential_ciphertext=b"late", config=None, expected_version=1, rotated_at=clock.now())
    with database.transaction(customer) as session:
        rotated = store.rotate_credential(session, ConnectionId(uuid.UUID(created["id"])), late)

    assert rotated is None
    assert connection_for_call(tools, customer, "production", "slack").credential == {"access_token": "second"}


def test_rotation_lets_a_connection_that_needed_it_work_again(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    customer: Scope,
    tools: ConnectionTools,
    database: Database,
) -> None:
    at = {**path, "credential_id": body_of(call(create_credential, path=path, key=key, body=SLACK))["id"]}
    with database.transaction(customer) as session:
        session.execute("UPDATE connections SET status = 'reauthorization_needed'")
    with pytest.raises(AuthExpired):
        connection_for_call(tools, customer, "production", "slack")

    response = call(rotate_credential, path=at, key=key, body={"secret": {"access_token": "new"}})

    assert body_of(response)["status"] == "active"
    assert connection_for_call(tools, customer, "production", "slack").credential == {"access_token": "new"}


def test_call_without_a_connection_says_which_one_to_make(tools: ConnectionTools, customer: Scope) -> None:
    with pytest.raises(NotConnected, match="slack named default in production"):
        connection_for_call(tools, customer, "production", "slack")


def test_connection_belongs_to_its_tenant_and_environment(
    call: CallFunction, key: str, path: Mapping[str, object], sibling: Scope, customer: Scope, tools: ConnectionTools
) -> None:
    call(create_credential, path=path, key=key, body=SLACK)

    for scope, environment in ((sibling, "production"), (customer, "staging")):
        with pytest.raises(NotConnected):
            connection_for_call(tools, scope, environment, "slack")


def test_ciphertext_moved_to_another_connection_does_not_open(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    customer: Scope,
    tools: ConnectionTools,
    database: Database,
) -> None:
    call(create_credential, path=path, key=key, body=SLACK)
    call(create_credential, path=path, key=key, body={**SLACK, "name": "other", "secret": {"access_token": "b"}})
    with database.transaction(customer) as session:
        session.execute(
            """UPDATE connections SET credential_ciphertext =
                   (SELECT credential_ciphertext FROM connections WHERE name = 'default') WHERE name = 'other'"""
        )

    with pytest.raises(DecryptionFailed):
        connection_for_call(tools, customer, "production", "slack", name="other")


def test_connections_are_read_through_indexes(database: Database, customer: Scope, clock: FrozenClock) -> None:
    rotation = Rotation(credential_ciphertext=b"", config=None, expected_version=1, rotated_at=clock.now())
    asked: list[Callable[[Session], object]] = [
        lambda session: store.find_connection_for_call(
            session, environment="production", connector="slack", name="default"
        ),
        lambda session: store.list_connections(session, environment="production", after=uuid.uuid4(), limit=21),
        lambda session: store.find_connection(session, uuid.uuid4(), environment="production"),
        lambda session: store.rotate_credential(session, ConnectionId(uuid.uuid4()), rotation),
    ]

    for plan in plans_of(database, customer, asked):
        assert "Index" in plan
        assert "Seq Scan" not in plan


def test_list_is_paged_newest_first_within_one_environment(
    call: CallFunction, key: str, path: Mapping[str, object], clock: FrozenClock
) -> None:
    for number in range(5):
        call(create_credential, path=path, key=key, body={**SLACK, "name": f"c{number}"})
        clock.advance(1)
    call(create_credential, path=path, key=key, body=SLACK, headers={"stage": "staging"})

    pages: list[list[str]] = []
    cursor: str | None = None
    while cursor is not None or not pages:
        query = {"limit": "2"} if cursor is None else {"limit": "2", "cursor": cursor}
        page = body_of(call(list_credentials, path=path, key=key, query=query))
        pages.append([item["name"] for item in page["data"]])
        cursor = page["nextCursor"]

    assert pages == [["c4", "c3"], ["c2", "c1"], ["c0"]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"connector": "unknown"}, "connector"),
        ({"connector": "../../slack"}, "connector"),
        ({"connector": ""}, "connector"),
        ({"authMethod": "basic"}, "authMethod"),
        ({"authMethod": "magic"}, "authMethod"),
        ({"secret": {}}, "access_token"),
        ({"secret": {"access_token": ""}}, "secret"),
        ({"secret": {"access_token": "a", "more": "b"}}, "more"),
        ({"secret": {"access_token": 5}}, "secret"),
        ({"config": {"unknown": 1}}, "unknown"),
        ({"config": []}, "config"),
        ({"name": ""}, "name"),
        ({"name": "nul\x00"}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_unclear_credential_is_refused_naming_the_member(
    call: CallFunction, key: str, path: Mapping[str, object], change: Mapping[str, object], problem: str
) -> None:
    response = call(create_credential, path=path, key=key, body={**SLACK, **change})

    assert refusal_of(response) == (400, "VALIDATION_FAILED")
    assert problem in response["body"]
    assert body_of(call(list_credentials, path=path, key=key))["data"] == []


def test_config_that_jsonb_cannot_hold_is_refused(call: CallFunction, key: str, path: Mapping[str, object]) -> None:
    unstorable: list[object] = ["nul\x00", "\ud800", float("inf"), {"deep": [{"nul\x00": 1}]}]
    for base_url in unstorable:
        config = {"baseUrl": base_url, "hosts": ["a.example.com"]}
        response = call(create_credential, path=path, key=key, body={"connector": "http", "config": config})

        assert refusal_of(response) == (400, "VALIDATION_FAILED")


def test_unknown_environment_is_refused(call: CallFunction, key: str, path: Mapping[str, object]) -> None:
    response = call(create_credential, path=path, key=key, body=SLACK, headers={"stage": "moon"})

    assert refusal_of(response) == (400, "VALIDATION_FAILED")


def test_test_key_reaches_every_environment_but_production(
    call: CallFunction, key: str, path: Mapping[str, object], customer: Scope, issue_key: IssueKey
) -> None:
    test_key = issue_key(customer, mode=KeyMode.TEST).text
    staging = {"stage": "staging"}
    in_production = {**path, "credential_id": body_of(call(create_credential, path=path, key=key, body=SLACK))["id"]}
    rotation = {"secret": {"access_token": "stolen"}}

    refused = [
        call(create_credential, path=path, key=test_key, body=SLACK),
        call(list_credentials, path=path, key=test_key),
        call(rotate_credential, path=in_production, key=test_key, body=rotation),
    ]
    smuggled = call(rotate_credential, path=in_production, key=test_key, body=rotation, headers=staging)
    created = call(create_credential, path=path, key=test_key, body=SLACK, headers=staging)
    at = {**path, "credential_id": body_of(created)["id"]}
    allowed = [
        call(list_credentials, path=path, key=test_key, headers=staging),
        call(rotate_credential, path=at, key=test_key, body=rotation, headers=staging),
    ]

    assert [refusal_of(response) for response in refused] == [(403, "FORBIDDEN")] * 3
    assert refusal_of(smuggled) == (404, "NOT_FOUND")
    assert [response["statusCode"] for response in [created, *allowed]] == [201, 200, 200]


def test_calls_without_a_key_or_the_permission_are_refused(
    call: CallFunction, path: Mapping[str, object], customer: Scope, issue_key: IssueKey
) -> None:
    at = {**path, "credential_id": "01a201d1-23ff-7742-9f85-a8c5de91a729"}
    rotation = {"secret": {"access_token": "a"}}
    reader = issue_key(customer, permissions=set(Permission) - {Permission.CONNECTIONS_WRITE}).text
    writer = issue_key(customer, permissions=set(Permission) - {Permission.CONNECTIONS_READ}).text

    unauthorized = [
        call(create_credential, path=path, body=SLACK),
        call(list_credentials, path=path),
        call(rotate_credential, path=at, body=rotation),
    ]
    forbidden = [
        call(create_credential, path=path, key=reader, body=SLACK),
        call(list_credentials, path=path, key=writer),
        call(rotate_credential, path=at, key=reader, body=rotation),
    ]

    assert [refusal_of(response) for response in unauthorized] == [(401, "UNAUTHORIZED")] * 3
    assert [refusal_of(response) for response in forbidden] == [(403, "FORBIDDEN")] * 3


def test_foreign_credential_looks_exactly_like_a_missing_one(
    call: CallFunction,
    key: str,
    path: Mapping[str, object],
    sibling: Scope,
    other_founded: FoundedSpace,
    issue_key: IssueKey,
) -> None:
    created = body_of(call(create_credential, path=path, key=key, body=SLACK))
    rotation = {"secret": {"access_token": "stolen"}}
    missing = {**path, "credential_id": "01a201d1-23ff-7742-9f85-a8c5de91a729"}
    expected = call(rotate_credential, path=missing, key=key, body=rotation)

    for scope in (sibling, other_founded.scope):
        stranger = issue_key(scope).text
        own_path = {"tenant_id": scope.tenant_id}
        foreign = call(
            rotate_credential, path={**own_path, "credential_id": created["id"]}, key=stranger, body=rotation
        )
        foreign_tenant = call(create_credential, path=path, key=stranger, body=SLACK)

        assert foreign == foreign_tenant == expected
        assert body_of(call(list_credentials, path=own_path, key=stranger))["data"] == []
    assert refusal_of(expected) == (404, "NOT_FOUND")


def test_malformed_credential_id_is_a_missing_one(call: CallFunction, key: str, path: Mapping[str, object]) -> None:
    at = {**path, "credential_id": "../../etc/passwd"}

    response = call(rotate_credential, path=at, key=key, body={"secret": {"access_token": "a"}})

    assert refusal_of(response) == (404, NotFound.code)
