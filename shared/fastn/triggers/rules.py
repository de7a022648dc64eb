"""The language of a route's filters: what one may say, and which deliveries it takes. Nothing here does I/O.

A body filter is a JSON object. Every member must hold; `{}` takes every delivery.

    {"action": "opened"}                              the member `action` equals "opened"
    {"pull_request.base.ref": "main"}                 a dotted path into the body …
    {"pull_request": {"base": {"ref": "main"}}}       … or nested objects, which say the same
    {"total": {"$gte": 100, "$lt": 500}}              operators; all of them must hold

Operators: `$eq`, `$ne`, `$in`, `$nin` (any JSON value), `$gt`, `$gte`, `$lt`, `$lte` (numbers with numbers,
text with text by code point), `$prefix`, `$suffix`, `$contains` (text), `$exists` (true or false). There is
no regular expression: one written badly takes exponential time.

- Values are compared as JSON: 1 equals 1.0, true is not 1, and null is a value and not a missing member.
- Arrays match if any of their elements does: `{"labels.name": "bug"}` takes `{"labels": [{"name": "bug"}]}`.
  Members of one nested object must hold of the same element. An array inside an array is one value.
- `$ne` and `$nin` are the exact opposites of `$eq` and `$in`: of an array, no element may be equal.
  They hold of a missing member, as does `{"$exists": false}`; nothing else does.
- An empty array on the way counts as missing. A name that contains a dot cannot be addressed.

A header filter maps header names, in any case, to the exact value or to a list of accepted values.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from types import MappingProxyType
from typing import cast

MAX_FILTER_BYTES = 16 * 1024
MAX_DEPTH = 16
MAX_CONDITIONS = 100
MAX_HEADERS = 50

JsonObject = Mapping[str, object]


class Operator(StrEnum):
    """What a filter may ask of a value besides being equal."""

    EQ = "$eq"
    NE = "$ne"
    IN = "$in"
    NIN = "$nin"
    GT = "$gt"
    GTE = "$gte"
    LT = "$lt"
    LTE = "$lte"
    PREFIX = "$prefix"
    SUFFIX = "$suffix"
    CONTAINS = "$contains"
    EXISTS = "$exists"


class _Absence(Enum):
    MISSING = auto()


_ORDER: Mapping[Operator, Callable[[int], bool]] = MappingProxyType(
    {
        Operator.GT: lambda sign: sign > 0,
        Operator.GTE: lambda sign: sign >= 0,
        Operator.LT: lambda sign: sign < 0,
        Operator.LTE: lambda sign: sign <= 0,
    }
)
_TEXT: Mapping[Operator, Callable[[str, str], bool]] = MappingProxyType(
    {
        Operator.PREFIX: str.startswith,
        Operator.SUFFIX: str.endswith,
        Operator.CONTAINS: lambda value, part: part in value,
    }
)


@dataclass(frozen=True, slots=True)
class FilterProblem:
    """What is wrong with a filter, and at which member. Never holds a value of the filter's own."""

    field: str
    problem: str


def matches(body_filter: JsonObject, value: object) -> bool:
    """Whether a parsed JSON body satisfies every member of the filter.

    Linear in the size of the body times that of the filter. Raises ValueError for an operator that
    `filter_problems` would have refused.
    """
    return any(
        all(_holds_at(name.split("."), condition, candidate) for name, condition in body_filter.items())
        for candidate in _elements(value)
    )


def headers_match(header_filter: JsonObject, headers: Mapping[str, str]) -> bool:
    """Whether the headers carry every value asked for; names are compared without regard to case."""
    present = {name.lower(): value for name, value in headers.items()}
    return all(
        present.get(name.lower()) in (cast(list[object], wanted) if isinstance(wanted, list) else [wanted])
        for name, wanted in header_filter.items()
    )


def _holds_at(path: Sequence[str], condition: object, value: object) -> bool:
    below = _member(value, path[0])
    if len(path) == 1:
        return _holds(condition, below)
    return any(_holds_at(path[1:], condition, element) for element in _elements(below))


def _holds(condition: object, value: object) -> bool:
    members = _object(condition)
    if members is None:
        return _equals_any(condition, value)
    if _is_operators(members):
        return all(_operator_holds(Operator(name), operand, value) for name, operand in members.items())
    return matches(members, value)


def _operator_holds(operator: Operator, operand: object, value: object) -> bool:
    match operator:
        case Operator.EQ:
            return _equals_any(operand, value)
        case Operator.NE:
            return not _equals_any(operand, value)
        case Operator.IN:
            return any(_equals_any(one, value) for one in cast(list[object], operand))
        case Operator.NIN:
            return not any(_equals_any(one, value) for one in cast(list[object], operand))
        case Operator.EXISTS:
            return (value is not _Absence.MISSING) is operand
        case _:
            return any(_compares(operator, operand, element) for element in _elements(value))


def _compares(operator: Operator, operand: object, value: object) -> bool:
    if isinstance(operand, str) and isinstance(value, str):
        if operator in _TEXT:
            return _TEXT[operator](value, operand)
        return _ORDER[operator]((value > operand) - (value < operand))
    if operator in _ORDER and _is_number(operand) and _is_number(value):
        number, limit = cast(float, value), cast(float, operand)
        return _ORDER[operator]((number > limit) - (number < limit))
    return False


def _equals_any(operand: object, value: object) -> bool:
    return _equal(operand, value) or any(_equal(operand, element) for element in _array(value) or ())


