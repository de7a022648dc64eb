"""What a step flow may say, and in which order its steps run."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fastn.flows.errors import FlowInvalid
from fastn.flows.models import (
    Condition,
    FlowDefinition,
    FlowStep,
    GateCase,
    Operation,
    Operator,
    StepType,
)
from fastn.flows.templates import Reference, TemplateInvalid, is_field_path, references_in

MAX_STEPS = 200
MAX_STEP_DEPTH = 8
MAX_CONDITION_DEPTH = 10
STEP_MEMBERS = frozenset(("output", "status", "error"))
_ITEM_ROOTS = frozenset(("item", "index"))
_ROOTS = frozenset(("input", "trigger", "steps")) | _ITEM_ROOTS
_CODE_REFERENCE = re.compile(r"\bsteps\s*(?:\?\.|\.|(?:\?\.)?\[\s*[\"'])\s*([A-Za-z_][A-Za-z0-9_-]*)")

Kind = StepType | Operation


@dataclass(frozen=True, slots=True)
class _Members:
    needed: frozenset[str]
    optional: frozenset[str] = frozenset()


def _members(needed: str, optional: str = "") -> _Members:
    return _Members(frozenset(needed.split()), frozenset(optional.split()))


_MEMBERS: Mapping[Kind, _Members] = {
    Operation.CONNECTOR: _members("connector action", "connection mapping"),
    Operation.CODE: _members("code"),
    Operation.FILTER: _members("items where"),
    Operation.LIMIT: _members("items count", "offset"),
    Operation.SPLIT: _members("items size"),
    Operation.AGGREGATE: _members("items compute", "group_by"),
    Operation.MERGE: _members("sources", "key"),
    Operation.MAP: _members("mapping", "items"),
    Operation.LOG: _members("message", "level"),
    StepType.WAIT: _members("", "duration_ms until"),
    StepType.GATE: _members("cases", "otherwise"),
    StepType.LOOP: _members("over steps"),
}
_SPECIFIC = sorted(frozenset[str]().union(*(kind.needed | kind.optional for kind in _MEMBERS.values())))
_MISSING: Mapping[Kind, str] = {
    StepType.APPROVAL: "approval steps are not available yet: nobody could be asked",
    StepType.NOTIFICATION: "notification steps are not available yet: send it with a connector's action",
    Operation.DATABASE: "database steps are not available yet: use a code step",
    Operation.FILE_TRANSFER: "file transfer steps are not available yet: no connector speaks SFTP or FTP",
    Operation.AI_AGENT: "AI agent steps are not available yet",
    Operation.AI_ACTION: "AI action steps are not available yet",
    Operation.LOG_METRICS: "log metrics steps are not available yet: use a log step",
}


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """A way out of a gate, its steps in order."""

    case: GateCase
    steps: "tuple[PlannedStep, ...]"


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A checked step, its inner steps in order; `after` are the steps beside it that it needs."""

    step: FlowStep
    kind: Kind
    after: tuple[str, ...]
    steps: "tuple[PlannedStep, ...]" = ()
    cases: tuple[PlannedCase, ...] = ()
    otherwise: "tuple[PlannedStep, ...]" = ()


@dataclass(frozen=True, slots=True)
class _Scope:
    """What the steps of one list can see: steps around them, and whether they are in a loop."""

    flow_steps: frozenset[str]
    around: frozenset[str] = frozenset()
    has_item: bool = False
    depth: int = 1


def plan_flow(flow: FlowDefinition) -> tuple[PlannedStep, ...]:
    """The flow's steps in the order they run: each after those it refers to or depends on, else as listed.

    Raises FlowInvalid, naming the step, for what is no flow; a cycle is told by its steps.
    """
    names = [step.name for step in _all_steps(flow.steps, 1)]
    if len(names) > MAX_STEPS:
        raise FlowInvalid(f"a flow has at most {MAX_STEPS} steps, this one {len(names)}.")
    for position, name in enumerate(names):
        if name in names[:position]:
            raise FlowInvalid("two steps have this name.", step=name)
    planned = _plan(flow.steps, _Scope(frozenset(names)))
    seen = frozenset(_owners(flow.steps))
    for reference in _checked_references(flow.output, None):
        _check_reference(reference, None, _Scope(frozenset(names)), seen)
    return planned


