"""The SQL files: read as they are, and run as one message."""

from pathlib import Path
from typing import cast

import psycopg
from psycopg import sql

_DIRECTORY = Path(__file__).parent / "sql"


def read_sql(name: str) -> sql.SQL:
    """The text of `sql/{name}.sql`. Raises FileNotFoundError if there is no such file."""
    # Shipped with the package and never composed with values, which is what LiteralString asks for.
    return sql.SQL((_DIRECTORY / f"{name}.sql").read_text(encoding="utf-8"))  # pyright: ignore[reportArgumentType]


def run_in_migration(name: str) -> None:
    """Runs `sql/{name}.sql` in the transaction of the migration that calls."""
    from alembic import op

    # Around SQLAlchemy: it would send the text as a prepared statement, which takes one command only,
    # and would read the % of format() as a placeholder.
    connection = cast("psycopg.Connection[object]", op.get_bind().connection.driver_connection)
    connection.execute(read_sql(name))
