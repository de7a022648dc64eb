"""One PostgreSQL database for a test session: provisioned once, emptied after each test that used it."""

import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from fastn.local.postgres import PostgresEndpoint
from fastn.platform.database import Role
from fastn.platform.migrations.runner import VERSION_TABLE, migrate, provision_roles, urls_for_roles

PASSWORDS: Mapping[Role, str] = {role: f"{role.value} & pass/word" for role in Role}
SERVER_SETTINGS: Mapping[str, str] = {"shared_buffers": "64MB", "max_connections": "60", "autovacuum": "off"}
_MEMORY = Path("/dev/shm")  # Linux keeps it in memory; other systems have none
_ROOM_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class ProvisionedDatabase:
    """The URLs of a migrated database; `superuser_url` is for looking, never for the product's work."""

    owner_url: str
    superuser_url: str
    urls: Mapping[Role, str]


@contextmanager
def server_directory(temporary: pytest.TempPathFactory) -> Generator[Path]:
    """Where the server keeps its files: in memory if there is room, as every table is emptied many times."""
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ROOM_BYTES:
        yield temporary.mktemp("postgres")
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY, prefix="fastn-tests-") as name:
        directory = Path(name)
        directory.chmod(0o711)  # the server runs as a user of its own where the tests run as root
        yield directory


def provision(endpoint: PostgresEndpoint) -> ProvisionedDatabase:
    """The endpoint's database with roles and schema, as a deployment would make it."""
    provision_roles(endpoint.owner_url, PASSWORDS)
    migrate(endpoint.owner_url)
    database = endpoint.owner_url.rpartition("/")[2]
    return ProvisionedDatabase(
        owner_url=endpoint.owner_url,
        superuser_url=f"{endpoint.superuser_url.rpartition('/')[0]}/{database}",
        urls=urls_for_roles(endpoint.owner_url, PASSWORDS),
    )


def empty_used_tables(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Truncates every table that was written to. Row-level security hides rows from the owner, not files."""
    # A transaction that a test left open would block this for ever; so it fails instead, and soon.
    connection.execute("SET lock_timeout = '5s'")
    used = connection.execute(
        """SELECT relname FROM pg_class
           WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> %s
             AND pg_relation_size(oid) > 0""",
        (VERSION_TABLE,),
    ).fetchall()
    if used:
        names = sql.SQL(", ").join(sql.Identifier(str(name)) for (name,) in used)
        connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(names))
