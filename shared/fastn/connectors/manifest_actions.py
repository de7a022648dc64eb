"""The part of the manifest language that describes actions and their arguments."""

from __future__ import annotations

import re
from dataclasses import replace

from fastn.connectors.manifest_reader import Node
from fastn.connectors.models import (
    Action,
    BodyEncoding,
    Destination,
    IdempotencyField,
    IdempotencyFormat,
    Paging,
    Parameter,
    Parameters,
    Place,
    ValueType,
)
from fastn.connectors.selectors import Selector
from fastn.connectors.templates import Reference, Template, TemplateTree, tree_references

HTTP_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"))
PAGING_ARGUMENTS = frozenset(("cursor", "maxItems"))
_CALL = frozenset(("in", "config"))
_NAME = re.compile(r"[a-z][A-Za-z0-9]*", re.ASCII)
_PARAMETER_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_-]*)(?P<required>!?)", re.ASCII)
_SHORT_TYPE = re.compile(r"(?P<type>[a-z]+)( = (?P<default>.+))?", re.ASCII)
_DESTINATION = re.compile(r"(?P<place>query|body|header)\.(?P<name>[A-Za-z0-9_-]+)", re.ASCII)
_ACTION_KEYS = (
    *("description", "docs", "in", "query", "headers", "body", "encoding"),
    *("page", "out", "idempotent", "idempotency"),
)


def read_action(node: Node, name: str) -> Action:
    """The action under a name. Raises ManifestInvalid."""
    if _NAME.fullmatch(name) is None:
        node.fail("an action's name is camelCase, as code calls it")
    members = node.members(required=("do",), optional=_ACTION_KEYS)
    parameters = read_parameters(members.get("in"))
    method, path = _read_do(members["do"])
    action = Action(
        name=name,
        method=method,
        path=path,
        parameters=parameters,
        description=members["description"].text() if "description" in members else "",
        docs=members["docs"].text() if "docs" in members else "",
        query=_tree(members.get("query")),
        headers=_tree(members.get("headers")),
        body=_tree(members.get("body")),
        encoding=members["encoding"].one_of(BodyEncoding) if "encoding" in members else BodyEncoding.JSON,
        paging=_read_paging(members["page"]) if "page" in members else None,
        output=_read_output(members.get("out")),
        gives_response="out" in members and members["out"].value == "response",
        is_idempotent=members["idempotent"].boolean() if "idempotent" in members else None,
        idempotency=_read_idempotency(members["idempotency"]) if "idempotency" in members else None,
    )
    _check_references(node, action)
    placed = {reference.name or "" for reference in _references(action) if reference.namespace == "in"}
    return replace(action, placed_arguments=frozenset(placed))


def read_parameters(node: Node | None) -> Parameters:
    """Named values: `text!: string`, `limit: int = 100`, or the long form with its own keys; none for no node.

    Raises ManifestInvalid.
    """
    parameters: dict[str, Parameter] = {}
    if node is None:
        return parameters
    for key, member in node.entries().items():
        found = _PARAMETER_NAME.fullmatch(key)
        if found is None:
            member.fail("is not a name; letters, digits, _ and -, with ! at the end where it must be given")
        if found["name"] in parameters:
            member.fail("is declared twice")
        parameters[found["name"]] = _read_parameter(member, found["name"], is_required=bool(found["required"]))
    return parameters


def _read_parameter(node: Node, name: str, *, is_required: bool) -> Parameter:
    if isinstance(node.value, str):
        return _read_short_parameter(node, name, is_required=is_required)
    members = node.members(required=("type",), optional=("default", "enum", "pattern", "description"))
    default = members["default"].value if "default" in members else None
    if default is not None and is_required:
        node.fail("a value that must be given cannot have a default")
    return Parameter(
        name=name,
        type=members["type"].one_of(ValueType),
        is_required=is_required,
        default=default,
        choices=tuple(item.value for item in members["enum"].items()) if "enum" in members else (),
        pattern=_read_pattern(members["pattern"]) if "pattern" in members else None,
        description=members["description"].text() if "description" in members else "",
    )


def _read_short_parameter(node: Node, name: str, *, is_required: bool) -> Parameter:
    found = _SHORT_TYPE.fullmatch(node.text())
    if found is None:
        node.fail("must be a type, or a type and a default: 'int = 100'")
    kind = node.child("type", found["type"]).one_of(ValueType)
    if found["default"] is None:
        return Parameter(name, kind, is_required)
    if is_required:
        node.fail("a value that must be given cannot have a default")
    return Parameter(name, kind, default=_read_default(node, kind, found["default"]))


