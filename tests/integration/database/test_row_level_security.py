"""The audit: no table, policy or role lets one customer near another's rows."""

from collections.abc import Mapping
from typing import LiteralString, cast

import psycopg
import pytest
from psycopg import sql

from fastn.platform.database import Database, Role
from fastn.platform.scope import Scope
from tests.foundation.databases import ProvisionedDatabase
from tests.foundation.seeding import Row, Table, insert_statement, row_values, statement
from tests.integration.database.conftest import Owners, Seeded

Superuser = psycopg.Connection[tuple[object, ...]]

# Every permissive policy, by name: one more opens a table a little further, so it has to be named here.
POLICIES: Mapping[str, tuple[str, str, str]] = {
    **{
        f"{table}_owner": (table, "ALL", "fastn_app")
        for table in (
            "organizations", "spaces", "tenants", "api_keys", "environments", "connectors", "data_keys", "connections",
            "workflows", "workflow_sources", "workflow_versions", "deployments", "triggers", "webhook_routes",
            "events", "outbox", "executions", "execution_steps", "dead_letters", "tenant_databases",
            "secrets", "secret_versions",
        )
    },
    **{
        f"{table}_shared": (table, "SELECT", "fastn_app")
        for table in ("workflows", "workflow_sources", "workflow_versions", "deployments")
    },
    "api_keys_ingress": ("api_keys", "SELECT", "fastn_ingress"),
    "outbox_relay": ("outbox", "ALL", "fastn_relay"),
}  # fmt: skip
POLICIES_OPEN_TO_ALL_ROWS = {"api_keys_ingress", "outbox_relay"}
TABLES_ABOVE_TENANTS = {"organizations", "spaces", "tenants", "environments", "connectors"}
TABLES_WITH_OPTIONAL_TENANT = {"api_keys"}
TABLES_SHARED_BY_THE_DEFAULT_TENANT = {"workflows", "workflow_sources", "workflow_versions", "deployments"}
TABLES_NEVER_CHANGED = {
    "data_keys",
    "workflow_sources",
    "workflow_versions",
    "execution_steps",
    "dead_letters",
    "outbox",
}


def test_every_table_enables_and_forces_row_level_security(superuser: Superuser, tables: Mapping[str, Table]) -> None:
    protected = superuser.execute(
        """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
           AND relrowsecurity AND relforcerowsecurity"""
    ).fetchall()

    assert set(tables) - {name for (name,) in protected} == set()


def test_the_schema_has_no_other_way_to_a_row(superuser: Superuser) -> None:
    detours = superuser.execute(
        """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
               AND (relkind IN ('m', 'f')
                    OR relkind = 'v' AND NOT coalesce(reloptions @> '{security_invoker=true}', false))
           UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef
           UNION ALL SELECT nspname FROM pg_namespace
               WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema')"""
    ).fetchall()

    assert detours == []


def test_every_policy_is_named_here(superuser: Superuser) -> None:
    rows = superuser.execute(
        """SELECT policyname, tablename, cmd, array_to_string(roles, ','), permissive FROM pg_policies
           WHERE schemaname = 'public'"""
    ).fetchall()

    assert {name: (table, command, roles) for name, table, command, roles, _ in rows} == POLICIES
    assert {permissive for *_, permissive in rows} == {"PERMISSIVE"}


def test_every_policy_that_permits_writes_checks_what_is_written(superuser: Superuser) -> None:
    unchecked = superuser.execute(
        """SELECT policyname FROM pg_policies
           WHERE schemaname = 'public' AND cmd <> 'SELECT' AND cmd <> 'DELETE' AND with_check IS NULL"""
    ).fetchall()

    assert unchecked == []


def test_every_policy_compares_the_owner_with_the_transactions_settings(superuser: Superuser) -> None:
    rows = superuser.execute("SELECT policyname, qual, with_check FROM pg_policies WHERE cmd <> 'INSERT'").fetchall()

    ownerless = {name for name, qual, _ in rows if "app.organization_id" not in str(qual)}
    lax = {name for name, qual, check in rows if check is not None and check != qual}

    assert ownerless == POLICIES_OPEN_TO_ALL_ROWS
    assert lax == {"outbox_relay"}  # which checks with false: the relay changes nothing


