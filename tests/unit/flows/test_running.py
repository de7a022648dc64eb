"""Flows and code written with `@fastn/workflow`, run on the engine."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastn.engine.models import Failed, HostCall, Settled
from fastn.flows.compiler import compile_flow
from fastn.flows.models import FlowDefinition
from fastn.flows.templates import TemplateInvalid, references_in
from tests.unit.engine.driving import Answer, Driver, Outcome, echo, run_input
from tests.unit.flows.writing import ORDER_TO_INVOICE, Step, code, flow, log

REFUSED = Settled.error("Rejected", "no such channel", '{"code": "DATASOURCE_CONNECTION_ERROR", "retryable": false}')
UNAVAILABLE = Settled.error("Unavailable", "try later", '{"code": "DATASOURCE_CONNECTION_ERROR", "retryable": true}')


def _run(driver: Driver, *steps: Step, given: Any = None, answer: Answer = echo, **members: Any) -> Outcome:
    source = compile_flow(flow(*steps, **members)).source
    return driver.run(source, answer, start=run_input(json.dumps(given or {})))


def _value(driver: Driver, *steps: Step, given: Any = None, **members: Any) -> Any:
    return json.loads(_run(driver, *steps, given=given, **members).value)


def test_the_reference_example_calls_the_connector_with_mapped_data(driver: Driver) -> None:
    given = {"customer": {"email": "a@b.c"}, "line_items": [{"sku": 1}], "total_price": "12.50"}

    outcome = driver.run(
        compile_flow(FlowDefinition.model_validate(ORDER_TO_INVOICE)).source, start=run_input(json.dumps(given))
    )

    (call,) = outcome.calls
    assert call.operation == "connector.xero.createInvoice"
    assert json.loads(call.arguments) == {
        "args": {"Contact": {"EmailAddress": "a@b.c"}, "LineItems": [{"sku": 1}], "Total": "12.50"}
    }


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{input.n}}", 7),
        ("{{ trigger.list[1].x }}", True),
        ("{{input.list}}", [0, {"x": True}]),
        ("n={{input.n}} of {{input.list}}{{input.absent}}", 'n=7 of [0,{"x":true}]'),
        ("{{input.code}}", "{{input.n}}"),
        ("<{{input.code}}>", "<{{input.n}}>"),
        ('{{input["First name"]}}', "Ada"),
        ("{{input.constructor}}", None),
        ("{{input.__proto__.constructor.name}}", None),
        ("{{input.list.map}}", None),
        ("{{input.code.length}}", None),
        (["{{input.absent}}"], [None]),
        ({"left out": "{{input.absent}}", "kept": None}, {"kept": None}),
    ],
)
def test_templates_are_looked_up_as_data_and_keep_their_type(driver: Driver, template: Any, value: Any) -> None:
    given = {"n": 7, "list": [0, {"x": True}], "code": "{{input.n}}", "First name": "Ada"}

    assert _value(driver, code("a"), given=given, output={"is": template}).get("is") == value


BRACED = st.text(st.sampled_from("aZ_0.-[]\"'`$(){}; \n\u00e9"), max_size=12) | st.text(max_size=8)


def test_no_text_between_braces_is_more_than_a_lookup_and_both_parsers_agree_on_it(driver: Driver) -> None:
    texts: list[str] = []

    @given(BRACED, st.sampled_from(["", "input", "steps.a", "constructor", "globalThis"]))
    def gather(text: str, root: str) -> None:
        texts.append(root + text)

    gather()
    source = """
    import { fill } from '@fastn/workflow';
    const tried = (ctx, text) => {
      try { fill(ctx, `{{${text}}}`); return true; } catch (error) { return error.name; }
    };
    export default ({ input }) => {
      const before = Object.getOwnPropertyNames(globalThis).length;
      const results = input.map((text) => tried({ input: {}, steps: {} }, text));
      return [results, Object.getOwnPropertyNames(globalThis).length - before];
    };
    """

    results, leaked = json.loads(driver.run(source, start=run_input(json.dumps(texts))).value)

    assert leaked == 0
    for text, result in zip(texts, results, strict=True):
        assert result == ("FlowError" if _is_refused(text) else True), text


def _is_refused(text: str) -> bool:
    try:
        roots = [reference.root for reference in references_in(f"{{{{{text}}}}}")]
    except TemplateInvalid:
        return True
    return any(root not in ("input", "trigger", "steps", "item", "index") for root in roots)


LIST = [{"k": "a", "n": 5, "who": {"id": 1}}, {"k": "b", "n": "10"}, {"k": "a"}]
TRANSFORMS: dict[str, tuple[Step, Any]] = {
    "limit": ({"operation": "limit", "items": "{{input.list}}", "count": 1, "offset": 1}, LIST[1:2]),
    "split": ({"operation": "split", "items": "{{input.list}}", "size": 2}, [LIST[:2], LIST[2:]]),
    "aggregate": (
        {"operation": "aggregate", "items": "{{input.list}}", "compute": {
            "count": {"operation": "count"}, "sum": {"operation": "sum", "field": "n"},
            "average": {"operation": "average", "field": "n"}, "min": {"operation": "min", "field": "n"},
            "max": {"operation": "max", "field": "n"}, "first": {"operation": "first", "field": "k"},
            "last": {"operation": "last", "field": "k"}, "ids": {"operation": "collect", "field": "who.id"}}},
        {"count": 3, "sum": 15, "average": 7.5, "min": 5, "max": 10, "first": "a", "last": "a", "ids": [1]},
    ),
    "aggregate by": (
        {"operation": "aggregate", "items": "{{input.list}}", "groupBy": "k", "compute": {"n": {"operation": "count"}}},
        [{"key": "a", "n": 2}, {"key": "b", "n": 1}],
    ),
    "merge lists": ({"operation": "merge", "sources": [[1], "{{input.absent}}", [2, 3]]}, [1, 2, 3]),
    "merge by key": (
        {"operation": "merge", "key": "k", "sources": ["{{input.list}}", [{"k": "b", "more": 1}]]},
        [{"k": "a", "n": 5, "who": {"id": 1}}, {"k": "b", "n": "10", "more": 1}],
    ),
    "merge objects": ({"operation": "merge", "sources": [{"a": 1, "b": 1}, {"b": 2}]}, {"a": 1, "b": 2}),
    "map one": ({"operation": "map", "mapping": {"a.b": "{{input.list[0].n}}"}}, {"a": {"b": 5}}),
    "map list": (
        {"operation": "map", "items": "{{input.list}}", "mapping": {"i": "{{index}}", "k": "{{item.k}}"}},
        [{"i": 0, "k": "a"}, {"i": 1, "k": "b"}, {"i": 2, "k": "a"}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transformations(driver: Driver, name: str) -> None:
    step, expected = TRANSFORMS[name]

    assert _value(driver, {"name": "t", **step}, given={"list": LIST}) == expected


@pytest.mark.parametrize(
    ("operator", "left", "right", "holds"),
    [
        ("equals", {"a": [1]}, {"a": [1]}, True),
        ("equals", 1, "1", False),
        ("equals", "{{input.absent}}", None, True),
        ("not_equals", 1, 2, True),
        ("greater_than", "100.50", 100, True),
        ("greater_than", None, -1, False),
        ("at_least", 2, 2, True),
        ("less_than", "a", "b", True),
        ("at_most", 3, 2, False),
        ("contains", [1, {"a": 1}], {"a": 1}, True),
        ("contains", "haystack", "hay", True),
        ("in", "x", ["y"], False),
        ("starts_with", "abc", "ab", True),
        ("ends_with", "abc", "ab", False),
    ],
)
def test_conditions(driver: Driver, operator: str, left: Any, right: Any, holds: bool) -> None:
    when = {"left": left, "operator": operator, "right": right}
    gate = {
        "name": "g", "type": "gate", "cases": [{"name": "yes", "when": when, "steps": [code("a", "return 'inside';")]}],
        "otherwise": [code("b", "return 'otherwise';")],
    }  # fmt: skip

    expected = {"case": "yes", "output": "inside"} if holds else {"case": None, "output": "otherwise"}
    assert _value(driver, gate) == expected


SMALL = {"left": "{{item}}", "operator": "less_than", "right": 3}


def test_conditions_are_combined(driver: Driver) -> None:
    where = {
        "all": [
            {"any": [SMALL, {"left": "{{item}}", "operator": "equals", "right": 9}]},
            {"not": {"left": "{{item}}", "operator": "is_empty"}},
            {"left": "{{item}}", "operator": "exists"},
        ]
    }  # fmt: skip

    assert _value(driver, {"name": "f", "operation": "filter", "items": [1, None, 5, 9, ""], "where": where}) == [1, 9]


def test_loops_collect_what_their_last_step_returns_and_leak_nothing(driver: Driver) -> None:
    loop = {
        "name": "each", "type": "loop", "over": "{{input.list}}",
        "steps": [code("twice", "return ctx.item * 2;"), log("told", "{{index}}: {{steps.twice.output}}"),
                  code("last", "return ctx.steps.twice.output + 1;")],
    }  # fmt: skip

    outcome = _run(
        driver, loop, code("after", "return [ctx.steps.each.output, 'twice' in ctx.steps];"), given={"list": [1, 2]}
    )

    assert json.loads(outcome.value) == [[3, 5], False]
    assert outcome.lines == ["0: 2", "1: 4"]


def test_waits_sleep_for_a_duration_or_until_an_instant(driver: Driver) -> None:
    outcome = _run(
        driver,
        {"name": "a", "type": "wait", "durationMs": 1500},
        {"name": "b", "type": "wait", "until": "{{input.at}}"},
        {"name": "c", "type": "wait", "until": "2001-01-01T00:00:00Z"},
        given={"at": "2023-11-14T22:13:30Z"},
    )

    assert [(call.operation, json.loads(call.arguments)) for call in outcome.calls] == [
        ("sleep", {"ms": 1500}),
        ("sleep", {"ms": 10_000}),
        ("sleep", {"ms": 0}),
    ]


def test_a_failed_step_halts_the_flow_and_is_named(driver: Driver) -> None:
    outcome = _run(driver, code("bad", "throw new RangeError('too far');"), code("never"))

    assert (outcome.error.name, outcome.error.message) == ("RangeError", "step bad: too far")
    assert "at step bad" in outcome.error.stack


def test_a_failed_step_that_may_fail_is_logged_and_the_flow_goes_on(driver: Driver) -> None:
    outcome = _run(
        driver,
        code("bad", "throw 'plain text';", onError="continue"),
        output=["{{steps.bad.status}}", "{{steps.bad.output}}", "{{steps.bad.error.message}}"],
    )

    assert json.loads(outcome.value) == ["failed", None, "step bad: plain text"]
    assert outcome.lines == ["step bad failed: FlowError: step bad: plain text"]


def test_an_error_inside_a_loop_names_the_innermost_step_once(driver: Driver) -> None:
    loop = {"name": "each", "type": "loop", "over": [1], "steps": [code("inner", "throw new Error('x');")]}

    outcome = _run(driver, loop)

    assert outcome.error.message == "step inner: x"
    assert len(outcome.lines) == 1


CALL: Step = {"name": "send", "connector": "slack", "action": "postMessage", "mapping": {"text": "x"}}


def test_a_failed_connector_call_keeps_its_words_and_its_step_is_told_beside_them(driver: Driver) -> None:
    outcome = _run(driver, CALL, answer=lambda _: REFUSED)

    assert (outcome.error.name, outcome.error.message) == ("Rejected", "no such channel")
    assert "at step send" in outcome.error.stack
    assert outcome.lines == ["step send failed: Rejected: no such channel"]


def _times_out_twice(made: list[HostCall]) -> Answer:
    def answer(call: HostCall) -> Settled:
        made.append(call)
        attempts = [each for each in made if each.operation != "sleep"]
        return Settled.ok('"sent"') if call.operation == "sleep" or len(attempts) == 3 else UNAVAILABLE

    return answer


def test_a_step_is_retried_with_growing_waits_as_often_as_it_says(driver: Driver) -> None:
    step = {
        **CALL,
        "retry": {"maxAttempts": 3, "initialIntervalMs": 1000, "backoffCoefficient": 10, "maxIntervalMs": 4000},
    }

    outcome = _run(driver, step, answer=_times_out_twice([]))

    waits = [json.loads(call.arguments)["ms"] for call in outcome.calls if call.operation == "sleep"]
    assert (json.loads(outcome.value), waits) == ("sent", [1000, 4000])


def test_a_step_without_retry_is_tried_once(driver: Driver) -> None:
    assert len(_run(driver, CALL, answer=lambda _: UNAVAILABLE).calls) == 1


def test_what_a_vendor_refused_is_not_retried(driver: Driver) -> None:
    outcome = _run(driver, {**CALL, "retry": {}}, answer=lambda _: REFUSED)

    assert isinstance(outcome.final, Failed)
    assert len(outcome.calls) == 1


# ── Written by hand ───────────────────────────────────────────────────────────────────────────────

DSL = """
import { workflow, step, defineConfig } from '@fastn/workflow';

