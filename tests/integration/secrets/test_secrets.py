"""The secrets API: what is stored, who may see it, and that a value never comes back."""

import logging
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr

from fastn.access.models import KeyMode, Permission
from fastn.errors import NotFound, PreconditionFailed
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database, Role, Session
from fastn.platform.resources import Need
from fastn.platform.scope import Scope
from fastn.secrets import named_store, service
from fastn.secrets.errors import DecryptionFailed, SecretMissing
from fastn.secrets.named_models import VERSIONS_KEPT, SecretId, SecretReference
from fastn.secrets.service import SecretTools, StoredSecret, read_current, read_version, secret_tools
from fastn.secrets.views import SecretRotation
from fastn.tenants.models import FoundedSpace
from functions.api.tenants.tenant_id.secrets.create_secret import handler as create_secret
from functions.api.tenants.tenant_id.secrets.list_secrets import handler as list_secrets
from functions.api.tenants.tenant_id.secrets.secret_id.delete_secret import handler as delete_secret
from functions.api.tenants.tenant_id.secrets.secret_id.rotate_secret import handler as rotate_secret
from tests.foundation.api_calls import body_of
from tests.foundation.platforms import IssueKey, PlatformFor
from tests.integration.triggers.cloud import CallFunction, Cloud, refusal_of
from tests.integration.triggers.query_plans import plans_of

PLANTED = "planted-4f9a1c"
TOKEN: Mapping[str, Any] = {"name": "SHOPIFY_API_TOKEN", "value": PLANTED}
Path = Mapping[str, object]


@pytest.fixture
def tools(platform_for: PlatformFor, cloud: Cloud) -> SecretTools:
    return secret_tools(platform_for({Need.DATABASE, Need.TENANT_KEYS}, clients=cloud.client, settings=cloud.settings))


@pytest.fixture
def key(issue_key: IssueKey, customer: Scope) -> str:
    return issue_key(customer).text


@pytest.fixture
def path(customer: Scope) -> Path:
    return {"tenant_id": customer.tenant_id}


def test_stored_secret_is_described_without_its_value(call: CallFunction, key: str, path: Path) -> None:
    response = call(create_secret, path=path, key=key, body=TOKEN)

    created = body_of(response)
    assert response["statusCode"] == 201
    assert response["headers"]["etag"] == '"1"'
    assert {name: created[name] for name in created if name != "id"} == {
        "name": "SHOPIFY_API_TOKEN",
        "environment": "production",
        "revision": 1,
        "createdAt": "2026-11-22T12:00:00.000Z",
        "updatedAt": "2026-11-22T12:00:00.000Z",
    }
    assert body_of(call(list_secrets, path=path, key=key)) == {"data": [created], "nextCursor": None}


