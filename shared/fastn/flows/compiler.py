"""Step flows become workflow code: one `step(…)` of `@fastn/workflow` for each step, in the order they run."""

import re
from collections.abc import Mapping, Sequence

from fastn.connectors.models import SLUG_PATTERN, code_name
from fastn.flows.errors import FlowInvalid
from fastn.flows.javascript import literal, member, text
from fastn.flows.models import (
    CompiledFlow,
    Condition,
    FlowDefinition,
    FlowStep,
    LogLevel,
    OnError,
    Operation,
    StepLine,
    StepType,
)
from fastn.flows.rules import PlannedStep, plan_flow
from fastn.flows.templates import TemplateInvalid, nested

_ACTION_NAME = re.compile(r"[A-Za-z_$][\w$-]*", re.ASCII)
_TRANSFORMS: Mapping[Operation, tuple[str, ...]] = {
    Operation.FILTER: ("items", "where"),
    Operation.LIMIT: ("items", "count", "offset"),
    Operation.SPLIT: ("items", "size"),
    Operation.AGGREGATE: ("items", "compute", "group_by"),
    Operation.MERGE: ("sources", "key"),
    Operation.MAP: ("items", "mapping"),
}


def compile_flow(flow: FlowDefinition) -> CompiledFlow:
    """The flow as workflow code. The same flow gives the same code.

    Raises FlowInvalid, naming the step, for what is no flow. Custom code is taken over as it is: whether it
    parses, only the engine can tell, and `step_at` says whose it was.
    """
    writer = _Writer()
    writer.write(f"export default workflow({text(flow.name)}, {{")
    if flow.trigger:
        writer.write(f"  trigger: {literal(flow.trigger, '  ')},")
    writer.write_steps("steps", plan_flow(flow), "  ")
    if flow.output is not None:
        writer.write(f"  output: {literal(flow.output, '  ')},")
    writer.write("});")
    body = "\n".join(writer.lines)
    helpers = [name for name in ("fill", "step", "transform", "workflow") if f"{name}(" in body or f"{name}." in body]
    if "new Fastn(" in body:
        helpers.insert(0, "Fastn")
    head = [
        "// Compiled from a step flow: change the flow, this code follows it.",
        f'import {{ {", ".join(helpers)} }} from "@fastn/workflow";',
        "",
    ]
    shifted = tuple(StepLine(line + len(head), step) for line, step in writer.step_lines)
    return CompiledFlow("\n".join(head) + "\n" + body + "\n", shifted)


class _Writer:
    """The code so far, and the lines at which steps begin in it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.step_lines: list[tuple[int, str]] = []

    def write(self, code: str) -> None:
        """Append code of one or more lines."""
        self.lines.extend(code.split("\n"))

    def write_steps(self, name: str, steps: Sequence[PlannedStep], indent: str) -> None:
        """A member that is a list of steps."""
        self.write(f"{indent}{name}: [")
        for planned in steps:
            self.write_step(planned, indent + "  ")
        self.write(f"{indent}],")

    def write_step(self, planned: PlannedStep, indent: str) -> None:
        """One step, a comment that names it before it."""
        step, inner = planned.step, indent + "  "
        self.step_lines.append((len(self.lines) + 1, step.name))
        after = f", after {', '.join(planned.after)}" if planned.after else ""
        self.write(f"{indent}// {step.name}: {planned.kind}{after}")
        self.write(f"{indent}step({text(step.name)}, {{")
        self.write(f"{inner}type: {text(step.type)},")
        if step.on_error is not OnError.HALT:
            self.write(f"{inner}onError: {text(step.on_error)},")
        if step.retry is not None:
            self.write(f"{inner}retry: {literal(step.retry.model_dump(by_alias=True), inner)},")
        self._write_body(planned, inner)
        self.write(f"{indent}}}),")

    def _write_body(self, planned: PlannedStep, indent: str) -> None:
        step = planned.step
        if planned.kind is StepType.LOOP:
            self.write(f"{indent}over: {literal(step.over, indent)},")
            self.write_steps("steps", planned.steps, indent)
        elif planned.kind is StepType.GATE:
            self._write_gate(planned, indent)
        elif planned.kind is StepType.WAIT:
            waits = "until" if step.until is not None else "durationMs"
            value = step.until if step.until is not None else step.duration_ms
            self.write(f"{indent}{waits}: {literal(value)},")
        elif step.code is not None:
            # As it stands, not indented: a template literal in it keeps its text.
            self.write(f"{indent}handler: async (ctx) => {{\n{step.code}\n{indent}}},")
        else:
            self.write(f"{indent}handler: (ctx) => {_expression(step, Operation(planned.kind), indent)},")

    def _write_gate(self, planned: PlannedStep, indent: str) -> None:
        inner = indent + "  "
        self.write(f"{indent}cases: [")
        for case in planned.cases:
            when = literal(_condition(case.case.when), inner + "  ")
            self.write(f"{inner}{{\n{inner}  name: {text(case.case.name)},\n{inner}  when: {when},")
            self.write_steps("steps", case.steps, inner + "  ")
            self.write(f"{inner}}},")
        self.write(f"{indent}],")
        if planned.otherwise:
            self.write_steps("otherwise", planned.otherwise, indent)


def _expression(step: FlowStep, operation: Operation, indent: str) -> str:
    if operation is Operation.CONNECTOR:
        return _connector_call(step, indent)
    if operation is Operation.LOG:
        return f"console.{step.level or LogLevel.INFO}(fill(ctx, {text(step.message or '')}))"
    options: dict[str, object] = {}
    for name in _TRANSFORMS[operation]:
        value = getattr(step, name)
        if value is not None:
            options[FlowStep.model_fields[name].alias or name] = _option(step, name)
    return f"transform.{operation}(ctx, {literal(options, indent)})"


def _option(step: FlowStep, name: str) -> object:
    if name == "where" and step.where is not None:
        return _condition(step.where)
    if name == "mapping":
        return _mapping(step)
    if name == "compute":
        return {key: value.model_dump(exclude_none=True) for key, value in (step.compute or {}).items()}
    return getattr(step, name)


def _connector_call(step: FlowStep, indent: str) -> str:
    slug, action = step.connector or "", step.action or ""
    if re.fullmatch(SLUG_PATTERN, slug) is None:
        raise FlowInvalid("connector: write the connector's slug, such as xero or google-sheets.", step=step.name)
    if _ACTION_NAME.fullmatch(action) is None:
        raise FlowInvalid("action: write the name of one of the connector's actions.", step=step.name)
    name = code_name(slug)
    api = "fastn"
    if step.connection is not None:
        api = f"new Fastn({literal({'connectors': {name: {'connection': step.connection}}})})"
    mapped = _mapping(step)
    arguments = f"fill(ctx, {literal(mapped, indent)})" if mapped else ""
    return f"{api}.connector{member(name)}{member(action)}({arguments})"


def _mapping(step: FlowStep) -> dict[str, object]:
    try:
        return nested(dict[str, object](step.mapping or {}))
    except TemplateInvalid as error:
        raise FlowInvalid(f"mapping: {error}", step=step.name) from error


def _condition(condition: Condition) -> dict[str, object]:
    if condition.all is not None:
        return {"all": [_condition(part) for part in condition.all]}
    if condition.any is not None:
        return {"any": [_condition(part) for part in condition.any]}
    if condition.not_ is not None:
        return {"not": _condition(condition.not_)}
    compared: dict[str, object] = {"left": condition.left, "operator": str(condition.operator)}
    if "right" in condition.model_fields_set:
        compared["right"] = condition.right
    return compared
