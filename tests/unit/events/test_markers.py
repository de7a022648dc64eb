"""A marker stands for as long as a row may wait; nobody's mark is lost."""

import pytest

from fastn.events.markers import (
    CLEARABLE_AFTER_SECONDS,
    LONGEST_TRANSACTION_SECONDS,
    REUSABLE_SECONDS,
    SHARDS,
    Marker,
    OutboxMarkers,
)
from fastn.platform.clock import FrozenClock


@pytest.fixture
def markers(marker_table: str, clock: FrozenClock) -> OutboxMarkers:
    """The markers as one process sets them."""
    return OutboxMarkers(marker_table, clock)


def test_marks_of_every_shard_are_read_back(markers: OutboxMarkers, clock: FrozenClock) -> None:
    for shard in range(SHARDS):
        markers.mark(shard)

    read = markers.read()

    assert sorted(marker.shard for marker in read) == list(range(SHARDS))
    assert {marker.marked_at_seconds for marker in read} == {clock.now().timestamp()}
    assert len({marker.token for marker in read}) == SHARDS


def test_nothing_is_read_where_nothing_is_marked(markers: OutboxMarkers) -> None:
    assert markers.read() == []


def test_a_process_leans_on_its_mark_for_fifteen_seconds(markers: OutboxMarkers, clock: FrozenClock) -> None:
    markers.mark(3)
    [first] = markers.read()
    clock.advance(REUSABLE_SECONDS - 0.001)
    markers.mark(3)
    [leant_on] = markers.read()
    clock.advance(0.001)

    markers.mark(3)

    [renewed] = markers.read()
    assert leant_on == first
    assert (renewed.token != first.token, renewed.marked_at_seconds) == (True, clock.now().timestamp())


def test_another_shard_is_marked_although_one_is(markers: OutboxMarkers) -> None:
    markers.mark(3)

    markers.mark(4)

    assert {marker.shard for marker in markers.read()} == {3, 4}


def test_marker_set_again_since_it_was_read_is_not_cleared(
    markers: OutboxMarkers, marker_table: str, clock: FrozenClock
) -> None:
    markers.mark(3)
    read = markers.read()
    OutboxMarkers(marker_table, clock).mark(3)

    markers.clear(read)

    [survivor] = markers.read()
    assert survivor.token != read[0].token


def test_unchanged_marker_is_cleared_and_clearing_it_again_is_harmless(markers: OutboxMarkers) -> None:
    markers.mark(3)
    read = markers.read()

    markers.clear(read)
    markers.clear(read)

    assert markers.read() == []


def test_clearing_one_does_not_keep_the_next_from_being_cleared(
    markers: OutboxMarkers, marker_table: str, clock: FrozenClock
) -> None:
    markers.mark(1)
    markers.mark(2)
    read = sorted(markers.read(), key=lambda marker: marker.shard)
    OutboxMarkers(marker_table, clock).mark(1)

    markers.clear(read)

    assert [marker.shard for marker in markers.read()] == [1]


def test_marker_is_clearable_only_when_every_transaction_under_it_has_ended() -> None:
    marker = Marker(3, "token", 1_000.0)

    assert not marker.is_clearable(1_000.0 + CLEARABLE_AFTER_SECONDS - 0.001)
    assert marker.is_clearable(1_000.0 + CLEARABLE_AFTER_SECONDS)
    assert CLEARABLE_AFTER_SECONDS > REUSABLE_SECONDS + LONGEST_TRANSACTION_SECONDS


def test_marker_comes_back_from_a_nudge_as_it_went() -> None:
    marker = Marker(3, "token", 1_000.25)

    assert Marker.from_text(marker.as_text()) == marker
