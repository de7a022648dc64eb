"""Texts with `${namespace.name}` in them, resolved as data.

A reference is looked up in mappings by name, and nothing more: no attributes, no calls, no format
specifications, and what a value contains is never read again as a template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
_PATH = re.compile(r"(?P<namespace>[a-z]+)(\.(?P<name>[A-Za-z0-9_-]+))?", re.ASCII)

Values = Mapping[str, object]
"""Namespace → mapping of its names (`in`, `config`, `cred`, `header`), or a plain value (`body`)."""


class TemplateInvalid(ValueError):
    """The text refers to something that does not exist, or its braces are unbalanced."""


class ReferenceMissing(LookupError):
    """A reference inside a longer text has no value; `reference` is how the manifest spells it."""

    def __init__(self, reference: str) -> None:
        super().__init__(reference)
        self.reference = reference


@dataclass(frozen=True, slots=True)
class Reference:
    """`${namespace.name}`, or `${namespace}` for a plain value."""

    namespace: str
    name: str | None = None

    def __str__(self) -> str:
        return self.namespace if self.name is None else f"{self.namespace}.{self.name}"

    def look_up(self, values: Values) -> object:
        """The value referred to; None if there is none."""
        found = values.get(self.namespace)
        if self.name is None:
            return found
        return cast(Mapping[str, object], found).get(self.name) if isinstance(found, Mapping) else None


@dataclass(frozen=True, slots=True)
class Template:
    """A text of literal parts and references."""

    parts: tuple[str | Reference, ...]

    @property
    def sole_reference(self) -> Reference | None:
        """The reference that is the whole text, if it is nothing else."""
        only = self.parts[0] if len(self.parts) == 1 else None
        return only if isinstance(only, Reference) else None

    @property
    def literal(self) -> str | None:
        """The text, if it has no reference."""
        texts = [part for part in self.parts if isinstance(part, str)]
        return "".join(texts) if len(texts) == len(self.parts) else None

    def references(self) -> Iterator[Reference]:
        """Every reference in the text."""
        return (part for part in self.parts if isinstance(part, Reference))

    def render(self, values: Values, encode: Callable[[str], str] = str) -> str:
        """The text with each reference replaced by its value as text, passed through `encode`.

        Raises ReferenceMissing if one has no value.
        """
        return "".join(part if isinstance(part, str) else encode(_required(part, values)) for part in self.parts)


TemplateTree = Template | bool | int | float | None | Sequence["TemplateTree"] | Mapping[str, "TemplateTree"]
"""JSON whose strings are templates."""


def parse_template(text: str, namespaces: Collection[str]) -> Template:
    """The template a text spells. Raises TemplateInvalid on an unknown namespace or a stray `${`."""
    parts: list[str | Reference] = []
    position = 0
    for found in _REFERENCE.finditer(text):
        parts += [text[position : found.start()], _parse_reference(found[1], namespaces)]
        position = found.end()
    parts.append(text[position:])
    if any(isinstance(part, str) and "${" in part for part in parts):
        raise TemplateInvalid("a '${' is not closed")
    return Template(tuple(part for part in parts if part != "") or ("",))


def parse_tree(value: object, namespaces: Collection[str]) -> TemplateTree:
    """The same for every string inside a JSON value. Raises TemplateInvalid."""
    if isinstance(value, str):
        return parse_template(value, namespaces)
    if isinstance(value, Mapping):
        members = cast(Mapping[object, object], value)
        return {str(name): parse_tree(member, namespaces) for name, member in members.items()}
    if isinstance(value, list):
        return [parse_tree(member, namespaces) for member in cast(list[object], value)]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise TemplateInvalid(f"{type(value).__name__} is not JSON")


def render_tree(tree: TemplateTree, values: Values) -> object:
    """The JSON value with its references resolved.

    A string that is one reference keeps the value's type; a member whose reference has no value is left out.
    """
    if isinstance(tree, Template):
        sole = tree.sole_reference
        return tree.render(values) if sole is None else sole.look_up(values)
    if isinstance(tree, Mapping):
        rendered = ((name, render_tree(member, values)) for name, member in tree.items())
        return {name: value for name, value in rendered if value is not None}
    if isinstance(tree, Sequence):
        return [render_tree(member, values) for member in tree]
    return tree


def tree_references(tree: TemplateTree) -> Iterator[Reference]:
    """Every reference inside a template tree."""
    if isinstance(tree, Template):
        yield from tree.references()
    elif isinstance(tree, Mapping):
        for member in tree.values():
            yield from tree_references(member)
    elif isinstance(tree, Sequence):
        for member in tree:
            yield from tree_references(member)


def as_text(value: object) -> str:
    """A JSON value as it goes into a URL, a header or a form: strings as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _parse_reference(text: str, namespaces: Collection[str]) -> Reference:
    found = _PATH.fullmatch(text)
    if found is None or found["namespace"] not in namespaces:
        raise TemplateInvalid(f"'${{{text}}}' refers to nothing; known here: {', '.join(sorted(namespaces))}")
    return Reference(found["namespace"], found["name"])


def _required(reference: Reference, values: Values) -> str:
    value = reference.look_up(values)
    if value is None:
        raise ReferenceMissing(str(reference))
    return as_text(value)
