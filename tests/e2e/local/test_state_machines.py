"""Step Functions retries, catches, chooses, waits and times out as in AWS."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.local.conftest import Laptop, wait_until

pytestmark = pytest.mark.e2e


def run(laptop: Laptop, machine_arn: str, event: object) -> dict[str, Any]:
    machines = laptop.client("stepfunctions")
    execution = machines.start_execution(stateMachineArn=machine_arn, input=json.dumps(event))["executionArn"]
    deadline = time.monotonic() + 12
    while time.monotonic() < deadline:
        description: dict[str, Any] = machines.describe_execution(executionArn=execution)
        if description["status"] != "RUNNING":
            return description
        time.sleep(0.01)
    raise AssertionError("the execution did not end")


def machine(laptop: Laptop, definition: object) -> str:
    answer = laptop.client("stepfunctions").create_state_machine(
        name=f"m-{uuid.uuid4().hex[:8]}",
        definition=json.dumps(definition),
        roleArn="arn:aws:iam::000000000000:role/probe",
    )
    return str(answer["stateMachineArn"])


def test_task_is_retried_on_the_error_it_names(laptop: Laptop, tmp_path: Path) -> None:
    event = {"attempts": str(tmp_path / "attempts"), "succeeds_at": 2, "wait": False}

    ended = run(laptop, laptop.endpoints.outputs["MachineArn"], event)

    assert ended["status"] == "SUCCEEDED"
    assert json.loads(ended["output"])["result"] == {"attempts": 2}


def test_error_is_caught_with_its_type_after_the_last_retry(laptop: Laptop, tmp_path: Path) -> None:
    event = {"attempts": str(tmp_path / "attempts"), "succeeds_at": 9, "wait": False}

    ended = run(laptop, laptop.endpoints.outputs["MachineArn"], event)

    error = json.loads(ended["output"])["error"]
    assert error["Error"] == "CustomError"
    assert json.loads(error["Cause"])["errorMessage"] == "not yet"
    assert len((tmp_path / "attempts").read_text()) == 2


def test_choice_leads_into_the_wait(laptop: Laptop, tmp_path: Path) -> None:
    event = {"attempts": str(tmp_path / "attempts"), "succeeds_at": 1, "wait": True}

    ended = run(laptop, laptop.endpoints.outputs["MachineArn"], event)

    assert ended["status"] == "SUCCEEDED"
    assert (ended["stopDate"] - ended["startDate"]).total_seconds() >= 1


def test_execution_starts_its_first_state_at_once(laptop: Laptop) -> None:
    arn = machine(laptop, {"StartAt": "Only", "States": {"Only": {"Type": "Pass", "End": True}}})

    ended = run(laptop, arn, {})

    assert (ended["stopDate"] - ended["startDate"]).total_seconds() < 0.1


def test_execution_over_its_limit_is_timed_out_in_the_middle_of_a_wait(laptop: Laptop) -> None:
    wait = {"Type": "Wait", "Seconds": 30, "End": True}
    arn = machine(laptop, {"TimeoutSeconds": 1, "StartAt": "Long", "States": {"Long": wait}})

    ended = run(laptop, arn, {})

    assert ended["status"] == "TIMED_OUT"


def test_stopped_execution_stays_aborted_when_its_task_fails_later(laptop: Laptop, tmp_path: Path) -> None:
    function = laptop.client("lambda").get_function(FunctionName="sleep")["Configuration"]["FunctionArn"]
    arn = machine(laptop, {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": function, "End": True}}})
    machines, children = laptop.client("stepfunctions"), tmp_path / "children"
    event = json.dumps({"children": str(children)})
    execution = machines.start_execution(stateMachineArn=arn, input=event)["executionArn"]
    wait_until(lambda: children.exists() and len(children.read_text().split()) == 2)

    machines.stop_execution(executionArn=execution)
    wait_until(lambda: not any(psutil.pid_exists(int(pid)) for pid in children.read_text().split()))
    laptop.invoke("echo")  # by now the task's failure was handled

    assert machines.describe_execution(executionArn=execution)["status"] == "ABORTED"


def test_task_over_its_limit_fails_with_states_timeout(laptop: Laptop) -> None:
    function = laptop.client("lambda").get_function(FunctionName="burn")["Configuration"]["FunctionArn"]
    task = {
        "Type": "Task",
        "Resource": function,
        "TimeoutSeconds": 1,
        "Catch": [{"ErrorEquals": ["States.Timeout"], "Next": "Late"}],
        "Next": "Early",
    }
    ends = {"Late": {"Type": "Pass", "Result": "late", "End": True}, "Early": {"Type": "Succeed"}}
    arn = machine(laptop, {"StartAt": "Burn", "States": {"Burn": task, **ends}})

    ended = run(laptop, arn, {"seconds": 1.5})

    assert json.loads(ended["output"]) == "late"


def test_missing_heartbeat_fails_the_task(laptop: Laptop) -> None:
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {
            "QueueUrl": laptop.endpoints.outputs["GroupQueueUrl"],
            "MessageBody": {"token.$": "$$.Task.Token"},
        },
        "HeartbeatSeconds": 1,
        "End": True,
    }
    arn = machine(laptop, {"StartAt": "Token", "States": {"Token": task}})

    ended = run(laptop, arn, {})
    laptop.next_message("GroupQueueUrl")

    assert (ended["status"], ended["error"]) == ("FAILED", "States.HeartbeatTimeout")


def test_throttled_function_is_reported_by_name(laptop: Laptop) -> None:
    function = laptop.client("lambda").get_function(FunctionName="reserved")["Configuration"]["FunctionArn"]
    arn = machine(laptop, {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": function, "End": True}}})

    ended = run(laptop, arn, {})

    assert ended["error"] == "Lambda.TooManyRequestsException"


def test_second_execution_of_one_name_is_refused(laptop: Laptop) -> None:
    machines = laptop.client("stepfunctions")
    arn = machine(laptop, {"StartAt": "Only", "States": {"Only": {"Type": "Pass", "End": True}}})
    machines.start_execution(stateMachineArn=arn, name="launch-1", input="{}")

    with pytest.raises(machines.exceptions.ExecutionAlreadyExists):
        machines.start_execution(stateMachineArn=arn, name="launch-1", input='{"other": true}')
