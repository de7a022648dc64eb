"""What every test may ask for: a real PostgreSQL, customers in it, keys, and capabilities to run handlers with."""

from collections.abc import Generator, Iterable, Mapping
from pathlib import Path

import psycopg
import pytest

from fastn.access import service as access
from fastn.access.models import IssuedKey, KeyMode
from fastn.local.postgres import EmbeddedPostgres
from fastn.platform.capabilities import ClientFactory, Platform
from fastn.platform.clock import Clock, FrozenClock
from fastn.platform.database import Database, Role
from fastn.platform.resources import Need, Setting
from fastn.platform.scope import Scope
from fastn.platform.settings import Settings
from fastn.tenants import service as tenants
from fastn.tenants.models import FoundedSpace
from tests.foundation.api_calls import LambdaContext
from tests.foundation.databases import (
    SERVER_SETTINGS,
    ProvisionedDatabase,
    empty_used_tables,
    provision,
    server_directory,
)
from tests.foundation.platforms import EVERY_PERMISSION, SETTINGS, IssueKey, PlatformFor, no_clients


@pytest.fixture(scope="session")
def provisioned_database(tmp_path_factory: pytest.TempPathFactory) -> Generator[ProvisionedDatabase]:
    """A migrated database on a server of this process's own: roles belong to a server, not to a database."""
    with (
        server_directory(tmp_path_factory) as directory,
        EmbeddedPostgres(directory, settings=SERVER_SETTINGS) as endpoint,
    ):
        yield provision(endpoint)


@pytest.fixture(scope="session")
def engine_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled JavaScript engine: the one `make setup` built if it is current, else one of this session."""
    from fastn.engine.artifacts import EngineArtifacts
    from fastn.engine.errors import ArtifactsUnusable
    from fastn.engine.precompile import precompile

    built = Path(__file__).parents[1] / "build" / "engine"
    try:
        EngineArtifacts.load(built)
    except ArtifactsUnusable:
        built = tmp_path_factory.mktemp("engine")
        precompile(built)
    return built


@pytest.fixture(scope="session")
def _cleaner(provisioned_database: ProvisionedDatabase) -> Generator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(provisioned_database.owner_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def empty_database(
    provisioned_database: ProvisionedDatabase, _cleaner: psycopg.Connection[tuple[object, ...]]
) -> Generator[ProvisionedDatabase]:
    """The database without a row; whatever the test writes is gone after it."""
    yield provisioned_database
    empty_used_tables(_cleaner)


@pytest.fixture
def owner_url(empty_database: ProvisionedDatabase) -> str:
    """The URL of fastn_owner, which migrates, and to which row-level security shows nothing."""
    return empty_database.owner_url


@pytest.fixture
def databases(empty_database: ProvisionedDatabase) -> Mapping[Role, str]:
    """The URL of each role that functions log in as."""
    return empty_database.urls


@pytest.fixture
def database(databases: Mapping[Role, str]) -> Generator[Database]:
    """Tenant data, as fastn_app."""
    yield from _connected(databases[Role.APP])


@pytest.fixture
def ingress_database(databases: Mapping[Role, str]) -> Generator[Database]:
    """API keys before their owner is known, as fastn_ingress."""
    yield from _connected(databases[Role.INGRESS])


@pytest.fixture
def relay_database(databases: Mapping[Role, str]) -> Generator[Database]:
    """Every customer's outbox, as fastn_relay."""
    yield from _connected(databases[Role.RELAY])


@pytest.fixture
def clock() -> FrozenClock:
    """Sunday, 22 November 2026, noon UTC, until told otherwise."""
    return FrozenClock()


@pytest.fixture
def founded(database: Database, clock: FrozenClock) -> FoundedSpace:
    """An organization with a space; its scope is the default tenant's."""
    return tenants.found_organization(database, name="Acme", clock=clock)


@pytest.fixture
def other_founded(database: Database, clock: FrozenClock) -> FoundedSpace:
    """Another organization, which must never notice the first."""
    return tenants.found_organization(database, name="Other", clock=clock)


@pytest.fixture
def customer(database: Database, clock: FrozenClock, founded: FoundedSpace) -> Scope:
    """A customer of the first organization, `tenant_customer_123` by its external id."""
    return _add_customer(database, clock, founded, external_id="tenant_customer_123")


@pytest.fixture
def sibling(database: Database, clock: FrozenClock, founded: FoundedSpace) -> Scope:
    """Another customer of the same space, `tenant_customer_456`."""
    return _add_customer(database, clock, founded, external_id="tenant_customer_456")


@pytest.fixture
def issue_key(database: Database, clock: FrozenClock) -> IssueKey:
    """Issues API keys: of one tenant for a narrowed scope, else of the whole space."""

    def issue(
        scope: Scope, *, permissions: Iterable[str] = EVERY_PERMISSION, mode: KeyMode = KeyMode.LIVE
    ) -> IssuedKey:
        with database.transaction(scope) as session:
            return access.issue_key(session, scope, name="test", mode=mode, permissions=permissions, clock=clock)

    return issue


@pytest.fixture
def platform_for(databases: Mapping[Role, str], clock: FrozenClock) -> Generator[PlatformFor]:
    """Builds platforms with exactly the needs a test names; their connections end with the test."""
    built: list[Platform] = []
    ours = {
        Setting.DATABASE_URL: databases[Role.APP],
        Setting.INGRESS_DATABASE_URL: databases[Role.INGRESS],
        Setting.RELAY_DATABASE_URL: databases[Role.RELAY],
    }
    default_clock = clock

    def build(
        needs: Iterable[Need],
        *,
        clients: ClientFactory | None = None,
        clock: Clock | None = None,
        settings: Mapping[str, str] | None = None,
        loopback_routes: Mapping[str, int] | None = None,
    ) -> Platform:
        declared = frozenset(needs)
        platform = Platform(
            declared,
            Settings.from_environment(declared, {**SETTINGS, **ours, **(settings or {})}),
            clock=clock or default_clock,
            clients=clients or no_clients,
            loopback_routes=loopback_routes or {},
        )
        built.append(platform)
        return platform

    yield build
    for platform in built:
        _close(platform)


@pytest.fixture
def lambda_context() -> LambdaContext:
    """What Lambda tells a function of its invocation, 29 s before its end."""
    return LambdaContext()


def _connected(url: str) -> Generator[Database]:
    database = Database(url)
    yield database
    database.close()


def _add_customer(database: Database, clock: FrozenClock, founded: FoundedSpace, *, external_id: str) -> Scope:
    space = Scope(founded.scope.organization_id, founded.scope.space_id)
    tenant = tenants.add_tenant(database, space, external_id=external_id, name=external_id, clock=clock)
    return space.for_tenant(tenant.id)


def _close(platform: Platform) -> None:
    if Need.DATABASE in platform.needs:
        platform.database.close()
    if Need.INGRESS_DATABASE in platform.needs:
        platform.ingress_database.close()
    if Need.RELAY_DATABASE in platform.needs:
        platform.relay_database.close()
