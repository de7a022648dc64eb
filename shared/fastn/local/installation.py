"""The embedded runtime of this product: its roles, its template's parameters, and what a restart repairs."""

import json
import os
import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import boto3

from fastn.access.store import list_spaces_with_keys
from fastn.databases.provisioning import prepare_server, provisioner_url
from fastn.events.store import requeue_unrouted
from fastn.executions.launching import Launcher
from fastn.executions.store import relaunch_unfinished
from fastn.local.postgres import PostgresEndpoint
from fastn.local.supervisor import Endpoints, LocalRuntime, RuntimeOptions
from fastn.platform.capabilities import Platform
from fastn.platform.database import Role
from fastn.platform.migrations.runner import migrate, provision_roles, urls_for_roles
from fastn.platform.resources import Need, Setting, settings_of
from fastn.platform.scope import Scope
from fastn.platform.settings import Settings
from fastn.tenants.store import list_tenants
from fastn.triggers.projection import TableName, TriggerProjection
from fastn.triggers.service import project_all

EMULATOR_REGION = "us-east-1"
MOST_CONNECTIONS = 400
"""Each warm function keeps a connection or two, as on AWS; a burst of cold starts must not run out of them."""
INSTANT_FUNCTION_NAME = "local-execute-instant"
PARAMETER_OF_ROLE = {
    Role.APP: "DatabaseUrl",
    Role.INGRESS: "IngressDatabaseUrl",
    Role.RELAY: "RelayDatabaseUrl",
}
SETTING_OF_ROLE = {
    Role.APP: Setting.DATABASE_URL,
    Role.INGRESS: Setting.INGRESS_DATABASE_URL,
    Role.RELAY: Setting.RELAY_DATABASE_URL,
}
OUTPUT_OF_SETTING = {
    Setting.TRIGGER_TABLE: "TriggerTableName",
    Setting.MARKER_TABLE: "MarkerTableName",
    Setting.RELAY_QUEUE_URL: "RelayQueueUrl",
    Setting.STANDARD_STATE_MACHINE_ARN: "StandardStateMachineArn",
    Setting.LONG_STATE_MACHINE_ARN: "LongStateMachineArn",
    Setting.TENANT_KEY_ARN: "TenantKeyArn",
}
SUPERVISOR_NEEDS = frozenset(
    {
        Need.DATABASE, Need.INGRESS_DATABASE, Need.TRIGGER_PROJECTION_WRITE, Need.OUTBOX_ANNOUNCE,
        Need.WORKFLOW_RUNS, Need.INSTANT_RUNS,
    }
)  # fmt: skip


