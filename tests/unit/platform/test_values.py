"""Ids, instants, scopes and pages: the small values everything else is made of."""

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastn.errors import ValidationFailed
from fastn.platform.clock import FrozenClock, SystemClock, rfc3339
from fastn.platform.ids import OrganizationId, SpaceId, TenantId, new_id, parse_id
from fastn.platform.scope import Scope
from fastn.platform.wire import Instant, Page, PageRequest, WireModel, cursor_after

INSTANTS = st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone


class Item(WireModel):
    """Something in a list."""

    item_id: uuid.UUID
    made_at: Instant


@given(INSTANTS)
def test_a_new_id_is_a_uuid_of_version_7_that_holds_its_millisecond(instant: datetime) -> None:
    made = new_id(instant)

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == int(instant.timestamp() * 1000)


@given(INSTANTS, INSTANTS)
def test_ids_sort_by_the_millisecond_they_were_made_in(one: datetime, other: datetime) -> None:
    milliseconds = [int(instant.timestamp() * 1000) for instant in (one, other)]
    if milliseconds[0] < milliseconds[1]:
        assert new_id(one) < new_id(other)


@given(st.binary(min_size=10, max_size=10))
def test_every_random_bit_of_an_id_is_used(random_bytes: bytes) -> None:
    instant = datetime(2026, 1, 1, tzinfo=UTC)

    made = new_id(instant, random_bytes=lambda size: random_bytes[:size])

    drawn = int.from_bytes(random_bytes, "big")
    assert (made.int >> 64) & 0xFFF == (drawn >> 68) & 0xFFF
    assert made.int & ((1 << 62) - 1) == drawn & ((1 << 62) - 1)


@given(st.uuids())
def test_an_id_is_parsed_from_its_canonical_form_in_either_case(value: uuid.UUID) -> None:
    assert parse_id(str(value)) == parse_id(str(value).upper()) == value


@pytest.mark.parametrize(
    "text",
    ["", "x", "0190b4a6000070008000000000000001", "{0190b4a6-0000-7000-8000-000000000001}",
     "urn:uuid:0190b4a6-0000-7000-8000-000000000001", " 0190b4a6-0000-7000-8000-000000000001",
     "0190b4a6-0000-7000-8000-000000000001\n", "0190b4a6-0000-7000-8000-00000000000\u0661",
     "0190b4a6-0000-7000-8000-00000000000\u212a"],
)  # fmt: skip
def test_any_other_spelling_is_no_id(text: str) -> None:
    assert parse_id(text) is None


def test_an_instant_goes_over_the_wire_in_utc_with_milliseconds_and_z() -> None:
    instant = datetime(2026, 11, 22, 1, 2, 3, 456789, tzinfo=timezone(timedelta(hours=1)))

    assert rfc3339(instant) == "2026-11-22T00:02:03.456Z"
    assert rfc3339(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"


def test_a_frozen_clock_moves_only_when_told() -> None:
    clock = FrozenClock()
    before = (clock.now(), clock.monotonic_seconds())

    clock.advance(1.5)

    assert (clock.now() - before[0]).total_seconds() == 1.5
    assert clock.monotonic_seconds() - before[1] == 1.5


def test_the_system_clock_tells_utc_and_never_goes_back() -> None:
    clock = SystemClock()

    assert clock.now().utcoffset() == timedelta(0)
    assert clock.monotonic_seconds() <= clock.monotonic_seconds()


@pytest.mark.parametrize("tenant", [None, TenantId(uuid.UUID(int=3))])
def test_a_scope_survives_a_message(tenant: TenantId | None) -> None:
    scope = Scope(OrganizationId(uuid.UUID(int=1)), SpaceId(uuid.UUID(int=2)), tenant)

    assert Scope.from_text(scope.as_text()) == scope
    assert ("tenantId" in scope.as_text()) == (tenant is not None)


@pytest.mark.parametrize("text", [{}, {"organizationId": "x", "spaceId": "y"}])
def test_a_message_without_an_owner_is_refused(text: dict[str, str]) -> None:
    with pytest.raises((KeyError, ValueError)):
        Scope.from_text(text)


def test_a_narrowed_scope_stays_in_its_space() -> None:
    scope = Scope(OrganizationId(uuid.UUID(int=1)), SpaceId(uuid.UUID(int=2)))
    tenant = TenantId(uuid.UUID(int=3))

    assert scope.for_tenant(tenant) == Scope(scope.organization_id, scope.space_id, tenant)
    assert scope.tenant_id is None


@given(st.uuids())
def test_a_cursor_leads_back_to_its_id(last_id: uuid.UUID) -> None:
    assert PageRequest(cursor=cursor_after(last_id)).after() == last_id


def test_the_first_page_starts_nowhere() -> None:
    assert PageRequest().after() is None


@pytest.mark.parametrize("cursor", ["", "A", "AAAA", "A" * 21, "A" * 23, "=" * 22, "é" * 22, "\x00" * 22])
def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    with pytest.raises(ValidationFailed):
        PageRequest(cursor=cursor).after()


@given(st.integers(0, 7), st.integers(1, 6))
def test_a_page_has_a_next_one_only_if_more_was_fetched_than_asked(fetched: int, limit: int) -> None:
    fetched = min(fetched, limit + 1)
    made_at = datetime(2026, 1, 1, tzinfo=UTC)
    items = [Item(item_id=uuid.UUID(int=number), made_at=made_at) for number in range(fetched)]

    page = Page[Item].of(items, [item.item_id for item in items], limit)

    assert page.data == items[:limit]
    assert page.next_cursor == (cursor_after(items[limit - 1].item_id) if fetched > limit else None)


def test_members_on_the_wire_are_in_camel_case_and_instants_are_text() -> None:
    item = Item(item_id=uuid.UUID(int=1), made_at=datetime(2026, 1, 1, tzinfo=UTC))
    page = Page[Item].of([item], [item.item_id], 5)

    assert page.model_dump_json(by_alias=True) == (
        '{"data":[{"itemId":"00000000-0000-0000-0000-000000000001","madeAt":"2026-01-01T00:00:00.000Z"}],'
        '"nextCursor":null}'
    )
