"""The workflow endpoints from the caller's side."""

from collections.abc import Mapping
from typing import Any

import pytest

from fastn.access.models import KeyMode, Permission
from fastn.errors import UndeclaredNeed
from fastn.http.endpoint import EndpointFunction
from fastn.platform.clock import FrozenClock
from fastn.platform.resources import Need
from fastn.platform.scope import Scope
from fastn.tenants.models import FoundedSpace
from fastn.workflows.source_check import source_checker
from tests.foundation.platforms import PlatformFor
from tests.integration.workflows.conftest import Client, ClientFor

SOURCE = "export default async function (ctx) { return ctx.input; }"
MISSING = "0192f0c1-2b3c-7d4e-8f50-112233445566"
BODIES: Mapping[str, object] = {
    "create_workflow": {"name": "Sync orders"},
    "update_workflow": {
        "name": "Sync orders", "language": "javascript", "source": SOURCE, "tier": "instant", "isActive": True,
    },
    "deploy_workflow": {"environment": "production"},
}  # fmt: skip
PERMISSIONS = {
    "list_workflows": Permission.WORKFLOWS_READ,
    "get_workflow": Permission.WORKFLOWS_READ,
    "create_workflow": Permission.WORKFLOWS_WRITE,
    "update_workflow": Permission.WORKFLOWS_WRITE,
    "archive_workflow": Permission.WORKFLOWS_WRITE,
    "publish_workflow": Permission.WORKFLOWS_PUBLISH,
    "deploy_workflow": Permission.WORKFLOWS_DEPLOY,
}
OF_ONE = ("get_workflow", "update_workflow", "publish_workflow", "deploy_workflow", "archive_workflow")


def _target(operation: str, workflow_id: object) -> object:
    return workflow_id if operation in OF_ONE else None


def _create(client: Client, **members: object) -> Any:  # JSON
    answer = client.call("create_workflow", body={"name": "Sync orders", **members})
    assert answer.status == 201, answer.body
    return answer.body


def test_life_of_a_workflow(client: Client) -> None:
    created = client.call("create_workflow", body={"name": "Sync orders", "source": SOURCE, "tier": "instant"})
    workflow_id = created.body["id"]
    saved = client.call(
        "update_workflow", workflow_id, body=BODIES["update_workflow"], headers={"if-match": created.headers["etag"]}
    )
    published = client.call("publish_workflow", workflow_id)
    deployed = client.call("deploy_workflow", workflow_id, body={"environment": "production"})
    seen = client.call("get_workflow", workflow_id)
    listed = client.call("list_workflows")
    archived = client.call("archive_workflow", workflow_id)

    assert (created.status, created.headers["etag"], created.body["slug"]) == (201, '"1"', "sync-orders")
    assert (saved.status, saved.headers["etag"]) == (200, '"2"')
    assert (published.status, published.body["version"], len(published.body["sourceSha256"])) == (201, 1, 64)
    assert published.body["publishedBy"].startswith("api_key:")
    assert (deployed.status, deployed.body["environment"], deployed.body["version"]) == (200, "production", 1)
    assert seen.body["deployments"] == [deployed.body]
    assert (seen.body["latestVersion"], seen.body["status"], seen.headers["etag"]) == (1, "active", '"2"')
    assert [item["id"] for item in listed.body["data"]] == [workflow_id]
    assert "source" not in listed.body["data"][0]
    assert listed.body["nextCursor"] is None
    assert (archived.status, archived.body["status"]) == (200, "inactive")
    assert archived.body["archivedAt"].endswith("Z")


def test_stale_etag_is_refused(client: Client) -> None:
    workflow = _create(client)
    client.call("update_workflow", workflow["id"], body=BODIES["update_workflow"])

    answer = client.call("update_workflow", workflow["id"], body=BODIES["update_workflow"], headers={"if-match": '"1"'})

    assert (answer.status, answer.body["code"]) == (412, "PRECONDITION_FAILED")


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("javascript", "export default async function (ctx) {\n  return ctx.input;"),
        ("javascript", "const x: number = 1;\nexport default async () => x;"),
        ("javascript", "export const flow = async () => 1;"),
        ("javascript", "import fs from 'node:fs';\nexport default async () => fs;"),
        ("typescript", "export default async (ctx: { input: number ) => ctx.input;"),
    ],
)
def test_source_that_is_no_workflow_is_refused_when_saved(client: Client, language: str, source: str) -> None:
    workflow = _create(client)
    draft = {**_object(BODIES["update_workflow"]), "language": language, "source": source}

    created = client.call("create_workflow", body={"name": "Other", "language": language, "source": source})
    saved = client.call("update_workflow", workflow["id"], body=draft)

    for answer in (created, saved):
        assert (answer.status, answer.body["code"]) == (400, "VALIDATION_FAILED")
        assert answer.body["details"]["fault"] == "PROGRAM_INVALID"
    assert len(client.call("list_workflows").body["data"]) == 1


def test_place_of_a_syntax_error_is_told(client: Client) -> None:
    answer = client.call("create_workflow", body={"name": "Broken", "source": SOURCE + "\nlet = ;"})

    assert answer.body["details"]["line"] == 2


def test_checking_a_source_runs_none_of_it(client: Client) -> None:
    endless = "for (;;) {}\nexport default async () => 1;"

    assert client.call("create_workflow", body={"name": "Endless", "source": endless}).status == 201


