"""Provisioning a database: the roles the functions log in as, and the schema.

Both run as the owner (`fastn_owner`), which has CREATEROLE and no more: there is no superuser in Aurora.
Roles come first, because the schema grants to them.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from fastn.platform.database import Role
from fastn.platform.migrations.sql_files import read_sql

VERSION_TABLE = "alembic_version"

_HERE = Path(__file__).parent
_IAM_LOGIN_ROLE = "rds_iam"
# One number for all migrations of a database: two deployments wait for one another.
_MIGRATION_LOCK = 7_305_411_628_134


def migrate(owner_url: str) -> None:
    """Brings the schema to its newest version; does nothing, in a few milliseconds, if it is there.

    Two that run at once take turns. Raises psycopg.OperationalError if PostgreSQL cannot be reached, and
    what PostgreSQL raised for a failing migration, which leaves nothing of itself behind.
    """
    with psycopg.connect(owner_url, autocommit=True) as connection:
        if _current_version(connection) == newest_version():
            return
    _upgrade(owner_url)


def provision_roles(owner_url: str, passwords: Mapping[Role, str]) -> None:
    """Creates the roles that are missing and sets how each logs in.

    A role named in `passwords` logs in with that password from now on; on Aurora every other one logs in
    with an IAM token. Raises psycopg.errors.InsufficientPrivilege if the URL's user lacks CREATEROLE.
    """
    with psycopg.connect(owner_url) as connection:
        # Two provisioners at once would collide on the roles, which belong to the whole server.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        connection.execute(read_sql("roles"))
        knows_iam_logins = connection.execute(
            "SELECT 1 FROM pg_roles WHERE rolname = %s", (_IAM_LOGIN_ROLE,)
        ).fetchone()
        for role in Role:
            name = sql.Identifier(role.value)
            if role in passwords:
                # ALTER ROLE is a utility statement: it takes no parameters, so the value is quoted here.
                connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(passwords[role])))
            elif knows_iam_logins:
                connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(_IAM_LOGIN_ROLE), name))


def urls_for_roles(owner_url: str, passwords: Mapping[Role, str]) -> dict[Role, str]:
    """The URL of the same database for each role; without a password where none is given."""
    parts = urlsplit(owner_url)
    address = parts.netloc.rpartition("@")[2]
    urls: dict[Role, str] = {}
    for role in Role:
        password = f":{quote(passwords[role], safe='')}" if role in passwords else ""
        urls[role] = urlunsplit(parts._replace(netloc=f"{role.value}{password}@{address}"))
    return urls


def newest_version() -> str:
    """The version a migrated database has: files are numbered, and each follows the one before."""
    return max(file.stem for file in (_HERE / "versions").glob("[0-9]*.py"))


def _current_version(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    exists = connection.execute("SELECT to_regclass(%s)", (VERSION_TABLE,)).fetchone()
    if exists is None or exists[0] is None:
        return None
    row = connection.execute(sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(VERSION_TABLE))).fetchone()
    return row[0] if row else None


def _upgrade(owner_url: str) -> None:
    # Alembic and SQLAlchemy take half a second to import; only a database with work to do pays for it.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    engine = create_engine(owner_url.replace("://", "+psycopg://", 1), poolclass=NullPool)
    with psycopg.connect(owner_url, autocommit=True) as guard, engine.connect() as connection:
        guard.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
