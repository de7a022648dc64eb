"""Transactions bound to one owner, on connections that may die."""

import uuid
from collections.abc import Mapping
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fastn.platform.database import Database, DatabaseUnavailable, Role
from fastn.platform.scope import Scope
from fastn.tenants.models import FoundedSpace
from tests.foundation.databases import ProvisionedDatabase

OWNER = "SELECT current_setting('app.organization_id', true) AS o, current_setting('app.space_id', true) AS s, \
current_setting('app.tenant_id', true) AS t"


def test_a_transaction_carries_its_owner(database: Database, founded: FoundedSpace) -> None:
    with database.transaction(founded.scope) as session:
        owner = session.execute(OWNER).fetchone()

    assert owner == {
        "o": str(founded.scope.organization_id), "s": str(founded.scope.space_id), "t": str(founded.scope.tenant_id)
    }  # fmt: skip


def test_a_scope_without_a_tenant_leaves_the_tenant_empty(database: Database, founded: FoundedSpace) -> None:
    with database.transaction(founded.scope):
        pass

    with database.transaction(replace(founded.scope, tenant_id=None)) as session:
        owner = session.execute(OWNER).fetchone()

    assert owner is not None
    assert owner["t"] == ""


def test_a_block_that_ends_commits(database: Database, databases: Mapping[Role, str], founded: FoundedSpace) -> None:
    with database.transaction(founded.scope) as session:
        session.execute("UPDATE tenants SET name = 'changed'")

    assert _tenant_names(databases, founded.scope) == ["changed"]


def test_a_block_that_raises_rolls_back(
    database: Database, databases: Mapping[Role, str], founded: FoundedSpace
) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        _rename_and_fail(database, founded.scope)

    assert _tenant_names(databases, founded.scope) == ["Acme"]


def test_a_failed_statement_leaves_the_connection_usable(database: Database, founded: FoundedSpace) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable), database.transaction(founded.scope) as session:
        session.execute("SELECT * FROM nowhere")

    with database.transaction(founded.scope) as session:
        assert session.execute("SELECT count(*) AS n FROM tenants").fetchone() == {"n": 1}


def test_many_rows_are_written_in_one_go(database: Database, founded: FoundedSpace) -> None:
    scope = founded.scope
    rows = [(scope.organization_id, scope.space_id, f"env-{number}") for number in range(3)]

    with database.transaction(scope) as session:
        session.execute_many(
            "INSERT INTO environments (organization_id, space_id, name, created_at) VALUES (%s, %s, %s, now())", rows
        )
        names = session.execute("SELECT name FROM environments WHERE name LIKE 'env-%%' ORDER BY 1", ()).fetchall()

    assert [row["name"] for row in names] == ["env-0", "env-1", "env-2"]


def test_a_connection_that_the_server_ended_is_replaced_once_and_silently(
    database: Database, founded: FoundedSpace, empty_database: ProvisionedDatabase
) -> None:
    with database.transaction(founded.scope) as session:
        first = session.execute("SELECT pg_backend_pid() AS pid").fetchone()
    _end_sessions(empty_database)

    with database.transaction(founded.scope) as session:
        second = session.execute("SELECT pg_backend_pid() AS pid").fetchone()

    assert first != second


def test_a_connection_lost_inside_a_transaction_is_not_hidden(
    database: Database, founded: FoundedSpace, empty_database: ProvisionedDatabase
) -> None:
    with pytest.raises(DatabaseUnavailable):
        _lose_the_connection(database, founded.scope, empty_database)

    with database.transaction(founded.scope) as session:
        assert session.execute("SELECT 1 AS one").fetchone() == {"one": 1}


def test_a_server_that_is_not_there_is_unavailable_and_worth_a_retry(free_port: int) -> None:
    database = Database(f"postgresql://nobody:secret@127.0.0.1:{free_port}/fastn", connect_timeout_seconds=1)

    with pytest.raises(DatabaseUnavailable) as refused, database.transaction(None):
        pass

    assert refused.value.retryable
    assert "secret" not in str(refused.value)


def test_the_password_is_asked_at_each_connect(databases: Mapping[Role, str]) -> None:
    parts = conninfo_to_dict(databases[Role.APP])
    password = str(parts.pop("password"))
    asked: list[str] = []

    def token() -> str:
        asked.append(password)
        return password

    database = Database(make_conninfo("", **parts), password=token)
    for _ in range(2):
        with database.transaction(None) as session:
            session.execute("SELECT 1")
        database.close()

    assert len(asked) == 2


def test_one_connection_serves_many_transactions(database: Database, founded: FoundedSpace) -> None:
    pids: set[object] = set()
    for _ in range(3):
        with database.transaction(founded.scope) as session:
            row = session.execute("SELECT pg_backend_pid() AS pid").fetchone()
            pids.add(row["pid"] if row else None)

    assert len(pids) == 1


def test_ids_of_any_value_are_safe_in_the_opening_statement(database: Database) -> None:
    scope = Scope(*(uuid.UUID(int=number) for number in (0, 2**128 - 1, 1)))  # pyright: ignore[reportArgumentType]  # any UUID will do

    with database.transaction(scope) as session:
        owner = session.execute(OWNER).fetchone()

    assert owner is not None
    assert owner["s"] == "ffffffff-ffff-ffff-ffff-ffffffffffff"


def _tenant_names(databases: Mapping[Role, str], scope: Scope) -> list[str]:
    other = Database(databases[Role.APP])
    with other.transaction(scope) as session:
        rows = session.execute("SELECT name FROM tenants").fetchall()
    other.close()
    return [row["name"] for row in rows]


def _rename_and_fail(database: Database, scope: Scope) -> None:
    with database.transaction(scope) as session:
        session.execute("UPDATE tenants SET name = 'changed'")
        session.execute("SELECT 1 / 0")


def _lose_the_connection(database: Database, scope: Scope, server: ProvisionedDatabase) -> None:
    with database.transaction(scope) as session:
        _end_sessions(server)
        session.execute("SELECT 1")


def _end_sessions(database: ProvisionedDatabase) -> None:
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'fastn_app'")