def _read_default(node: Node, kind: ValueType, text: str) -> object:
    if kind is ValueType.STRING:
        return text
    if kind is ValueType.INTEGER and re.fullmatch(r"-?[0-9]+", text, re.ASCII):
        return int(text)
    if kind is ValueType.BOOLEAN and text in ("true", "false"):
        return text == "true"
    return node.fail(f"'{text}' is not a default for {kind.value}")


def _read_pattern(node: Node) -> re.Pattern[str]:
    # Without groups there is no repetition of a repetition, hence no exponential matching.
    if "(" in node.text():
        node.fail("groups are not part of the language")
    try:
        return re.compile(node.text(), re.ASCII)
    except re.error as error:
        node.fail(f"is not a regular expression: {error}")


def _read_do(node: Node) -> tuple[Template, Template]:
    method_text, separator, path_text = node.text().partition(" ")
    if not separator:
        node.fail("must be a method and a path: 'POST /chat.postMessage'")
    method = node.child("method", method_text).template(frozenset(("in",)))
    if method.literal is not None and method.literal not in HTTP_METHODS:
        node.fail(f"'{method_text}' is none of {', '.join(sorted(HTTP_METHODS))}")
    path = node.child("path", path_text).template(_CALL)
    if not path_text.startswith("/") and path.sole_reference is None:
        node.fail("the path must begin with /, or be one reference to a whole URL")
    return method, path


def _tree(node: Node | None) -> TemplateTree:
    return None if node is None else node.template_tree(_CALL)


def _read_output(node: Node | None) -> Selector | None:
    return None if node is None or node.value == "response" else node.selector()


def _read_paging(node: Node) -> Paging:
    members = node.members(required=("style", "size"), optional=("cursor", "into", "more"))
    size = members["size"].members(required=("into", "max"))
    style = members["style"].text()
    needs_cursor = style == "cursor"
    if style not in ("cursor", "link"):
        members["style"].fail("must be cursor or link")
    if needs_cursor != ("cursor" in members) or needs_cursor != ("into" in members):
        node.fail("'cursor' and 'into' belong to the style cursor, which needs both")
    return Paging(
        cursor=members["cursor"].selector() if needs_cursor else None,
        cursor_into=_read_destination(members["into"]) if needs_cursor else None,
        size_into=_read_destination(size["into"]),
        max_size=size["max"].integer(minimum=1, maximum=10_000),
        more=members["more"].condition() if "more" in members else None,
    )


def _read_idempotency(node: Node) -> IdempotencyField:
    members = node.members(required=("into", "honoured"), optional=("format",))
    return IdempotencyField(
        into=_read_destination(members["into"]),
        format=members["format"].one_of(IdempotencyFormat) if "format" in members else IdempotencyFormat.TEXT,
        is_honoured=members["honoured"].boolean(),
    )


def _read_destination(node: Node) -> Destination:
    found = _DESTINATION.fullmatch(node.text())
    if found is None:
        node.fail("must be query.name, body.name or header.Name")
    return Destination(Place(found["place"]), found["name"])


def _references(action: Action) -> set[Reference]:
    trees: tuple[TemplateTree, ...] = (
        *(action.method, action.path),
        *(action.query, action.headers, action.body),
    )
    return {reference for tree in trees for reference in tree_references(tree)}


def _check_references(node: Node, action: Action) -> None:
    for reference in _references(action):
        if reference.namespace == "in" and reference.name not in action.parameters:
            node.fail(f"refers to the argument '{reference.name}', which is not declared under in")
    method = action.method.sole_reference
    if action.method.literal is None:
        parameter = action.parameters.get(method.name or "") if method else None
        if parameter is None or not parameter.choices or not set(parameter.choices) <= HTTP_METHODS:
            node.fail("a method taken from an argument needs that argument to have an enum of methods")
    taken = PAGING_ARGUMENTS & set(action.parameters)
    if action.paging is not None and taken:
        node.fail(f"'{min(taken)}' is what callers steer paging with, so it cannot be declared")
    if action.paging is not None and action.output is None:
        node.fail("a paged action must say with 'out' where its items are")
