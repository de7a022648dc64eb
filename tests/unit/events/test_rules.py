"""What makes a delivery itself, and what of it travels on."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastn.errors import ValidationFailed
from fastn.events import rules

texts = st.text(st.characters(), max_size=20)
deliveries = st.tuples(texts, st.none() | texts, st.binary(max_size=20), st.none() | st.integers(0, 10**12))


def key_of(trigger_id: str, delivery_id: str | None, raw_body: bytes, signed_at: int | None) -> bytes:
    return rules.idempotency_key(trigger_id, delivery_id, raw_body=raw_body, signed_at=signed_at)


@given(deliveries, st.binary(max_size=20), st.none() | st.integers(0, 10**12))
def test_vendors_delivery_id_alone_decides_where_there_is_one(
    delivery: tuple[str, str | None, bytes, int | None], other_body: bytes, other_time: int | None
) -> None:
    trigger_id, delivery_id, raw_body, signed_at = delivery
    named = delivery_id if delivery_id is not None else "d"

    key = key_of(trigger_id, named, raw_body, signed_at)

    assert key == key_of(trigger_id, named, other_body, other_time)
    assert key != key_of(trigger_id, named + "x", raw_body, signed_at)
    assert key != key_of(trigger_id, None, raw_body, signed_at)
    assert len(key) == 32


@given(st.uuids(), st.binary(max_size=20), st.none() | st.integers(1, 10**12))
def test_without_a_delivery_id_body_and_signed_time_decide(
    trigger: object, raw_body: bytes, signed_at: int | None
) -> None:
    trigger_id = str(trigger)

    key = key_of(trigger_id, None, raw_body, signed_at)

    assert key == key_of(trigger_id, None, raw_body, signed_at)
    assert key != key_of(trigger_id, None, raw_body + b"\0", signed_at)
    assert key != key_of(trigger_id, None, raw_body, (signed_at or 0) + 1)


@given(st.lists(st.tuples(st.uuids().map(str), st.none() | texts, st.binary(max_size=4), st.none()), max_size=6))
def test_different_deliveries_never_share_a_key(made: list[tuple[str, str | None, bytes, None]]) -> None:
    identities = {(trigger, delivery, b"" if delivery is not None else body) for trigger, delivery, body, _ in made}

    keys = Counter(key_of(*identity, None) for identity in identities)

    assert all(count == 1 for count in keys.values())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_payload_is_kept_as_it_came(value: object) -> None:
    raw_body = json.dumps(value, indent=1).encode()

    text, parsed = rules.parse_payload(raw_body)

    assert (text.encode(), parsed) == (raw_body, value)


@given(st.binary(max_size=200))
def test_whatever_the_bytes_parsing_answers_or_refuses_them(raw_body: bytes) -> None:
    try:
        text, _ = rules.parse_payload(raw_body)
    except ValidationFailed:
        return

    assert text.encode() == raw_body


@pytest.mark.parametrize("raw_body", [b"NaN", b'{"a": [Infinity]}', b"[" * 200_000, b"1" * 5000, b"\xff"])
def test_what_json_or_postgresql_would_not_read_is_refused(raw_body: bytes) -> None:
    with pytest.raises(ValidationFailed):
        rules.parse_payload(raw_body)


@pytest.mark.parametrize(
    ("event", "payload", "expected"),
    [
        ("issues", {"action": "opened"}, "issues.opened"),
        ("push", {"ref": "main"}, "push"),
        ("push", {"action": 7}, "push"),
        ("push", ["action"], "push"),
        (None, {"action": "opened"}, "webhook"),
        ("\0", {}, "webhook"),
    ],
)
def test_event_type_is_the_vendors_name_with_its_action(event: str | None, payload: object, expected: str) -> None:
    assert rules.event_type(event, payload) == expected


@given(st.none() | st.text(st.characters()), json_values | st.fixed_dictionaries({"action": st.text(st.characters())}))
def test_event_type_always_fits_the_bus_and_a_text_column(event: str | None, payload: object) -> None:
    name = rules.event_type(event, payload)

    assert 1 <= len(name) <= 200
    assert "\0" not in name
    assert name.encode()


@given(st.uuids().map(str), st.integers(1, 64))
def test_a_space_always_sets_the_same_marker(space_id: str, shards: int) -> None:
    assert rules.shard_of(space_id, shards) == rules.shard_of(space_id, shards)
    assert 0 <= rules.shard_of(space_id, shards) < shards
