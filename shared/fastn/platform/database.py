"""PostgreSQL: one connection per role and process, and transactions bound to one owner.

`transaction(scope)` is the only way to a session. It sets the three owner settings with the transaction
(`set_config(…, true)`, never a session SET, which would outlive it and pin a proxy's connection), so
row-level security shows that owner's rows and no others; after COMMIT or ROLLBACK nothing is visible.
"""

import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import LiteralString

import psycopg
from psycopg import Connection, Cursor
from psycopg.rows import DictRow, dict_row

from fastn.errors import InternalError
from fastn.platform.scope import Scope

Parameters = Mapping[str, object] | Sequence[object]


class Role(StrEnum):
    """The database role a connection logs in as; each sees only what its work needs."""

    APP = "fastn_app"
    INGRESS = "fastn_ingress"
    RELAY = "fastn_relay"


class DatabaseUnavailable(InternalError):
    """PostgreSQL did not accept a connection, or the connection was lost."""

    retryable = True


class NestedTransaction(InternalError):
    """A transaction was opened inside another one of the same Database; a defect of the caller."""

    def __init__(self) -> None:
        super().__init__(
            "A transaction was opened inside another one of the same Database. "
            "Pass the open session on, or end its transaction first."
        )


class Session:
    """One open transaction; every statement in it sees its owner's rows only."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection[DictRow]) -> None:
        self._connection = connection

    def execute(self, query: LiteralString, parameters: Parameters | None = None) -> Cursor[DictRow]:
        """Runs one statement and returns its cursor; rows are dicts. Values only as parameters."""
        return self._connection.execute(query, parameters)

    def execute_many(self, query: LiteralString, rows: Sequence[Parameters]) -> None:
        """Runs one statement for each row of parameters, pipelined into few round trips."""
        with self._connection.cursor() as cursor:
            cursor.executemany(query, rows)


class Database:
    """Connections to one database as one role. Not thread-safe: a Lambda process serves one event at a time."""

    def __init__(
        self, url: str, *, password: Callable[[], str] | None = None, connect_timeout_seconds: float = 10.0
    ) -> None:
        """`password` is asked at each connect (an IAM token lives 15 minutes); None takes the URL's own."""
        self._url = url
        self._password = password
        self._connect_timeout_seconds = connect_timeout_seconds
        self._connection: Connection[DictRow] | None = None
        self._is_in_transaction = False

    @contextmanager
    def transaction(self, scope: Scope | None) -> Generator[Session]:
        """A session that commits when the block ends and rolls back when it raises.

        With no scope nothing tenant-owned is visible: for the ingress and relay roles, whose policies
        need no owner. Raises DatabaseUnavailable if PostgreSQL cannot be reached; a connection found
        dead before the first statement is replaced once, so an idle session that the server ended
        (idle_session_timeout) costs a reconnect and not an error.

        Raises NestedTransaction inside another transaction of this Database, which stays as it is: PostgreSQL
        would only warn of the second BEGIN, run on under the second owner, and commit both at the inner end.
        """
        if self._is_in_transaction:
            raise NestedTransaction
        connection = self._begin(scope)
        self._is_in_transaction = True
        try:
            yield Session(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            self._abandon(connection)
            if isinstance(error, psycopg.OperationalError) and connection.broken:
                raise DatabaseUnavailable("The database connection was lost.") from error
            raise
        finally:
            self._is_in_transaction = False

    def close(self) -> None:
        """Ends the connection, if one is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _begin(self, scope: Scope | None) -> Connection[DictRow]:
        was_open = self._connection is not None
        try:
            connection = self._connect()
            connection.execute(_begin_statement(scope))
        except psycopg.OperationalError as error:
            self.close()
            if was_open:
                return self._begin(scope)
            raise DatabaseUnavailable("The database cannot be reached.") from error
        return connection

    def _connect(self) -> Connection[DictRow]:
        if self._connection is None or self._connection.closed:
            connection = Connection[DictRow].connect(
                self._url,
                autocommit=True,
                row_factory=dict_row,
                password=self._password() if self._password else None,
                connect_timeout=max(1, round(self._connect_timeout_seconds)),
            )
            self._connection = connection
        return self._connection

    def _abandon(self, connection: Connection[DictRow]) -> None:
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            self.close()


def _begin_statement(scope: Scope | None) -> LiteralString:
    # One round trip for BEGIN and the owner. UUIDs cannot carry a quote, so they are safe as literals,
    # which several statements in one message require.
    owner = {
        "app.organization_id": scope.organization_id if scope else None,
        "app.space_id": scope.space_id if scope else None,
        "app.tenant_id": scope.tenant_id if scope else None,
    }
    settings = ", ".join(f"set_config('{name}', '{_uuid_text(value)}', true)" for name, value in owner.items())
    return f"BEGIN; SELECT {settings}"  # type: ignore[return-value]  # built from UUIDs alone


def _uuid_text(value: uuid.UUID | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, uuid.UUID):  # pyright: ignore[reportUnnecessaryIsInstance]  # guards the literal
        raise TypeError("an owner id must be a UUID")
    return str(value)
