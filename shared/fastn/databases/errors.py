"""What a program is told of a statement that did not run.

QueryRejected               the database refused the statement; sqlstate and message say why
├── StatementRefused            the statement is of a kind, or names something, that fastn.db does not offer
└── QueryLimitExceeded          the statement took too long, or its result is too large
DatabaseUnreachable         the database did not accept a session, or lost it
"""

from fastn.errors import Rejected, Unavailable

STEP = "db.query"
SQLSTATE_INSUFFICIENT_PRIVILEGE = "42501"


class QueryRejected(Rejected):
    """The statement had no effect; `datasource_debug` holds sqlstate and, where PostgreSQL told one, a hint."""

    def __init__(self, message: str, *, sqlstate: str, hint: str | None = None) -> None:
        super().__init__(message, step=STEP, datasource_debug={"sqlstate": sqlstate, "hint": hint})
        self.sqlstate = sqlstate
        self.hint = hint


class StatementRefused(QueryRejected):
    """The statement is of a kind, or names something, that fastn.db does not offer; it was not sent."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, sqlstate=SQLSTATE_INSUFFICIENT_PRIVILEGE, hint=hint)


class QueryLimitExceeded(QueryRejected):
    """The statement took longer, or its result is larger, than fastn.db allows; it was rolled back."""


class DatabaseUnreachable(Unavailable):
    """The database did not accept a session, or lost it: whether the statement took effect is not known."""

    def __init__(self, message: str) -> None:
        super().__init__(message, step=STEP)
