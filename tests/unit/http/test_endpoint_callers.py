"""Who calls an endpoint, on whose behalf, and in which environment."""

import uuid

import pytest

from fastn.access.models import KeyMode, Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database
from fastn.platform.resources import Need
from fastn.platform.scope import Scope
from fastn.platform.wire import WireModel
from fastn.tenants.models import FoundedSpace
from tests.foundation.api_calls import api_event, body_of
from tests.foundation.platforms import IssueKey
from tests.unit.http.conftest import Call

THINGS = "GET /api/v1/tenants/{tenant_id}/things"
SPACE_THINGS = "GET /api/v1/things"


class Owner(WireModel):
    """On whose behalf the handler was asked to work."""

    tenant_id: str
    environment: str
    actor: str


def _owner(request: Request, _platform: Platform) -> Owner:
    tenant_id = str(request.owner.tenant_id)
    return Owner(tenant_id=tenant_id, environment=request.environment, actor=request.caller.actor)


owner_of_path = endpoint(THINGS, permission=Permission.WORKFLOWS_READ, needs={Need.DATABASE})(_owner)
owner_of_space = endpoint(SPACE_THINGS, permission=Permission.WORKFLOWS_READ, needs={Need.DATABASE})(_owner)
bound_to_environment = endpoint(
    SPACE_THINGS, permission=Permission.WORKFLOWS_READ, needs={Need.DATABASE}, environment_bound=True
)(_owner)


# ── Who calls ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("header", ["x-fastn-api-key", "x-fastn-access-key", "X-Fastn-Api-Key"])
def test_a_key_is_read_from_either_header(call: Call, issue_key: IssueKey, founded: FoundedSpace, header: str) -> None:
    key = issue_key(founded.scope)

    response = call(owner_of_space, {**api_event(SPACE_THINGS), "headers": {header: key.text}})

    assert response["statusCode"] == 200
    assert body_of(response)["actor"] == f"api_key:{key.stored.id}"


def test_two_keys_that_disagree_are_refused(call: Call, issue_key: IssueKey, founded: FoundedSpace) -> None:
    keys = [issue_key(founded.scope).text, issue_key(founded.scope).text]

    response = call(owner_of_space, api_event(SPACE_THINGS, key=keys[0], headers={"x-fastn-access-key": keys[1]}))

    assert (response["statusCode"], body_of(response)["code"]) == (400, "VALIDATION_FAILED")


def test_the_same_key_twice_is_one_key(call: Call, issue_key: IssueKey, founded: FoundedSpace) -> None:
    key = issue_key(founded.scope).text

    response = call(owner_of_space, api_event(SPACE_THINGS, key=key, headers={"x-fastn-access-key": key}))

    assert response["statusCode"] == 200


@pytest.mark.parametrize("damage", ["missing", "empty", "other secret", "other mode", "unknown id", "garbage"])
def test_anything_but_a_valid_key_is_unauthorized(
    call: Call, issue_key: IssueKey, founded: FoundedSpace, damage: str
) -> None:
    key = issue_key(founded.scope).text
    prefix, mode, key_id, secret = key.split("_", 3)
    presented = {
        "missing": None,
        "empty": "",
        "other secret": f"{prefix}_{mode}_{key_id}_{'A' * len(secret)}",
        "other mode": f"{prefix}_test_{key_id}_{secret}",
        "unknown id": f"{prefix}_{mode}_{uuid.uuid4().hex}_{secret}",
        "garbage": "wak_live_' OR 1=1 --",
    }[damage]

    response = call(owner_of_space, api_event(SPACE_THINGS, key=presented))

    assert (response["statusCode"], body_of(response)["code"]) == (401, "UNAUTHORIZED")


def test_the_secret_is_compared_even_when_the_key_is_remembered(
    call: Call, issue_key: IssueKey, founded: FoundedSpace
) -> None:
    key = issue_key(founded.scope).text
    call(owner_of_space, api_event(SPACE_THINGS, key=key))

    response = call(owner_of_space, api_event(SPACE_THINGS, key=key[:-43] + "A" * 43))

    assert response["statusCode"] == 401