const syncOrders = workflow('sync_orders', {
  trigger: { type: 'cron', schedule: '0 6 * * *' },
  config: defineConfig({ onError: 'continue' }),
  steps: [
    step('write_to_xero', {
      type: 'action',
      dependsOn: ['fetch_orders'],
      handler: async (ctx) => ctx.steps.fetch_orders.output.map((order) => order.id),
      onError: 'halt'
    }),
    step('fails', { type: 'action', handler: () => { throw new Error('x'); } }),
    step('fetch_orders', { handler: (ctx) => fastn.connector.shopify.listOrders({ page: ctx.input.page }) }),
  ],
  output: '{{steps.write_to_xero.output}}',
});

export default syncOrders;
"""


def test_a_workflow_written_with_the_dsl_runs_as_a_flow_does(driver: Driver) -> None:
    outcome = driver.run(DSL, lambda _: Settled.ok('[{"id": 1}, {"id": 2}]'), start=run_input('{"page": 3}'))

    assert json.loads(outcome.value) == [1, 2]
    assert json.loads(outcome.calls[0].arguments)["args"] == {"page": 3}
    assert outcome.lines == ["step fails failed: Error: step fails: x"]


NO_REFERENCE = "{{process.env}} is no reference: write {{input.x}}, {{trigger.x}} or {{steps.name.output.x}}."


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("step('a b', {handler() {}})", '"a b" is no name of a step.'),
        ("step('a', {type: 'approval'})", "step a: the type approval is not available: use action, wait, gate, loop."),
        ("step('a', {})", "step a: an action needs a handler."),
        ("step('a', {type: 'wait'})", "step a: a wait needs durationMs or until."),
        ("step('a', {type: 'loop', over: []})", "step a: a step of the type loop needs steps."),
        ("step('a', {handler() {}, onError: 'ignore'})", "step a: onError is halt or continue."),
        ("workflow('w', {steps: [s('a'), s('a')]})", "step a: two steps have this name."),
        ("workflow('w', {steps: [s('a', 'z')]})", "step a: it depends on z, which is no step beside it."),
        ("workflow('w', {steps: [s('a', 'b'), s('b', 'a')]})", "step a: these steps wait for each other: a, b."),
        ("defineConfig({onError: 'x'})", "onError is halt or continue."),
        ("fill({}, '{{process.env}}')", NO_REFERENCE),
        ("check({}, {operator: 'constructor'})", "A condition knows no operator constructor."),
    ],
)  # fmt: skip
def test_mistakes_in_the_dsl_are_told(driver: Driver, expression: str, message: str) -> None:
    names = "check, defineConfig, fill, step, workflow"
    given = "const s = (name, ...dependsOn) => step(name, { handler() {}, dependsOn });"

    outcome = driver.run(f"import {{ {names} }} from '@fastn/workflow'; {given} export default () => {expression};")

    assert (outcome.error.name, outcome.error.message) == ("FlowError", message)