def test_a_value_never_comes_back_and_is_never_logged(
    call: CallFunction,
    key: str,
    path: Path,
    database: Database,
    customer: Scope,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    created = call(create_secret, path=path, key=key, body=TOKEN)
    at = {**path, "secret_id": body_of(created)["id"]}
    answers = [
        created,
        call(create_secret, path=path, key=key, body=TOKEN),
        call(create_secret, path=path, key=key, body={"name": "bad name", "value": PLANTED}),
        call(create_secret, path=path, key=key, body={"name": PLANTED + " ", "value": PLANTED}),
        call(create_secret, path=path, key=key, body={"name": "A", "value": {"nested": PLANTED}}),
        call(create_secret, path=path, key=key, body={"name": "A", "value": PLANTED * 2000}),
        call(create_secret, path=path, key=key, body=f'{{"name": "A", "value": "{PLANTED}'),
        call(rotate_secret, path=at, key=key, body={"value": PLANTED}),
        call(rotate_secret, path=at, key=key, body={"value": PLANTED}, headers={"if-match": '"1"'}),
        call(list_secrets, path=path, key=key),
        call(delete_secret, path=at, key=key, body={"value": PLANTED}),
    ]
    with database.transaction(customer) as session:
        rows = [session.execute("SELECT * FROM secrets").fetchall(), _ciphertexts(session)]

    printed = capsys.readouterr()
    logged = [vars(record) for record in caplog.records]
    assert [answer["statusCode"] for answer in answers] == [201, 409, 400, 400, 400, 400, 400, 200, 412, 200, 400]
    assert PLANTED not in str(answers)
    assert PLANTED not in f"{logged} {printed.out} {printed.err} {rows}"


def test_run_reads_what_was_stored_last_and_by_version_what_was_stored_before(
    call: CallFunction, key: str, path: Path, customer: Scope, tools: SecretTools
) -> None:
    at = {**path, "secret_id": body_of(call(create_secret, path=path, key=key, body=TOKEN))["id"]}
    first = read_current(tools, customer, "production", "SHOPIFY_API_TOKEN")

    response = call(rotate_secret, path=at, key=key, body={"value": "ключ 🔑 second"}, headers={"if-match": '"1"'})

    second = read_current(tools, customer, "production", "SHOPIFY_API_TOKEN")
    assert (first.value, first.reference.version) == (PLANTED, 1)
    assert (second.value, second.reference.version) == ("ключ 🔑 second", 2)
    assert read_version(tools, customer, "production", first.reference) == first
    assert response["headers"]["etag"] == '"2"'
    assert PLANTED not in repr(first)


def test_the_last_five_versions_can_be_read_and_no_other_is_kept(
    call: CallFunction, key: str, path: Path, customer: Scope, tools: SecretTools, database: Database
) -> None:
    at = {**path, "secret_id": body_of(call(create_secret, path=path, key=key, body=TOKEN))["id"]}
    for number in range(2, 8):
        call(rotate_secret, path=at, key=key, body={"value": f"value {number}"})

    current = read_current(tools, customer, "production", "SHOPIFY_API_TOKEN").reference
    kept = [SecretReference(current.id, current.name, number) for number in range(3, 8)]
    values = [read_version(tools, customer, "production", each).value for each in kept]

    assert values == [f"value {number}" for number in range(3, 8)]
    with pytest.raises(SecretMissing, match="Version 2"):
        read_version(tools, customer, "production", SecretReference(current.id, current.name, 2))
    with database.transaction(customer) as session:
        assert len(_ciphertexts(session)) == VERSIONS_KEPT


def test_of_two_rotations_that_expect_one_version_the_second_is_refused_and_leaves_nothing(
    call: CallFunction, key: str, path: Path, customer: Scope, tools: SecretTools, database: Database
) -> None:
    at = {**path, "secret_id": body_of(call(create_secret, path=path, key=key, body=TOKEN))["id"]}
    expecting = {"if-match": '"1"'}

    first = call(rotate_secret, path=at, key=key, body={"value": "first"}, headers=expecting)
    late = call(rotate_secret, path=at, key=key, body={"value": "late"}, headers=expecting)

    assert first["statusCode"] == 200
    assert refusal_of(late) == (412, "PRECONDITION_FAILED")
    assert read_current(tools, customer, "production", "SHOPIFY_API_TOKEN").value == "first"
    with database.transaction(customer) as session:
        assert len(_ciphertexts(session)) == 2


def test_rotations_at_once_take_turns(
    call: CallFunction,
    key: str,
    path: Path,
    customer: Scope,
    tools: SecretTools,
    databases: Mapping[Role, str],
    clock: FrozenClock,
) -> None:
    secret_id = uuid.UUID(body_of(call(create_secret, path=path, key=key, body=TOKEN))["id"])
    stored = StoredSecret(customer, "production", secret_id, expected_version=1)
    tools.vault.prepare(customer)

    def rotate(number: int) -> bool:
        own = Database(databases[Role.APP])
        try:
            rotation = SecretRotation(value=SecretStr(f"value {number}"))
            service.rotate_secret(SecretTools(own, tools.vault, clock), stored, rotation)
        except PreconditionFailed:
            return False
        finally:
            own.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(rotate, range(8)))

    assert outcomes.count(True) == 1
    current = read_current(tools, customer, "production", "SHOPIFY_API_TOKEN")
    assert (current.value, current.reference.version) == (f"value {outcomes.index(True)}", 2)


