"""What a tenant may try with a statement, against the check, and against the role alone."""

import psycopg
import pytest

from fastn.databases.errors import QueryRejected, StatementRefused
from fastn.databases.rules import CheckedStatement, check_statement
from fastn.databases.sessions import TenantSession
from tests.unit.databases.asking import Ask, Customer

REFUSED = [
    "SELECT 1; DROP TABLE notes",
    "SELECT 1; SELECT 2",
    "",
    "-- nothing",
    "SET ROLE fastn_provisioner",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET ALL",
    "SET search_path = public",
    "SET LOCAL statement_timeout = 0",
    "SHOW server_version",
    "DISCARD ALL",
    "SELECT set_config('statement_timeout', '0', false)",
    "SELECT pg_catalog.set_config('role', 'postgres', false)",
    "SELECT \"set_config\"('role', 'x', true)",
    "SELECT * FROM set_config('role', 'x', true)",
    "INSERT INTO notes SELECT set_config('role', 'x', true)",
    "CREATE TABLE x (a text DEFAULT set_config('a.b', 'x', false))",
    "WITH a AS (SELECT set_config('role', 'x', true)) SELECT * FROM a",
    "SELECT current_setting('data_directory')",
    "COPY notes TO PROGRAM 'id'",
    "COPY notes FROM PROGRAM 'id'",
    "COPY notes TO STDOUT",
    "COPY (SELECT 1) TO '/tmp/x'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_creat(-1)",
    "SELECT query_to_xml('SELECT 1', true, true, '')",
    "SELECT table_to_xml('notes', true, true, '')",
    "SELECT database_to_xml(true, true, '')",
    "SELECT * FROM ts_stat('SELECT 1')",
    "SELECT dblink('host=127.0.0.1', 'SELECT 1')",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_notify('a', 'b')",
    "NOTIFY a",
    "LISTEN a",
    "SELECT inet_server_addr()",
    "SELECT pg_reload_conf()",
    "SELECT * FROM public.notes",
    "SELECT * FROM other.notes",
    "INSERT INTO other.notes VALUES (1)",
    "DROP TABLE other.notes",
    "SELECT * FROM pg_catalog.pg_roles",
    "SELECT * FROM pg_roles",
    'SELECT * FROM "pg_class"',
    "SELECT 1 WHERE EXISTS (TABLE pg_authid)",
    "SELECT * FROM information_schema.tables",
    "SELECT 16384::regclass",
    "SELECT 'notes'::pg_catalog.regclass::oid",
    "SELECT regclass(16384)",
    "SELECT to_regclass('x')",
    "SELECT regroleout(10)",
    "SELECT format_type(16384, NULL)",
    "SELECT acldefault('r', 10)",
    "SELECT has_table_privilege('notes', 'SELECT')",
    "SELECT CURRENT_USER",
    "SELECT current_schema()",
    "DO $$ BEGIN END $$",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE EXTENSION dblink",
    "CREATE TRIGGER t AFTER INSERT ON notes EXECUTE FUNCTION f()",
    "CREATE RULE r AS ON INSERT TO notes DO NOTHING",
    "CREATE SCHEMA s",
    "CREATE ROLE r",
    "ALTER ROLE CURRENT_USER SET statement_timeout = 0",
    "ALTER USER CURRENT_USER PASSWORD 'x'",
    "ALTER DATABASE fastn_tenants SET work_mem = '1GB'",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "DROP OWNED BY CURRENT_USER",
    "GRANT ALL ON notes TO PUBLIC",
    "REVOKE ALL ON notes FROM PUBLIC",
    "ALTER TABLE notes OWNER TO fastn_provisioner",
    "ALTER TABLE notes SET SCHEMA public",
    "ALTER TABLE notes DISABLE TRIGGER ALL",
    "CREATE TEMP TABLE x (a int)",
    "CREATE TABLE pg_temp.x (a int)",
    "CREATE TABLE public.x (a int)",
    "SELECT 1 INTO x",
    "CREATE TABLE x AS SELECT 1",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DECLARE c CURSOR FOR SELECT 1",
    "EXPLAIN ANALYZE DELETE FROM notes",
    "EXPLAIN SELECT 1",
    "LOCK TABLE notes",
    "VACUUM",
    "CREATE INDEX CONCURRENTLY i ON notes (owner)",
    "CREATE FOREIGN TABLE f (a int) SERVER s",
    "CREATE SERVER s FOREIGN DATA WRAPPER w",
    "COMMENT ON TABLE notes IS 'x'",
    "SECURITY LABEL ON TABLE notes IS 'x'",
    "LOAD 'x'",
    "CALL p()",
    "CREATE MATERIALIZED VIEW v AS SELECT 1",
    "CHECKPOINT",
]
ALLOWED = [
    "SELECT now(), lower('A'), regexp_replace('a', 'b', 'c'), extract(year FROM now()), coalesce(NULL, 1)",
    "SELECT count(*) FILTER (WHERE true), row_number() OVER () FROM notes",
    "SELECT string_agg(owner, ',') FROM notes",
    "SELECT owner FROM notes FOR UPDATE SKIP LOCKED",
    "SELECT jsonb_build_object('a', 1) ->> 'a'",
    "VALUES (1), (2)",
    "TABLE notes",
    "SELECT pg_typeof(1)::text",
    "SELECT current_date, current_timestamp;",
    "SELECT * FROM generate_series(1, 3) AS n",
    "INSERT INTO notes VALUES ('set_config(''role'')') -- SET ROLE x",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_statement_a_tenant_has_no_business_with_is_refused_before_it_is_sent(sql: str) -> None:
    with pytest.raises(StatementRefused):
        check_statement(sql)


@pytest.mark.parametrize("sql", [sql for sql in ALLOWED if "pg_typeof" not in sql])
def test_ordinary_statement_runs(two: list[Customer], sql: str) -> None:
    two[0].ask(sql)


def test_another_customers_table_is_not_found_by_any_name(two: list[Customer]) -> None:
    ours, theirs = two
    theirs.ask("CREATE TABLE theirs_alone (n integer)")
    schema, role = theirs.location.schema_name, theirs.location.role_name

    for name in (
        "theirs_alone",
        f"{schema}.theirs_alone",
        f'"{schema}"."theirs_alone"',
        f"fastn_tenants.{schema}.notes",
    ):
        with pytest.raises(QueryRejected) as refused:
            ours.ask(f"SELECT * FROM {name}")
        assert schema not in refused.value.message
        assert role not in refused.value.message


@pytest.mark.parametrize(
    "attack",
    [
        "SELECT * FROM {schema}.notes", "INSERT INTO {schema}.notes VALUES ('x')", "DROP TABLE {schema}.notes",
        "CREATE TABLE {schema}.x (a int)", "SET ROLE {role}", "SET SESSION AUTHORIZATION {role}",
        "SET ROLE fastn_provisioner",
        "SET ROLE fastn_owner", "CREATE SCHEMA x", "CREATE TEMP TABLE x (a int)", "CREATE TABLE public.x (a int)",
        "COPY (SELECT 1) TO PROGRAM 'id'", "SELECT pg_read_file('/etc/passwd')", "CREATE EXTENSION dblink",
        "CREATE ROLE x", "ALTER ROLE {role} PASSWORD 'x'", "GRANT {role} TO CURRENT_USER",
        "DROP SCHEMA {schema} CASCADE",
        "SELECT query_to_xml('SELECT * FROM {schema}.notes', true, true, '')", "SELECT rolpassword FROM pg_authid",
        "SELECT 1; SELECT 2",
    ],
)  # fmt: skip
def test_role_alone_withstands_what_the_check_would_refuse(two: list[Customer], server_url: str, attack: str) -> None:
    ours, theirs = two
    session = TenantSession(server_url, ours.location)
    sql = attack.format(schema=theirs.location.schema_name, role=theirs.location.role_name)

    for returns_rows in (False, True):
        with pytest.raises(QueryRejected) as refused:
            session.run(sql, [], CheckedStatement(returns_rows), seconds=5)
        assert refused.value.sqlstate in ("42501", "42601", "3F000", "42704", "0A000", "58P01")

    session.close()
    assert theirs.ask("SELECT * FROM notes")["rows"] == [{"owner": str(theirs.owner.tenant_id)}]


def test_role_cannot_connect_to_the_products_database(
    two: list[Customer], databases: dict[str, str], server_url: str
) -> None:
    location = two[0].location
    address = server_url.rpartition("@")[2].replace("/fastn_tenants", "/fastn")

    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(f"postgresql://{location.role_name}:{location.password}@{address}")


def test_role_is_a_member_of_nothing_and_owns_one_schema(
    two: list[Customer], superuser: "psycopg.Connection[tuple[object, ...]]"
) -> None:
    role = two[0].location.role_name
    memberships = superuser.execute("SELECT 1 FROM pg_auth_members WHERE member = %s::regrole", (role,)).fetchall()
    schemas = superuser.execute("SELECT nspname FROM pg_namespace WHERE nspowner = %s::regrole", (role,)).fetchall()
    attributes = superuser.execute(
        """SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication, rolinherit, rolconnlimit
           FROM pg_roles WHERE rolname = %s""", (role,),
    ).fetchone()  # fmt: skip

    assert memberships == []
    assert schemas == [(two[0].location.schema_name,)]
    assert attributes == (False, False, False, False, False, False, 20)


def test_next_run_has_a_session_of_its_own(ask: Ask, run_of: object) -> None:
    first = ask.value("SELECT pg_sleep(0) IS NULL")
    ask.run.close()

    assert first is False
    assert ask.value("SELECT 1") == 1
