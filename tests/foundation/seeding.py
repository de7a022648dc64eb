"""A row in every table, made from the schema itself: a new table is covered the moment it exists."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row

from fastn.platform.database import Database
from fastn.platform.migrations.runner import VERSION_TABLE
from fastn.platform.scope import Scope

INSTANT = "2026-11-22T12:00:00Z"
# Where the domain knows a closed list that the schema leaves open.
KNOWN_VALUES: Mapping[tuple[str, str], str] = {
    ("connections", "auth_method"): "bearer",
    ("connections", "connector_slug"): "slack",
    ("workflow_sources", "language"): "javascript",
    ("workflow_versions", "tier"): "instant",
}
Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a row must fill."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Columns of a table that name a row of another."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """What the catalog says of one table."""

    name: str
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...]
    first_choices: Mapping[str, str]
    """For a column that CHECK limits to a list: the list's first value."""


def read_tables(superuser_url: str) -> dict[str, Table]:
    """Every table of the public schema, parents before children; alembic's own excepted."""
    with psycopg.Connection[DictRow].connect(superuser_url, row_factory=dict_row) as connection:
        names = connection.execute(
            """SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
               AND relkind IN ('r', 'p') AND relname <> %s ORDER BY relname""",
            (VERSION_TABLE,),
        ).fetchall()
        tables = [_read_table(connection, row["name"]) for row in names]
    return {table.name: table for table in _parents_first(tables)}


def seed_every_table(database: Database, tables: Mapping[str, Table], scope: Scope) -> dict[str, Row]:
    """One new row of this owner in each table, written as fastn_app; where one exists already, that one.

    A table this cannot fill fails here, with PostgreSQL's own words.
    """
    seeded: dict[str, Row] = {}
    with database.transaction(scope) as session:
        for table in tables.values():
            existing = session.execute(_own_row_query(table), {"tenant_id": scope.tenant_id}).fetchone()
            if existing is None:
                existing = row_values(table, scope, seeded)
                session.execute(insert_statement(table.name, existing), existing)
            seeded[table.name] = existing
    return seeded


def row_values(table: Table, scope: Scope, seeded: Mapping[str, Row]) -> Row:
    """Values for a row of this owner that every constraint of the table accepts."""
    owner = {"organization_id": scope.organization_id, "space_id": scope.space_id, "tenant_id": scope.tenant_id}
    values: Row = {column.name: _sample(column, table) for column in table.columns}
    for key in table.foreign_keys:
        for column, parent_column in zip(key.columns, key.parent_columns, strict=True):
            values[column] = seeded[key.parent][parent_column]
    return values | {name: value for name, value in owner.items() if name in values}


def insert_statement(table: str, values: Row) -> LiteralString:
    """The INSERT of these values, with named parameters."""
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in values)
    placeholders = sql.SQL(", ").join(sql.Placeholder(name) for name in values)
    return _trusted(sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table), columns, placeholders))


def statement(template: LiteralString, *names: str) -> LiteralString:
    """A statement about these tables or columns, whose names come from the catalog."""
    return _trusted(sql.SQL(template).format(*(sql.Identifier(name) for name in names)))


def _own_row_query(table: Table) -> LiteralString:
    query = statement("SELECT * FROM {}", table.name)
    own = {"tenants": " WHERE id = %(tenant_id)s"}.get(table.name, " WHERE tenant_id = %(tenant_id)s")
    has_tenant = table.name == "tenants" or any(column.name == "tenant_id" for column in table.columns)
    return cast(LiteralString, query + (own if has_tenant else "") + " LIMIT 1")


def _trusted(query: sql.Composed) -> LiteralString:
    return cast(LiteralString, query.as_string())


def _sample(column: Column, table: Table) -> object:
    if (table.name, column.name) in KNOWN_VALUES:
        return KNOWN_VALUES[table.name, column.name]
    if column.name in table.first_choices:
        return table.first_choices[column.name]
    if column.name.endswith("id") and column.type == "uuid":
        return uuid.uuid4()
    samples: Row = {
        "text": "sample", "bytea": b"\0" * 32, "json": "{}", "jsonb": "{}", "timestamptz": INSTANT, "bool": False,
        "_text": list[str](), "float8": 1.0, "int2": 1, "int4": 1, "int8": 1,
    }  # fmt: skip
    return samples[column.type]


def _read_table(connection: psycopg.Connection[DictRow], name: str) -> Table:
    columns = connection.execute(
        """SELECT attname AS name, typname AS type FROM pg_attribute JOIN pg_type t ON t.oid = atttypid
           WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
             AND ((attnotnull AND NOT atthasdef) OR attname = 'tenant_id') ORDER BY attnum""",
        (name,),
    ).fetchall()
    constraints = connection.execute(
        "SELECT contype, pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE conrelid = %s::regclass", (name,)
    ).fetchall()
    return Table(
        name,
        tuple(Column(row["name"], row["type"]) for row in columns),
        tuple(_foreign_key(row["text"]) for row in constraints if row["contype"] == "f"),
        dict(choice for row in constraints if row["contype"] == "c" for choice in _first_choice(row["text"])),
    )


def _foreign_key(definition: str) -> ForeignKey:
    match = re.match(r"FOREIGN KEY \((.*?)\) REFERENCES (\w+)\((.*?)\)", definition)
    assert match is not None, definition
    return ForeignKey(tuple(match[1].split(", ")), match[2], tuple(match[3].split(", ")))


def _first_choice(definition: str) -> list[tuple[str, str]]:
    match = re.search(r"\((\w+) = ANY \(ARRAY\['([^']*)'", definition)
    return [(match[1], match[2])] if match else []


def _parents_first(tables: list[Table]) -> list[Table]:
    ordered: list[Table] = []
    waiting = list(tables)
    while waiting:
        placed = {table.name for table in ordered}
        ready = [table for table in waiting if {key.parent for key in table.foreign_keys} <= placed | {table.name}]
        assert ready, f"foreign keys run in a circle: {[table.name for table in waiting]}"
        ordered += ready
        waiting = [table for table in waiting if table not in ready]
    return ordered