def _equal(one: object, other: object) -> bool:
    ones, others = _array(one), _array(other)
    if ones is not None and others is not None:
        return len(ones) == len(others) and all(map(_equal, ones, others))
    left, right = _object(one), _object(other)
    if left is not None and right is not None:
        return left.keys() == right.keys() and all(_equal(left[name], right[name]) for name in left)
    if _is_number(one) and _is_number(other):
        return one == other
    return type(one) is type(other) and one == other


def _elements(value: object) -> Sequence[object]:
    """The value itself, or an array's elements; missing, for an empty array."""
    array = _array(value)
    return (value,) if array is None else array or (_Absence.MISSING,)


def _member(value: object, name: str) -> object:
    members = _object(value)
    return _Absence.MISSING if members is None else members.get(name, _Absence.MISSING)


def _array(value: object) -> list[object] | None:
    return cast(list[object], value) if isinstance(value, list) else None


def _object(value: object) -> dict[str, object] | None:
    return cast(dict[str, object], value) if isinstance(value, dict) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_operators(members: JsonObject) -> bool:
    return any(name.startswith("$") for name in members)


def filter_problems(body_filter: JsonObject) -> list[FilterProblem]:
    """What is wrong with a body filter, as its author should read it; empty if nothing is."""
    if _size_bytes(body_filter) > MAX_FILTER_BYTES:
        return [FilterProblem("", f"the filter is over {MAX_FILTER_BYTES} bytes of JSON")]
    conditions = [0]
    problems = list(_member_problems("", body_filter, 1, conditions))
    if conditions[0] > MAX_CONDITIONS:
        problems.append(FilterProblem("", f"the filter has over {MAX_CONDITIONS} conditions"))
    return problems


def header_filter_problems(header_filter: JsonObject) -> list[FilterProblem]:
    """What is wrong with a header filter; empty if nothing is."""
    if len(header_filter) > MAX_HEADERS or _size_bytes(header_filter) > MAX_FILTER_BYTES:
        return [FilterProblem("", f"at most {MAX_HEADERS} headers in {MAX_FILTER_BYTES} bytes of JSON")]
    problems: list[FilterProblem] = []
    for name, wanted in header_filter.items():
        values = cast(list[object], wanted) if isinstance(wanted, list) else [wanted]
        if not name.strip():
            problems.append(FilterProblem(name, "expected the name of a header"))
        elif not values or not all(isinstance(value, str) for value in values):
            problems.append(FilterProblem(name, "expected text, or a list of texts of which one must be sent"))
    return problems


def _member_problems(at: str, members: JsonObject, depth: int, conditions: list[int]) -> Iterator[FilterProblem]:
    if depth > MAX_DEPTH:
        yield FilterProblem(at, f"nested over {MAX_DEPTH} levels deep")
        return
    for name, condition in members.items():
        field = f"{at}.{name}" if at else name
        segments = name.split(".")
        if name.startswith("$"):
            yield FilterProblem(field, "an operator belongs inside the object of the member it is about")
        elif not all(segments):
            yield FilterProblem(field, "expected the name of a member, or names joined by single dots")
        else:
            yield from _condition_problems(field, condition, depth + len(segments), conditions)


def _condition_problems(field: str, condition: object, depth: int, conditions: list[int]) -> Iterator[FilterProblem]:
    members = _object(condition)
    if members is None:
        conditions[0] += 1
        yield from _depth_problems(field, condition, depth)
    elif not members:
        yield FilterProblem(field, 'an empty object asks for nothing: use {"$exists": true} or {"$eq": {}}')
    elif not _is_operators(members):
        yield from _member_problems(field, members, depth, conditions)
    elif not all(name.startswith("$") for name in members):
        yield FilterProblem(field, "operators and names of members cannot stand side by side")
    else:
        conditions[0] += len(members)
        for name, operand in members.items():
            yield from _operand_problems(f"{field}.{name}", name, operand, depth)


def _operand_problems(field: str, name: str, operand: object, depth: int) -> Iterator[FilterProblem]:
    if name not in set(Operator):
        yield FilterProblem(field, f"unknown operator; one of {', '.join(Operator)}")
        return
    wanted = _operand_wanted(Operator(name), operand)
    if wanted is not None:
        yield FilterProblem(field, f"expected {wanted}")
    else:
        yield from _depth_problems(field, operand, depth)


def _operand_wanted(operator: Operator, operand: object) -> str | None:
    """What the operator needs instead of this operand; None if it will do."""
    if operator in (Operator.IN, Operator.NIN):
        return None if isinstance(operand, list) else "a list"
    if operator is Operator.EXISTS:
        return None if isinstance(operand, bool) else "true or false"
    if operator in _TEXT:
        return None if isinstance(operand, str) else "text"
    if operator in _ORDER:
        return None if isinstance(operand, str) or _is_number(operand) else "a number or text"
    return None


def _depth_problems(field: str, value: object, depth: int) -> Iterator[FilterProblem]:
    if depth > MAX_DEPTH:
        yield FilterProblem(field, f"nested over {MAX_DEPTH} levels deep")
        return
    for element in _array(value) or ():
        yield from _depth_problems(field, element, depth + 1)
    for member in (_object(value) or {}).values():
        yield from _depth_problems(field, member, depth + 1)


def _size_bytes(value: JsonObject) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())