def test_a_deleted_secret_is_gone_with_every_version(
    call: CallFunction, key: str, path: Path, customer: Scope, tools: SecretTools, database: Database
) -> None:
    at = {**path, "secret_id": body_of(call(create_secret, path=path, key=key, body=TOKEN))["id"]}
    reference = read_current(tools, customer, "production", "SHOPIFY_API_TOKEN").reference

    deleted, again = (call(delete_secret, path=at, key=key) for _ in range(2))

    assert deleted["statusCode"] == 204
    assert refusal_of(again) == (404, NotFound.code)
    with pytest.raises(SecretMissing, match="no secret named SHOPIFY_API_TOKEN in production"):
        read_current(tools, customer, "production", "SHOPIFY_API_TOKEN")
    with pytest.raises(SecretMissing):
        read_version(tools, customer, "production", reference)
    with database.transaction(customer) as session:
        assert _ciphertexts(session) == []


def test_name_is_taken_per_tenant_and_environment(
    call: CallFunction, key: str, path: Path, sibling: Scope, issue_key: IssueKey
) -> None:
    siblings = {"tenant_id": sibling.tenant_id}
    statuses = [
        call(create_secret, path=path, key=key, body=TOKEN)["statusCode"],
        call(create_secret, path=path, key=key, body={**TOKEN, "name": "OTHER"})["statusCode"],
        call(create_secret, path=path, key=key, body=TOKEN, headers={"stage": "staging"})["statusCode"],
        call(create_secret, path=path, key=key, body=TOKEN, headers={"stage": "DRAFT"})["statusCode"],
        call(create_secret, path=siblings, key=issue_key(sibling).text, body=TOKEN)["statusCode"],
    ]
    again = call(create_secret, path=path, key=key, body=TOKEN)

    assert statuses == [201] * 5
    assert refusal_of(again) == (409, "CONFLICT")


def test_secret_belongs_to_its_tenant_and_environment(
    call: CallFunction, key: str, path: Path, founded: FoundedSpace, sibling: Scope, customer: Scope, tools: SecretTools
) -> None:
    call(create_secret, path=path, key=key, body=TOKEN)
    reference = read_current(tools, customer, "production", "SHOPIFY_API_TOKEN").reference

    for scope, environment in ((sibling, "production"), (founded.scope, "production"), (customer, "staging")):
        with pytest.raises(SecretMissing):
            read_current(tools, scope, environment, "SHOPIFY_API_TOKEN")
    with pytest.raises(SecretMissing):
        read_version(tools, sibling, "production", reference)
    with pytest.raises(DecryptionFailed):
        read_version(tools, customer, "staging", reference)


def test_ciphertext_moved_to_another_secret_does_not_open(
    call: CallFunction, key: str, path: Path, customer: Scope, tools: SecretTools, database: Database
) -> None:
    call(create_secret, path=path, key=key, body=TOKEN)
    call(create_secret, path=path, key=key, body={"name": "OTHER", "value": "other value"})
    with database.transaction(customer) as session:
        session.execute("DELETE FROM secret_versions WHERE secret_id = (SELECT id FROM secrets WHERE name = 'OTHER')")
        session.execute(
            """INSERT INTO secret_versions SELECT v.organization_id, v.space_id, v.tenant_id, s.id, v.version,
                   v.ciphertext, v.created_at FROM secret_versions v, secrets s WHERE s.name = 'OTHER'"""
        )

    with pytest.raises(DecryptionFailed):
        read_current(tools, customer, "production", "OTHER")


def test_a_secret_that_was_renamed_behind_our_back_does_not_open(
    call: CallFunction, key: str, path: Path, customer: Scope, tools: SecretTools, database: Database
) -> None:
    call(create_secret, path=path, key=key, body=TOKEN)
    with database.transaction(customer) as session:
        session.execute("UPDATE secrets SET name = 'OTHER'")

    with pytest.raises(DecryptionFailed):
        read_current(tools, customer, "production", "OTHER")


