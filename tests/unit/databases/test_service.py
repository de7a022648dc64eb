"""What a program asks fastn.db, and what it is told."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from fastn.databases.errors import DatabaseUnreachable, QueryLimitExceeded, QueryRejected
from fastn.databases.models import QueryLimits
from fastn.databases.service import DatabaseTools, TenantQueries, locate
from fastn.errors import ValidationFailed
from fastn.platform.database import Database, Role
from fastn.platform.scope import Scope
from fastn.tenants.models import DRAFT, PRODUCTION
from tests.unit.databases.asking import Ask, Customer

BeginRun = Callable[..., TenantQueries]
DOCUMENTED_TABLE = """
  CREATE TABLE IF NOT EXISTS sync_log (
    id SERIAL PRIMARY KEY,
    source_id TEXT,
    synced_at TIMESTAMP DEFAULT NOW()
  )
"""


def test_documented_example_works_and_may_be_run_again(ask: Ask) -> None:
    ask(DOCUMENTED_TABLE)
    ask("INSERT INTO sync_log (source_id) VALUES ($1)", ["order-1"])
    created = ask(DOCUMENTED_TABLE)
    inserted = ask("INSERT INTO sync_log (source_id) VALUES ($1)", ["order-1"])

    result = ask("SELECT * FROM sync_log WHERE source_id = $1", ["order-1"])

    assert created == {"rows": [], "rowCount": 0, "fields": []}
    assert inserted == {"rows": [], "rowCount": 1, "fields": []}
    assert result["rowCount"] == 2
    assert [row["id"] for row in result["rows"]] == [1, 2]
    assert result["rows"][0]["source_id"] == "order-1"
    assert result["rows"][0]["synced_at"][10] == "T"
    assert result["fields"] == [
        {"name": "id", "type": "int4"}, {"name": "source_id", "type": "text"},
        {"name": "synced_at", "type": "timestamp"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1::smallint", 1),
        ("9007199254740991::bigint", 9007199254740991),
        ("9007199254740993::bigint", "9007199254740993"),
        ("count(*)", 1),
        ("0.1::numeric(20,10)", "0.1000000000"),
        ("0.5::float8", 0.5),
        ("'NaN'::float8", None),
        ("'-infinity'::float4", None),
        ("true", True),
        ("null::text", None),
        ("'naïve'::text", "naïve"),
        ("'{\"a\": [1, null]}'::jsonb", {"a": [1, None]}),
        ("ARRAY['[1]'::json, 'null']", [[1], None]),

        ("'2026-11-22'::date", "2026-11-22"),
        ("'2026-11-22 12:30:00.123456'::timestamp", "2026-11-22T12:30:00.123456"),
        ("'2026-11-22 12:30:00+02'::timestamptz", "2026-11-22T10:30:00Z"),
        ("'infinity'::timestamptz", "infinity"),
        ("'1 day 2 hours'::interval", "P1DT2H"),
        ("'\\x00ff'::bytea", "AP8="),
        ("ARRAY[1, NULL, 3]", [1, None, 3]),
        ("ARRAY['2026-11-22 12:00:00+00'::timestamptz]", ["2026-11-22T12:00:00Z"]),
        ("'6f1e0b9c-0000-7000-8000-000000000001'::uuid", "6f1e0b9c-0000-7000-8000-000000000001"),
        ("int4range(1, 5)", "[1,5)"),
        ("ROW(1, 'a')", "(1,a)"),
    ],
)  # fmt: skip
def test_every_type_has_a_value_in_json(ask: Ask, expression: str, value: object) -> None:
    assert ask.value(f"SELECT {expression} AS v") == value


@pytest.mark.parametrize(
    ("type_name", "given", "stored"),
    [
        ("text", 5, "5"),
        ("text", 1.5, "1.5"),
        ("integer", "5", 5),
        ("integer", 5.0, 5),
        ("numeric", 0.1, "0.1"),
        ("boolean", True, True),
        ("text", None, None),
        ("jsonb", {"a": ["ü", None, 1]}, {"a": ["ü", None, 1]}),
        ("text[]", ['a"b', "c\\d", None, "NULL", "{}", ""], ['a"b', "c\\d", None, "NULL", "{}", ""]),
        ("integer[]", [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ("timestamptz", "2026-11-22T12:00:00.000Z", "2026-11-22T12:00:00Z"),
        ("text", "'; DROP TABLE kept; --", "'; DROP TABLE kept; --"),
    ],
)
def test_parameter_takes_the_type_of_its_place(ask: Ask, type_name: str, given: object, stored: object) -> None:
    ask(f"CREATE TABLE kept (v {type_name})")

    ask("INSERT INTO kept VALUES ($1)", [given])

    assert ask.value("SELECT v FROM kept") == stored


def test_json_too_long_or_deep_for_a_parser_is_told_as_it_is(ask: Ask, run_of: BeginRun, customer: Scope) -> None:
    digits = run_of(customer).query('{"sql": "SELECT to_jsonb(repeat(\'9\', 5000)::numeric) AS v"}', seconds_left=60)
    depth = run_of(customer).query(
        "{\"sql\": \"SELECT (repeat('[', 3000) || repeat(']', 3000))::json AS v\"}", seconds_left=60
    )

    assert '"v": ' + "9" * 5000 in digits
    assert "[" * 3000 + "]" * 3000 in depth


def test_array_of_ids_finds_their_rows(ask: Ask) -> None:
    ask("CREATE TABLE items (id integer)")
    ask("INSERT INTO items SELECT generate_series(1, 9)")

    rows = ask("SELECT id FROM items WHERE id = ANY($1) ORDER BY id", [[3, 7, 11]])["rows"]

    assert rows == [{"id": 3}, {"id": 7}]


def test_change_tells_how_many_rows_and_returns_those_asked_for(ask: Ask) -> None:
    ask("CREATE TABLE items (id integer PRIMARY KEY, n integer)")
    inserted = ask("INSERT INTO items VALUES (1, 1), (2, 2), (3, 3)")
    updated = ask("UPDATE items SET n = n * 10 WHERE id > $1 RETURNING n", [1])
    upserted = ask("INSERT INTO items VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n RETURNING n")
    deleted = ask("DELETE FROM items")

    assert (inserted["rowCount"], inserted["rows"]) == (3, [])
    assert sorted(row["n"] for row in updated["rows"]) == [20, 30]
    assert (updated["rowCount"], upserted["rows"], deleted["rowCount"]) == (2, [{"n": 5}], 3)


def test_tables_indexes_and_views_may_be_made_changed_and_dropped(ask: Ask) -> None:
    for statement in (
        "CREATE TABLE a (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer CHECK (n > 0))",
        "CREATE TABLE b (a_id bigint REFERENCES a (id) ON DELETE CASCADE)",
        "CREATE INDEX a_n ON a (lower(n::text))",
        "CREATE VIEW v AS SELECT n FROM a",
        "ALTER TABLE a ADD COLUMN m text NOT NULL DEFAULT 'x', ADD CONSTRAINT m_set CHECK (m <> '')",
        "ALTER TABLE a RENAME COLUMN m TO k",
        "ALTER TABLE b RENAME TO c",
        "WITH added AS (INSERT INTO a (n) VALUES (1) RETURNING id) INSERT INTO c SELECT id FROM added",
        "TRUNCATE a, c",
        "DROP VIEW v",
        "DROP INDEX IF EXISTS a_n",
        "DROP TABLE a, c CASCADE",
    ):
        ask(statement)

    with pytest.raises(QueryRejected) as refused:
        ask("SELECT * FROM a")
    assert refused.value.sqlstate == "42P01"


# ── Failures ──────────────────────────────────────────────────────────────────────────────────────


def test_refusal_of_the_database_tells_sqlstate_and_message_and_changes_nothing(ask: Ask) -> None:
    ask("CREATE TABLE items (id integer PRIMARY KEY)")
    ask("INSERT INTO items VALUES (1)")

    with pytest.raises(QueryRejected) as refused:
        ask("INSERT INTO items VALUES (2), (1)")

    assert refused.value.sqlstate == "23505"
    assert "duplicate key" in refused.value.message
    assert refused.value.datasource_debug == {"sqlstate": "23505", "hint": None}
    assert ask.value("SELECT count(*) FROM items") == 1


def test_syntax_error_is_told(ask: Ask) -> None:
    with pytest.raises(QueryRejected) as refused:
        ask("SELEC 1")

    assert refused.value.sqlstate == "42601"
    assert 'syntax error at or near "SELEC"' in refused.value.message


@pytest.mark.parametrize(
    "arguments",
    ['{"params": []}', '{"sql": 5}', '{"sql": "SELECT 1", "params": {"a": 1}}', '{"sql": "SELECT 1", "params": "1"}',
     '{"sql": "SELECT $1::text", "params": ["a\\u0000b"]}', '{"sql": "SELECT $1::text", "params": ["\\ud800"]}',
     '{"sql": "SELECT \\u0000"}'],
)  # fmt: skip
def test_arguments_of_another_shape_are_refused(run_of: BeginRun, customer: Scope, arguments: str) -> None:
    with pytest.raises(ValidationFailed):
        run_of(customer).query(arguments, seconds_left=60)


def test_wrong_number_of_parameters_is_refused(ask: Ask) -> None:
    with pytest.raises(QueryRejected) as refused:
        ask("SELECT $1::text, $2::text", ["only one"])

    assert refused.value.sqlstate == "08P01"


def test_lost_session_is_told_and_the_next_statement_has_a_new_one(
    ask: Ask, superuser: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    ask("CREATE TABLE items (id integer)")
    superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 't\\_%'")

    assert ask.value("SELECT count(*) FROM items") == 0


def test_session_that_dies_in_a_statement_is_told_so(
    ask: Ask, superuser: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    def end_it() -> None:
        while not superuser.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE query LIKE '%pg_sleep(7)' AND usename LIKE 't\\_%'"""
        ).fetchall():
            pass

    ending = threading.Thread(target=end_it)
    ending.start()
    with pytest.raises(DatabaseUnreachable) as lost:
        ask("SELECT pg_sleep(7)")
    ending.join()

    assert lost.value.retryable
    assert ask.value("SELECT 1") == 1


