"""Two organizations, each with two customers, and a row of each customer in every table."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import psycopg
import pytest

from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database
from fastn.platform.scope import Scope
from fastn.tenants import service as tenants
from fastn.tenants.models import FoundedSpace
from tests.foundation.databases import ProvisionedDatabase
from tests.foundation.seeding import Row, Table, read_tables, seed_every_table


@dataclass(frozen=True, slots=True)
class Seeded:
    """One owner and the row it has in each table."""

    scope: Scope
    rows: Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class Owners:
    """Who may see what: `shared` is the default tenant of `customer` and `sibling`."""

    shared: Seeded
    customer: Seeded
    sibling: Seeded
    stranger: Seeded


@pytest.fixture(scope="session")
def tables(provisioned_database: ProvisionedDatabase) -> Mapping[str, Table]:
    """Every table, parents first."""
    return read_tables(provisioned_database.superuser_url)


@pytest.fixture
def owners(  # pytest passes fixtures by name
    database: Database,
    tables: Mapping[str, Table],
    founded: FoundedSpace,
    other_founded: FoundedSpace,
    customer: Scope,
    sibling: Scope,
    clock: FrozenClock,
) -> Owners:
    """Rows of two customers, of what they share, and of another organization's customer."""
    space = Scope(other_founded.scope.organization_id, other_founded.scope.space_id)
    stranger = tenants.add_tenant(database, space, external_id="stranger", name="Stranger", clock=clock)

    def seed(scope: Scope) -> Seeded:
        return Seeded(scope, seed_every_table(database, tables, scope))

    return Owners(seed(founded.scope), seed(customer), seed(sibling), seed(space.for_tenant(stranger.id)))


@pytest.fixture
def superuser(empty_database: ProvisionedDatabase) -> Generator[psycopg.Connection[tuple[object, ...]]]:
    """Sees everything: for looking at the catalog and for proving that rows are there."""
    with psycopg.connect(empty_database.superuser_url, autocommit=True) as connection:
        yield connection
