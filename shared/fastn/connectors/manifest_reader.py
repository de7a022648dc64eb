"""Strict reading of a parsed YAML or JSON document: every failure names the file, the key and the reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, TypeVar, cast

from fastn.connectors.errors import ManifestInvalid
from fastn.connectors.selectors import (
    Condition,
    Selector,
    SelectorInvalid,
    parse_condition,
    parse_selector,
)
from fastn.connectors.templates import (
    Template,
    TemplateInvalid,
    TemplateTree,
    parse_template,
    parse_tree,
)

EnumType = TypeVar("EnumType", bound=StrEnum)
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Node:
    """A value in a document, and how it is reached. Every method raises ManifestInvalid on another kind of value."""

    file: str
    key: str
    value: object

    def fail(self, reason: str) -> NoReturn:
        """Refuses the document because of this value."""
        raise ManifestInvalid(self.file, self.key, reason)

    def child(self, name: str, value: object) -> Node:
        """A member or element of this value."""
        return Node(self.file, f"{self.key}.{name}" if self.key else name, value)

    def members(self, *, required: Collection[str] = (), optional: Collection[str] = ()) -> dict[str, Node]:
        """The members of a mapping that has all of `required` and nothing beyond `optional`."""
        found = self.entries()
        for name in found:
            if name not in required and name not in optional:
                allowed = ", ".join(sorted({*required, *optional}))
                found[name].fail(f"is not a key of this version of the language (known here: {allowed})")
        for name in required:
            if name not in found:
                self.fail(f"'{name}' is missing")
        return found

    def entries(self) -> dict[str, Node]:
        """The members of a mapping whose names are free."""
        value = self.value
        if not isinstance(value, Mapping):
            self.fail("must be a mapping")
        entries: dict[str, Node] = {}
        members = cast(Mapping[object, object], value)
        for name, value in members.items():
            if not isinstance(name, str):
                self.fail(f"the key {name!r} must be text: put it in quotes")
            entries[name] = self.child(name, value)
        return entries

    def items(self) -> list[Node]:
        """The elements of a list."""
        value = self.value
        if not isinstance(value, list):
            self.fail("must be a list")
        elements = cast(list[object], value)
        return [self.child(str(index), element) for index, element in enumerate(elements)]

    def text(self) -> str:
        """A text that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            self.fail("must be text")
        return self.value

    def texts(self) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(item.text() for item in self.items())

    def boolean(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            self.fail("must be true or false")
        return self.value

    def integer(self, *, minimum: int, maximum: int) -> int:
        """A whole number within bounds."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.fail("must be a whole number")
        if not minimum <= self.value <= maximum:
            self.fail(f"must be from {minimum} to {maximum}")
        return self.value

    def one_of(self, kind: type[EnumType]) -> EnumType:
        """A member of an enumeration, by its value."""
        text = self.text()
        if text not in {member.value for member in kind}:
            self.fail(f"'{text}' is none of {', '.join(member.value for member in kind)}")
        return kind(text)

    def template(self, namespaces: Collection[str]) -> Template:
        """A text with references into these namespaces."""
        return self._read(lambda: parse_template(self.text(), namespaces))

    def template_tree(self, namespaces: Collection[str]) -> TemplateTree:
        """Any JSON whose texts may have references."""
        return self._read(lambda: parse_tree(self.value, namespaces))

    def selector(self) -> Selector:
        """A selector."""
        return self._read(lambda: parse_selector(self.text()))

    def condition(self) -> Condition:
        """A condition."""
        return self._read(lambda: parse_condition(self.text()))

    def _read(self, parse: Callable[[], Read]) -> Read:
        try:
            return parse()
        except (TemplateInvalid, SelectorInvalid) as error:
            raise ManifestInvalid(self.file, self.key, str(error)) from error


def parse_yaml(text: str, file: str) -> Node:
    """The document a YAML text holds. Raises ManifestInvalid on bad YAML, a key given twice, an alias or a tag."""
    import yaml

    class StrictLoader(yaml.SafeLoader):
        """YAML without what would make a manifest mean something else than it shows."""

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            # Aliases multiply a document beyond any size (the "billion laughs").
            if self.check_event(yaml.AliasEvent):
                raise ManifestInvalid(file, "", "aliases are not part of the language")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
            seen: set[str] = set()
            for key_node, _ in node.value:
                name = str(key_node.value)
                if name in seen:
                    raise ManifestInvalid(file, name, f"is given twice (line {key_node.start_mark.line + 1})")
                seen.add(name)
            return cast(dict[Hashable, object], super().construct_mapping(node, deep=deep))

    try:
        # A subclass of SafeLoader, which builds nothing but plain data.
        return Node(file, "", yaml.load(text, StrictLoader))  # noqa: S506
    except yaml.YAMLError as error:
        raise ManifestInvalid(file, "", f"is not YAML: {' '.join(str(error).split())}") from error