# ── Limits ────────────────────────────────────────────────────────────────────────────────────────


def test_statement_that_takes_too_long_is_stopped_and_undone(ask: Ask) -> None:
    ask("CREATE TABLE items (id text)")

    with pytest.raises(QueryLimitExceeded) as stopped:
        ask("INSERT INTO items SELECT pg_sleep(5)::text", seconds_left=0.2)

    assert stopped.value.sqlstate == "57014"
    assert stopped.value.message == "The statement took longer than 0.2 seconds."
    assert ask.value("SELECT count(*) FROM items") == 0


def test_run_without_time_left_asks_nothing(ask: Ask) -> None:
    with pytest.raises(QueryLimitExceeded):
        ask("SELECT 1", seconds_left=0)


def test_statement_whose_own_limit_is_lost_is_cancelled_from_outside(
    tools: DatabaseTools, customer: Scope, run_of: BeginRun
) -> None:
    ask = Ask(run_of(customer))
    location = locate(tools, customer, DRAFT)
    # A function stands for whatever may one day reach set_config past the check.
    with psycopg.connect(tools.server_url, autocommit=True) as admin:
        admin.execute(f"SET ROLE {location.role_name}".encode())
        admin.execute(
            f"""CREATE FUNCTION {location.schema_name}.unlimited() RETURNS void LANGUAGE plpgsql AS
            $$ BEGIN
                PERFORM pg_catalog.set_config('statement_timeout', '0', true);
                PERFORM pg_catalog.pg_sleep(30);
            END $$""".encode()
        )

    with pytest.raises(QueryLimitExceeded):
        ask("SELECT unlimited()", seconds_left=0.1)


