"""Provisioning a database as its owner, who is no superuser."""

from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql

from fastn.platform.database import Database, Role
from fastn.platform.migrations import runner
from tests.foundation.databases import PASSWORDS, ProvisionedDatabase

MIGRATIONS = Path(runner.__file__).parent


@pytest.fixture
def blank_owner_url(provisioned_database: ProvisionedDatabase) -> Generator[str]:
    """A database without a schema, owned by fastn_owner."""
    name = "blank"
    with psycopg.connect(provisioned_database.owner_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield f"{provisioned_database.owner_url.rpartition('/')[0]}/{name}"
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_a_blank_database_is_brought_to_the_newest_version(blank_owner_url: str) -> None:
    runner.migrate(blank_owner_url)

    assert _rows(blank_owner_url, "SELECT version_num FROM alembic_version") == [(runner.newest_version(),)]
    assert _rows(blank_owner_url, "SELECT count(*) FROM workflows") == [(0,)]


def test_migrating_again_changes_nothing(blank_owner_url: str) -> None:
    runner.migrate(blank_owner_url)
    tables = "SELECT oid, relname, relfilenode FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    before = _rows(blank_owner_url, tables)

    runner.migrate(blank_owner_url)

    assert _rows(blank_owner_url, tables) == before


def test_two_deployments_at_once_take_turns(blank_owner_url: str) -> None:
    with ThreadPoolExecutor(3) as deployments:
        outcomes = [deployments.submit(runner.migrate, blank_owner_url) for _ in range(3)]

    assert [outcome.exception() for outcome in outcomes] == [None, None, None]
    assert _rows(blank_owner_url, "SELECT version_num FROM alembic_version") == [(runner.newest_version(),)]


def test_the_newest_version_is_alembics_only_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    assert ScriptDirectory.from_config(config).get_heads() == [runner.newest_version()]


def test_a_role_logs_in_with_its_newest_password_only(owner_url: str) -> None:
    changed = {**PASSWORDS, Role.APP: "an'other % \\ one"}
    try:
        runner.provision_roles(owner_url, changed)

        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(runner.urls_for_roles(owner_url, PASSWORDS)[Role.APP])
        assert _login(runner.urls_for_roles(owner_url, changed)[Role.APP]) == "fastn_app"
    finally:
        runner.provision_roles(owner_url, PASSWORDS)
    assert _login(runner.urls_for_roles(owner_url, PASSWORDS)[Role.APP]) == "fastn_app"


@pytest.mark.parametrize("role", Role)
def test_sessions_of_a_role_end_so_that_the_database_can_pause(databases: Mapping[Role, str], role: Role) -> None:
    settings = ("idle_session_timeout", "statement_timeout", "idle_in_transaction_session_timeout")

    with psycopg.connect(databases[role]) as connection:
        values = [connection.execute("SELECT current_setting(%s)", (name,)).fetchone() for name in settings]

    assert values == [("1min",), ("20s",), ("20s",)]


def test_a_role_without_a_password_is_let_in_by_token_where_the_server_knows_tokens(owner_url: str) -> None:
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE rds_iam")
        try:
            runner.provision_roles(owner_url, {role: text for role, text in PASSWORDS.items() if role is not Role.APP})
            members = connection.execute(
                """SELECT m.rolname FROM pg_auth_members JOIN pg_roles r ON r.oid = roleid
                   JOIN pg_roles m ON m.oid = member WHERE r.rolname = 'rds_iam' AND m.rolname <> 'fastn_owner'"""
            ).fetchall()
        finally:
            connection.execute("DROP ROLE rds_iam")

    assert members == [("fastn_app",)]


def test_urls_name_the_role_and_quote_its_password() -> None:
    urls = runner.urls_for_roles(
        "postgresql://fastn_owner:x@db.example.test:5433/fastn?sslmode=require", {Role.APP: "p@ss/word"}
    )

    assert urls[Role.APP] == "postgresql://fastn_app:p%40ss%2Fword@db.example.test:5433/fastn?sslmode=require"
    assert urlsplit(urls[Role.RELAY]).password is None
    assert urls[Role.RELAY] == "postgresql://fastn_relay@db.example.test:5433/fastn?sslmode=require"


def test_a_password_with_every_awkward_character_survives_the_url(databases: Mapping[Role, str]) -> None:
    database = Database(databases[Role.APP])

    with database.transaction(None) as session:
        row = session.execute("SELECT current_user AS name").fetchone()
    database.close()

    assert row == {"name": "fastn_app"}


def _rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(sql.SQL(query)).fetchall()  # pyright: ignore[reportArgumentType]  # the test's own text


def _login(url: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_user").fetchone()
    return row[0] if row else None
