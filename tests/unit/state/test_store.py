"""State in DynamoDB: who wins a condition, what has expired, what does not fit."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from fastn.platform.clock import FrozenClock
from fastn.state.errors import StateTooLarge, StateUnavailable
from fastn.state.models import StateKey, StoredState, Written
from fastn.state.rules import ITEM_LIMIT_BYTES
from fastn.state.store import Condition, StateStore
from tests.unit.state.conftest import STATE_TABLE

KEY = StateKey("ORG#o#t#production#w#deal:1")
ABSENT = Condition(version=None)


def state(
    version: str = "v1", *, value: str = '"a"', key: StateKey = KEY, clock: FrozenClock | None = None, ttl: int = 0
) -> StoredState:
    """An item; with a clock it expires `ttl` seconds from now."""
    return StoredState(key, value, version, None if clock is None else clock.now() + timedelta(seconds=ttl))


def test_what_was_written_is_read(store: StateStore, clock: FrozenClock) -> None:
    forever, expiring = state(), state(key=StateKey("other"), clock=clock, ttl=60)

    assert store.put(forever) == Written(True, "v1")
    assert store.put(expiring) == Written(True, "v1")

    assert (store.get(KEY), store.get(StateKey("other"))) == (forever, expiring)
    assert store.get(StateKey("missing")) is None


def test_a_write_replaces_value_version_and_expiry(store: StateStore, clock: FrozenClock) -> None:
    store.put(state("v1", clock=clock, ttl=60))

    store.put(state("v2", value="2"))
    clock.advance(3600)

    assert store.get(KEY) == state("v2", value="2")


def test_what_was_deleted_is_gone_and_may_be_deleted_again(store: StateStore) -> None:
    store.put(state())

    store.delete(KEY)
    store.delete(KEY)

    assert store.get(KEY) is None


def test_an_expired_item_is_never_read_though_it_lies_in_the_table(
    store: StateStore, clock: FrozenClock, tables: Any
) -> None:
    store.put(state(clock=clock, ttl=60))

    clock.advance(59.9)
    before = store.get(KEY)
    clock.advance(0.1)
    after = store.get(KEY)

    assert before is not None
    assert after is None
    [item] = tables.scan(TableName=STATE_TABLE)["Items"]
    assert item["expires_at"] == {"N": str(int(clock.now().timestamp()))}


def test_of_twenty_that_want_an_absent_key_one_wins(store: StateStore) -> None:
    def claim(number: int) -> Written:
        return store.put(state(f"claim-{number}"), ABSENT)

    store.get(KEY)
    with ThreadPoolExecutor(20) as pool:
        claims = list(pool.map(claim, range(20)))

    found = store.get(KEY)
    assert found is not None
    assert [number for number, written in enumerate(claims) if written.stored] == [int(found.version.split("-")[1])]
    assert {written.version for written in claims} == {found.version}


def test_of_twenty_that_saw_one_version_one_writes_the_next(store: StateStore) -> None:
    store.put(state("v1"))

    def advance(number: int) -> Written:
        return store.put(state(f"n-{number}"), Condition("v1"))

    with ThreadPoolExecutor(20) as pool:
        written = list(pool.map(advance, range(20)))

    assert [each.stored for each in written].count(True) == 1


def test_a_condition_that_does_not_hold_changes_nothing(store: StateStore) -> None:
    store.put(state("v1"))

    outcomes = [store.put(state("v2"), ABSENT), store.put(state("v2"), Condition("v0"))]

    assert outcomes == [Written(False, "v1")] * 2
    assert store.get(KEY) == state("v1")


def test_a_version_of_an_absent_key_holds_for_nobody(store: StateStore) -> None:
    assert store.put(state("v2"), Condition("v1")) == Written(False, None)
    assert store.get(KEY) is None


def test_an_expired_key_counts_as_absent_for_conditions(store: StateStore, clock: FrozenClock) -> None:
    store.put(state("v1", clock=clock, ttl=10))
    clock.advance(10)

    of_old_version = store.put(state("v2"), Condition("v1"))
    claimed = store.put(state("v3"), ABSENT)

    assert of_old_version == Written(False, None)
    assert claimed == Written(True, "v3")


@pytest.mark.parametrize("condition", [ABSENT, Condition("v1")])
def test_the_repeat_of_a_write_that_was_done_does_not_lose_against_itself(
    store: StateStore, condition: Condition
) -> None:
    if condition.version is not None:
        store.put(state("v1"))
    first = store.put(state("mine"), condition)

    repeated = store.put(state("mine"), condition)
    late = store.put(state("theirs"), condition)

    assert first == repeated == Written(True, "mine")
    assert late == Written(False, "mine")


def test_the_largest_value_is_stored_and_one_byte_more_is_refused_before_the_call(
    store: StateStore, tables: Any
) -> None:
    overhead = len("state_key" + "value_json" + "version" + "expires_at") + 21 + len(KEY) + len("v1")
    largest = "é" * ((ITEM_LIMIT_BYTES - overhead) // 2)
    largest += "x" * (ITEM_LIMIT_BYTES - overhead - len(largest.encode()))

    stored = store.put(state(value=largest))
    tables.delete_table(TableName=STATE_TABLE)
    with pytest.raises(StateTooLarge, match=f"{ITEM_LIMIT_BYTES + 1} bytes") as refused:
        store.put(state(value=largest + "x"))

    assert stored.stored
    assert refused.value.details == {"sizeBytes": ITEM_LIMIT_BYTES + 1, "limitBytes": ITEM_LIMIT_BYTES}


def test_a_table_that_does_not_answer_is_our_failure_and_passing(store: StateStore, tables: Any) -> None:
    tables.delete_table(TableName=STATE_TABLE)

    for call in (
        lambda: store.get(KEY),
        lambda: store.put(state()),
        lambda: store.put(state(), ABSENT),
        lambda: store.delete(KEY),
    ):
        with pytest.raises(StateUnavailable) as failed:
            call()
        assert failed.value.retryable