@pytest.mark.parametrize(
    ("limits", "sql"),
    [
        (QueryLimits(rows=10), "SELECT generate_series(1, 11)"),
        (QueryLimits(rows=10), "INSERT INTO items SELECT generate_series(1, 11)::text RETURNING id"),
        (QueryLimits(result_bytes=1000), "SELECT repeat('x', 100) FROM generate_series(1, 20)"),
        (QueryLimits(result_bytes=1000), "INSERT INTO items VALUES (repeat('x', 1001)) RETURNING id"),
        (QueryLimits(sql_characters=10), "SELECT 12345"),
        (QueryLimits(parameters=1), "SELECT $1::text, $2::text"),
        (QueryLimits(parameter_bytes=30), "SELECT $1::text, $2::text"),
    ],
)
def test_statement_over_a_limit_has_no_effect(
    tools: DatabaseTools, customer: Scope, run_of: BeginRun, limits: QueryLimits, sql: str
) -> None:
    roomy = Ask(run_of(customer))
    roomy("CREATE TABLE items (id text)")
    narrow = Ask(run_of(customer, tools=replace(tools, limits=limits)))

    with pytest.raises(QueryLimitExceeded) as refused:
        narrow(sql, ["a", "b"] if "$1" in sql else None)

    assert refused.value.sqlstate in ("54000", "54001")
    assert roomy.value("SELECT count(*) FROM items") == 0


