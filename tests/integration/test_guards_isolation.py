"""Every endpoint against every stranger: generated from the registry, so a new endpoint is covered at once."""

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from fastn.access.models import Permission
from fastn.http.declarations import EndpointDeclaration, Method
from fastn.http.registry import load_registry
from tests.foundation.databases import ProvisionedDatabase, empty_used_tables
from tests.foundation.world import REGION, RESOURCES, Owner, World, build_world, missing_ids


def _schema_text(declaration: EndpointDeclaration) -> str:
    return json.dumps(declaration.body.model_json_schema()) if declaration.body else ""


REGISTRY = load_registry(Path(__file__).parents[2])
GUARDED: dict[str, EndpointDeclaration] = {
    function.name: declaration for function, declaration in REGISTRY.endpoints() if declaration.permission is not None
}
OPERATIONS = sorted(GUARDED)
NAMING_A_RESOURCE = [name for name in OPERATIONS if GUARDED[name].path_parameters]
READING = [name for name in OPERATIONS if GUARDED[name].method is Method.GET]
WRITING = [name for name in NAMING_A_RESOURCE if GUARDED[name].method is not Method.GET]
WITH_A_BODY = [name for name in OPERATIONS if GUARDED[name].body is not None]
WITH_IDS_IN_THE_BODY = [name for name in WITH_A_BODY if '"format": "uuid"' in _schema_text(GUARDED[name])]
# Of routes without a permission, which authenticate their callers themselves.
OPEN_PARAMETERS = {"space_id", "webhook_id"}


@pytest.fixture(scope="module")
def world(provisioned_database: ProvisionedDatabase, engine_directory: Path) -> Generator[World]:
    """One world for all: what is refused changes nothing, and that is tested too."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", REGION)
        with build_world(provisioned_database, REGISTRY, engine_directory) as built:
            yield built
    with psycopg.connect(provisioned_database.owner_url, autocommit=True) as connection:
        empty_used_tables(connection)


def test_every_path_parameter_has_a_resource_to_try_it_with() -> None:
    guarded = {name for declaration in GUARDED.values() for name in declaration.path_parameters}
    every = {name for _, declaration in REGISTRY.endpoints() for name in declaration.path_parameters}

    assert guarded - RESOURCES.keys() == set(), "name the table of this path parameter in tests/foundation/world.py"
    assert every - guarded - OPEN_PARAMETERS == set(), "an open route takes a parameter nobody has thought about"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_without_a_key_nothing_is_told(operation: str, world: World) -> None:
    existing = world.ask(operation, world.customer.ids, None)
    missing = world.ask(operation, missing_ids(), None)

    assert existing["statusCode"] == 401
    assert existing == missing


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_key_with_every_other_permission_is_forbidden(operation: str, world: World) -> None:
    others = [permission for permission in Permission if permission != GUARDED[operation].permission]
    key = world.key(world.customer.scope, others)

    existing = world.ask(operation, world.customer.ids, key)
    missing = world.ask(operation, missing_ids(), key)

    assert existing["statusCode"] == 403
    assert existing == missing


# What an operation asks for beside the permission it declares.
ALSO_NEEDED = {"test_workflow": (Permission.WORKFLOWS_WRITE,)}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_owner_with_that_one_permission_is_let_in(operation: str, world: World) -> None:
    owner = world.new_owner(world.customer.scope)

    permissions = [GUARDED[operation].permission, *ALSO_NEEDED.get(operation, ())]
    response = world.ask(operation, owner.ids, world.key(owner.scope, permissions))

    # A row made from the schema alone may not be one the operation can finish with; but it must be found.
    assert response["statusCode"] not in {400, 401, 403, 404}, response["body"]
    if operation in READING:
        assert response["statusCode"] == 200, response["body"]


@pytest.mark.parametrize("operation", NAMING_A_RESOURCE)
def test_a_foreign_resource_answers_like_a_missing_one(operation: str, world: World) -> None:
    for intruder in (world.sibling, world.stranger):
        key = world.key(intruder.scope)

        foreign = world.ask(operation, world.customer.ids, key)
        missing = world.ask(operation, missing_ids(), key)

        assert foreign["statusCode"] == 404, foreign["body"]
        assert foreign == missing


@pytest.mark.parametrize("operation", NAMING_A_RESOURCE)
@pytest.mark.parametrize("restricted", [True, False])
def test_a_foreign_id_under_ones_own_tenant_answers_like_a_missing_one(
    operation: str, restricted: bool, world: World
) -> None:
    for intruder in (world.sibling, world.stranger):
        key = world.key(intruder.scope if restricted else replace(intruder.scope, tenant_id=None))
        for name in set(GUARDED[operation].path_parameters) - {"tenant_id"}:
            foreign = world.ask(operation, intruder.ids | {name: world.customer.ids[name]}, key)
            missing = world.ask(operation, intruder.ids | {name: missing_ids()[name]}, key)

            assert foreign["statusCode"] == 404, foreign["body"]
            assert foreign == missing


@pytest.mark.parametrize("operation", WITH_IDS_IN_THE_BODY)
def test_a_foreign_id_in_a_body_answers_like_a_missing_one(operation: str, world: World) -> None:
    for intruder in (world.sibling, world.stranger):
        own_path = {name: intruder.ids[name] for name in GUARDED[operation].path_parameters}
        key = world.key(intruder.scope)

        foreign = world.ask(operation, world.customer.ids | own_path, key)
        missing = world.ask(operation, missing_ids() | own_path, key)

        assert foreign["statusCode"] == 404, foreign["body"]
        assert foreign == missing


@pytest.mark.parametrize("operation", READING)
def test_what_is_read_names_nothing_of_another(operation: str, world: World) -> None:
    for reader in (world.sibling, world.stranger):
        response = world.ask(operation, reader.ids, world.key(reader.scope))

        assert response["statusCode"] == 200, response["body"]
        assert {name for name in _names(world.customer) - _names(reader) if name in response["body"]} == set()


@pytest.mark.parametrize("operation", WITH_A_BODY)
def test_an_unknown_member_of_the_body_is_refused(operation: str, world: World) -> None:
    key = world.key(world.customer.scope)

    response = world.ask(operation, world.customer.ids, key, extra={"unexpectedMember": 1})

    assert response["statusCode"] == 400
    assert json.loads(response["body"])["details"]["problems"][0]["field"].endswith("unexpectedMember")


@pytest.mark.parametrize("operation", WRITING)
def test_a_refused_write_changes_no_row(
    operation: str, world: World, provisioned_database: ProvisionedDatabase
) -> None:
    before = _everything(provisioned_database, world.customer)

    for intruder in (world.sibling, world.stranger):
        key = world.key(intruder.scope)
        world.ask(operation, world.customer.ids, key)
        world.ask(operation, world.customer.ids | {"tenant_id": intruder.ids["tenant_id"]}, key)

    assert _everything(provisioned_database, world.customer) == before


def _names(owner: Owner) -> set[str]:
    return {str(row["id"]) for row in owner.rows.values() if isinstance(row.get("id"), UUID)}


def _everything(database: ProvisionedDatabase, owner: Owner) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    with psycopg.connect(database.superuser_url) as connection:
        for table in (name for name, row in owner.rows.items() if "tenant_id" in row):
            query = sql.SQL("SELECT to_json(t)::text FROM {} t WHERE tenant_id = %s ORDER BY 1")
            found = connection.execute(query.format(sql.Identifier(table)), (owner.scope.tenant_id,)).fetchall()
            rows += [(table, *row) for row in found]
    return rows
