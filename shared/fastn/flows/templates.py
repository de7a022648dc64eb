"""Templates in a flow's values: which references they hold, and whether they are references at all.

They are checked here and looked up when the flow runs; nothing in them is ever evaluated. The grammar is that of
`engine/sdk/workflow.js`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

TEMPLATE = re.compile(r"\{\{([^{}]*)\}\}")
# Spelled out where Python and JavaScript differ about what whitespace is.
_KEY = r"[^\s\x00-\x1f\x7f-\x9f\ufeff.{}\[\]\"'`()]+"
_PATH = re.compile(rf"([A-Za-z]+)((?:\.{_KEY}|\[[0-9]+\]|\[\"[^\"{{}}\[\]]*\"\])*)")
_SEGMENT = re.compile(rf"\.({_KEY})|\[([0-9]+)\]|\[\"([^\"{{}}\[\]]*)\"\]")
_FIELD = re.compile(rf"({_KEY})((?:\.{_KEY}|\[[0-9]+\])*)")
_MAX_LIST_POSITION = 1_000
_MAX_VALUE_DEPTH = 40


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference, `{{root.keys}}`."""

    text: str
    root: str
    keys: tuple[str, ...]


class TemplateInvalid(ValueError):
    """A text between braces is no reference, or a mapping's field is no path; the message says which."""


def references_in(value: object) -> Iterator[Reference]:
    """Every reference in the strings of a JSON value. Raises TemplateInvalid for the first that is none."""
    return _references_in(value, 0)


def _references_in(value: object, depth: int) -> Iterator[Reference]:
    if depth > _MAX_VALUE_DEPTH:
        raise TemplateInvalid(f"values may be nested {_MAX_VALUE_DEPTH} deep.")
    if isinstance(value, str):
        for found in TEMPLATE.finditer(value):
            yield parse_reference(found[1])
    elif isinstance(value, list):
        for element in cast("list[object]", value):
            yield from _references_in(element, depth + 1)
    elif isinstance(value, dict):
        for member in cast("dict[str, object]", value).values():
            yield from _references_in(member, depth + 1)


def parse_reference(text: str) -> Reference:
    """The reference between two pairs of braces. Raises TemplateInvalid."""
    found = _PATH.fullmatch(text.strip(" "))
    if found is None:
        raise TemplateInvalid(f"{{{{{text}}}}} is no reference: write {{{{input.x}}}} or {{{{steps.name.output.x}}}}.")
    keys = tuple(next(key for key in part.groups() if key is not None) for part in _SEGMENT.finditer(found[2]))
    return Reference(text, found[1], keys)


def is_field_path(path: str) -> bool:
    """Whether this names a field of a record."""
    return _FIELD.fullmatch(path) is not None


def nested(mapping: dict[str, object]) -> dict[str, object]:
    """The mapping with its dotted fields as objects: `a.b` and `a.list[0]` reach into one `a`.

    A field that is no path (it has spaces, say) is a name as it stands. Raises TemplateInvalid where two
    fields contradict each other.
    """
    tree: dict[str, object] = {}
    for field, value in mapping.items():
        _plant(tree, _keys(field), value, field)
    return cast("dict[str, object]", _grown(tree))


class _Position(int):
    """A place in a list, as a key of the tree."""


def _keys(field: str) -> list[object]:
    found = _FIELD.fullmatch(field)
    if found is None:
        return [field]
    rest = [part[1] if part[2] is None else _Position(part[2]) for part in _SEGMENT.finditer(found[2])]
    if any(isinstance(key, _Position) and key >= _MAX_LIST_POSITION for key in rest):
        raise TemplateInvalid(f"the field {field} is beyond the list positions a mapping may name.")
    return [found[1], *rest]


class _Branch(dict[object, object]):
    """An object or list under construction; a dict of the user's own is a leaf."""


def _plant(tree: dict[str, object], keys: list[object], value: object, field: str) -> None:
    place = cast("dict[object, object]", tree)
    for key in keys[:-1]:
        place = cast("dict[object, object]", place.setdefault(key, _Branch()))
        if not isinstance(place, _Branch):
            raise TemplateInvalid(f"the field {field} lies inside another field of this mapping.")
    if keys[-1] in place:
        raise TemplateInvalid(f"the field {field} is mapped twice.")
    place[keys[-1]] = value


def _grown(branch: dict[str, object]) -> object:
    members = cast("dict[object, object]", branch)
    positions = [key for key in members if isinstance(key, _Position)]
    if not positions:
        return {str(key): _value(member) for key, member in members.items()}
    if len(positions) != len(members):
        raise TemplateInvalid("a field of this mapping is an object and a list at once.")
    grown: list[object] = [None] * (max(positions) + 1)
    for position in positions:
        grown[position] = _value(members[position])
    return grown


def _value(member: object) -> object:
    return _grown(cast("dict[str, object]", member)) if isinstance(member, _Branch) else member
