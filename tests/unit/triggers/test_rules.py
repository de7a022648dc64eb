"""Filters: what they take, what they refuse, and which filters cannot be stored."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastn.triggers.rules import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_FILTER_BYTES,
    filter_problems,
    header_filter_problems,
    headers_match,
    matches,
)

ORDER = {
    "action": "opened",
    "total": 120.5,
    "count": 3,
    "paid": True,
    "note": None,
    "customer": {"address": {"country": "DE"}, "tags": ["vip", "new"]},
    "lines": [{"sku": "A-1", "quantity": 2}, {"sku": "B-2", "quantity": 7}],
    "empty": [],
    "grid": [[1, 2], [3]],
}

names = st.text(st.characters(exclude_characters=".$\x00", codec="utf-8"), min_size=1, max_size=5)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))
bodies = st.dictionaries(names, values, max_size=4)


@pytest.mark.parametrize(
    "body_filter",
    [
        {},
        {"action": "opened"},
        {"customer.address.country": "DE"},
        {"customer": {"address": {"country": "DE"}}},
        {"customer": {"address.country": "DE"}, "action": "opened"},
        {"count": 3.0},
        {"note": None},
        {"paid": {"$eq": True}},
        {"total": {"$gt": 120, "$lte": 120.5}},
        {"action": {"$gte": "open", "$lt": "p"}},
        {"action": {"$in": ["closed", "opened"]}},
        {"action": {"$nin": ["closed"]}},
        {"action": {"$prefix": "op", "$suffix": "ed", "$contains": "ene"}},
        {"customer.tags": "vip"},
        {"customer.tags": {"$prefix": "ne"}},
        {"customer.tags": ["vip", "new"]},
        {"customer.tags": {"$ne": "old"}},
        {"lines.sku": "B-2"},
        {"lines": {"sku": "B-2", "quantity": {"$gt": 5}}},
        {"lines.quantity": {"$exists": True}},
        {"missing": {"$exists": False}},
        {"missing": {"$ne": 1}},
        {"missing.below": {"$nin": [1]}},
        {"empty.below": {"$exists": False}},
        {"empty": {"$eq": []}},
        {"grid": [3]},
        {"customer.address": {"$eq": {"country": "DE"}}},
    ],
)
def test_filter_takes_the_body(body_filter: dict[str, object]) -> None:
    assert filter_problems(body_filter) == []
    assert matches(body_filter, ORDER)


@pytest.mark.parametrize(
    "body_filter",
    [
        {"action": "closed"},
        {"action": "opened", "count": 4},
        {"count": True},
        {"paid": 1},
        {"paid": "true"},
        {"count": "3"},
        {"missing": None},
        {"missing": {"$lt": 5}},
        {"missing": {"$eq": None}},
        {"note": {"$exists": False}},
        {"action": {"$exists": False}},
        {"total": {"$gt": 120, "$lt": 120.5}},
        {"paid": {"$gte": 0}},
        {"count": {"$gt": "1"}},
        {"action": {"$in": []}},
        {"action": {"$nin": ["opened"]}},
        {"action": {"$ne": "opened"}},
        {"count": {"$prefix": "3"}},
        {"customer.tags": {"$ne": "vip"}},
        {"customer.tags": {"$nin": ["old", "new"]}},
        {"lines": {"sku": "A-1", "quantity": 7}},
        {"action.length": 6},
        {"empty.below": 1},
        {"grid": 1},
        {"customer.address": {"$eq": {}}},
        {"customer.tags": {"$eq": ["new", "vip"]}},
    ],
)
def test_filter_refuses_the_body(body_filter: dict[str, object]) -> None:
    assert filter_problems(body_filter) == []
    assert not matches(body_filter, ORDER)


def test_members_of_a_batch_are_matched_as_any_array_is() -> None:
    assert matches({"id": 2}, [{"id": 1}, {"id": 2}])
    assert not matches({"id": 2}, [[{"id": 2}]])
    assert not matches({"id": 2}, "id")
    assert matches({}, None)


@settings(deadline=None)
@given(bodies, st.data())
def test_filter_drawn_from_a_body_takes_that_body(body: dict[str, object], data: st.DataObject) -> None:
    members = [name for name in body if data.draw(st.booleans())]

    body_filter = {name: {"$eq": body[name]} for name in members}

    assert matches(body_filter, body)
    assert matches({**body_filter, **{name: {"$exists": True} for name in body if name not in members}}, body)


@settings(deadline=None)
@given(bodies, names, values)
def test_not_equal_is_the_exact_opposite_of_equal(body: dict[str, object], name: str, operand: object) -> None:
    assert matches({name: {"$ne": operand}}, body) is not matches({name: {"$eq": operand}}, body)
    assert matches({name: {"$nin": [operand, 1]}}, body) is not matches({name: {"$in": [operand, 1]}}, body)


@settings(deadline=None)
@given(st.lists(names, min_size=2, max_size=5), values, bodies)
def test_dotted_path_says_what_nested_objects_say(path: list[str], operand: object, body: dict[str, object]) -> None:
    nested: object = {"$eq": operand}
    for name in reversed(path):
        nested = {name: nested}

    assert isinstance(nested, dict)
    for value in (body, {path[0]: body}, {path[0]: [body, {path[1]: operand}]}):
        assert matches(nested, value) is matches({".".join(path): {"$eq": operand}}, value)


@settings(deadline=None)
@given(
    st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("$gt"), inner)), bodies
)
def test_filter_without_problems_never_fails_on_any_body(condition: object, body: dict[str, object]) -> None:
    body_filter = {"member": condition}

    if not filter_problems(body_filter):
        assert matches(body_filter, {"member": body}) in (True, False)


@pytest.mark.parametrize(
    ("body_filter", "field"),
    [
        ({"$eq": 1}, "$eq"),
        ({"a": {"$regex": "(a+)+$"}}, "a.$regex"),
        ({"a": {"$where": "1"}}, "a.$where"),
        ({"a": {"$gt": True}}, "a.$gt"),
        ({"a": {"$gt": None}}, "a.$gt"),
        ({"a": {"$in": "text"}}, "a.$in"),
        ({"a": {"$prefix": 1}}, "a.$prefix"),
        ({"a": {"$exists": 1}}, "a.$exists"),
        ({"a": {"$gt": 1, "b": 2}}, "a"),
        ({"a": {"b": {"$gt": {}}}}, "a.b.$gt"),
        ({"a": {}}, "a"),
        ({"": 1}, ""),
        ({"a..b": 1}, "a..b"),
        ({".a": 1}, ".a"),
    ],
)
def test_unclear_filter_is_refused_naming_the_member(body_filter: dict[str, object], field: str) -> None:
    assert [problem.field for problem in filter_problems(body_filter)] == [field]


def test_oversized_filter_is_refused() -> None:
    deep: object = 1
    for _ in range(MAX_DEPTH + 1):
        deep = {"a": deep}
    deep_operand: object = 1
    for _ in range(MAX_DEPTH + 1):
        deep_operand = [deep_operand]

    assert isinstance(deep, dict)
    assert filter_problems(deep)
    assert filter_problems({"a": deep_operand})
    assert filter_problems({".".join("a" * (MAX_DEPTH + 1)): 1})
    assert filter_problems({f"a{number}": number for number in range(MAX_CONDITIONS + 1)})
    assert filter_problems({"a": "x" * MAX_FILTER_BYTES})
    assert not filter_problems({f"a{number}": number for number in range(MAX_CONDITIONS)})


def test_headers_are_named_in_any_case_and_compared_exactly() -> None:
    headers = {"X-GitHub-Event": "push", "content-type": "application/json"}

    assert headers_match({}, headers)
    assert headers_match({"x-github-event": "push", "Content-Type": "application/json"}, headers)
    assert headers_match({"X-Github-Event": ["issues", "push"]}, headers)
    assert not headers_match({"x-github-event": "Push"}, headers)
    assert not headers_match({"x-github-event": ["issues"]}, headers)
    assert not headers_match({"x-github-event": "push", "x-missing": "1"}, headers)


@pytest.mark.parametrize("header_filter", [{"": "a"}, {"a": []}, {"a": 1}, {"a": ["b", None]}])
def test_unclear_header_filter_is_refused(header_filter: dict[str, object]) -> None:
    assert [problem.field for problem in header_filter_problems(header_filter)] == list(header_filter)


def test_too_many_headers_are_refused() -> None:
    assert header_filter_problems({f"x-{number}": "1" for number in range(51)})
    assert not header_filter_problems({f"x-{number}": "1" for number in range(50)})