def test_a_revoked_key_is_refused_within_60_seconds(
    call: Call, issue_key: IssueKey, founded: FoundedSpace, database: Database, clock: FrozenClock
) -> None:
    key = issue_key(founded.scope)
    event = api_event(SPACE_THINGS, key=key.text)
    call(owner_of_space, event)
    with database.transaction(founded.scope) as session:
        session.execute("UPDATE api_keys SET revoked_at = %s WHERE id = %s", (clock.now(), key.stored.id))

    clock.advance(59)
    remembered = call(owner_of_space, event)
    clock.advance(1)
    refused = call(owner_of_space, event)

    assert (remembered["statusCode"], refused["statusCode"]) == (200, 401)


def test_a_new_key_works_at_once_after_it_was_unknown(
    call: Call, issue_key: IssueKey, founded: FoundedSpace, database: Database
) -> None:
    key = issue_key(founded.scope)
    event = api_event(SPACE_THINGS, key=key.text)
    with database.transaction(founded.scope) as session:
        moved = session.execute("DELETE FROM api_keys RETURNING *").fetchone()
    before = call(owner_of_space, event)
    with database.transaction(founded.scope) as session:
        assert moved is not None
        session.execute(
            """INSERT INTO api_keys (organization_id, space_id, id, tenant_id, name, mode, secret_sha256, permissions,
                                     created_at, revoked_at)
               VALUES (%(organization_id)s, %(space_id)s, %(id)s, %(tenant_id)s, %(name)s, %(mode)s,
                       %(secret_sha256)s, %(permissions)s, %(created_at)s, %(revoked_at)s)""",
            moved,
        )

    after = call(owner_of_space, event)

    assert (before["statusCode"], after["statusCode"]) == (401, 200)


def test_a_key_without_the_permission_is_forbidden(call: Call, issue_key: IssueKey, founded: FoundedSpace) -> None:
    others = [permission for permission in Permission if permission is not Permission.WORKFLOWS_READ]

    response = call(owner_of_space, api_event(SPACE_THINGS, key=issue_key(founded.scope, permissions=others).text))

    assert (response["statusCode"], body_of(response)["code"]) == (403, "FORBIDDEN")


def test_custom_auth_never_relaxes_authentication(call: Call) -> None:
    response = call(owner_of_space, api_event(SPACE_THINGS, headers={"x-fastn-custom-auth": "true"}))

    assert response["statusCode"] == 401


# ── On whose behalf ───────────────────────────────────────────────────────────────────────────────


def _space(scope: Scope) -> Scope:
    return Scope(scope.organization_id, scope.space_id)


def test_without_a_tenant_the_default_one_is_meant(call: Call, issue_key: IssueKey, founded: FoundedSpace) -> None:
    response = call(owner_of_space, api_event(SPACE_THINGS, key=issue_key(_space(founded.scope)).text))

    assert body_of(response)["tenantId"] == str(founded.scope.tenant_id)


@pytest.mark.parametrize("header", ["x-fastn-space-tenantid", "x-fastn-account-tenant-id"])
@pytest.mark.parametrize("by_external_id", [True, False])
def test_a_tenant_is_named_by_either_header_and_either_id(
    call: Call, issue_key: IssueKey, customer: Scope, header: str, by_external_id: bool
) -> None:
    reference = "tenant_customer_123" if by_external_id else str(customer.tenant_id)

    response = call(
        owner_of_space, api_event(SPACE_THINGS, key=issue_key(_space(customer)).text, headers={header: reference})
    )

    assert body_of(response)["tenantId"] == str(customer.tenant_id)


@pytest.mark.parametrize("by_external_id", [True, False])
def test_a_tenant_is_named_in_the_path(call: Call, issue_key: IssueKey, customer: Scope, by_external_id: bool) -> None:
    reference = "tenant_customer_123" if by_external_id else str(customer.tenant_id).upper()

    response = call(
        owner_of_path, api_event(THINGS, path={"tenant_id": reference}, key=issue_key(_space(customer)).text)
    )

    assert body_of(response)["tenantId"] == str(customer.tenant_id)


def test_a_path_and_a_header_that_name_different_tenants_are_refused(
    call: Call, issue_key: IssueKey, customer: Scope, sibling: Scope
) -> None:
    event = api_event(
        THINGS,
        path={"tenant_id": customer.tenant_id},
        key=issue_key(_space(customer)).text,
        headers={"x-fastn-space-tenantid": str(sibling.tenant_id)},
    )

    response = call(owner_of_path, event)

    assert (response["statusCode"], body_of(response)["code"]) == (400, "VALIDATION_FAILED")


