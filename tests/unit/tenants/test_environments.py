"""Which environments a space has."""

from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database
from fastn.platform.scope import Scope
from fastn.tenants import store
from fastn.tenants.models import FIRST_ENVIRONMENTS, FoundedSpace


def _has(database: Database, scope: Scope, name: str) -> bool:
    with database.transaction(scope) as session:
        return store.has_environment(session, name)


def test_a_customer_has_the_environments_of_its_space(database: Database, customer: Scope) -> None:
    assert all(_has(database, customer, name) for name in FIRST_ENVIRONMENTS)
    assert not any(_has(database, customer, name) for name in ("", "Production", "prod%", "nowhere"))


def test_an_environment_of_another_space_is_not_seen(
    database: Database, clock: FrozenClock, customer: Scope, other_founded: FoundedSpace
) -> None:
    with database.transaction(other_founded.scope) as session:
        store.insert_environment(session, other_founded.scope, name="canary", created_at=clock.now())

    assert _has(database, other_founded.scope, "canary")
    assert not _has(database, customer, "canary")
