"""The type declarations against what programs really find."""

import json
import re
from pathlib import Path

import pytest

import fastn.engine as engine_package
from tests.unit.engine.driving import Driver

DECLARED = (Path(engine_package.__file__).parent / "fastn.d.ts").read_text(encoding="utf-8")


def _names_in(opening: str) -> set[str]:
    """The members declared between this line and the end of its braces."""
    body = DECLARED[DECLARED.index(opening) + len(opening) :]
    return set(re.findall(r"^  (?:readonly )?(\w+)[?(:]", body[: body.index("\n}")], re.MULTILINE))


def _own_names(javascript: Driver, expression: str) -> set[str]:
    return set(json.loads(javascript.body(f"return Object.getOwnPropertyNames({expression});").value))


def test_every_global_the_prelude_adds_is_declared(javascript: Driver) -> None:
    text = (Path(engine_package.__file__).parent / "prelude" / "runtime.js").read_text(encoding="utf-8")
    offered = text[text.index("const offered = {") : text.index("for (const name of Object.keys(offered))")]
    names = set(re.findall(r"^  (\w+)[:,]", offered, re.MULTILINE)) | {"atob", "btoa"}

    declared = set(re.findall(r"^declare (?:const|function|class) (\w+)", DECLARED, re.MULTILINE))

    assert names == declared
    assert names <= _own_names(javascript, "globalThis")


def test_every_member_of_console_is_declared(javascript: Driver) -> None:
    assert _own_names(javascript, "console") == _names_in("declare const console: {")


def test_every_member_of_fastn_is_declared(javascript: Driver) -> None:
    assert _own_names(javascript, "fastn") == _names_in("interface FastnApi {") | {"Fastn"}
    for space in ("db", "state", "secrets"):
        members = _own_names(javascript, f"fastn.{space}")
        line = DECLARED[DECLARED.index(f"  readonly {space}: {{") :]
        assert all(f"{member}(" in line[: line.index("};")] for member in members), space


def test_every_member_of_ctx_is_declared(javascript: Driver) -> None:
    assert _own_names(javascript, "ctx") == _names_in("interface FastnContext<Input = any> {")


@pytest.mark.parametrize("module", ["@fastn/sdk", "@fastn/workflow"])
def test_every_export_of_the_modules_is_declared(javascript: Driver, module: str) -> None:
    outcome = javascript.run(f"import * as all from '{module}'; export default () => Object.keys(all);")
    body = DECLARED[DECLARED.index(f'declare module "{module}" {{') :]
    exported = re.findall(r"^  export (?:const |function |default )(\w+)", body[: body.index("\n}\n")], re.MULTILINE)

    expected = {"default" if name == "default" else name for name in json.loads(outcome.value)}
    assert expected == set(exported) | {"default"}


def test_every_transformation_is_declared(javascript: Driver) -> None:
    outcome = javascript.run(
        "import { transform } from '@fastn/workflow'; export default () => Object.keys(transform);"
    )

    for name in json.loads(outcome.value):
        assert f"    {name}(ctx: StepContext" in DECLARED or f"    {name}(\n" in DECLARED