def test_two_tenant_headers_that_disagree_are_refused(
    call: Call, issue_key: IssueKey, customer: Scope, sibling: Scope
) -> None:
    headers = {
        "x-fastn-space-tenantid": str(customer.tenant_id),
        "x-fastn-account-tenant-id": str(sibling.tenant_id),
    }

    response = call(owner_of_space, api_event(SPACE_THINGS, key=issue_key(_space(customer)).text, headers=headers))

    assert response["statusCode"] == 400


def test_a_restricted_key_works_for_its_own_tenant(call: Call, issue_key: IssueKey, customer: Scope) -> None:
    key = issue_key(customer).text

    unnamed = call(owner_of_space, api_event(SPACE_THINGS, key=key))
    named = call(owner_of_path, api_event(THINGS, path={"tenant_id": "tenant_customer_123"}, key=key))

    assert body_of(unnamed)["tenantId"] == body_of(named)["tenantId"] == str(customer.tenant_id)


def test_a_restricted_key_finds_a_sibling_as_missing_as_nobody(
    call: Call, issue_key: IssueKey, customer: Scope, sibling: Scope, founded: FoundedSpace
) -> None:
    key = issue_key(customer).text
    references = [sibling.tenant_id, "tenant_customer_456", founded.scope.tenant_id, "default", uuid.uuid4(), "nobody"]

    responses = [call(owner_of_path, api_event(THINGS, path={"tenant_id": name}, key=key)) for name in references]

    assert [response["statusCode"] for response in responses] == [404] * len(references)
    assert len({response["body"] for response in responses}) == 1


def test_another_organizations_tenant_is_as_missing_as_nobody(
    call: Call, issue_key: IssueKey, customer: Scope, other_founded: FoundedSpace
) -> None:
    key = issue_key(_space(other_founded.scope)).text

    foreign = call(owner_of_path, api_event(THINGS, path={"tenant_id": customer.tenant_id}, key=key))
    missing = call(owner_of_path, api_event(THINGS, path={"tenant_id": uuid.uuid4()}, key=key))

    assert foreign["statusCode"] == 404
    assert foreign == missing


@pytest.mark.parametrize("header", ["x-fastn-space-id", "x-fastn-account-id"])
def test_the_space_header_must_name_the_keys_own_space(
    call: Call, issue_key: IssueKey, founded: FoundedSpace, other_founded: FoundedSpace, header: str
) -> None:
    key = issue_key(founded.scope).text
    spaces = [founded.scope.space_id, other_founded.scope.space_id, "not-a-space"]

    statuses = [
        call(owner_of_space, api_event(SPACE_THINGS, key=key, headers={header: str(space)}))["statusCode"]
        for space in spaces
    ]

    assert statuses == [200, 404, 404]


# ── In which environment ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("stage", "environment"), [(None, "production"), ("DRAFT", "draft"), ("staging", "staging"), ("", "production")]
)
def test_the_stage_header_names_the_environment(
    call: Call, issue_key: IssueKey, founded: FoundedSpace, stage: str | None, environment: str
) -> None:
    headers = {} if stage is None else {"stage": stage}

    response = call(bound_to_environment, api_event(SPACE_THINGS, key=issue_key(founded.scope).text, headers=headers))

    assert body_of(response)["environment"] == environment


@pytest.mark.parametrize("stage", ["../production", "a b", "x" * 64, "1st"])
def test_a_stage_that_cannot_be_a_name_is_refused(
    call: Call, issue_key: IssueKey, founded: FoundedSpace, stage: str
) -> None:
    event = api_event(SPACE_THINGS, key=issue_key(founded.scope).text, headers={"stage": stage})

    assert call(bound_to_environment, event)["statusCode"] == 400


@pytest.mark.parametrize(("stage", "status"), [(None, 403), ("production", 403), ("DRAFT", 200), ("staging", 200)])
def test_a_test_key_does_not_reach_production(
    call: Call, issue_key: IssueKey, founded: FoundedSpace, stage: str | None, status: int
) -> None:
    key = issue_key(founded.scope, mode=KeyMode.TEST).text
    headers = {} if stage is None else {"stage": stage}

    response = call(bound_to_environment, api_event(SPACE_THINGS, key=key, headers=headers))

    assert response["statusCode"] == status


def test_a_test_key_uses_routes_that_are_not_bound_to_an_environment(
    call: Call, issue_key: IssueKey, founded: FoundedSpace
) -> None:
    key = issue_key(founded.scope, mode=KeyMode.TEST).text

    assert call(owner_of_space, api_event(SPACE_THINGS, key=key))["statusCode"] == 200
