"""How PostgreSQL would run the queries of a store."""

from collections.abc import Callable, Sequence
from typing import LiteralString

from psycopg import Cursor
from psycopg.rows import DictRow

from fastn.platform.database import Database, Parameters, Session
from fastn.platform.scope import Scope


class RecordingSession(Session):
    """A session that keeps what it was asked."""

    __slots__ = ("asked", "inner")

    def __init__(self, inner: Session) -> None:
        self.inner = inner
        self.asked: list[tuple[LiteralString, Parameters | None]] = []

    def execute(self, query: LiteralString, parameters: Parameters | None = None) -> Cursor[DictRow]:
        """The inner session's answer."""
        self.asked.append((query, parameters))
        return self.inner.execute(query, parameters)


def plans_of(database: Database, scope: Scope, asked: Sequence[Callable[[Session], object]]) -> list[str]:
    """The plan of every query these calls make, as the owner's policies bind it.

    Sequential scans are priced out: on tables this small they would win even where an index serves, so
    what still scans has no index to use.
    """
    plans: list[str] = []
    with database.transaction(scope) as session:
        session.execute("SET LOCAL enable_seqscan = off")
        recording = RecordingSession(session)
        for ask in asked:
            ask(recording)
        for query, parameters in recording.asked:
            rows = session.execute("EXPLAIN " + query, parameters).fetchall()
            plans.append("\n".join(str(row["QUERY PLAN"]) for row in rows))
    assert len(plans) >= len(asked)
    return plans
