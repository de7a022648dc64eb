"""GET /connectors: the built-in connectors and those a space has defined."""

from collections.abc import Callable

import pytest
from psycopg.types.json import Jsonb

from fastn.access.models import Permission
from fastn.connectors.catalog import ConnectorCatalog
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database
from fastn.platform.ids import new_id
from fastn.platform.scope import Scope
from fastn.tenants.models import FoundedSpace
from functions.api.connectors.list_connectors import handler as list_connectors
from tests.foundation.api_calls import body_of
from tests.foundation.platforms import IssueKey
from tests.integration.triggers.cloud import CallFunction, refusal_of

DefineConnector = Callable[[Scope, str, dict[str, object]], None]
BUILT_IN = [connector.slug for connector in ConnectorCatalog().list_connectors()]


@pytest.fixture
def define_connector(database: Database, clock: FrozenClock) -> DefineConnector:
    """Stores a space's own connector, newer than any before."""

    def define(scope: Scope, slug: str, definition: dict[str, object]) -> None:
        clock.advance(1)
        now = clock.now()
        with database.transaction(scope) as session:
            session.execute(
                """INSERT INTO connectors (organization_id, space_id, id, slug, name, description, definition,
                                           created_at, updated_at)
                   VALUES (%s, %s, %s, %s, %s, 'Our own', %s, %s, %s)""",
                (scope.organization_id, scope.space_id, new_id(now), slug, slug, Jsonb(definition), now, now),
            )

    return define


def listed_slugs(call: CallFunction, key: str, limit: int) -> list[list[str]]:
    """The slugs of every page, following the cursors."""
    pages: list[list[str]] = []
    cursor: str | None = None
    while cursor is not None or not pages:
        query = {"limit": str(limit)} | ({} if cursor is None else {"cursor": cursor})
        page = body_of(call(list_connectors, key=key, query=query))
        pages.append([connector["slug"] for connector in page["data"]])
        cursor = page["nextCursor"]
    return pages


def test_built_in_connector_is_described(call: CallFunction, founded: FoundedSpace, issue_key: IssueKey) -> None:
    page = body_of(call(list_connectors, key=issue_key(founded.scope).text))

    slack = next(connector for connector in page["data"] if connector["slug"] == "slack")
    assert [connector["slug"] for connector in page["data"]] == BUILT_IN
    assert page["nextCursor"] is None
    assert (slack["name"], slack["codeName"], slack["visibility"]) == ("Slack", "slack", "public")
    assert (slack["authMethods"], slack["triggers"]) == (["bearer", "oauth2"], ["webhook"])
    assert {action["name"] for action in slack["actions"]} >= {"postMessage", "conversationsList", "authTest"}
    assert all(action["description"] for action in slack["actions"])


def test_own_connector_follows_the_built_in_ones(
    call: CallFunction, founded: FoundedSpace, issue_key: IssueKey, define_connector: DefineConnector
) -> None:
    definition: dict[str, object] = {
        "auth": {"bearer": {}, "magic": {}},
        "actions": {"createThing": {"description": "Creates a thing."}, "plain": None},
    }
    define_connector(founded.scope, "acme-erp", definition)

    page = body_of(call(list_connectors, key=issue_key(founded.scope).text))

    assert page["data"][-1] == {
        "slug": "acme-erp",
        "name": "acme-erp",
        "description": "Our own",
        "codeName": "acmeErp",
        "authMethods": ["bearer"],
        "actions": [{"name": "createThing", "description": "Creates a thing."}, {"name": "plain", "description": ""}],
        "triggers": [],
        "visibility": "private",
    }


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 100])
def test_pages_of_any_size_name_every_connector_once(
    call: CallFunction, founded: FoundedSpace, issue_key: IssueKey, define_connector: DefineConnector, limit: int
) -> None:
    for slug in ("own-a", "own-b", "own-c"):
        define_connector(founded.scope, slug, {})

    pages = listed_slugs(call, issue_key(founded.scope).text, limit)

    assert [slug for page in pages for slug in page] == [*BUILT_IN, "own-c", "own-b", "own-a"]
    assert all(len(page) == limit for page in pages[:-1])


def test_definition_of_any_shape_is_listed(
    call: CallFunction, founded: FoundedSpace, issue_key: IssueKey, define_connector: DefineConnector
) -> None:
    define_connector(founded.scope, "odd", {"auth": [], "actions": 5, "webhooks": "yes"})

    page = body_of(call(list_connectors, key=issue_key(founded.scope).text))

    odd = page["data"][-1]
    assert (odd["slug"], odd["authMethods"], odd["actions"], odd["triggers"]) == ("odd", [], [], [])


def test_own_connectors_of_another_space_are_not_listed(
    call: CallFunction,
    founded: FoundedSpace,
    other_founded: FoundedSpace,
    issue_key: IssueKey,
    define_connector: DefineConnector,
) -> None:
    define_connector(founded.scope, "acme-erp", {})

    assert listed_slugs(call, issue_key(other_founded.scope).text, 100) == [BUILT_IN]


def test_customer_sees_its_spaces_connectors(
    call: CallFunction,
    founded: FoundedSpace,
    customer: Scope,
    issue_key: IssueKey,
    define_connector: DefineConnector,
) -> None:
    define_connector(founded.scope, "acme-erp", {})

    assert listed_slugs(call, issue_key(customer).text, 100) == [[*BUILT_IN, "acme-erp"]]


def test_refusals(call: CallFunction, founded: FoundedSpace, issue_key: IssueKey) -> None:
    key = issue_key(founded.scope).text
    writer = issue_key(founded.scope, permissions=set(Permission) - {Permission.CONNECTORS_READ}).text

    assert refusal_of(call(list_connectors)) == (401, "UNAUTHORIZED")
    assert refusal_of(call(list_connectors, key=writer)) == (403, "FORBIDDEN")
    unclear: list[dict[str, dict[str, str]]] = [
        {"query": {"limit": "0"}},
        {"query": {"cursor": "x"}},
        {"query": {"q": "1"}},
        {"body": {}},
    ]
    for refused in unclear:
        assert refusal_of(call(list_connectors, key=key, **refused)) == (400, "VALIDATION_FAILED")
