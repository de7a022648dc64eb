"""The code that flows become."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastn.engine.errors import ProgramInvalid
from fastn.engine.languages import Language
from fastn.flows.compiler import compile_flow
from fastn.flows.errors import FlowInvalid
from fastn.flows.javascript import literal, text
from fastn.flows.models import FlowDefinition
from tests.unit.engine.driving import Driver
from tests.unit.flows.writing import ORDER_TO_INVOICE, code, flow, log

GOLDEN_INVOICE = """\
// Compiled from a step flow: change the flow, this code follows it.
import { fill, step, workflow } from "@fastn/workflow";

export default workflow("order_to_invoice", {
  trigger: { type: "event", source: "shopify", event: "order.created" },
  steps: [
    // create_invoice: connector
    step("create_invoice", {
      type: "action",
      handler: (ctx) => fastn.connector.xero.createInvoice(fill(ctx, {
        Contact: { EmailAddress: "{{trigger.customer.email}}" },
        LineItems: "{{trigger.line_items}}",
        Total: "{{trigger.total_price}}",
      })),
    }),
  ],
});
"""

GOLDEN_BRANCHES = """\
// Compiled from a step flow: change the flow, this code follows it.
import { Fastn, fill, step, transform, workflow } from "@fastn/workflow";

export default workflow("sample", {
  steps: [
    // paid: filter
    step("paid", {
      type: "action",
      handler: (ctx) => transform.filter(ctx, {
        items: "{{input.orders}}",
        where: { left: "{{item.state}}", operator: "equals", right: "paid" },
      }),
    }),
    // any_paid: gate, after paid
    step("any_paid", {
      type: "gate",
      cases: [
        {
          name: "none",
          when: { left: "{{steps.paid.output}}", operator: "is_empty" },
          steps: [
            // later: wait
            step("later", {
              type: "wait",
              durationMs: 60000,
            }),
          ],
        },
      ],
      otherwise: [
        // each: loop
        step("each", {
          type: "loop",
          over: "{{steps.paid.output}}",
          steps: [
            // tell: connector
            step("tell", {
              type: "action",
              onError: "continue",
              retry: {
                maxAttempts: 5,
                initialIntervalMs: 5000,
                backoffCoefficient: 2,
                maxIntervalMs: 60000,
              },
              handler: (ctx) => new Fastn({ connectors: { googleChat: { connection: "sales" } } }).connector.googleChat["post-it"](fill(ctx, { text: "{{item.id}}" })),
            }),
          ],
        }),
      ],
    }),
    // done: code, after any_paid
    step("done", {
      type: "action",
      handler: async (ctx) => {
return `
${ctx.steps.any_paid.output}`;
      },
    }),
  ],
  output: { done: "{{steps.done.output}}" },
});
"""  # noqa: E501 (compiled code is as long as it is)


def test_the_reference_example_compiles_to_readable_code() -> None:
    assert compile_flow(FlowDefinition.model_validate(ORDER_TO_INVOICE)).source == GOLDEN_INVOICE


def test_gates_loops_and_code_compile_to_readable_code() -> None:
    tell = {
        "name": "tell", "connector": "google-chat", "connection": "sales", "action": "post-it",
        "mapping": {"text": "{{item.id}}"}, "onError": "continue", "retry": {"maxAttempts": 5},
    }  # fmt: skip
    compiled = compile_flow(
        flow(
            code("done", "return `\n${ctx.steps.any_paid.output}`;"),
            {
                "name": "any_paid",
                "type": "gate",
                "cases": [
                    {
                        "name": "none",
                        "when": {"left": "{{steps.paid.output}}", "operator": "is_empty"},
                        "steps": [{"name": "later", "type": "wait", "durationMs": 60000}],
                    }
                ],
                "otherwise": [{"name": "each", "type": "loop", "over": "{{steps.paid.output}}", "steps": [tell]}],
            },
            {
                "name": "paid",
                "operation": "filter",
                "items": "{{input.orders}}",
                "where": {"left": "{{item.state}}", "operator": "equals", "right": "paid"},
            },
            output={"done": "{{steps.done.output}}"},
        )
    )

    assert compiled.source == GOLDEN_BRANCHES


def test_lines_of_the_code_tell_their_step() -> None:
    compiled = compile_flow(flow(code("first", "return 1;\n\nreturn 2;"), log("second", "x")))
    lines = compiled.source.split("\n")

    assert compiled.step_at(1) is None
    assert compiled.step_at(lines.index("return 2;") + 1) == "first"
    assert compiled.step_at(lines.index("    // second: log") + 1) == "second"


def test_code_that_does_not_parse_is_refused_naming_its_step(driver: Driver) -> None:
    compiled = compile_flow(flow(code("fine"), code("broken", "return 1 +* 2;"), code("also_fine")))

    with pytest.raises(FlowInvalid) as refused:
        compiled.checked(lambda source: driver.engine.compile(source, Language.JAVASCRIPT))

    assert refused.value.step == "broken"
    assert isinstance(refused.value.__cause__, ProgramInvalid)


@pytest.mark.parametrize(
    "members",
    [
        {"connector": "x.y", "action": "a"},
        {"connector": "constructor()", "action": "a"},
        {"connector": "xero", "action": "a()"},
        {"connector": "xero", "action": "a\n"},
        {"connector": "xero", "action": "a", "mapping": {"a": 1, "a.b": 2}},
    ],
)
def test_connectors_actions_and_mappings_that_are_none_are_refused_naming_the_step(members: dict[str, Any]) -> None:
    with pytest.raises(FlowInvalid, match=r"^step bad: "):
        compile_flow(flow({"name": "bad", **members}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("__proto__"), inner, max_size=3),
    max_leaves=8,
)


@given(st.text())
def test_string_literals_hold_no_character_that_ends_or_hides_them(value: str) -> None:
    written = text(value)

    assert json.loads(written) == value
    assert not set(written) & set("\n\r\u2028\u2029\u202e\u200b\ufeff")


def test_any_json_survives_being_written_as_code(driver: Driver) -> None:
    values: list[Any] = []

    @given(JSON)
    def gather(value: Any) -> None:
        values.append(value)

    gather()
    values.append({"__proto__": {"a": 1}, "constructor": "`${x}`", "a'b\"c": ["*/", "//", "</script>", "\u2028"]})

    written = driver.body(f"return {literal(values, '')};")

    assert json.loads(written.value) == values


HOSTILE = [
    "`${globalThis.leak = 1}`", "\"); globalThis.leak = 1; (\"", "'+process.exit()+'", "*/ globalThis.leak = 1 /*",
    "\n globalThis.leak = 1 //", "\u2028globalThis.leak = 1", "{0.__class__}", "${7*7}", "{{{{", "}}", "{{",
    "__proto__", "constructor", "<%= 7*7 %>", "\\\"); leak(", "{%7*7%}", "{ {input} }",
]  # fmt: skip


def test_hostile_text_in_a_flow_stays_text(driver: Driver) -> None:
    names = [f"field {number}" for number in range(len(HOSTILE))]
    mapping = dict(zip(names, HOSTILE, strict=True)) | {"__proto__": "own", "constructor": "own"}
    compiled = compile_flow(
        flow(
            {"name": "map", "operation": "map", "mapping": mapping},
            code("guard", "if (globalThis.leak) throw new Error('leaked');", dependsOn=["map"]),
            trigger={hostile: hostile for hostile in HOSTILE},
            output=["{{steps.map.output}}", *HOSTILE],
        )
    )

    output = json.loads(driver.run(compiled.source).value)

    assert output == [mapping, *HOSTILE]
