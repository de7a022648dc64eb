"""Three customers with a row in every table, and a way to call every endpoint in the name of each."""

import uuid
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import boto3
from moto import mock_aws
from pydantic.alias_generators import to_camel

from fastn.access import service as access
from fastn.access.models import KeyMode, Permission
from fastn.http.declarations import EndpointDeclaration
from fastn.http.endpoint import EndpointFunction
from fastn.http.registry import Registry
from fastn.platform.capabilities import ClientFactory, Platform
from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database, Role
from fastn.platform.resources import Need, Setting
from fastn.platform.scope import Scope
from fastn.platform.settings import Settings
from fastn.tenants import service as tenants
from tests.foundation.api_calls import LambdaContext, api_event
from tests.foundation.bodies import sample_body
from tests.foundation.databases import ProvisionedDatabase
from tests.foundation.platforms import EVERY_PERMISSION, SETTINGS
from tests.foundation.seeding import Row, Table, read_tables, seed_every_table

REGION = "eu-west-1"
ENVIRONMENT = "development"

# Which table's row an id names, and by which column: for path parameters and for members of bodies.
RESOURCES: Mapping[str, tuple[str, str]] = {
    "tenant_id": ("tenants", "id"),
    "workflow_id": ("workflows", "id"),
    "execution_id": ("executions", "id"),
    "credential_id": ("connections", "id"),
    "trigger_id": ("triggers", "id"),
    "secret_id": ("secrets", "id"),
    "flow_name": ("workflows", "slug"),
}


@dataclass(frozen=True, slots=True)
class Owner:
    """A customer with a row in every table."""

    scope: Scope
    rows: Mapping[str, Row]

    @property
    def ids(self) -> dict[str, str]:
        """What names this customer's resources, by path parameter."""
        return {name: str(self.rows[table][column]) for name, (table, column) in RESOURCES.items()}


def missing_ids() -> dict[str, str]:
    """What names nobody's resources."""
    return {name: str(uuid.uuid4()) for name in RESOURCES}


@dataclass(slots=True)
class World:
    """Two customers of one space, a stranger of another, and the endpoints they call."""

    database: Database
    urls: Mapping[Role, str]
    registry: Registry
    settings: Mapping[str, str]
    tables: Mapping[str, Table]
    clients: ClientFactory
    customer: Owner = field(init=False)
    sibling: Owner = field(init=False)
    stranger: Owner = field(init=False)
    _clock: FrozenClock = field(default_factory=FrozenClock)
    _platforms: dict[str, Platform] = field(default_factory=dict[str, Platform])

    def __post_init__(self) -> None:
        ours = self._found("Acme")
        self.customer, self.sibling = self.new_owner(ours), self.new_owner(ours)
        self.stranger = self.new_owner(self._found("Other"))

    def new_owner(self, space: Scope) -> Owner:
        """One more customer of this scope's space, with a row in every table and a flow of its own name."""
        space = replace(space, tenant_id=None)
        name = f"customer-{uuid.uuid4()}"
        tenant = tenants.add_tenant(self.database, space, external_id=name, name=name, clock=self._clock)
        scope = space.for_tenant(tenant.id)
        rows = seed_every_table(self.database, self.tables, scope)
        slug = f"flow-{tenant.id}"
        with self.database.transaction(scope) as session:
            session.execute("UPDATE workflows SET slug = %s WHERE tenant_id = %s", (slug, tenant.id))
        return Owner(scope, {**rows, "workflows": {**rows["workflows"], "slug": slug}})

    def key(self, scope: Scope, permissions: Iterable[Permission | str | None] = EVERY_PERMISSION) -> str:
        """A new key of this scope."""
        with self.database.transaction(scope) as session:
            wanted = [str(permission) for permission in permissions]
            return access.issue_key(
                session, scope, name="test", mode=KeyMode.LIVE, permissions=wanted, clock=self._clock
            ).text

    def ask(
        self, operation: str, ids: Mapping[str, str], key: str | None, *, extra: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """What the operation answers about these resources; `extra` is added to a body it accepts."""
        function = self.registry.named(operation)
        assert isinstance(function.handler, EndpointFunction)
        declaration = function.handler.declaration
        body = None
        if declaration.body is not None:
            members = {to_camel(name): value for name, value in ids.items()}
            body = sample_body(operation, declaration.body, members) | dict(extra or {})
        path = {name: ids[name] for name in declaration.path_parameters}
        event = api_event(declaration.route, path=path, key=key, body=body, headers={"stage": ENVIRONMENT})
        return function.handler.bound_to(self._platform(operation, declaration))(event, LambdaContext())

    def close(self) -> None:
        """Ends every connection."""
        self.database.close()
        for platform in self._platforms.values():
            for need, name in ((Need.DATABASE, "database"), (Need.INGRESS_DATABASE, "ingress_database")):
                if need in platform.needs:
                    getattr(platform, name).close()

    def _platform(self, operation: str, declaration: EndpointDeclaration) -> Platform:
        if operation not in self._platforms:
            settings = {
                **SETTINGS,
                **self.settings,
                Setting.DATABASE_URL: self.urls[Role.APP],
                Setting.INGRESS_DATABASE_URL: self.urls[Role.INGRESS],
            }
            self._platforms[operation] = Platform(
                declaration.needs,
                Settings.from_environment(declaration.needs, settings),
                clock=self._clock,
                clients=self.clients,
            )
        return self._platforms[operation]

    def _found(self, name: str) -> Scope:
        return tenants.found_organization(self.database, name=name, clock=self._clock).scope


@contextmanager
def build_world(provisioned: ProvisionedDatabase, registry: Registry, engine_directory: Path) -> Generator[World]:
    """A world on this database, with KMS and DynamoDB in moto; the rows stay when it ends."""
    with ExitStack() as stack:
        stack.enter_context(mock_aws())
        world = World(
            database=Database(provisioned.urls[Role.APP]),
            urls=provisioned.urls,
            registry=registry,
            settings={Setting.TENANT_KEY_ARN: _create_key(), Setting.ENGINE_DIRECTORY: str(engine_directory)},
            tables=read_tables(provisioned.superuser_url),
            clients=_client,
        )
        _create_tables()
        stack.callback(world.close)
        yield world


def _client(service: str) -> Any:  # as ClientFactory
    factory = cast("Any", boto3)  # boto3's clients are made at run time and have no static type
    return factory.client(service, region_name=REGION)


def _create_key() -> str:
    return str(_client("kms").create_key()["KeyMetadata"]["Arn"])


def _create_tables() -> None:
    for setting, partition_key in (
        (Setting.TRIGGER_TABLE, "trigger_id"), (Setting.MARKER_TABLE, "shard"), (Setting.STATE_TABLE, "state_key"),
        (Setting.CANCEL_FLAG_TABLE, "run"),
    ):  # fmt: skip
        _client("dynamodb").create_table(
            TableName=SETTINGS[setting],
            KeySchema=[{"AttributeName": partition_key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": partition_key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