@dataclass(slots=True)
class Installation:
    """One checkout's embedded runtime, with everything the product needs in it."""

    checkout: Path
    resets: bool = False
    records_cpu: bool = False
    report: Callable[[str], None] = print
    state_directory: Path | None = None
    loopback_routes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Which hosts of vendors are stand-ins on this machine, by port."""
    _passwords: dict[Role, str] = field(default_factory=dict[Role, str])

    @property
    def state(self) -> Path:
        """Where data and logs lie."""
        return self.state_directory or self.checkout / ".fastn"

    def runtime(self) -> LocalRuntime:
        """The runtime, not yet started."""
        options = RuntimeOptions(
            state_directory=self.state,
            parameters=self._parameters,
            migrate=self._migrate,
            reconcile=self._reconcile,
            resets=self.resets,
            records_cpu=self.records_cpu,
            loopback_routes=self.loopback_routes,
            postgres_settings={"max_connections": str(MOST_CONNECTIONS)},
            report=self.report,
        )
        return LocalRuntime(self.checkout, options)

    def platform(self, endpoints: Endpoints) -> Platform:
        """What the supervisor itself may do: repair after a restart, and found the demo's organization."""
        return self.platform_at(
            owner_url=endpoints.database.owner_url,
            aws_endpoint_url=endpoints.aws_endpoint_url,
            outputs=endpoints.outputs,
        )

    def platform_at(self, *, owner_url: str, aws_endpoint_url: str, outputs: Mapping[str, str]) -> Platform:
        """The same for a runtime that another process supervises."""
        urls = urls_for_roles(owner_url, self._role_passwords())
        values = {str(SETTING_OF_ROLE[role]): url for role, url in urls.items()}
        values |= {str(setting): outputs[output] for setting, output in OUTPUT_OF_SETTING.items()}
        values[Setting.INSTANT_FUNCTION_NAME] = INSTANT_FUNCTION_NAME
        return Platform(
            SUPERVISOR_NEEDS,
            Settings(values, frozenset(settings_of(SUPERVISOR_NEEDS))),
            clients=lambda service: emulator_client(service, aws_endpoint_url),
        )

    def _parameters(self, database: PostgresEndpoint, api_url: str) -> Mapping[str, str]:
        urls = urls_for_roles(database.owner_url, self._role_passwords())
        return {
            **{PARAMETER_OF_ROLE[role]: url for role, url in urls.items()},
            "TenantDatabaseUrl": provisioner_url(database.owner_url, self._provisioner_password()),
            "EngineDirectory": str(self.checkout / "build" / "engine"),
            "PublicUrl": api_url,
        }

    def _migrate(self, database: PostgresEndpoint) -> None:
        provision_roles(database.owner_url, self._role_passwords())
        migrate(database.owner_url)
        prepare_server(database.owner_url, self._provisioner_password())

    def _reconcile(self, endpoints: Endpoints) -> None:
        """Restores what the emulator kept in memory: projections, events on the bus, unfinished runs."""
        with pointed_at_emulator(endpoints), closing(self.platform(endpoints)) as platform:
            for owner in _every_tenant(platform):
                _restore(platform, owner)
            platform.client(Need.OUTBOX_ANNOUNCE).send_message(
                QueueUrl=platform.settings[Setting.RELAY_QUEUE_URL], MessageBody=json.dumps({"reason": "restarted"})
            )

    def _provisioner_password(self) -> str:
        file = self.state / "provisioner-password"
        if not file.exists():
            self.state.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                opened.write(secrets.token_urlsafe(24))
        return file.read_text("utf-8")

    def _role_passwords(self) -> dict[Role, str]:
        if not self._passwords:
            file = self.state / "roles.json"
            if not file.exists():
                self.state.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                    json.dump({str(role): secrets.token_urlsafe(24) for role in Role}, opened)
            kept = cast("dict[str, str]", json.loads(file.read_text("utf-8")))
            self._passwords = {role: kept[str(role)] for role in Role}
        return self._passwords


def _every_tenant(platform: Platform) -> list[Scope]:
    with platform.ingress_database.transaction(None) as session:
        spaces = list_spaces_with_keys(session)
    owners: list[Scope] = []
    for organization_id, space_id in spaces:
        scope = Scope(organization_id, space_id)
        with platform.database.transaction(scope) as session:
            owners += [scope.for_tenant(tenant.id) for tenant in list_tenants(session)]
    return owners


def _restore(platform: Platform, owner: Scope) -> None:
    project_all(platform.database, TriggerProjection(TableName(platform.settings[Setting.TRIGGER_TABLE])), owner)
    with platform.database.transaction(owner) as session:
        requeue_unrouted(session, owner)
        unfinished = relaunch_unfinished(session, owner)
    launcher = Launcher(platform)
    for reference, tier in unfinished:
        launcher.launch(reference, tier)


def emulator_client(service: str, aws_endpoint_url: str) -> Any:  # boto3's clients have no static type
    """A client of the emulator, whatever account this machine may know."""
    return boto3.client(  # pyright: ignore[reportUnknownMemberType, reportCallIssue, reportUnknownVariableType]  # chosen at run time
        service,  # pyright: ignore[reportArgumentType]  # as above
        region_name=EMULATOR_REGION,
        endpoint_url=aws_endpoint_url,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106  # the emulator takes any
    )


@contextmanager
def pointed_at_emulator(endpoints: Endpoints) -> Generator[None]:
    """Has this process's own AWS clients find the emulator while the block runs.

    PynamoDB looks for its endpoint in the environment; afterwards the environment is what it was.
    """
    wanted = {
        "AWS_ENDPOINT_URL": endpoints.aws_endpoint_url,
        "AWS_DEFAULT_REGION": EMULATOR_REGION,
        "AWS_REGION": EMULATOR_REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
