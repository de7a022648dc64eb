"""What compiles, what does not, and where the error is said to be."""

# ruff: noqa: E501 (programs are quoted on one line, as they are given to the engine)

import hashlib
import re

import pytest

from fastn.engine.errors import ProgramInvalid
from fastn.engine.languages import Language
from fastn.engine.models import EngineFault
from fastn.engine.runs import JavaScriptEngine
from tests.unit.engine.driving import Driver

BOTH = pytest.mark.parametrize("language", list(Language))


def refusal(engine: JavaScriptEngine, source: str, language: Language = Language.JAVASCRIPT) -> ProgramInvalid:
    with pytest.raises(ProgramInvalid) as caught:
        engine.compile(source, language)
    return caught.value


@BOTH
@pytest.mark.parametrize(
    "source",
    [
        "export default async function (ctx) { return 7 }",
        "export default async (ctx) => 7",
        "export default function (ctx) { return 7 }",
        "export default async function main(ctx) { return 7 }",
        "const x = async function () { return 7 }; export default x",
        "const x = () => seven(); export { x as default }; export function seven() { return 7 }",
        "export default main; async function main() { return seven } export const seven = 7",
        "class Seven { n = 7 } export class Eight extends Seven {} export default () => new Eight().n",
        "export default () => 7\n;`\nexport default () => 8\n`",
        "/* export default () => 8 */ export default () => /}export default/.test('') || 7 // export default",
    ],
)
def test_each_form_of_default_export_is_the_workflow(engine: JavaScriptEngine, source: str, language: Language) -> None:
    assert Driver(engine, language).run(source).value == "7"


def test_types_enums_and_parameter_properties_are_stripped(typescript: Driver) -> None:
    outcome = typescript.run(
        "import type { Context } from '@fastn/sdk';\n"
        "interface Order { id: number; total?: number }\n"
        "enum Size { Small = 1, Large = 5 }\n"
        "abstract class Base<T> { constructor(protected readonly item: T) {} abstract get(): T }\n"
        "class Box extends Base<Order> { get() { return this.item satisfies Order } }\n"
        "export default async function (ctx: { input: Order }): Promise<number> {\n"
        "  const box = new Box({ id: 2 } as Order);\n"
        "  return box.get()!.id + Size.Large;\n"
        "}"
    )

    assert outcome.value == "7"


def test_types_are_no_javascript(engine: JavaScriptEngine) -> None:
    assert refusal(engine, "export default (ctx: unknown) => 1").message.startswith("SyntaxError")


@BOTH
def test_nothing_runs_while_a_program_is_compiled(engine: JavaScriptEngine, language: Language) -> None:
    program = engine.compile("while (true) {}\nthrow new Error('ran');\nexport default () => 1", language)

    assert program.language is language


def test_the_program_pins_the_hash_of_its_source(engine: JavaScriptEngine) -> None:
    source = "export default (ctx: unknown) => 'ü'"

    program = engine.compile(source, Language.TYPESCRIPT)

    assert program.source == source
    assert program.source_sha256 == hashlib.sha256(source.encode()).hexdigest()


@BOTH
@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("let x = = 3", 1, 9),
        ("const a = 1;\n\n  const b = foo(bar,\n    baz qux);\nexport default 1", 4, 9),
        ("// ünï\nexport default () => {\n  return [1, 2;\n}", 3, 15),
        ("export default () => {\n  const ok = `${1}`;\n  if (ok {\n  }\n}", 3, 10),
    ],
)
def test_a_syntax_error_is_found_in_the_source_as_given(
    engine: JavaScriptEngine, source: str, line: int, column: int, language: Language
) -> None:
    error = refusal(engine, source, language)

    assert (error.line, error.column) == (line, column)
    assert error.message.startswith("SyntaxError: ")
    assert error.details == {"fault": EngineFault.PROGRAM_INVALID, "line": line, "column": column}
    assert (error.code, error.status) == ("VALIDATION_FAILED", 400)


@BOTH
def test_a_missing_default_export_says_what_to_write(engine: JavaScriptEngine, language: Language) -> None:
    error = refusal(engine, "export const main = async () => 1", language)

    assert "export default async function (ctx)" in error.message


