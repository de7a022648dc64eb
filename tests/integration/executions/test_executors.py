"""The functions that run what was launched: segment by segment, to the end, or to the dead letters."""

import json
import uuid
from datetime import datetime
from typing import Any

import pytest

from fastn.executions.launching import Launcher
from fastn.executions.models import RunnableExecution, RunReference
from fastn.executions.running import Host
from fastn.executions.stopping import StopSignal
from fastn.executions.wiring import SEGMENT_MARGIN_SECONDS, runner_of
from fastn.http.consumers import BackgroundFunction
from fastn.local.vendors.slack import SlackVendor
from fastn.platform.ids import ExecutionId
from fastn.platform.resources import Need
from fastn.workflows.models import Tier
from functions.api.flow_name.execute_flow import handler as execute_flow
from functions.executors.execute_instant import handler as execute_instant
from functions.executors.fail_execution import handler as fail_execution
from functions.executors.run_segment import handler as run_segment
from tests.foundation.platforms import IssueKey
from tests.integration.events.cloud import Cloud, ServiceDown
from tests.integration.events.scene import Scene

EXECUTIONS = "SELECT status, output, error, finished_at FROM executions"
LETTERS = "SELECT id, stage, execution_id, payload, error FROM dead_letters"
CALL_AND_SLEEP = """export default async function main(ctx) {
  const one = await fastn.connector.slack.postMessage({ channel: "general", text: "1" });
  await fastn.sleep(40000);
  const two = await fastn.connector.slack.postMessage({ channel: "general", text: "2" });
  return [one.message.text, two.message.text];
}"""
Input = dict[str, Any]


@pytest.fixture
def key(scene: Scene, issue_key: IssueKey) -> str:
    """A Live key of the customer's own."""
    return issue_key(scene.scope).text


def launched(scene: Scene, cloud: Cloud, key: str, source: str, **members: Any) -> Input:
    """The input of the state machine that a call of this flow has started."""
    scene.live("Flow", source=source, tier=members.pop("tier", "standard"), **members)
    response = scene.functions.endpoint(execute_flow, path={"flow_name": "flow"}, key=key, body={"input": {"n": 1}})
    assert response["statusCode"] == 202
    return json.loads(cloud.machines.started[-1]["input"])


def segment(scene: Scene, message: Input, *, remaining_ms: int = 900_000) -> Any:
    """What the state machine's choice is given."""
    return scene.functions.call(run_segment, message, remaining_ms=remaining_ms)


def test_run_that_ends_in_its_first_segment_is_done(scene: Scene, cloud: Cloud, key: str) -> None:
    message = launched(scene, cloud, key, "export default async function main(ctx) { return ctx.input; }")

    answer = segment(scene, message)

    assert answer == {**message, "state": "done"}
    assert [(row["status"], row["output"]) for row in scene.rows(EXECUTIONS)] == [("completed", {"n": 1})]


def test_long_sleep_is_a_wait_of_the_state_machine_and_the_run_goes_on_after_it(
    connected: Scene, cloud: Cloud, key: str, slack: SlackVendor
) -> None:
    message = launched(connected, cloud, key, CALL_AND_SLEEP)

    waiting = segment(connected, message)
    connected.clock.advance(waiting["seconds"])
    done = segment(connected, message)

    assert waiting == {**message, "state": "wait", "seconds": 40}
    assert done == {**message, "state": "done"}
    assert [row["output"] for row in connected.rows(EXECUTIONS)] == [["1", "2"]]
    assert [call.arguments["text"] for call in slack.calls()] == ["1", "2"]
    steps = connected.rows("SELECT operation FROM execution_steps ORDER BY sequence")
    assert [step["operation"] for step in steps] == [
        "connector.slack.postMessage", "sleep", "connector.slack.postMessage",
    ]  # fmt: skip


