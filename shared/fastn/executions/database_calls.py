"""Host calls of fastn.db: on behalf of one run, in a session that no other run ever uses."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from fastn.databases.rules import only_reads
from fastn.databases.service import DatabaseTools, TenantQueries
from fastn.executions.hosting import AnsweredByJournal, OperationUnknown
from fastn.executions.models import RunnableExecution
from fastn.executions.running import PerformedCall
from fastn.platform.clock import Clock

DATABASE_OPERATION = "db"
_QUERY = "db.query"


@dataclass(frozen=True, slots=True)
class DatabaseCalls(AnsweredByJournal):
    """The statements of one run."""

    queries: Callable[[], TenantQueries]
    clock: Clock
    deadline_seconds: float
    """On the clock's monotonic scale: no statement goes on after it."""

    def perform(self, operation: str, arguments_json: str, _idempotency_key: str, /) -> PerformedCall:
        """The statement's result. Raises OperationUnknown, and what TenantQueries.query raises."""
        if operation != _QUERY:
            raise OperationUnknown(f"{operation} is not available in this installation.")
        seconds_left = self.deadline_seconds - self.clock.monotonic_seconds()
        return PerformedCall(self.queries().query(arguments_json, seconds_left=seconds_left))

    def is_write(self, _operation: str, arguments_json: str, /) -> bool:
        """Whether the statement may change something: a SELECT is made again by a later attempt."""
        return not only_reads(str(json.loads(arguments_json).get("sql")))


@dataclass(slots=True)
class DatabaseSessions:
    """The tenants' sessions of this process, which runs one execution at a time: one at most is open."""

    tools: Callable[[], DatabaseTools]
    """Asked for at the first statement: a run that asks none pays for none."""
    clock: Clock
    _current: TenantQueries | None = field(default=None, init=False)

    def for_run(self, execution: RunnableExecution, deadline_seconds: float) -> DatabaseCalls:
        """The calls of this run. The run before it loses its session; the server ends an idle one after 10 s."""
        if self._current is not None:
            self._current.close()
            self._current = None
        return DatabaseCalls(lambda: self._queries_of(execution), self.clock, deadline_seconds)

    def _queries_of(self, execution: RunnableExecution) -> TenantQueries:
        if self._current is None:
            self._current = TenantQueries(self.tools(), execution.reference.scope, execution.environment)
        return self._current