@pytest.mark.parametrize("name", ["", "a b", "é", "a\x00", "../x", "9a", "a" * 129])
def test_what_cannot_be_a_name_is_missing_without_asking_the_database(
    customer: Scope, tools: SecretTools, database: Database, name: str
) -> None:
    with pytest.raises(SecretMissing, match="No secret can have this name"):
        read_current(tools, customer, "production", name)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": ""}, "name"),
        ({"name": "with space"}, "name"),
        ({"name": "9lives"}, "name"),
        ({"name": "nul\x00"}, "name"),
        ({"name": "line\n"}, "name"),
        ({"name": "n" * 129}, "name"),
        ({"value": ""}, "value"),
        ({"value": "abc"}, "value"),
        ({"value": "v" * 8193}, "value"),
        ({"value": 5}, "value"),
        ({"value": None}, "value"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_unclear_secret_is_refused_naming_the_member(
    call: CallFunction, key: str, path: Path, change: Mapping[str, object], problem: str
) -> None:
    response = call(create_secret, path=path, key=key, body={**TOKEN, **change})

    assert refusal_of(response) == (400, "VALIDATION_FAILED")
    assert body_of(response)["details"]["problems"][0]["field"] == problem
    assert body_of(call(list_secrets, path=path, key=key))["data"] == []


@pytest.mark.parametrize("value", ["abcd", "v" * 8192, "nul\x00 inside", "-----BEGIN KEY-----\nline\n", "🔑🔑🔑🔑"])
def test_any_text_of_four_to_8192_characters_is_a_value(
    call: CallFunction, key: str, path: Path, customer: Scope, tools: SecretTools, value: str
) -> None:
    assert call(create_secret, path=path, key=key, body={"name": "_a.B-9", "value": value})["statusCode"] == 201
    assert read_current(tools, customer, "production", "_a.B-9").value == value


def test_unknown_environment_is_refused(call: CallFunction, key: str, path: Path) -> None:
    response = call(create_secret, path=path, key=key, body=TOKEN, headers={"stage": "moon"})

    assert refusal_of(response) == (400, "VALIDATION_FAILED")


def test_list_is_paged_newest_first_within_one_environment(
    call: CallFunction, key: str, path: Path, clock: FrozenClock
) -> None:
    for number in range(5):
        call(create_secret, path=path, key=key, body={**TOKEN, "name": f"c{number}"})
        clock.advance(1)
    call(create_secret, path=path, key=key, body=TOKEN, headers={"stage": "staging"})

    pages: list[list[str]] = []
    cursor: str | None = None
    while cursor is not None or not pages:
        query = {"limit": "2"} if cursor is None else {"limit": "2", "cursor": cursor}
        page = body_of(call(list_secrets, path=path, key=key, query=query))
        pages.append([item["name"] for item in page["data"]])
        cursor = page["nextCursor"]

    assert pages == [["c4", "c3"], ["c2", "c1"], ["c0"]]


def test_test_key_reaches_every_environment_but_production(
    call: CallFunction, key: str, path: Path, customer: Scope, issue_key: IssueKey
) -> None:
    test_key = issue_key(customer, mode=KeyMode.TEST).text
    staging = {"stage": "staging"}
    in_production = {**path, "secret_id": body_of(call(create_secret, path=path, key=key, body=TOKEN))["id"]}
    rotation = {"value": "stolen"}

    refused = [
        call(create_secret, path=path, key=test_key, body=TOKEN),
        call(list_secrets, path=path, key=test_key),
        call(rotate_secret, path=in_production, key=test_key, body=rotation),
        call(delete_secret, path=in_production, key=test_key),
    ]
    smuggled = [
        call(rotate_secret, path=in_production, key=test_key, body=rotation, headers=staging),
        call(delete_secret, path=in_production, key=test_key, headers=staging),
    ]
    created = call(create_secret, path=path, key=test_key, body=TOKEN, headers=staging)
    at = {**path, "secret_id": body_of(created)["id"]}
    allowed = [
        call(list_secrets, path=path, key=test_key, headers=staging),
        call(rotate_secret, path=at, key=test_key, body=rotation, headers=staging),
        call(delete_secret, path=at, key=test_key, headers=staging),
    ]

    assert [refusal_of(response) for response in refused] == [(403, "FORBIDDEN")] * 4
    assert [refusal_of(response) for response in smuggled] == [(404, "NOT_FOUND")] * 2
    assert [response["statusCode"] for response in [created, *allowed]] == [201, 200, 200, 204]


def test_calls_without_a_key_or_the_permission_are_refused(
    call: CallFunction, path: Path, customer: Scope, issue_key: IssueKey
) -> None:
    at = {**path, "secret_id": uuid.uuid4()}
    calls: list[tuple[Any, dict[str, Any], Permission]] = [
        (create_secret, {"path": path, "body": TOKEN}, Permission.SECRETS_WRITE),
        (list_secrets, {"path": path}, Permission.SECRETS_READ),
        (rotate_secret, {"path": at, "body": {"value": "value"}}, Permission.SECRETS_WRITE),
        (delete_secret, {"path": at}, Permission.SECRETS_WRITE),
    ]

    for handler, sent, permission in calls:
        others = issue_key(customer, permissions=set(Permission) - {permission}).text

        assert refusal_of(call(handler, **sent)) == (401, "UNAUTHORIZED")
        assert refusal_of(call(handler, key=others, **sent)) == (403, "FORBIDDEN")


def test_foreign_secret_looks_exactly_like_a_missing_one(
    call: CallFunction,
    key: str,
    path: Path,
    sibling: Scope,
    other_founded: FoundedSpace,
    customer: Scope,
    tools: SecretTools,
    issue_key: IssueKey,
) -> None:
    created = body_of(call(create_secret, path=path, key=key, body=TOKEN))
    rotation = {"value": "stolen"}
    expected = call(rotate_secret, path={**path, "secret_id": uuid.uuid4()}, key=key, body=rotation)

    for scope in (sibling, other_founded.scope):
        stranger = issue_key(scope).text
        own_path = {"tenant_id": scope.tenant_id}
        foreign = {**own_path, "secret_id": created["id"]}

        assert call(rotate_secret, path=foreign, key=stranger, body=rotation) == expected
        assert call(delete_secret, path=foreign, key=stranger) == expected
        assert call(delete_secret, path={**path, "secret_id": created["id"]}, key=stranger) == expected
        assert call(create_secret, path=path, key=stranger, body=TOKEN) == expected
        assert body_of(call(list_secrets, path=own_path, key=stranger))["data"] == []
    assert refusal_of(expected) == (404, "NOT_FOUND")
    assert read_current(tools, customer, "production", "SHOPIFY_API_TOKEN").value == PLANTED


def test_malformed_secret_id_is_a_missing_one(call: CallFunction, key: str, path: Path) -> None:
    at = {**path, "secret_id": "../../etc/passwd"}

    assert refusal_of(call(rotate_secret, path=at, key=key, body={"value": "value"})) == (404, NotFound.code)
    assert refusal_of(call(delete_secret, path=at, key=key)) == (404, NotFound.code)


def test_secrets_are_read_through_indexes(database: Database, customer: Scope, clock: FrozenClock) -> None:
    reference = SecretReference(SecretId(uuid.uuid4()), "A", 1)
    asked: list[Callable[[Session], object]] = [
        lambda session: named_store.find_current(session, environment="production", name="A"),
        lambda session: named_store.find_version(session, reference),
        lambda session: named_store.find_secret(session, reference.id, environment="production"),
        lambda session: named_store.list_secrets(session, environment="production", after=uuid.uuid4(), limit=21),
        lambda session: named_store.delete_secret(session, reference.id, environment="production"),
        lambda session: named_store.add_version(session, customer, reference.id, b"", rotated_at=clock.now()),
    ]

    for plan in plans_of(database, customer, asked):
        assert "Index" in plan
        assert "Seq Scan" not in plan


def _ciphertexts(session: Session) -> list[bytes]:
    return [bytes(row["ciphertext"]) for row in session.execute("SELECT ciphertext FROM secret_versions").fetchall()]