def test_result_at_the_limit_is_told(tools: DatabaseTools, customer: Scope, run_of: BeginRun) -> None:
    ask = Ask(run_of(customer, tools=replace(tools, limits=QueryLimits(rows=10))))

    assert ask("SELECT generate_series(1, 10)")["rowCount"] == 10


# ── Whose database ────────────────────────────────────────────────────────────────────────────────


def test_two_customers_with_the_same_table_each_see_their_own(two: list[Customer]) -> None:
    for one in two:
        assert one.ask("SELECT * FROM notes")["rows"] == [{"owner": str(one.owner.tenant_id)}]


def test_environments_of_one_customer_are_apart(customer: Scope, run_of: BeginRun) -> None:
    draft, production = (Ask(run_of(customer, environment)) for environment in (DRAFT, PRODUCTION))
    draft("CREATE TABLE notes (n integer)")

    with pytest.raises(QueryRejected) as missing:
        production("SELECT * FROM notes")

    assert missing.value.sqlstate == "42P01"


def test_database_is_found_again_by_the_next_run(customer: Scope, run_of: BeginRun, tools: DatabaseTools) -> None:
    Ask(run_of(customer))("CREATE TABLE notes (n integer)")

    assert Ask(run_of(customer)).value("SELECT count(*) FROM notes") == 0
    assert locate(tools, customer, DRAFT) == locate(tools, customer, DRAFT)
    assert locate(tools, customer, DRAFT).is_provisioned


def test_names_tell_nothing_of_the_customer(two: list[Customer]) -> None:
    for one in two:
        told = f"{one.location.schema_name} {one.location.role_name}"
        for identifier in (one.owner.tenant_id, one.owner.space_id, one.owner.organization_id):
            assert identifier is not None
            assert identifier.hex not in told


def test_password_is_not_stored_in_the_clear(
    two: list[Customer], database: Database, superuser: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    for one in two:
        with database.transaction(one.owner) as session:
            (row,) = session.execute("SELECT password_ciphertext FROM tenant_databases").fetchall()
        verifiers = superuser.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (one.location.role_name,)
        ).fetchall()

        assert one.location.password.encode() not in bytes(row["password_ciphertext"])
        assert str(verifiers[0][0]).startswith("SCRAM-SHA-256$")
        assert one.location.password not in repr(one.location)


def test_ten_runs_that_come_first_at_once_share_one_database(
    databases: dict[Role, str], tools: DatabaseTools, customer: Scope
) -> None:
    tools.vault.prepare(customer)
    start = threading.Barrier(10)
    found: list[object] = []

    def first_run() -> None:
        ours = replace(tools, database=Database(databases[Role.APP]), provisioner=Database(tools.server_url))
        run = TenantQueries(ours, customer, DRAFT)
        start.wait()
        try:
            Ask(run)("CREATE TABLE IF NOT EXISTS notes (n integer)")
        except QueryRejected as error:
            # PostgreSQL's own race: IF NOT EXISTS looks before it makes.
            assert error.sqlstate == "23505"  # noqa: PT017  # as it may also succeed
        found.append(locate(ours, customer, DRAFT))
        for closing in (run, ours.database, ours.provisioner):
            closing.close()

    threads = [threading.Thread(target=first_run) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 10
    assert len(set(found)) == 1


def test_provisioning_that_died_half_way_is_finished_by_the_next(
    tools: DatabaseTools, customer: Scope, run_of: BeginRun, database: Database
) -> None:
    unreachable = replace(
        tools, provisioner=Database("postgresql://nobody@127.0.0.1:1/none", connect_timeout_seconds=1)
    )
    with pytest.raises(Exception, match="cannot be reached"):
        locate(unreachable, customer, DRAFT)
    with database.transaction(customer) as session:
        (named,) = session.execute("SELECT schema_name, provisioned_at FROM tenant_databases").fetchall()

    assert Ask(run_of(customer)).value("SELECT 1") == 1
    assert named["provisioned_at"] is None
    assert locate(tools, customer, DRAFT).schema_name == named["schema_name"]