def test_segment_that_runs_out_of_time_is_continued_by_the_next(
    connected: Scene, cloud: Cloud, key: str, slack: SlackVendor
) -> None:
    message = launched(connected, cloud, key, CALL_AND_SLEEP.replace("40000", "0"))

    states = [segment(connected, message, remaining_ms=int(SEGMENT_MARGIN_SECONDS * 1000))["state"] for _ in range(2)]
    last = segment(connected, message)

    assert states[0] == "continue"
    assert last["state"] == "done"
    assert [call.arguments["text"] for call in slack.calls()] == ["1", "2"]


def test_segment_of_a_run_that_has_ended_or_never_was_is_done(scene: Scene, cloud: Cloud, key: str) -> None:
    message = launched(scene, cloud, key, "export default async function main() { return 1; }")
    segment(scene, message)

    answers = [segment(scene, message), segment(scene, {**message, "executionId": str(uuid.UUID(int=0))})]

    assert [answer["state"] for answer in answers] == ["done", "done"]


def test_run_of_another_tenant_is_not_run(scene: Scene, stranger: Scene, cloud: Cloud, key: str) -> None:
    message = launched(scene, cloud, key, "export default async function main() { return 1; }")

    answer = segment(scene, {**message, **stranger.scope.as_text()})

    assert answer["state"] == "done"
    assert [row["status"] for row in scene.rows(EXECUTIONS)] == ["pending"]


def test_failed_flow_is_a_finished_run_and_not_a_failed_function(scene: Scene, cloud: Cloud, key: str) -> None:
    message = launched(scene, cloud, key, "export default async function main() { throw new Error('mine'); }")

    assert segment(scene, message)["state"] == "done"
    assert [(row["status"], row["error"]["message"]) for row in scene.rows(EXECUTIONS)] == [("failed", "mine")]
    assert scene.rows(LETTERS) == []


def test_killed_executor_resumes_and_the_vendor_sees_at_most_one_repeat_under_one_key(
    connected: Scene, cloud: Cloud, key: str, slack: SlackVendor
) -> None:
    message = launched(connected, cloud, key, CALL_AND_SLEEP.replace("40000", "0"))
    runner = runner_of(connected.functions.platform("run_segment", run_segment.declaration.needs))
    make_host = runner.hosts

    class Killed(BaseException):
        pass

    def doomed(execution: RunnableExecution, until: datetime, stop: StopSignal) -> Any:
        host = make_host(execution, until, stop)
        perform = host.perform

        class Dying:
            masked, masked_json = host.masked, host.masked_json

            def perform(self, *call: str) -> Any:
                perform(*call)
                raise Killed

        return Dying()

    runner.hosts = doomed
    with pytest.raises(Killed):
        segment(connected, message)
    runner.hosts = make_host

    assert segment(connected, message)["state"] == "done"

    assert [call.arguments["text"] for call in slack.calls()] == ["1", "1", "2"]
    assert sorted(slack.messages_by_key().values()) == [1, 2]
    assert [row["output"] for row in connected.rows(EXECUTIONS)] == [["1", "2"]]


@pytest.mark.parametrize("handler", [run_segment, execute_instant], ids=["run_segment", "execute_instant"])
def test_launch_that_another_overtakes_ends_quietly(
    connected: Scene, cloud: Cloud, key: str, slack: SlackVendor, handler: BackgroundFunction[Any]
) -> None:
    message = launched(connected, cloud, key, CALL_AND_SLEEP.replace("40000", "0"))
    runner = runner_of(connected.functions.platform(handler.name, handler.declaration.needs))
    make_host = runner.hosts

    def overtaken(execution: RunnableExecution, until: datetime, stop: StopSignal) -> Host:
        runner.hosts = make_host
        host = make_host(execution, until, stop)
        connected.functions.call(handler, message)
        return host

    runner.hosts = overtaken

    answer = connected.functions.call(handler, message)

    assert answer in (None, {**message, "state": "done"})
    assert [(row["status"], row["output"]) for row in connected.rows(EXECUTIONS)] == [("completed", ["1", "2"])]
    assert set(slack.messages_by_key().values()) == {1, 2}


