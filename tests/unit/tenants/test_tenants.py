"""Founding organizations and finding the customer a caller names."""

import uuid
from dataclasses import replace

import psycopg
import pytest

from fastn.errors import NotFound
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database
from fastn.platform.scope import Scope
from fastn.tenants import service, store
from fastn.tenants.models import FIRST_ENVIRONMENTS, FoundedSpace


def test_a_new_organization_has_a_space_a_default_tenant_and_its_environments(
    database: Database, founded: FoundedSpace
) -> None:
    with database.transaction(founded.scope) as session:
        tenants = store.list_tenants(session)
        environments = session.execute("SELECT name FROM environments").fetchall()

    assert [(tenant.id, tenant.external_id, tenant.is_default) for tenant in tenants] == [
        (founded.scope.tenant_id, "default", True)
    ]
    assert {row["name"] for row in environments} == set(FIRST_ENVIRONMENTS)


def test_founding_is_all_or_nothing(database: Database, clock: FrozenClock) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        service.found_organization(database, name="", clock=clock)


def test_a_tenant_is_found_by_its_id_and_by_its_external_id(database: Database, customer: Scope) -> None:
    space = replace(customer, tenant_id=None)

    by_id = service.resolve_tenant(database, space, str(customer.tenant_id))
    by_external_id = service.resolve_tenant(database, space, "tenant_customer_123")

    assert by_id == by_external_id
    assert by_id.id == customer.tenant_id


def test_nobody_named_is_the_default_tenant(database: Database, founded: FoundedSpace, customer: Scope) -> None:
    space = replace(customer, tenant_id=None)

    assert service.resolve_tenant(database, space, None).id == founded.scope.tenant_id


def test_nobody_named_is_oneself_in_a_narrowed_scope(database: Database, customer: Scope) -> None:
    assert service.resolve_tenant(database, customer, None).id == customer.tenant_id


@pytest.mark.parametrize("reference", ["default", "tenant_customer_456", "nobody", str(uuid.UUID(int=1))])
def test_a_narrowed_scope_finds_nobody_else(
    database: Database, customer: Scope, sibling: Scope, reference: str
) -> None:
    with pytest.raises(NotFound):
        service.resolve_tenant(database, customer, reference)


def test_another_organizations_customer_is_not_found(
    database: Database, customer: Scope, other_founded: FoundedSpace
) -> None:
    space = replace(other_founded.scope, tenant_id=None)

    for reference in ("tenant_customer_123", str(customer.tenant_id)):
        with pytest.raises(NotFound):
            service.resolve_tenant(database, space, reference)


def test_an_external_id_that_looks_like_an_id_is_taken_for_the_id(
    database: Database, founded: FoundedSpace, clock: FrozenClock
) -> None:
    space = replace(founded.scope, tenant_id=None)
    disguised = str(founded.scope.tenant_id)
    service.add_tenant(database, space, external_id=disguised, name="Disguised", clock=clock)

    assert service.resolve_tenant(database, space, disguised).id == founded.scope.tenant_id


def test_external_ids_are_unique_within_a_space_only(
    database: Database, customer: Scope, other_founded: FoundedSpace, clock: FrozenClock
) -> None:
    elsewhere = replace(other_founded.scope, tenant_id=None)
    service.add_tenant(database, elsewhere, external_id="tenant_customer_123", name="x", clock=clock)

    with pytest.raises(psycopg.errors.UniqueViolation):
        service.add_tenant(
            database, replace(customer, tenant_id=None), external_id="tenant_customer_123", name="x", clock=clock
        )


def test_a_space_has_one_default_tenant(database: Database, founded: FoundedSpace) -> None:
    with (
        pytest.raises(psycopg.errors.UniqueViolation),
        database.transaction(replace(founded.scope, tenant_id=None)) as session,
    ):
        session.execute(
            """INSERT INTO tenants (organization_id, space_id, id, external_id, name, is_default, created_at)
               VALUES (%s, %s, gen_random_uuid(), 'second', 'x', true, now())""",
            (founded.scope.organization_id, founded.scope.space_id),
        )
