"""JSON values as readable JavaScript. What comes in as a string goes out as a string literal, whatever it holds."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import cast

LINE_WIDTH = 100
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
# Invisible, or able to make a line read otherwise than it runs; surrogates alone are no UTF-8.
_ESCAPED = re.compile("[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def literal(value: object, indent: str = "") -> str:
    """The value as JavaScript, on one line where it fits; further lines begin with `indent`."""
    flat = _flat(value)
    if flat is not None and len(flat) + len(indent) <= LINE_WIDTH:
        return flat
    inner = indent + "  "
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value).items()
        lines = [f"{inner}{_name(name)}: {literal(member, inner)},\n" for name, member in members]
        return "{\n" + "".join(lines) + indent + "}"
    if isinstance(value, list | tuple):
        lines = [f"{inner}{literal(element, inner)},\n" for element in cast("Sequence[object]", value)]
        return "[\n" + "".join(lines) + indent + "]"
    return _scalar(value)


def text(value: str) -> str:
    """A string literal."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def member(name: str) -> str:
    """`.name`, or `["name"]` where the name is no identifier."""
    return f".{name}" if _IDENTIFIER.fullmatch(name) else f"[{text(name)}]"


def _flat(value: object) -> str | None:
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value).items()
        parts = [_flat(member) for _, member in members]
        if any(part is None for part in parts):
            return None
        body = ", ".join(f"{_name(name)}: {part}" for (name, _), part in zip(members, parts, strict=True))
        return f"{{ {body} }}" if body else "{}"
    if isinstance(value, list | tuple):
        elements = [_flat(element) for element in cast("Sequence[object]", value)]
        return None if None in elements else f"[{', '.join(element or '' for element in elements)}]"
    flat = _scalar(value)
    return None if "\n" in flat else flat


def _scalar(value: object) -> str:
    return text(value) if isinstance(value, str) else json.dumps(value)


def _name(name: str) -> str:
    # Unquoted or quoted, __proto__ would set the object's prototype; computed, it is a name like any other.
    if name == "__proto__":
        return '["__proto__"]'
    return name if _IDENTIFIER.fullmatch(name) else text(name)