@BOTH
@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("import fs from 'fs';\nexport default () => fs", 1),
        ("const a = 1;\nimport './other.js';\nexport default () => a", 2),
        ('\n\nexport * from "https://evil.example/x.js";\nexport default () => 1', 3),
        ("export { x as default } from 'node:child_process'", 1),
    ],
)
def test_static_imports_are_refused_by_name_and_line(
    engine: JavaScriptEngine, source: str, line: int, language: Language
) -> None:
    error = refusal(engine, source, language)

    specifier = re.search(r"""['"](.+?)['"]""", source)
    assert specifier is not None
    assert f"cannot import '{specifier[1]}'" in error.message
    assert error.line == line


@pytest.mark.parametrize("inner", ["fastn:prelude/runtime.js", "fastn:entry", "fastn:stop", "workflow.js"])
def test_the_platforms_own_modules_cannot_be_imported(engine: JavaScriptEngine, javascript: Driver, inner: str) -> None:
    assert "cannot import" in refusal(engine, f"import * as m from '{inner}';\nexport default () => m").message
    for attempt in (
        f"import('{inner}')",
        f"eval('import(\"{inner}\")')",
        f"new Function('return import(\"{inner}\")')()",
    ):
        assert javascript.body(f"return Object.keys(await {attempt})").error.name == "TypeError"


def test_the_sdk_is_bound_to_the_runtime(javascript: Driver, typescript: Driver) -> None:
    source = (
        "import Fastn, { Fastn as Named, fastn as api } from '@fastn/sdk';\n"
        "import * as all from '@fastn/anything';\n"
        "export default async () => [Fastn === Named, api === fastn, Object.keys(all).sort(), (await import('@fastn/x')).Fastn === Fastn]"
    )

    for driver in (javascript, typescript):
        assert driver.run(source).value == '[true,true,["Fastn","default","fastn"],true]'


def test_an_unknown_export_of_the_sdk_is_named(engine: JavaScriptEngine) -> None:
    error = refusal(engine, "import { nope } from '@fastn/sdk'; export default () => nope")

    assert error.message == "'@fastn/sdk' has no export 'nope'."


def test_a_dynamic_import_is_refused_when_it_is_reached(javascript: Driver) -> None:
    error = javascript.body("await import('fs')").error

    assert (error.fault, error.name) == (EngineFault.SCRIPT_ERROR, "TypeError")
    assert "only @fastn/ can be imported" in error.message


@BOTH
@pytest.mark.parametrize("opening", ["(", "[", "{a:", "`${", "!", "a?b:", "()=>"])
def test_a_program_nested_too_deeply_is_refused(engine: JavaScriptEngine, opening: str, language: Language) -> None:
    source = "export default " + opening * 100_000

    assert "nested too deeply" in refusal(engine, source, language).message

    engine.compile("export default () => 1", language)


def test_a_program_may_not_be_larger_than_a_mebibyte_and_must_be_text(engine: JavaScriptEngine) -> None:
    assert "larger" in refusal(engine, "/*" + "x" * 1024 * 1024 + "*/").message
    assert "Unicode" in refusal(engine, "\ud800").message


def test_a_runtime_error_of_a_typescript_program_names_the_line_of_its_source(typescript: Driver) -> None:
    source = (
        "interface Order {\n  id: number;\n  total: number;\n}\n\n"
        "type Handler = (order: Order) => void;\n\n"
        "const check: Handler = (order) => {\n"
        "  if (order.total < 0) {\n"
        "    throw new RangeError('negative');\n"
        "  }\n};\n\n"
        "export default async function (ctx: { input: Order }) {\n"
        "  const order = ctx.input as Order;\n\n\n"
        "  check({ ...order, total: -1 });\n"
        "}"
    )

    error = typescript.run(source).error

    assert error.line == 10
    assert "workflow.js:10" in error.stack
    assert "workflow.js:18" in error.stack


def test_a_large_ordinary_program_compiles_and_runs(typescript: Driver) -> None:
    functions = "\n".join(f"export const f{n} = async (x) => ({{ n: {n}, x, s: `a${{x}}b` }});" for n in range(3000))

    outcome = typescript.run(functions + "\nexport default () => f7(1)")

    assert outcome.value == '{"n":7,"x":1,"s":"a1b"}'