def kind_of(step: FlowStep) -> Kind:
    """What the step is: its type or, of an action, its operation. Raises FlowInvalid where that cannot be told."""
    if step.type is not StepType.ACTION:
        if step.operation is not None:
            raise FlowInvalid(f"a step of the type {step.type} has no operation.", step=step.name)
        return step.type
    if step.operation is not None:
        return step.operation
    if step.connector is not None:
        return Operation.CONNECTOR
    if step.code is not None:
        return Operation.CODE
    raise FlowInvalid("say what this action does: give it an operation, a connector or code.", step=step.name)


def _plan(steps: Sequence[FlowStep], scope: _Scope) -> tuple[PlannedStep, ...]:
    owners = _owners(steps)
    planned = [_plan_step(step, scope, owners) for step in steps]
    return _in_order(planned)


def _plan_step(step: FlowStep, scope: _Scope, owners: Mapping[str, str]) -> PlannedStep:
    kind = kind_of(step)
    _check_members(step, kind)
    visible = scope.around | frozenset(owners)
    for reference, has_item in _own_references(step):
        own_scope = scope if not has_item else _Scope(scope.flow_steps, scope.around, has_item=True)
        _check_reference(reference, step.name, own_scope, visible)
    for name in step.depends_on:
        if name not in visible:
            raise FlowInvalid(f"it depends on {name}, which is no step it can see.", step=step.name)
    inner = _Scope(scope.flow_steps, visible, has_item=scope.has_item or kind is StepType.LOOP, depth=scope.depth + 1)
    return PlannedStep(
        step,
        kind,
        _after(step, owners),
        steps=_plan(step.steps or (), inner),
        cases=tuple(PlannedCase(case, _plan(case.steps, inner)) for case in step.cases or ()),
        otherwise=_plan(step.otherwise or (), inner),
    )


def _after(step: FlowStep, owners: Mapping[str, str]) -> tuple[str, ...]:
    """The steps beside this one that it or a step inside it needs. Raises FlowInvalid if it needs itself."""
    inside = {inner.name for inner in _inner_steps(step)}
    needed: dict[str, None] = {}
    for part in (step, *_inner_steps(step)):
        templated = [reference.keys[0] for reference, _ in _own_references(part) if reference.root == "steps"]
        coded: list[str] = _CODE_REFERENCE.findall(part.code or "")
        for name in (*part.depends_on, *templated, *coded):
            owner = owners.get(name)
            if owner is None or name in inside:
                continue
            if owner != step.name:
                needed[owner] = None
            elif name not in coded:
                raise FlowInvalid("it refers to its own output, which is there only after it.", step=part.name)
    return tuple(needed)


def _in_order(planned: Sequence[PlannedStep]) -> tuple[PlannedStep, ...]:
    waiting, done = list(planned), dict[str, PlannedStep]()
    while waiting:
        ready = next((each for each in waiting if all(name in done for name in each.after)), None)
        if ready is None:
            cycle = _cycle_in(waiting)
            raise FlowInvalid(f"these steps wait for each other: {' → '.join(cycle)}.", step=cycle[0])
        waiting.remove(ready)
        done[ready.step.name] = ready
    return tuple(done.values())


def _cycle_in(waiting: Sequence[PlannedStep]) -> list[str]:
    after = {each.step.name: each.after for each in waiting}
    path = [waiting[0].step.name]
    while True:
        # Each of them waits for another of them, or it would have had its turn.
        following = next(name for name in after[path[-1]] if name in after)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def _owners(steps: Sequence[FlowStep]) -> dict[str, str]:
    """For each step that can be seen from beside this list, the step of the list it is or lies in.

    Steps of a gate can be seen from outside, those of a loop cannot: they ran once for each item.
    """
    owners: dict[str, str] = {}
    for step in steps:
        owners[step.name] = step.name
        for inner_list in _gate_lists(step):
            owners.update(dict.fromkeys(_owners(inner_list), step.name))
    return owners


def _gate_lists(step: FlowStep) -> list[Sequence[FlowStep]]:
    return [*(case.steps for case in step.cases or ()), step.otherwise or ()]


def _inner_steps(step: FlowStep) -> Iterator[FlowStep]:
    for inner_list in (*_gate_lists(step), step.steps or ()):
        for inner in inner_list:
            yield inner
            yield from _inner_steps(inner)


def _all_steps(steps: Sequence[FlowStep], depth: int) -> Iterator[FlowStep]:
    for step in steps:
        if depth > MAX_STEP_DEPTH:
            raise FlowInvalid(f"steps may be nested {MAX_STEP_DEPTH} deep.", step=step.name)
        yield step
        for inner_list in (*_gate_lists(step), step.steps or ()):
            yield from _all_steps(inner_list, depth + 1)


# ── What a step says ──────────────────────────────────────────────────────────────────────────────


