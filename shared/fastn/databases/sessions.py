"""A tenant's own session: one statement at a time, each a transaction that ends as a whole.

Every statement goes by PostgreSQL's extended protocol, in which a message holds one statement: a second one
behind a semicolon is a syntax error to the server, whatever a check before it had thought.
"""

import json
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import Connection, RawCursor
from psycopg.rows import TupleRow

from fastn.databases.errors import DatabaseUnreachable, QueryLimitExceeded, QueryRejected
from fastn.databases.models import DEFAULT_LIMITS, QueryLimits, TenantDatabase
from fastn.databases.rules import CheckedStatement
from fastn.databases.values import JsonContext, value_as_json

SQLSTATE_CANCELLED = "57014"
SQLSTATE_RESULT_TOO_LARGE = "54000"
# PostgreSQL's manual, appendix A: 080 is a failed connection, 53300 too many of them, 57P the server going away.
_UNREACHABLE = ("080", "53300", "57P")
CANCEL_GRACE_SECONDS = 1.0
"""How long after the server's own time limit the statement is cancelled from outside."""
CONNECT_TIMEOUT_SECONDS = 10


@dataclass(slots=True)
class TenantSession:
    """The session of one run. `close` discards it; nothing of it is ever used for another run."""

    server_url: str
    database: TenantDatabase
    limits: QueryLimits = DEFAULT_LIMITS
    _connection: "Connection[TupleRow] | None" = field(default=None, init=False)

    def run(self, sql: str, parameters: Sequence[str | None], checked: CheckedStatement, *, seconds: float) -> str:
        """The statement's result as JSON text: {rows, rowCount, fields}. Committed when this returns.

        Raises QueryRejected, with nothing changed, if PostgreSQL refuses the statement; QueryLimitExceeded if
        it takes longer than `seconds` or its result is too large; DatabaseUnreachable if there is no session.
        """
        connection = self._begin(seconds)
        try:
            with _cancelled_after(connection, seconds + CANCEL_GRACE_SECONDS):
                result = self._result_of(connection, sql, parameters, checked)
                connection.execute("COMMIT")
        except psycopg.Error as error:
            self._abandon(connection)
            raise self._told(error, seconds) from error
        except BaseException:
            self._abandon(connection)
            raise
        return result

    def close(self) -> None:
        """Ends the session, if it is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _begin(self, seconds: float) -> "Connection[TupleRow]":
        was_open = self._connection is not None
        try:
            connection = self._connection or self._connect()
            connection.execute(f"BEGIN; SET LOCAL statement_timeout = {max(1, round(seconds * 1000))}".encode())
        except psycopg.Error as error:
            self.close()
            # The server ends idle sessions: before its first statement, a new one is as good.
            if was_open:
                return self._begin(seconds)
            raise DatabaseUnreachable("The customer's database cannot be reached.") from error
        return connection

    def _connect(self) -> "Connection[TupleRow]":
        parts = urlsplit(self.server_url)
        address = parts.netloc.rpartition("@")[2]
        role, password = self.database.role_name, quote(self.database.password, safe="")
        self._connection = Connection.connect(
            urlunsplit(parts._replace(netloc=f"{role}:{password}@{address}")),
            autocommit=True,
            cursor_factory=RawCursor,
            context=JsonContext(),
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
        )
        return self._connection

    def _result_of(
        self, connection: "Connection[TupleRow]", sql: str, parameters: Sequence[str | None], checked: CheckedStatement
    ) -> str:
        cursor = RawCursor(connection)
        if not checked.returns_rows:
            cursor.execute(sql.encode(), parameters, prepare=True)
            return json.dumps({"rows": [], "rowCount": max(0, cursor.rowcount), "fields": []})
        # Row by row, so that a result too large is noticed before this process has all of it.
        with closing(_rows_of(cursor, sql, parameters)) as stream:
            rows = self._rows(cursor, stream)
        fields = [{"name": column.name, "type": column.type_display} for column in cursor.description or ()]
        return f'{{"rows": [{", ".join(rows)}], "rowCount": {len(rows)}, "fields": {json.dumps(fields)}}}'

    def _rows(self, cursor: "RawCursor[TupleRow]", stream: Iterable[TupleRow]) -> list[str]:
        rows: list[str] = []
        size_bytes = 0
        for row in stream:
            text = _row_as_json([column.name for column in cursor.description or ()], row)
            size_bytes += len(text)
            if len(rows) == self.limits.rows:
                raise _too_large(f"The result has more than {self.limits.rows} rows.")
            if size_bytes > self.limits.result_bytes:
                raise _too_large(f"The result is larger than {self.limits.result_bytes} bytes.")
            rows.append(text)
        return rows

    def _abandon(self, connection: "Connection[TupleRow]") -> None:
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            self.close()

    def _told(self, error: psycopg.Error, seconds: float) -> QueryRejected | DatabaseUnreachable:
        sqlstate = error.sqlstate or ""
        if (not sqlstate and isinstance(error, psycopg.OperationalError)) or sqlstate.startswith(_UNREACHABLE):
            return DatabaseUnreachable("The session with the customer's database was lost.")
        if sqlstate == SQLSTATE_CANCELLED:
            return QueryLimitExceeded(f"The statement took longer than {seconds:g} seconds.", sqlstate=sqlstate)
        hint = error.diag.message_hint
        return QueryRejected(
            self._without_names(error.diag.message_primary or "The statement failed."),
            sqlstate=sqlstate,
            hint=None if hint is None else self._without_names(hint),
        )

    def _without_names(self, text: str) -> str:
        parts = urlsplit(self.server_url)
        for name in (self.database.schema_name, self.database.role_name, parts.path.lstrip("/")):
            text = text.replace(name, "…")
        return text


def _rows_of(cursor: "RawCursor[TupleRow]", sql: str, parameters: Sequence[str | None]) -> Generator[TupleRow]:
    # Closed when it is left early: an open stream holds the connection's lock, and its statement goes on.
    yield from cursor.stream(sql.encode(), parameters)


def _row_as_json(names: Sequence[str], row: TupleRow) -> str:
    # Of two columns with one name the last counts, as everywhere in JavaScript.
    members = dict(zip(names, row, strict=True)).items()
    return f"{{{', '.join(f'{json.dumps(name)}: {value_as_json(value)}' for name, value in members)}}}"


def _too_large(message: str) -> QueryLimitExceeded:
    hint = "Ask for fewer rows and columns at a time, with WHERE and LIMIT."
    return QueryLimitExceeded(message, sqlstate=SQLSTATE_RESULT_TOO_LARGE, hint=hint)


@contextmanager
def _cancelled_after(connection: "Connection[TupleRow]", seconds: float) -> Generator[None]:
    """Cancels what the session runs when the time is up, should the server's own limit not have."""

    def cancel() -> None:
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=CONNECT_TIMEOUT_SECONDS)

    watchdog = threading.Timer(seconds, cancel)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
