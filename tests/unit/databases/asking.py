"""Asking fastn.db as a program does."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastn.databases.models import TenantDatabase
from fastn.databases.service import DatabaseTools, TenantQueries, locate
from fastn.platform.scope import Scope


@dataclass(frozen=True, slots=True)
class Ask:
    """`fastn.db.query` of one run."""

    run: TenantQueries

    def __call__(self, sql: str, params: Sequence[object] | None = None, *, seconds_left: float = 60.0) -> Any:
        """What the program is given."""
        message = {"sql": sql} if params is None else {"sql": sql, "params": params}
        return json.loads(self.run.query(json.dumps(message), seconds_left=seconds_left))

    def value(self, sql: str, params: Sequence[object] | None = None) -> Any:
        """The one value of a result."""
        (row,) = self(sql, params)["rows"]
        (value,) = row.values()
        return value


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer with a database."""

    owner: Scope
    ask: Ask
    location: TenantDatabase

    @classmethod
    def of(cls, tools: DatabaseTools, run: TenantQueries, owner: Scope) -> "Customer":
        """This run's customer."""
        return cls(owner, Ask(run), locate(tools, owner, run.environment))
