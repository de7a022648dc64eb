"""`fastn.db.query`: finding, or making, a tenant's database, and running one statement in it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from fastn.databases import provisioning, store
from fastn.databases.errors import QueryLimitExceeded
from fastn.databases.models import DEFAULT_LIMITS, QueryLimits, StoredTenantDatabase, TenantDatabase
from fastn.databases.rules import check_statement
from fastn.databases.sessions import TenantSession
from fastn.databases.values import parameter_text
from fastn.errors import ValidationFailed
from fastn.platform.capabilities import Platform
from fastn.platform.clock import Clock
from fastn.platform.database import Database
from fastn.platform.resources import Setting
from fastn.platform.scope import Scope
from fastn.secrets.vault import TenantVault

_PURPOSE = "tenant_database_password"
_SQLSTATE_TOO_COMPLEX = "54001"


@dataclass(frozen=True, slots=True)
class DatabaseTools:
    """What it takes to find, make and open the tenants' databases."""

    database: Database
    provisioner: Database
    server_url: str
    """The tenants' database on its server; its user and password are not used."""
    vault: TenantVault
    clock: Clock
    limits: QueryLimits = DEFAULT_LIMITS


def database_tools(platform: Platform, vault: TenantVault) -> DatabaseTools:
    """The tools of this process. Needs DATABASE and TENANT_DATABASE."""
    return platform.keep(
        DatabaseTools,
        lambda: DatabaseTools(
            platform.database,
            platform.tenant_database,
            platform.settings[Setting.TENANT_DATABASE_URL],
            vault,
            platform.clock,
        ),
    )


@dataclass(slots=True)
class TenantQueries:
    """The statements of one run, in one session; `close` discards it."""

    tools: DatabaseTools
    owner: Scope
    environment: str
    _session: TenantSession | None = field(default=None, init=False)

    def query(self, arguments_json: str, *, seconds_left: float) -> str:
        """The result of `{sql, params}` as JSON text: {rows, rowCount, fields}.

        The tenant's database is made at the first statement. Raises ValidationFailed for arguments of another
        shape; QueryRejected and its kinds, with nothing changed, if the statement is not one of those fastn.db
        runs, PostgreSQL refuses it, or it exceeds a limit; DatabaseUnreachable.
        """
        limits = self.tools.limits
        sql, parameters = _arguments(arguments_json, limits)
        checked = check_statement(sql)
        seconds = min(limits.seconds, seconds_left)
        if seconds <= 0:
            raise QueryLimitExceeded("The run has no time left for a statement.", sqlstate="57014")
        if self._session is None:
            location = locate(self.tools, self.owner, self.environment)
            self._session = TenantSession(self.tools.server_url, location, limits)
        return self._session.run(sql, parameters, checked, seconds=seconds)

    def close(self) -> None:
        """Ends the session, if one is open."""
        if self._session is not None:
            self._session.close()
            self._session = None


def locate(tools: DatabaseTools, owner: Scope, environment: str) -> TenantDatabase:
    """The tenant's database in this environment, made if it does not exist. Safe under concurrency.

    The names are committed before anything is made by them, so an attempt that dies half-way is finished by the
    next, and two at once make one database. Raises DatabaseUnavailable, KeyServiceUnavailable.
    """
    stored = _stored(tools, owner, environment) or _named(tools, owner, environment)
    password = tools.vault.decrypt(owner, stored.password_ciphertext, purpose=_PURPOSE).decode()
    location = TenantDatabase(stored.schema_name, stored.role_name, password, stored.is_provisioned)
    if not stored.is_provisioned:
        provisioning.provision_tenant(tools.provisioner, location)
        with tools.database.transaction(owner) as session:
            store.mark_provisioned(session, owner, environment, tools.clock.now())
    return location


def _stored(tools: DatabaseTools, owner: Scope, environment: str) -> StoredTenantDatabase | None:
    with tools.database.transaction(owner) as session:
        return store.find_database(session, owner, environment)


def _named(tools: DatabaseTools, owner: Scope, environment: str) -> StoredTenantDatabase:
    named = TenantDatabase.with_new_names()
    ciphertext = tools.vault.encrypt(owner, named.password.encode(), purpose=_PURPOSE)
    ours = StoredTenantDatabase(named.schema_name, named.role_name, ciphertext, is_provisioned=False)
    with tools.database.transaction(owner) as session:
        store.insert_database(session, owner, environment, stored=ours, now=tools.clock.now())
        # Another run may have named it meanwhile; what is stored counts.
        return store.find_database(session, owner, environment) or ours


def _arguments(arguments_json: str, limits: QueryLimits) -> tuple[str, Sequence[str | None]]:
    message = cast("dict[str, Any]", json.loads(arguments_json))
    sql, given = message.get("sql"), message.get("params")
    if not isinstance(sql, str):
        raise ValidationFailed("fastn.db.query takes the text of an SQL statement, then an array of parameters.")
    if given is not None and not isinstance(given, list):
        raise ValidationFailed("The parameters of fastn.db.query are an array: one value for each of $1, $2, …")
    parameters = cast("list[object]", given or [])
    if len(sql) > limits.sql_characters:
        raise QueryLimitExceeded(
            f"The statement is longer than {limits.sql_characters} characters.",
            sqlstate=_SQLSTATE_TOO_COMPLEX,
            hint="Pass values as parameters: $1, $2, …",
        )
    if len(parameters) > limits.parameters or len(arguments_json) > limits.parameter_bytes:
        raise QueryLimitExceeded(
            f"A statement takes {limits.parameters} parameters of {limits.parameter_bytes} bytes at most.",
            sqlstate=_SQLSTATE_TOO_COMPLEX,
        )
    # The statement too: it may hold what PostgreSQL cannot read.
    return parameter_text(sql) or "", [parameter_text(value) for value in parameters]
