"""A transaction inside another one of the same Database is a defect, and harms neither."""

from collections.abc import Mapping

import pytest

from fastn.errors import InternalError
from fastn.platform.database import Database, NestedTransaction, Role
from fastn.platform.scope import Scope
from fastn.tenants.models import FoundedSpace

RENAME = "UPDATE tenants SET name = 'changed'"
NAMES = "SELECT name FROM tenants ORDER BY id"


def test_nesting_is_refused_before_the_outer_owner_is_replaced(
    database: Database, founded: FoundedSpace, other_founded: FoundedSpace
) -> None:
    with database.transaction(founded.scope) as session:
        with pytest.raises(NestedTransaction, match="inside another"):
            _open(database, other_founded.scope)
        seen = session.execute(NAMES).fetchall()

    assert [row["name"] for row in seen] == ["Acme"]


def test_outer_transaction_is_committed_by_its_own_end_only(
    database: Database, databases: Mapping[Role, str], founded: FoundedSpace
) -> None:
    with database.transaction(founded.scope) as session:
        session.execute(RENAME)
        with pytest.raises(NestedTransaction):
            _open(database, founded.scope)
        during = _names(databases, founded.scope)

    assert (during, _names(databases, founded.scope)) == (["Acme"], ["changed"])


def test_nesting_that_nobody_catches_rolls_back_and_leaves_the_database_usable(
    database: Database, databases: Mapping[Role, str], founded: FoundedSpace
) -> None:
    with pytest.raises(InternalError):
        _rename_and_nest(database, founded.scope)

    assert _names(databases, founded.scope) == ["Acme"]
    _open(database, founded.scope)


def test_transactions_of_two_databases_may_be_open_at_once(
    database: Database, relay_database: Database, founded: FoundedSpace
) -> None:
    with database.transaction(founded.scope) as session, relay_database.transaction(None) as relaying:
        assert relaying.execute("SELECT count(*) AS n FROM outbox").fetchone() == {"n": 0}
        assert session.execute("SELECT count(*) AS n FROM tenants").fetchone() == {"n": 1}


def _open(database: Database, scope: Scope) -> None:
    with database.transaction(scope):
        pass


def _rename_and_nest(database: Database, scope: Scope) -> None:
    with database.transaction(scope) as session:
        session.execute(RENAME)
        _open(database, scope)


def _names(databases: Mapping[Role, str], scope: Scope) -> list[str]:
    other = Database(databases[Role.APP])
    with other.transaction(scope) as session:
        rows = session.execute(NAMES).fetchall()
    other.close()
    return [row["name"] for row in rows]