def test_every_table_carries_its_owner(superuser: Superuser, tables: Mapping[str, Table]) -> None:
    rows = superuser.execute(
        """SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attnum > 0 AND attnotnull
           AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r')"""
    ).fetchall()
    mandatory = {(table, column) for table, column in rows}

    spaceless = {name for name in tables if not {(name, "organization_id"), (name, "space_id")} <= mandatory}
    tenantless = {name for name in tables if (name, "tenant_id") not in mandatory}

    assert spaceless == {"organizations", "spaces"}  # which are the owner: their own ids stand for it
    assert tenantless == TABLES_ABOVE_TENANTS | TABLES_WITH_OPTIONAL_TENANT


def test_every_table_has_a_whole_index_that_leads_with_its_owner(
    superuser: Superuser, tables: Mapping[str, Table]
) -> None:
    rows = superuser.execute(
        """SELECT i.indrelid::regclass::text, a.attname FROM pg_index i
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
           WHERE i.indpred IS NULL AND i.indisvalid"""
    ).fetchall()
    leading = {(table, column) for table, column in rows}

    def owner_of(table: str) -> str:
        if table in {"organizations", "spaces"}:
            return {"organizations": "id", "spaces": "organization_id"}[table]
        return "space_id" if table in TABLES_ABOVE_TENANTS | TABLES_WITH_OPTIONAL_TENANT else "tenant_id"

    assert {table for table in tables if (table, owner_of(table)) not in leading} == set()


def test_the_owner_of_the_tables_is_no_superuser_and_sees_no_row(
    superuser: Superuser, owners: Owners, owner_url: str
) -> None:
    table_owners = superuser.execute(
        """SELECT DISTINCT rolname, rolsuper, rolbypassrls FROM pg_class JOIN pg_roles r ON r.oid = relowner
           WHERE relnamespace = 'public'::regnamespace"""
    ).fetchall()

    with psycopg.connect(owner_url) as connection:
        seen = {name: _count(connection, name) for name in owners.customer.rows}

    assert table_owners == [("fastn_owner", False, False)]
    assert set(seen.values()) == {0}
    assert all(_count(superuser, name) for name in seen)


@pytest.mark.parametrize("role", Role)
def test_a_functions_role_has_no_power_and_no_membership(superuser: Superuser, role: Role) -> None:
    attributes = superuser.execute(
        """SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles
           WHERE rolname = %s""",
        (role.value,),
    ).fetchall()
    memberships = superuser.execute(
        "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = %s::regrole", (role.value,)
    ).fetchall()
    owned = superuser.execute("SELECT relname FROM pg_class WHERE relowner = %s::regrole", (role.value,)).fetchall()

    assert attributes == [(False,) * 5]
    assert memberships == []
    assert owned == []


ESCAPES: tuple[LiteralString, ...] = (
    "SET ROLE fastn_owner",
    "SET ROLE postgres",
    "SET ROLE fastn_relay",
    "SET SESSION AUTHORIZATION fastn_owner",
    "ALTER ROLE fastn_app BYPASSRLS",
    "ALTER TABLE workflows NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE workflows DISABLE ROW LEVEL SECURITY",
    "CREATE POLICY everything ON workflows USING (true)",
    "DROP POLICY workflows_owner ON workflows",
    "TRUNCATE workflows CASCADE",
    "CREATE TABLE loot (id int)",
    "CREATE FUNCTION loot() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE ROLE thief",
    "SELECT * FROM pg_authid",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT * FROM alembic_version",
)


@pytest.mark.parametrize(
    ("role", "escape"),
    [(role, escape) for role in Role for escape in ESCAPES if escape != f"SET ROLE {role}"],  # itself it may be
)
def test_a_functions_role_cannot_escape_its_policies(
    databases: Mapping[Role, str], role: Role, escape: LiteralString
) -> None:
    with (
        psycopg.connect(databases[role]) as connection,
        pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidGrantOperation)),
    ):
        connection.execute(escape)


