"""Places in an answer or a delivery: `$.a.b[0]`, any other JSONPath, `header.Name`, `status`.

Paths with one possible result are walked by hand; python-jsonpath (RFC 9535, strict, no code
evaluated) is imported only for the others, since its import costs 85 ms of a cold start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

_SIMPLE_PATH = re.compile(r"\$((\.[A-Za-z_][A-Za-z0-9_]*)|(\[[0-9]+\]))*", re.ASCII)
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[([0-9]+)\]", re.ASCII)
_HEADER = re.compile(r"header\.([A-Za-z0-9-]+)", re.ASCII)
_REGULAR_EXPRESSION = re.compile(r"\b(match|search)\s*\(", re.ASCII)
_COMPARISON = re.compile(
    r"(?P<subject>\$[A-Za-z0-9_.\[\]]*|header\.[A-Za-z0-9-]+|status) (?P<operator>==|!=) (?P<literal>.+)", re.ASCII
)


class SelectorInvalid(ValueError):
    """The text is none of the four forms of a selector."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a selector looks into; header names are lower-case. `body` is JSON, or None if it was not."""

    body: object
    headers: Mapping[str, str]
    status: int = 200


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector. Exactly one of steps, header, json_path is set; none of them means the status."""

    text: str
    steps: tuple[str | int, ...] | None = None
    header: str | None = None
    json_path: str | None = None

    def select(self, subject: Subject) -> object:
        """The value found; None if there is none. A JSONPath of many results gives the list of them."""
        if self.steps is not None:
            return _walk(subject.body, self.steps)
        if self.header is not None:
            return subject.headers.get(self.header)
        if self.json_path is not None:
            return _find_all(self.json_path, subject.body) or None
        return subject.status


@dataclass(frozen=True, slots=True)
class Condition:
    """A selector that must find something, or something equal (or not) to a literal."""

    selector: Selector
    operator: str | None = None
    literal: object = None

    def holds(self, subject: Subject) -> bool:
        """Without an operator: whether the value is there, and neither null, false nor empty."""
        value = self.selector.select(subject)
        if self.operator is None:
            return value not in (None, False, "", [], {})
        # JSON's true is not its 1.
        is_equal = value == self.literal and isinstance(value, bool) == isinstance(self.literal, bool)
        return is_equal == (self.operator == "==")


def parse_selector(text: str) -> Selector:
    """The selector a text spells. Raises SelectorInvalid."""
    if text == "status":
        return Selector(text)
    found = _HEADER.fullmatch(text)
    if found is not None:
        return Selector(text, header=found[1].lower())
    if _SIMPLE_PATH.fullmatch(text):
        steps = tuple(name or int(index) for name, index in _STEP.findall(text))
        return Selector(text, steps=steps)
    if not text.startswith("$"):
        raise SelectorInvalid(f"'{text}' is no selector: write $.path, header.Name or status")
    if _REGULAR_EXPRESSION.search(text):
        raise SelectorInvalid(f"'{text}' uses a regular expression, whose running time nobody can bound")
    _compile(text)
    return Selector(text, json_path=text)


def parse_condition(text: str) -> Condition:
    """The condition a text spells: a selector, or a selector, `==` or `!=`, and a JSON literal.

    Raises SelectorInvalid.
    """
    found = _COMPARISON.fullmatch(text)
    if found is None:
        return Condition(parse_selector(text))
    try:
        literal = json.loads(found["literal"])
    except ValueError as error:
        raise SelectorInvalid(f"'{found['literal']}' is not a JSON literal") from error
    return Condition(parse_selector(found["subject"]), found["operator"], literal)


def _walk(value: object, steps: Sequence[str | int]) -> object:
    for step in steps:
        if isinstance(step, str) and isinstance(value, Mapping):
            value = cast(Mapping[str, object], value).get(step)
        elif isinstance(step, int) and isinstance(value, list):
            items = cast(list[object], value)
            value = items[step] if step < len(items) else None
        else:
            return None
    return value


def _find_all(json_path: str, value: object) -> list[object]:
    import jsonpath

    if not isinstance(value, (Mapping, list)):
        return []
    return jsonpath.JSONPathEnvironment(strict=True).findall(json_path, cast(Mapping[str, object], value))


def _compile(json_path: str) -> None:
    import jsonpath

    try:
        jsonpath.JSONPathEnvironment(strict=True).compile(json_path)
    except jsonpath.JSONPathError as error:
        raise SelectorInvalid(f"'{json_path}' is not a JSONPath (RFC 9535): {error}") from error