def _check_members(step: FlowStep, kind: Kind) -> None:
    if kind in _MISSING:
        raise FlowInvalid(f"{_MISSING[kind]}.", step=step.name)
    members = _MEMBERS[kind]
    given = {member for member in _SPECIFIC if getattr(step, member) is not None}
    for wrong, why in ((members.needed - given, "needs"), (given - members.needed - members.optional, "has no")):
        if wrong:
            spelled = ", ".join(_on_the_wire(member) for member in sorted(wrong))
            raise FlowInvalid(f"a {kind} step {why} {spelled}.", step=step.name)
    if kind is StepType.WAIT and len(given) != 1:
        raise FlowInvalid("a wait step needs durationMs or until, and not both.", step=step.name)
    if step.retry is not None and step.type is not StepType.ACTION:
        raise FlowInvalid("only an action can be retried; give retry to the steps inside.", step=step.name)
    paths = [step.group_by, step.key, *(computed.field for computed in (step.compute or {}).values())]
    for path in paths:
        if path is not None and not is_field_path(path):
            raise FlowInvalid(f"{path} is no field of a record: write name or customer.name.", step=step.name)
    for condition in _conditions(step):
        _check_condition(condition, step.name, 1)


def _on_the_wire(member: str) -> str:
    return FlowStep.model_fields[member].alias or member


def _conditions(step: FlowStep) -> list[Condition]:
    return [*([step.where] if step.where else []), *(case.when for case in step.cases or ())]


def _check_condition(condition: Condition, step: str, depth: int) -> None:
    if depth > MAX_CONDITION_DEPTH:
        raise FlowInvalid(f"conditions may be nested {MAX_CONDITION_DEPTH} deep.", step=step)
    forms = [condition.operator, condition.all, condition.any, condition.not_]
    if sum(form is not None for form in forms) != 1:
        raise FlowInvalid("a condition has an operator, or one of all, any and not.", step=step)
    is_comparison = condition.operator is not None
    if is_comparison != ("left" in condition.model_fields_set):
        raise FlowInvalid("a condition with an operator compares left; others have none.", step=step)
    takes_right = is_comparison and condition.operator not in (Operator.EXISTS, Operator.IS_EMPTY)
    if takes_right != ("right" in condition.model_fields_set):
        raise FlowInvalid("a condition's right is needed, but by exists and is_empty.", step=step)
    for part in parts_of(condition):
        _check_condition(part, step, depth + 1)


def parts_of(condition: Condition) -> list[Condition]:
    """The conditions this one is made of."""
    return [*(condition.all or ()), *(condition.any or ()), *([condition.not_] if condition.not_ else ())]


def _compared(condition: Condition) -> Iterator[object]:
    yield condition.left
    yield condition.right
    for part in parts_of(condition):
        yield from _compared(part)


def _own_references(step: FlowStep) -> Iterator[tuple[Reference, bool]]:
    """Each reference of the step, steps inside it left out, and whether it is read once for each item of a list."""
    once: list[object] = [step.items, step.over, step.sources, step.message, step.until]
    each: list[object] = list(_compared(step.where)) if step.where else []
    (each if step.items is not None else once).append(step.mapping)
    for case in step.cases or ():
        once.extend(_compared(case.when))
    for reference in _checked_references(once, step.name):
        yield reference, False
    for reference in _checked_references(each, step.name):
        yield reference, True


def _checked_references(value: object, step: str | None) -> list[Reference]:
    try:
        return list(references_in(value))
    except TemplateInvalid as error:
        raise FlowInvalid(str(error), step=step) from error


def _check_reference(reference: Reference, step: str | None, scope: _Scope, visible: frozenset[str]) -> None:
    shown = f"{{{{{reference.text.strip()}}}}}"
    if reference.root not in _ROOTS:
        raise FlowInvalid(f"{shown} begins with none of input, trigger, steps, item.", step=step)
    if reference.root in _ITEM_ROOTS and not scope.has_item:
        raise FlowInvalid(f"{shown}: there is an item only in a loop, a filter or a list's mapping.", step=step)
    if reference.root != "steps":
        return
    if len(reference.keys) < 2 or reference.keys[1] not in STEP_MEMBERS:
        raise FlowInvalid(f"{shown}: write {{{{steps.name.output}}}}, or status or error.", step=step)
    name = reference.keys[0]
    if name in visible:
        return
    if name in scope.flow_steps:
        raise FlowInvalid(f"{shown}: {name} is inside a loop and can be seen only there.", step=step)
    raise FlowInvalid(f"{shown} names no step of this flow.", step=step)
