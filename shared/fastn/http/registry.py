"""Every function the tree declares, found by walking `functions/`; the one list everybody reads."""

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from fastn.http.consumers import BackgroundFunction
from fastn.http.declarations import (
    Declaration,
    EndpointDeclaration,
    QueueConsumerDeclaration,
    ScheduledDeclaration,
    TaskDeclaration,
)
from fastn.http.endpoint import EndpointFunction

API_PREFIX = "/api/v1/"
ROOM_OF_KIND: dict[type[Declaration], tuple[str, ...]] = {
    EndpointDeclaration: ("api", "webhooks", "gateways"),
    QueueConsumerDeclaration: ("events", "schedules", "executors"),
    ScheduledDeclaration: ("events", "schedules"),
    TaskDeclaration: ("executors", "events", "schedules"),
}


Handler = (
    EndpointFunction[object]
    | BackgroundFunction[QueueConsumerDeclaration]
    | BackgroundFunction[ScheduledDeclaration]
    | BackgroundFunction[TaskDeclaration]
)


class DeclarationError(Exception):
    """A declaration is duplicate, misplaced or missing; the message names every culprit."""


@dataclass(frozen=True, slots=True)
class RegisteredFunction:
    """One file of `functions/`: one Lambda."""

    module: str
    file: str
    handler: Handler

    @property
    def name(self) -> str:
        """The file stem: the name of the operation, the Lambda and the state machine's task."""
        return self.module.rsplit(".", 1)[-1]

    @property
    def declaration(self) -> Declaration:
        """What the function says of itself."""
        return self.handler.declaration


@dataclass(frozen=True, slots=True)
class Registry:
    """The functions of one tree, in the order of their files."""

    functions: tuple[RegisteredFunction, ...]

    def endpoints(self) -> list[tuple[RegisteredFunction, EndpointDeclaration]]:
        """The functions with a route."""
        return [(f, f.declaration) for f in self.functions if isinstance(f.declaration, EndpointDeclaration)]

    def named(self, name: str) -> RegisteredFunction:
        """The function with this file stem. Raises DeclarationError if there is none."""
        for function in self.functions:
            if function.name == name:
                return function
        raise DeclarationError(f"no function is named {name}")


def load_registry(root: Path) -> Registry:
    """Imports every file under `root/functions` and checks it. Raises DeclarationError naming the culprits."""
    files = sorted(file for file in (root / "functions").rglob("*.py") if file.name != "__init__.py")
    return check_registry([_load(root, file) for file in files])


def check_registry(functions: Iterable[RegisteredFunction]) -> Registry:
    """A registry of these functions, if no two claim one name or route and each lies in its room."""
    names: dict[str, str] = {}
    routes: dict[str, str] = {}
    checked: list[RegisteredFunction] = []
    for function in functions:
        _claim(names, function.name, function.file, "the name")
        declaration = function.declaration
        if isinstance(declaration, EndpointDeclaration):
            shape = f"{declaration.method} {re.sub(r'{[^}]*}', '{}', declaration.path)}"
            _claim(routes, shape, function.file, "the route")
        _check_room(function)
        checked.append(function)
    return Registry(tuple(checked))


def _load(root: Path, file: Path) -> RegisteredFunction:
    relative = file.relative_to(root)
    module = ".".join(relative.with_suffix("").parts)
    handler = getattr(importlib.import_module(module), "handler", None)
    if not isinstance(handler, EndpointFunction | BackgroundFunction):
        raise DeclarationError(f"{relative} declares no handler: one file is one Lambda")
    return RegisteredFunction(module, relative.as_posix(), cast(Handler, handler))


def _claim(taken: dict[str, str], key: str, file: str, what: str) -> None:
    if key in taken:
        raise DeclarationError(f"{taken[key]} and {file} both declare {what} {key}")
    taken[key] = file


def _check_room(function: RegisteredFunction) -> None:
    declaration = function.declaration
    room = function.file.split("/")[1]
    if room not in ROOM_OF_KIND[type(declaration)]:
        raise DeclarationError(f"{function.file}: a {type(declaration).__name__} does not belong in functions/{room}")
    if isinstance(declaration, EndpointDeclaration) and room == "api":
        _check_path(function, declaration)


def _check_path(function: RegisteredFunction, declaration: EndpointDeclaration) -> None:
    folders = function.file.split("/")[2:-1]
    segments = declaration.path.removeprefix(API_PREFIX).split("/")
    if not declaration.path.startswith(API_PREFIX):
        raise DeclarationError(f"{function.file}: {declaration.path} does not start with {API_PREFIX}")
    verb = segments[-1]
    if len(segments) == len(folders) + 1 and function.name.startswith(verb.replace("-", "_")):
        segments = segments[:-1]
    expected = [segment.strip("{}").replace("-", "_") for segment in segments]
    if folders != expected:
        raise DeclarationError(f"{function.file}: {declaration.route} belongs in functions/api/{'/'.join(expected)}/")
