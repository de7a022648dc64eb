"""Reads a synthesized cloud assembly as plain JSON, nested stacks included."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from fastn.http.registry import RegisteredFunction, Registry


@dataclass(frozen=True)
class Resource:
    """One resource of one template."""

    template: str
    logical_id: str
    body: dict[str, Any]

    @property
    def properties(self) -> dict[str, Any]:
        """What the resource asks for."""
        return self.body.get("Properties", {})


@dataclass(frozen=True)
class Assembly:
    """The templates of one installation, and the functions it was made from."""

    directory: Path
    installation: str
    registry: Registry

    @cached_property
    def templates(self) -> dict[str, dict[str, Any]]:
        """Every template by its stack: `Api`, `ApiWorkflows…`."""
        files = self.directory.glob("*.template.json")
        return {file.name.split(".")[0]: json.loads(file.read_text(encoding="utf-8")) for file in files}

    def resources(self, kind: str) -> list[Resource]:
        """Every resource of this CloudFormation type, in any stack."""
        return [
            Resource(name, logical_id, body)
            for name, template in sorted(self.templates.items())
            for logical_id, body in template["Resources"].items()
            if body["Type"] == kind
        ]

    def named(self, template: str, logical_id: str) -> Resource:
        """One resource."""
        return Resource(template, logical_id, self.templates[template]["Resources"][logical_id])

    def function_of(self, registered: RegisteredFunction) -> Resource:
        """The Lambda of a declared function."""
        name = f"{self.installation}-{registered.name.replace('_', '-')}"
        (found,) = [r for r in self.resources("AWS::Lambda::Function") if r.properties["FunctionName"] == name]
        return found

    def role_of(self, function: Resource) -> Resource:
        """The role of a Lambda: it lies in the same template."""
        return self.named(function.template, function.properties["Role"]["Fn::GetAtt"][0])

    def statements_of(self, function: Resource) -> list[dict[str, Any]]:
        """What the role of a Lambda allows and denies."""
        policies = self.role_of(function).properties["Policies"]
        return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]

    def asset(self, hash_and_suffix: str) -> Path:
        """The directory or file of an asset."""
        return self.directory / f"asset.{hash_and_suffix}"


def as_list(value: object) -> list[Any]:
    """IAM and CloudFormation write a list of one as the one."""
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def texts_in(value: object) -> Iterator[str]:
    """Every string in a JSON value, intrinsic functions' arguments included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in cast("dict[str, object]", value).values():
            yield from texts_in(member)
    elif isinstance(value, list):
        for member in cast("list[object]", value):
            yield from texts_in(member)
