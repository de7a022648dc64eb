"""What a flow may say, and the order of its steps."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastn.flows.errors import FlowInvalid
from fastn.flows.rules import MAX_STEPS, plan_flow
from tests.unit.flows.writing import Step, code, flow, log

ALWAYS = {"left": 1, "operator": "exists"}


def _order(*steps: Step) -> list[str]:
    return [planned.step.name for planned in plan_flow(flow(*steps))]


def test_steps_without_dependencies_keep_their_order() -> None:
    assert _order(code("c"), code("a"), code("b")) == ["c", "a", "b"]


def test_a_step_follows_those_it_refers_to_depends_on_or_names_in_its_code() -> None:
    steps = (
        log("told", "{{steps.fetched.output.x}}"),
        code("last", dependsOn=["told"]),
        code("coded", "return ctx.steps.last.output;"),
        code("indexed", 'return ctx.steps["coded"].output;'),
        code("fetched"),
    )

    assert _order(*reversed(steps)) == ["fetched", "told", "last", "coded", "indexed"]


def test_a_gate_follows_what_the_steps_inside_it_need_and_is_followed_for_them() -> None:
    gate = {
        "name": "gate", "type": "gate",
        "cases": [{"name": "yes", "when": ALWAYS, "steps": [log("inner", "{{steps.b.output}}")]}],
    }  # fmt: skip

    assert _order(log("a", "{{steps.inner.output}}"), gate, code("b")) == ["b", "gate", "a"]


@given(st.permutations(range(8)), st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=14))
def test_every_order_of_a_list_without_cycles_puts_dependencies_first(
    order: list[int], pairs: list[tuple[int, int]]
) -> None:
    needs = {step: sorted({f"s{low}" for low, high in pairs if high == step and low < high}) for step in range(8)}

    ordered = _order(*(code(f"s{step}", dependsOn=needs[step]) for step in order))

    assert sorted(ordered) == [f"s{step}" for step in range(8)]
    for step in range(8):
        assert all(ordered.index(name) < ordered.index(f"s{step}") for name in needs[step])


def test_a_cycle_is_refused_with_its_steps_alone() -> None:
    with pytest.raises(FlowInvalid) as refused:
        _order(code("free"), code("tail", dependsOn=["a"]), code("a", dependsOn=["b"]), log("b", "{{steps.a.output}}"))

    assert refused.value.message == "step a: these steps wait for each other: a → b → a."


CONDITION = {"left": "{{input.x}}", "operator": "equals", "right": 1}
COUNT = {"n": {"operation": "count"}}
LOOP: Step = {"name": "each", "type": "loop", "over": "{{input.list}}", "steps": [code("inner")]}
REFUSALS: dict[str, tuple[Step, str]] = {
    "approval": ({"type": "approval", "approvers": ["ada"], "retry": "?"}, "approval steps are not available yet"),
    "notification": ({"type": "notification"}, "notification steps are not available"),
    "database": ({"operation": "database", "sql": "SELECT 1"}, "database steps"),
    "file transfer": ({"operation": "file_transfer"}, "file transfer steps"),
    "AI agent": ({"operation": "ai_agent"}, "AI agent steps"),
    "AI action": ({"operation": "ai_action"}, "AI action steps"),
    "metrics": ({"operation": "log_metrics"}, "log metrics steps"),
    "nothing said": ({}, "say what this action does"),
    "operation of a wait": ({"type": "wait", "operation": "map", "durationMs": 1}, "has no operation"),
    "missing member": ({"operation": "limit", "items": []}, "a limit step needs count"),
    "foreign member": ({"code": "x", "durationMs": 1}, "a code step has no durationMs"),
    "wait without an end": ({"type": "wait"}, "durationMs or until"),
    "wait with two ends": ({"type": "wait", "durationMs": 1, "until": "x"}, "durationMs or until"),
    "retried wait": ({"type": "wait", "durationMs": 1, "retry": {}}, "only an action can be retried"),
    "bad field": ({"operation": "aggregate", "items": [], "compute": COUNT, "groupBy": "a b"}, "a b"),
    "no reference": ({"operation": "log", "message": "{{1+1}}"}, "is no reference"),
    "unknown root": ({"operation": "log", "message": "{{process.env}}"}, "begins with none of"),
    "unknown step": ({"operation": "log", "message": "{{steps.nope.output}}"}, "names no step"),
    "own output": ({"operation": "log", "message": "{{steps.bad.output}}"}, "refers to its own output"),
    "whole step": ({"operation": "log", "message": "{{steps.each}}"}, "write {{steps.name.output}}"),
    "into a loop": ({"operation": "log", "message": "{{steps.inner.output}}"}, "inside a loop"),
    "item outside": ({"operation": "log", "message": "{{item.x}}"}, "only in a loop"),
    "unknown dependency": ({"code": "x", "dependsOn": ["nope"]}, "depends on nope"),
    "name twice": ({"name": "inner", "code": "x"}, "two steps have this name"),
    "empty condition": ({"operation": "filter", "items": [], "where": {}}, "or one of"),
    "two conditions": ({"operation": "filter", "items": [], "where": {**CONDITION, "not": ALWAYS}}, "or one of"),
    "no right": ({"operation": "filter", "items": [], "where": {"left": 1, "operator": "in"}}, "right is needed"),
    "needless right": ({"operation": "filter", "items": [], "where": {**ALWAYS, "right": 1}}, "right is needed"),
    "no left": ({"operation": "filter", "items": [], "where": {"operator": "in", "right": 1}}, "compares left"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_name_the_step(case: str) -> None:
    members, words = REFUSALS[case]
    step: dict[str, Any] = {"name": "bad", **members}

    with pytest.raises(FlowInvalid) as refused:
        plan_flow(flow(LOOP, step))

    assert refused.value.message.startswith(f"step {step['name']}: ")
    assert words in refused.value.message
    assert refused.value.details == {"step": step["name"]}


def test_output_of_the_flow_may_refer_to_steps_but_to_no_item() -> None:
    plan_flow(flow(code("a"), output={"x": "{{steps.a.output}}"}))

    for wrong in ("{{steps.b.output}}", "{{item}}"):
        with pytest.raises(FlowInvalid, match=r"^flow: "):
            plan_flow(flow(code("a"), output=wrong))


def test_flows_without_end_are_refused() -> None:
    with pytest.raises(FlowInvalid, match="at most 200 steps"):
        plan_flow(flow(*(code(f"s{number}") for number in range(MAX_STEPS + 1))))

    step = code("s0")
    for depth in range(1, 10):
        step = {"name": f"s{depth}", "type": "loop", "over": [], "steps": [step]}
    with pytest.raises(FlowInvalid, match="nested 8 deep"):
        plan_flow(flow(step))

    condition: dict[str, Any] = {"left": 1, "operator": "exists"}
    for _ in range(11):
        condition = {"not": condition}
    with pytest.raises(FlowInvalid, match="nested 10 deep"):
        plan_flow(flow({"name": "f", "operation": "filter", "items": [], "where": condition}))