def test_typescript_is_taken(client: Client) -> None:
    source = "type Order = { id: number };\nexport default async (ctx: { input: Order }) => ctx.input.id as number;"

    assert _create(client, language="typescript", source=source)["language"] == "typescript"


def test_taken_and_reserved_slugs_are_told_apart(client: Client) -> None:
    _create(client)

    taken = client.call("create_workflow", body={"name": "x", "slug": "sync_orders"})
    reserved = client.call("create_workflow", body={"name": "Tenants"})

    assert (taken.status, taken.body["code"], taken.body["details"]) == (409, "CONFLICT", {"slug": "sync-orders"})
    assert (reserved.status, reserved.body["code"]) == (400, "VALIDATION_FAILED")


def test_list_is_filtered_and_paged(client: Client, clock: FrozenClock) -> None:
    for number in range(3):
        clock.advance(1)
        _create(client, slug=f"flow-{number}", tier="long" if number == 1 else "instant")

    first = client.call("list_workflows", query={"limit": "1", "tier": "instant"}).body
    second = client.call("list_workflows", query={"limit": "1", "tier": "instant", "cursor": first["nextCursor"]}).body

    assert [item["slug"] for item in first["data"] + second["data"]] == ["flow-2", "flow-0"]
    assert second["nextCursor"] is None
    assert client.call("list_workflows", query={"tier": "huge"}).status == 400
    assert client.call("list_workflows", query={"colour": "red"}).status == 400


def test_test_key_cannot_deploy_to_production(client_for: ClientFor, customer: Scope) -> None:
    tester = client_for(customer, mode=KeyMode.TEST)
    workflow = _create(tester)
    tester.call("publish_workflow", workflow["id"])

    assert tester.call("deploy_workflow", workflow["id"], body={"environment": "staging"}).status == 200
    refused = tester.call("deploy_workflow", workflow["id"], body={"environment": "production"})
    assert (refused.status, refused.body["code"]) == (403, "FORBIDDEN")


def test_deploying_before_publishing_says_what_to_do(client: Client) -> None:
    answer = client.call("deploy_workflow", _create(client)["id"], body={"environment": "production"})

    assert (answer.status, answer.body["code"]) == (409, "CONFLICT")
    assert "Publish" in answer.body["message"]


@pytest.mark.parametrize("operation", PERMISSIONS)
def test_call_without_a_key_is_refused(client: Client, operation: str) -> None:
    client.key = None

    answer = client.call(operation, _target(operation, MISSING), body=BODIES.get(operation))

    assert (answer.status, answer.body["code"]) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("operation", PERMISSIONS)
def test_call_with_every_permission_but_the_right_one_is_refused(
    client_for: ClientFor, customer: Scope, operation: str
) -> None:
    others = set(Permission) - {PERMISSIONS[operation]}
    client = client_for(customer, permissions=others)

    answer = client.call(operation, _target(operation, MISSING), body=BODIES.get(operation))

    assert (answer.status, answer.body["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize("operation", OF_ONE)
def test_another_customers_workflow_is_answered_as_a_missing_one(
    client: Client, client_for: ClientFor, sibling: Scope, other_founded: FoundedSpace, operation: str
) -> None:
    workflow = _create(client)
    body = BODIES.get(operation)

    for stranger in (client_for(sibling), client_for(other_founded.scope)):
        foreign = stranger.call(operation, workflow["id"], body=body)
        missing = stranger.call(operation, MISSING, body=body)
        garbage = stranger.call(operation, "../workflows", body=body)

        assert foreign.status == 404
        assert foreign == missing == garbage


def test_customer_sees_and_cannot_change_what_its_space_shares(
    client: Client, client_for: ClientFor, founded: FoundedSpace
) -> None:
    owner = client_for(founded.scope)
    shared = _create(owner)

    assert client.call("get_workflow", shared["id"]).body == shared
    assert [item["isShared"] for item in client.call("list_workflows").body["data"]] == [True]
    for operation in OF_ONE[1:]:
        assert client.call(operation, shared["id"], body=BODIES.get(operation)).status == 404


@pytest.mark.parametrize("operation", ["create_workflow", "update_workflow", "deploy_workflow"])
def test_unknown_member_is_refused(client: Client, operation: str) -> None:
    body = {**_object(BODIES[operation]), "colour": "red"}

    answer = client.call(operation, _target(operation, MISSING), body=body)

    assert (answer.status, answer.body["details"]["problems"][0]["field"]) == (400, "colour")


@pytest.mark.parametrize("operation", ["publish_workflow", "archive_workflow"])
def test_body_is_refused_where_none_is_taken(client: Client, operation: str) -> None:
    assert client.call(operation, MISSING, body={}).status == 400


def test_source_over_the_limit_is_refused(client: Client) -> None:
    long = client.call("create_workflow", body={"name": "x", "source": SOURCE + "/" * 524_288})
    huge = client.call("create_workflow", body={"name": "x", "source": SOURCE + "/" * 1_048_576})

    assert (long.status, huge.status) == (400, 413)


def test_check_needs_the_engine_to_be_declared(
    platform_for: PlatformFor, handlers: Mapping[str, EndpointFunction[Any]]
) -> None:
    declared = {name for name, handler in handlers.items() if Need.ENGINE in handler.declaration.needs}

    assert declared == {"create_workflow", "update_workflow"}
    with pytest.raises(UndeclaredNeed):
        source_checker(platform_for({Need.DATABASE}))


def _object(body: object) -> dict[str, object]:
    assert isinstance(body, dict)
    return {str(name): value for name, value in body.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # JSON
