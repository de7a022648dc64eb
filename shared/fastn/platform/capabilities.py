"""What a function may use at run time: each capability is built on first use, and only if declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit

from fastn.errors import UndeclaredNeed
from fastn.platform.clock import Clock, SystemClock
from fastn.platform.database import Database
from fastn.platform.resources import Need, Setting
from fastn.platform.settings import Settings

KeptT = TypeVar("KeptT")

SERVICE_OF_NEED: Mapping[Need, str] = MappingProxyType(
    {
        Need.TENANT_KEYS: "kms",
        Need.RELAY_NUDGE: "sqs",
        Need.OUTBOX_ANNOUNCE: "sqs",
        Need.RAW_EVENTS: "sqs",
        Need.EVENT_BUS: "events",
        Need.WORKFLOW_RUNS: "stepfunctions",
        Need.INSTANT_RUNS: "lambda",
    }
)

NO_ROUTES: Mapping[str, int] = MappingProxyType({})


class ClientFactory(Protocol):
    """Makes an AWS client by service name."""

    def __call__(self, service: str) -> Any:  # boto3's clients are made at run time and have no static type
        """A boto3 client for this service."""
        ...


def boto3_client(service: str) -> Any:  # as ClientFactory
    """A boto3 client with short time-outs and standard retries; imports boto3 on first use."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=2,
        read_timeout=10,
        retries={"mode": "standard", "max_attempts": 3},
        # botocore would put its own together anew for every call, at 0.2 ms of CPU each.
        user_agent="fastn",
    )
    return boto3.client(service, config=config)  # pyright: ignore[reportUnknownMemberType, reportCallIssue, reportArgumentType, reportUnknownVariableType]  # the service is chosen at run time


class Platform:
    """The capabilities of one function in one process."""

    def __init__(
        self,
        needs: frozenset[Need],
        settings: Settings,
        *,
        clock: Clock | None = None,
        clients: ClientFactory = boto3_client,
        loopback_routes: Mapping[str, int] = NO_ROUTES,
    ) -> None:
        """`loopback_routes` is what the embedded runtime hands its own processes; it is empty on AWS."""
        self.needs = needs
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.loopback_routes = loopback_routes
        self._make_client = clients
        self._clients: dict[str, Any] = {}  # as ClientFactory
        self._databases: dict[Setting, Database] = {}
        self._kept: dict[object, object] = {}

    @classmethod
    def from_environment(cls, needs: frozenset[Need], loopback_routes: Mapping[str, int] = NO_ROUTES) -> Platform:
        """The platform of this process, with the settings of its environment."""
        return cls(needs, Settings.from_environment(needs), loopback_routes=loopback_routes)

    @property
    def database(self) -> Database:
        """Tenant data, as fastn_app."""
        return self._database(Need.DATABASE, Setting.DATABASE_URL)

    @property
    def ingress_database(self) -> Database:
        """API keys, as fastn_ingress."""
        return self._database(Need.INGRESS_DATABASE, Setting.INGRESS_DATABASE_URL)

    @property
    def relay_database(self) -> Database:
        """The outbox, as fastn_relay."""
        return self._database(Need.RELAY_DATABASE, Setting.RELAY_DATABASE_URL)

    @property
    def tenant_database(self) -> Database:
        """The database of the tenants' own schemas, as the provisioner that makes them."""
        return self._database(Need.TENANT_DATABASE, Setting.TENANT_DATABASE_URL)

    def client(self, need: Need) -> Any:  # as ClientFactory
        """The AWS client this need speaks through. Raises UndeclaredNeed if it was not declared."""
        self.require(need)
        return self._client_of(SERVICE_OF_NEED[need])

    def close(self) -> None:
        """Ends the database connections; for who outlives its platform, which a Lambda process does not."""
        for database in self._databases.values():
            database.close()

    def require(self, need: Need) -> None:
        """Raises UndeclaredNeed unless this function declares the need."""
        if need not in self.needs:
            raise UndeclaredNeed(f"this function does not declare {need.name}")

    def keep(self, kind: type[KeptT], build: Callable[[], KeptT]) -> KeptT:
        """The one object of this kind in this process: built for the first event, kept for the next."""
        if kind not in self._kept:
            self._kept[kind] = build()
        return cast(KeptT, self._kept[kind])

    def _client_of(self, service: str) -> Any:  # as ClientFactory
        if service not in self._clients:
            self._clients[service] = self._make_client(service)
        return self._clients[service]

    def _database(self, need: Need, setting: Setting) -> Database:
        self.require(need)
        if setting not in self._databases:
            url = self.settings[setting]
            self._databases[setting] = Database(url, password=self._password_source(url))
        return self._databases[setting]

    def _password_source(self, url: str) -> Callable[[], str] | None:
        # On AWS the URL carries no password: the role logs in with an IAM token, signed locally.
        parts = urlsplit(url)
        if parts.password is not None:
            return None
        rds = self._make_client("rds")
        return lambda: cast(
            str,
            rds.generate_db_auth_token(DBHostname=parts.hostname, Port=parts.port or 5432, DBUsername=parts.username),
        )
