"""Making the server's database for tenants, and in it each tenant's schema and role.

Roles: `fastn_owner` (CREATEROLE, CREATEDB) makes the database fastn_tenants and the role `fastn_provisioner`, which
owns it. The provisioner has CREATEROLE and no more: in Aurora as on a laptop there is no superuser. A tenant's
role owns one schema, may connect to this one database, and is a member of nothing; the provisioner is a member
of it (SET, never INHERIT), because CREATE SCHEMA … AUTHORIZATION asks for that.
"""

from collections.abc import Mapping
from typing import Any, LiteralString, cast
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from fastn.databases.models import TenantDatabase
from fastn.platform.database import Database, Role, Session

DATABASE_NAME = "fastn_tenants"
PROVISIONER = "fastn_provisioner"
CONNECTIONS_PER_TENANT = 20
# What a tenant's sessions begin with. A statement cannot change them: SET and set_config are refused.
TENANT_SETTINGS: Mapping[str, str] = {
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "transaction_timeout": "15s",
    "idle_in_transaction_session_timeout": "15s",
    # The session of a run that ended or sleeps; an open one would also keep Aurora from pausing.
    "idle_session_timeout": "10s",
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "iso_8601",
    "bytea_output": "hex",
    "default_transaction_isolation": "read committed",
}
_PROVISIONER_SETTINGS: Mapping[str, str] = {
    "statement_timeout": "20s",
    "lock_timeout": "10s",
    "idle_session_timeout": "60s",
    "idle_in_transaction_session_timeout": "20s",
}
# One number: two that grant on the same database at once would collide on its row in the catalog.
_LOCK = 7_305_411_628_135
_IAM_LOGIN_ROLE = "rds_iam"


def prepare_server(owner_url: str, password: str | None) -> None:
    """Creates the provisioner and its database if they are missing, and closes the product's own to tenants.

    Without a password the provisioner logs in with an IAM token, as on Aurora. Idempotent. Raises
    psycopg.errors.InsufficientPrivilege if the URL's user lacks CREATEROLE or CREATEDB.
    """
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        _prepare_provisioner(connection, password)
        if not _exists(connection, "SELECT 1 FROM pg_database WHERE datname = %s", DATABASE_NAME):
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE_NAME), _identifier(PROVISIONER))
            )
        product = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(product))
        for role in Role:
            if _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", str(role)):
                connection.execute(
                    sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(product, _identifier(str(role)))
                )


def provisioner_url(owner_url: str, password: str | None) -> str:
    """The URL of the tenants' database on the owner's server, as the provisioner."""
    parts = urlsplit(owner_url)
    address = parts.netloc.rpartition("@")[2]
    secret = "" if password is None else f":{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{PROVISIONER}{secret}@{address}", path=f"/{DATABASE_NAME}"))


def provision_tenant(provisioner: Database, tenant: TenantDatabase) -> None:
    """Makes the tenant's role and schema, unless they exist; either both or neither.

    Any number of processes may do so at once. Raises DatabaseUnavailable.
    """
    with provisioner.transaction(None) as session:
        session.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        _close_database(session)
        found = session.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (tenant.role_name,)).fetchone()
        if found is None:
            for statement in _creation(session, tenant):
                session.execute(_trusted(statement))


def _prepare_provisioner(connection: "psycopg.Connection[Any]", password: str | None) -> None:
    name = _identifier(PROVISIONER)
    if not _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", PROVISIONER):
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE NOINHERIT").format(name))
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER WITH SET TRUE, INHERIT FALSE").format(name))
    for setting, value in _PROVISIONER_SETTINGS.items():
        connection.execute(_setting(PROVISIONER, setting, value))
    if password is not None:
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(password)))
    elif _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", _IAM_LOGIN_ROLE):
        connection.execute(sql.SQL("GRANT {} TO {}").format(_identifier(_IAM_LOGIN_ROLE), name))


def _close_database(session: Session) -> None:
    """Leaves nothing in the tenants' database that everybody may use; a cheap look once that is done."""
    if session.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'public'").fetchone() is None:
        return
    session.execute("REVOKE ALL ON DATABASE fastn_tenants FROM PUBLIC")
    session.execute("DROP SCHEMA public")


def _creation(session: Session, tenant: TenantDatabase) -> list[sql.Composed]:
    role, schema = _identifier(tenant.role_name), sql.Identifier(tenant.schema_name)
    return [
        sql.SQL(
            "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT"
            " CONNECTION LIMIT {} PASSWORD {}"
        ).format(role, sql.Literal(CONNECTIONS_PER_TENANT), sql.Literal(_verifier(session, tenant))),
        *(_setting(tenant.role_name, name, value) for name, value in TENANT_SETTINGS.items()),
        _setting(tenant.role_name, "search_path", tenant.schema_name),
        sql.SQL("GRANT {} TO CURRENT_USER WITH SET TRUE, INHERIT FALSE").format(role),
        sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(schema, role),
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(DATABASE_NAME), role),
    ]


def _verifier(session: Session, tenant: TenantDatabase) -> str:
    # The server is told a SCRAM verifier (RFC 5803), so that no log of statements holds the password.
    encrypt = session.execute("SELECT 1").connection.pgconn.encrypt_password
    return encrypt(tenant.password.encode(), tenant.role_name.encode(), b"scram-sha-256").decode()


def _setting(role: str, name: str, value: str) -> sql.Composed:
    return sql.SQL("ALTER ROLE {} SET {} = {}").format(_identifier(role), sql.Identifier(name), sql.Literal(value))


def _identifier(name: str) -> sql.Identifier:
    return sql.Identifier(name)


def _exists(connection: "psycopg.Connection[Any]", query: LiteralString, name: str) -> bool:
    return connection.execute(query, (name,)).fetchone() is not None


def _trusted(statement: sql.Composed) -> LiteralString:
    # Utility statements take no parameters; names and values are quoted by psycopg, which accepts this type.
    return cast(LiteralString, statement)
