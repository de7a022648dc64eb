"""The tenants' database on the session's server, and keys that never leave the process."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from fastn.databases.provisioning import prepare_server, provisioner_url
from fastn.databases.service import DatabaseTools, TenantQueries
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database
from fastn.platform.scope import Scope
from fastn.secrets.models import NewDataKey
from fastn.secrets.store import SqlDataKeyStore
from fastn.secrets.vault import TenantVault
from fastn.tenants.models import DRAFT
from tests.foundation.databases import ProvisionedDatabase
from tests.unit.databases.asking import Ask, Customer

PASSWORD = "provisioner & pass/word"


@dataclass(slots=True)
class KeysAtHand:
    """A key service whose encrypted keys are the keys, and which checks the context."""

    made: dict[bytes, Mapping[str, str]] = field(default_factory=dict[bytes, Mapping[str, str]])

    def generate_data_key(self, context: Mapping[str, str]) -> NewDataKey:
        """A key that opens in this context."""
        key = len(self.made).to_bytes(32, "big")
        self.made[key] = dict(context)
        return NewDataKey(key, key)

    def decrypt(self, encrypted: bytes, context: Mapping[str, str]) -> bytes:
        """The key, in its own context alone."""
        assert self.made[encrypted] == context
        return encrypted


@pytest.fixture(scope="session")
def server_url(provisioned_database: ProvisionedDatabase) -> str:
    """The tenants' database, as the provisioner."""
    prepare_server(provisioned_database.owner_url, PASSWORD)
    return provisioner_url(provisioned_database.owner_url, PASSWORD)


@pytest.fixture
def provisioner(server_url: str) -> Generator[Database]:
    """A connection as the provisioner."""
    database = Database(server_url)
    yield database
    database.close()


@pytest.fixture
def tools(database: Database, provisioner: Database, server_url: str, clock: FrozenClock) -> DatabaseTools:
    """The tools of one process."""
    vault = TenantVault(KeysAtHand(), SqlDataKeyStore(database, clock), clock=clock)
    return DatabaseTools(database, provisioner, server_url, vault, clock)


@pytest.fixture
def run_of(tools: DatabaseTools) -> Generator[Callable[..., TenantQueries]]:
    """Begins a run; its session ends with the test."""
    begun: list[TenantQueries] = []

    def begin(owner: Scope, environment: str = DRAFT, tools: DatabaseTools = tools) -> TenantQueries:
        begun.append(TenantQueries(tools, owner, environment))
        return begun[-1]

    yield begin
    for run in begun:
        run.close()


@pytest.fixture
def ask(run_of: Callable[..., TenantQueries], customer: Scope) -> Ask:
    """Asks the customer's draft database."""
    return Ask(run_of(customer))


@pytest.fixture
def two(run_of: Callable[..., TenantQueries], customer: Scope, sibling: Scope, tools: DatabaseTools) -> list[Customer]:
    """Two customers of one space, each with a table `notes` and a row in it that names its owner."""
    both = [Customer.of(tools, run_of(owner), owner) for owner in (customer, sibling)]
    for one in both:
        one.ask("CREATE TABLE notes (owner text)")
        one.ask("INSERT INTO notes VALUES ($1)", [str(one.owner.tenant_id)])
    return both


@pytest.fixture
def superuser(
    provisioned_database: ProvisionedDatabase, server_url: str
) -> Generator["psycopg.Connection[tuple[Any, ...]]"]:
    """For looking at the tenants' database."""
    url = f"{provisioned_database.superuser_url.rpartition('/')[0]}/{server_url.rpartition('/')[2]}"
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
