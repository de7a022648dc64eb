"""The definitions are whole, cheap, and lose no failure."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastn.workflows.models import Tier
from fastn.workflows.rules import TIMEOUTS
from infra_cdk.names import Machine
from tests.infra.cloud_assembly import Assembly, texts_in

DEFINITIONS = Path(__file__).resolve().parents[2] / "statemachines"
MOST_TRANSITIONS_OF_A_DONE_RUN = 4
SERVICE_ERRORS = {
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
}
IDS = {"executionId", "organizationId", "spaceId", "tenantId", "launch"}
TERMINAL = {"Succeed", "Fail"}


def definition_of(machine: Machine) -> dict[str, Any]:
    return json.loads((DEFINITIONS / f"{machine}.asl.json").read_text(encoding="utf-8"))


def successors_of(state: dict[str, Any]) -> Iterator[str]:
    branches = [state, *state.get("Choices", []), *state.get("Catch", [])]
    yield from (branch["Next"] for branch in branches if "Next" in branch)
    if "Default" in state:
        yield state["Default"]


def next_state(state: dict[str, Any], segment: str) -> str:
    for choice in state.get("Choices", []):
        if choice["StringEquals"] == segment:
            return choice["Next"]
    return state.get("Default") or state["Next"]


def path_of(definition: dict[str, Any], segments: list[str]) -> list[str]:
    states, name = definition["States"], str(definition["StartAt"])
    visited: list[str] = []
    remaining = list(segments)
    while True:
        visited.append(name)
        state = states[name]
        if state["Type"] in TERMINAL:
            return visited
        name = next_state(state, remaining.pop(0) if state["Type"] == "Choice" else "")


@pytest.mark.parametrize("machine", list(Machine))
def test_every_state_is_reached_and_every_way_leads_to_a_state(machine: Machine) -> None:
    definition = definition_of(machine)
    states = definition["States"]

    reached, waiting = set[str](), [definition["StartAt"]]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(successors_of(states[name]))

    assert reached == set(states)
    assert all(state["Type"] in TERMINAL or any(successors_of(state)) for state in states.values())


@pytest.mark.parametrize("machine", list(Machine))
def test_a_run_that_never_waits_costs_at_most_four_transitions(machine: Machine) -> None:
    path = path_of(definition_of(machine), ["done"])

    assert path == ["RunSegment", "Decide", "Done"]
    assert len(path) <= MOST_TRANSITIONS_OF_A_DONE_RUN


@pytest.mark.parametrize("machine", list(Machine))
def test_a_run_that_waits_and_continues_comes_back_to_the_segment(machine: Machine) -> None:
    path = path_of(definition_of(machine), ["wait", "continue", "done"])

    assert path == ["RunSegment", "Decide", "Pause", "RunSegment", "Decide", "RunSegment", "Decide", "Done"]


@pytest.mark.parametrize("machine", list(Machine))
def test_a_segment_that_returns_something_else_fails_the_execution(machine: Machine) -> None:
    path = path_of(definition_of(machine), ["surprise"])

    assert path[-2:] == ["FailExecution", "Failed"]


@pytest.mark.parametrize("machine", list(Machine))
def test_every_error_of_a_segment_is_recorded_after_the_retries(machine: Machine) -> None:
    segment = definition_of(machine)["States"]["RunSegment"]

    retried = {error for retrier in segment["Retry"] for error in retrier["ErrorEquals"]}
    assert retried >= SERVICE_ERRORS
    assert segment["Catch"] == [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "FailExecution"}]


@pytest.mark.parametrize("machine", list(Machine))
def test_a_task_is_given_ids_only(machine: Machine) -> None:
    states = definition_of(machine)["States"]

    given = {name: set(states[name]["Parameters"]) for name in ("RunSegment", "FailExecution")}

    ids = {f"{name}.$" for name in IDS}
    assert given == {"RunSegment": ids, "FailExecution": ids | {"error.$"}}


def test_the_two_machines_differ_in_their_time_limit_only() -> None:
    standard, long = definition_of(Machine.STANDARD), definition_of(Machine.LONG)

    limits = [definition.pop("TimeoutSeconds") for definition in (standard, long)]
    comments = [definition.pop("Comment") for definition in (standard, long)]

    assert standard == long
    assert comments[0] != comments[1]
    # Every attempt at its longest, and the longest wait before each but the first.
    most_attempts, longest_wait_seconds = 20, 3600
    for limit, tier in zip(limits, (Tier.STANDARD, Tier.LONG), strict=True):
        longest_run_seconds = TIMEOUTS[tier].most_seconds
        assert limit > most_attempts * longest_run_seconds + (most_attempts - 1) * longest_wait_seconds


def test_a_machine_calls_the_functions_named_after_its_tasks(product_on_aws: Assembly) -> None:
    functions = {f.properties["FunctionName"] for f in product_on_aws.resources("AWS::Lambda::Function")}
    machines = product_on_aws.resources("AWS::StepFunctions::StateMachine")

    assert {m.properties["StateMachineName"] for m in machines} == {"green-standard", "green-long"}
    for machine in machines:
        definition = json.loads(machine.properties["DefinitionString"])
        substitutions = machine.properties["DefinitionSubstitutions"]
        wanted = {text for text in texts_in(definition) if text.startswith("${")}
        assert wanted == {f"${{{name}}}" for name in substitutions}
        for name, arn in substitutions.items():
            stem = "run-segment" if name == "RunSegment" else "fail-execution"
            assert next(reversed(list(texts_in(arn)))) == f":function:green-{stem}"
            assert f"green-{stem}" in functions


def test_a_task_outlasts_the_function_it_calls(product_on_aws: Assembly) -> None:
    timeouts = {
        f.properties["FunctionName"]: f.properties["Timeout"] for f in product_on_aws.resources("AWS::Lambda::Function")
    }
    states = definition_of(Machine.STANDARD)["States"]

    assert states["RunSegment"]["TimeoutSeconds"] > timeouts["green-run-segment"]
    assert states["FailExecution"]["TimeoutSeconds"] > timeouts["green-fail-execution"]