def test_instant_executor_runs_its_launch_and_may_be_invoked_again(scene: Scene, cloud: Cloud, key: str) -> None:
    message = launched(scene, cloud, key, "export default async function main(ctx) { return ctx.input; }")

    answers = [scene.functions.call(execute_instant, message) for _ in range(2)]

    assert answers == [None, None]
    assert [(row["status"], row["output"]) for row in scene.rows(EXECUTIONS)] == [("completed", {"n": 1})]


# ── Given up ──────────────────────────────────────────────────────────────────────────────────────

ERROR = {"Error": "Sandbox.Timedout", "Cause": "Task timed out after 900.00 seconds"}


@pytest.mark.parametrize("has_begun", [False, True])
def test_run_its_machine_gave_up_is_failed_once_and_kept_once(
    connected: Scene, cloud: Cloud, key: str, has_begun: bool
) -> None:
    message = launched(connected, cloud, key, CALL_AND_SLEEP)
    if has_begun:
        segment(connected, message)

    for _ in range(2):
        connected.functions.call(fail_execution, {**message, "error": ERROR})

    [run] = connected.rows(EXECUTIONS)
    [letter] = connected.rows(LETTERS)
    assert (run["status"], run["error"]) == ("failed", {"name": "Sandbox.Timedout", "message": ERROR["Cause"]})
    assert run["finished_at"] == connected.clock.now()
    assert (letter["stage"], str(letter["execution_id"])) == ("execute", message["executionId"])
    assert letter["payload"] == message
    assert letter["error"] == run["error"]


def test_run_that_has_ended_is_not_given_up(scene: Scene, cloud: Cloud, key: str) -> None:
    message = launched(scene, cloud, key, "export default async function main() { return 1; }")
    segment(scene, message)
    before = scene.rows(EXECUTIONS)

    scene.functions.call(fail_execution, {**message, "error": ERROR})

    assert scene.rows(EXECUTIONS) == before
    assert scene.rows(LETTERS) == []


def test_given_up_run_does_not_rise_again(connected: Scene, cloud: Cloud, key: str, slack: SlackVendor) -> None:
    message = launched(connected, cloud, key, CALL_AND_SLEEP)
    connected.functions.call(fail_execution, {**message, "error": ERROR})

    answer = segment(connected, message)

    assert answer["state"] == "done"
    assert slack.calls() == []
    assert [row["status"] for row in connected.rows(EXECUTIONS)] == ["failed"]


@pytest.mark.parametrize("error", [{}, None, {"Cause": "x" * 50_000}, {"Error": "\0"}])
def test_whatever_the_machine_tells_the_run_is_failed(
    scene: Scene, cloud: Cloud, key: str, error: dict[str, str] | None
) -> None:
    message = launched(scene, cloud, key, "export default async function main() { return 1; }")

    scene.functions.call(fail_execution, {**message, "error": error})

    [run] = scene.rows(EXECUTIONS)
    assert run["status"] == "failed"
    assert len(run["error"]["message"]) <= 8_000


# ── Launching ─────────────────────────────────────────────────────────────────────────────────────


def test_launching_twice_is_harmless_and_another_launch_has_another_name(scene: Scene, cloud: Cloud) -> None:
    launcher = Launcher(scene.functions.platform("launcher", frozenset({Need.WORKFLOW_RUNS, Need.INSTANT_RUNS})))
    execution_id = ExecutionId(uuid.uuid4())
    for number in (1, 1, 2):
        launcher.launch(RunReference(scene.scope, execution_id, number), Tier.STANDARD)

    assert [start["name"] for start in cloud.machines.started] == [f"{execution_id}-1", f"{execution_id}-2"]


def test_launcher_does_not_hide_that_a_service_is_down(scene: Scene, cloud: Cloud) -> None:
    launcher = Launcher(scene.functions.platform("launcher", frozenset({Need.WORKFLOW_RUNS, Need.INSTANT_RUNS})))
    cloud.machines.is_down = True

    with pytest.raises(ServiceDown):
        launcher.launch(RunReference(scene.scope, ExecutionId(uuid.uuid4()), 1), Tier.LONG)