@pytest.mark.parametrize("role", Role)
def test_a_functions_role_can_pass_on_no_privilege(
    superuser: Superuser, tables: Mapping[str, Table], role: Role
) -> None:
    grantable = "SELECT WITH GRANT OPTION, INSERT WITH GRANT OPTION, UPDATE WITH GRANT OPTION, DELETE WITH GRANT OPTION"

    assert {name for name in tables if _may(superuser, role, name, grantable)} == set()


def test_switching_row_security_off_is_an_error_and_not_a_way_in(database: Database, owners: Owners) -> None:
    with database.transaction(owners.customer.scope) as session:
        session.execute("SET LOCAL row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            session.execute("SELECT * FROM workflows")


def test_without_an_owner_no_table_shows_a_row(database: Database, owners: Owners, superuser: Superuser) -> None:
    seen = {name: _visible(database, None, name) for name in owners.customer.rows}

    assert {name for name, rows in seen.items() if rows} == set()
    assert all(_count(superuser, name) for name in seen)


def test_an_owner_sees_its_row_in_every_table(database: Database, owners: Owners) -> None:
    for owner in (owners.shared, owners.customer, owners.sibling, owners.stranger):
        for name in owner.rows:
            assert _visible(database, owner.scope, name), name


def test_another_organization_sees_nothing(database: Database, owners: Owners) -> None:
    ours = str(owners.customer.scope.organization_id)

    for name in owners.customer.rows:
        seen = _visible(database, owners.stranger.scope, name)

        assert [row for row in seen if str(row["id" if name == "organizations" else "organization_id"]) == ours] == []


def test_a_sibling_customer_sees_only_its_own_and_what_is_shared(database: Database, owners: Owners) -> None:
    own, shared = owners.sibling.scope.tenant_id, owners.shared.scope.tenant_id

    for name in owners.customer.rows.keys() - TABLES_ABOVE_TENANTS:
        readable = {own, shared} if name in TABLES_SHARED_BY_THE_DEFAULT_TENANT else {own}

        assert {row["tenant_id"] for row in _visible(database, owners.sibling.scope, name)} == readable, name


def test_the_default_tenant_does_not_see_its_customers_rows(database: Database, owners: Owners) -> None:
    for name in owners.customer.rows.keys() - TABLES_ABOVE_TENANTS:
        seen = {row["tenant_id"] for row in _visible(database, owners.shared.scope, name)}

        assert seen == {owners.shared.scope.tenant_id}, name


def test_a_tenant_of_the_right_id_in_the_wrong_space_is_nobody(database: Database, owners: Owners) -> None:
    mixed = Scope(
        owners.stranger.scope.organization_id, owners.stranger.scope.space_id, owners.customer.scope.tenant_id
    )

    for name in owners.customer.rows.keys() - TABLES_ABOVE_TENANTS:
        seen = {row["tenant_id"] for row in _visible(database, mixed, name)}

        assert owners.customer.scope.tenant_id not in seen, name


@pytest.mark.parametrize("intruder", ["stranger", "sibling"])
def test_no_row_can_be_written_into_anothers_name(
    database: Database, owners: Owners, tables: Mapping[str, Table], intruder: str
) -> None:
    scope = _named(owners, intruder).scope
    above = {"environments", "connectors"} if intruder == "sibling" else set[str]()  # these belong to their space

    for name, table in tables.items():
        values = row_values(table, owners.customer.scope, owners.customer.rows)
        if name == "organizations" or name in above:
            continue
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            _execute(database, scope, insert_statement(name, values), values)


@pytest.mark.parametrize("intruder", ["stranger", "sibling"])
def test_no_row_can_be_given_away(
    database: Database, owners: Owners, superuser: Superuser, tables: Mapping[str, Table], intruder: str
) -> None:
    target = _named(owners, intruder).scope
    given = {"organization_id": target.organization_id, "space_id": target.space_id, "tenant_id": target.tenant_id}
    movable = [name for name in tables.keys() - TABLES_ABOVE_TENANTS if _may(superuser, Role.APP, name, "UPDATE")]

    for name in movable:
        move = "UPDATE {} SET organization_id = %(organization_id)s, space_id = %(space_id)s, tenant_id = %(tenant_id)s"
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            _execute(database, owners.customer.scope, statement(move, name), given)

    assert {"connections", "executions", "workflows", "api_keys"} <= set(movable)


@pytest.mark.parametrize("intruder", ["stranger", "sibling", "shared"])
def test_no_row_of_another_can_be_changed_or_deleted(
    database: Database, owners: Owners, superuser: Superuser, tables: Mapping[str, Table], intruder: str
) -> None:
    scope = _named(owners, intruder).scope
    victim = {"tenant_id": owners.customer.scope.tenant_id}
    changes: dict[str, LiteralString] = {
        "UPDATE": "UPDATE {} SET tenant_id = tenant_id WHERE tenant_id = %(tenant_id)s",
        "DELETE": "DELETE FROM {} WHERE tenant_id = %(tenant_id)s",
    }
    tried = 0

    for name in tables.keys() - TABLES_ABOVE_TENANTS:
        for privilege, change in changes.items():
            if _may(superuser, Role.APP, name, privilege):
                assert _execute(database, scope, statement(change, name), victim) == 0, (privilege, name)
                tried += 1

    assert tried >= 10


def test_a_customer_cannot_change_what_its_space_shares(database: Database, owners: Owners) -> None:
    shared = {"tenant_id": owners.shared.scope.tenant_id}

    changed = _execute(
        database, owners.customer.scope, "UPDATE workflows SET source = 'x' WHERE tenant_id = %(tenant_id)s", shared
    )

    assert changed == 0


def test_a_row_cannot_claim_to_be_shared_unless_the_default_tenant_owns_it(database: Database, owners: Owners) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        _execute(database, owners.customer.scope, "UPDATE workflows SET is_shared = true WHERE NOT is_shared", {})


@pytest.mark.parametrize("table", sorted(TABLES_NEVER_CHANGED))
@pytest.mark.parametrize("change", ["UPDATE {} SET tenant_id = tenant_id", "DELETE FROM {}"])
def test_what_is_recorded_once_is_never_changed(
    database: Database, owners: Owners, table: str, change: LiteralString
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        _execute(database, owners.customer.scope, statement(change, table), {})


def test_a_published_version_keeps_its_source(database: Database, owners: Owners) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        _execute(database, owners.customer.scope, "UPDATE workflow_versions SET source_sha256 = '\\x00'", {})


def test_the_owner_is_forgotten_after_commit(database: Database, owners: Owners) -> None:
    seen_before = _visible(database, owners.customer.scope, "executions")

    with database.transaction(None) as session:
        settings = session.execute(
            "SELECT current_setting('app.organization_id', true) AS o, current_setting('app.tenant_id', true) AS t"
        ).fetchone()

    assert len(seen_before) == 1
    assert settings == {"o": "", "t": ""}
    assert _visible(database, None, "executions") == []


def test_the_owner_is_forgotten_after_rollback(database: Database, owners: Owners) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction(owners.customer.scope):
        raise ZeroDivisionError

    assert _visible(database, None, "executions") == []


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan", "auto"])
def test_a_prepared_statement_follows_its_connection_to_the_next_tenant(
    database: Database, owners: Owners, plans: str
) -> None:
    order = [owners.customer, owners.sibling, owners.stranger, owners.customer] * 4

    for owner in order:
        with database.transaction(owner.scope) as session:
            session.execute("SELECT set_config('plan_cache_mode', %s, true)", (plans,))
            rows = session.execute("SELECT tenant_id FROM executions WHERE id IS NOT NULL AND %s", (True,)).fetchall()

        assert [row["tenant_id"] for row in rows] == [owner.scope.tenant_id]

    with database.transaction(None) as session:
        prepared = session.execute("SELECT 1 FROM pg_prepared_statements WHERE statement LIKE '%executions%'")
        assert prepared.fetchone() is not None


def test_ingress_reads_what_recognises_a_key_and_nothing_else(
    ingress_database: Database, owners: Owners, superuser: Superuser
) -> None:
    columns = superuser.execute(
        """SELECT table_name, column_name FROM information_schema.column_privileges
           WHERE grantee = 'fastn_ingress' ORDER BY 2"""
    ).fetchall()

    with ingress_database.transaction(None) as session:
        keys = session.execute("SELECT tenant_id FROM api_keys").fetchall()

    readable = {"id", "organization_id", "space_id", "tenant_id", "mode", "secret_sha256", "permissions", "revoked_at"}
    assert {column for _, column in columns} == readable
    assert {table for table, _ in columns} == {"api_keys"}
    everyone = (owners.shared, owners.customer, owners.sibling, owners.stranger)
    assert {row["tenant_id"] for row in keys} == {owner.scope.tenant_id for owner in everyone}


@pytest.mark.parametrize(
    "query",
    [
        "SELECT name FROM api_keys",
        "SELECT * FROM api_keys",
        "UPDATE api_keys SET revoked_at = NULL",
        "DELETE FROM api_keys",
        "SELECT 1 FROM tenants",
    ],
)
def test_ingress_is_refused_everything_else(ingress_database: Database, owners: Owners, query: LiteralString) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _execute(ingress_database, owners.customer.scope, query, {})


@pytest.mark.parametrize(("role", "own"), [(Role.INGRESS, "api_keys"), (Role.RELAY, "outbox")])
def test_a_role_with_an_open_policy_reaches_one_table(
    superuser: Superuser, tables: Mapping[str, Table], role: Role, own: str
) -> None:
    reachable = {
        name
        for name in tables
        for privilege in ("SELECT", "INSERT", "UPDATE", "REFERENCES")
        if _may_any_column(superuser, role, name, privilege) or _may(superuser, role, name, "DELETE, TRUNCATE, TRIGGER")
    }

    assert reachable == {own}


def test_the_relay_takes_every_customers_rows_and_removes_them(relay_database: Database, owners: Owners) -> None:
    with relay_database.transaction(None) as session:
        taken = session.execute("SELECT tenant_id, id FROM outbox ORDER BY priority, id FOR UPDATE SKIP LOCKED")
        tenants = {row["tenant_id"] for row in taken.fetchall()}
        removed = session.execute("DELETE FROM outbox").rowcount

    everyone = (owners.shared, owners.customer, owners.sibling, owners.stranger)
    assert tenants == {owner.scope.tenant_id for owner in everyone}
    assert removed == 4


def test_the_relay_changes_and_adds_no_row(
    relay_database: Database, owners: Owners, tables: Mapping[str, Table]
) -> None:
    values = row_values(tables["outbox"], owners.customer.scope, owners.customer.rows)

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        _execute(relay_database, None, "UPDATE outbox SET priority = 1", {})
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        _execute(relay_database, None, insert_statement("outbox", values), values)


def test_a_transaction_refuses_an_owner_that_is_no_uuid(
    database: Database, empty_database: ProvisionedDatabase
) -> None:
    forged = Scope(cast("type", "x', true); RESET ROLE; --"), cast("type", "y"))  # pyright: ignore[reportArgumentType]  # what the literal must survive

    with pytest.raises(TypeError, match="must be a UUID"), database.transaction(forged):
        pass


def _named(owners: Owners, name: str) -> Seeded:
    return {"stranger": owners.stranger, "sibling": owners.sibling, "shared": owners.shared}[name]


def _visible(database: Database, scope: Scope | None, table: str) -> list[Row]:
    with database.transaction(scope) as session:
        return session.execute(statement("SELECT * FROM {}", table)).fetchall()


def _execute(database: Database, scope: Scope | None, query: LiteralString, parameters: Mapping[str, object]) -> int:
    with database.transaction(scope) as session:
        return session.execute(query, parameters).rowcount


def _count(connection: Superuser, table: str) -> object:
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    return row[0] if row else 0


def _may(connection: Superuser, role: Role, table: str, privilege: str) -> bool:
    row = connection.execute("SELECT has_table_privilege(%s, %s, %s)", (role.value, table, privilege)).fetchone()
    return row == (True,)


def _may_any_column(connection: Superuser, role: Role, table: str, privilege: str) -> bool:
    row = connection.execute("SELECT has_any_column_privilege(%s, %s, %s)", (role.value, table, privilege)).fetchone()
    return row == (True,)
