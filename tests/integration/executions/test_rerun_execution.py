"""Running an execution again over the API."""

import json
import uuid
from typing import Any

import pytest

from fastn.access.models import KeyMode, Permission
from fastn.local.vendors.slack import SlackVendor
from fastn.platform.ids import WorkflowId
from fastn.workflows import service as workflows
from fastn.workflows.models import DraftEdit, UpdateWorkflow
from functions.api.flow_name.execute_flow import handler as execute_flow
from functions.api.tenants.tenant_id.executions.execution_id.get_execution import handler as get_execution
from functions.api.tenants.tenant_id.executions.execution_id.rerun_execution import handler as rerun_execution
from functions.executors.execute_instant import handler as execute_instant
from functions.executors.run_segment import handler as run_segment
from tests.foundation.api_calls import body_of
from tests.foundation.platforms import IssueKey
from tests.integration.events.cloud import Cloud
from tests.integration.events.scene import Scene

POST_TWICE = """export default async function main(ctx) {
  const id = crypto.randomUUID(), at = Date.now();
  const one = await fastn.connector.slack.postMessage({ channel: "general", text: `1 ${id} ${at}` });
  const two = await fastn.connector.slack.postMessage({ channel: CHANNEL, text: `2 ${id}` });
  return [ctx.input, ctx.headers["x-kept"], one.message.text, two.message.text];
}"""


@pytest.fixture
def key(scene: Scene, issue_key: IssueKey) -> str:
    """A Live key of the customer's own."""
    return issue_key(scene.scope).text


def run_once(scene: Scene, cloud: Cloud, key: str, source: str, **members: Any) -> str:
    """The id of a Standard run of this source that is over."""
    scene.live("Flow", source=source, tier="standard", **members)
    sent = {"path": {"flow_name": "flow"}, "key": key, "headers": {"x-kept": "yes"}, "body": {"input": {"n": 1}}}
    assert scene.functions.endpoint(execute_flow, **sent)["statusCode"] == 202
    return finish(scene, cloud)


def finish(scene: Scene, cloud: Cloud) -> str:
    """Runs what was launched last to its end."""
    message = json.loads(cloud.machines.started[-1]["input"])
    assert scene.functions.call(run_segment, message) == {**message, "state": "done"}
    return message["executionId"]


def rerun(scene: Scene, key: str, execution_id: object, **body: str) -> dict[str, Any]:
    """The endpoint's answer."""
    path = {"tenant_id": str(scene.scope.tenant_id), "execution_id": str(execution_id)}
    return scene.functions.endpoint(rerun_execution, path=path, key=key, body=body)


def told(scene: Scene, key: str, execution_id: object) -> dict[str, Any]:
    """The execution as the API shows it."""
    path = {"tenant_id": str(scene.scope.tenant_id), "execution_id": str(execution_id)}
    return body_of(scene.functions.endpoint(get_execution, path=path, key=key))


def test_run_is_repeated_from_the_start_with_its_input_and_headers(
    connected: Scene, cloud: Cloud, key: str, slack: SlackVendor
) -> None:
    first = run_once(connected, cloud, key, POST_TWICE.replace("CHANNEL", '"general"'))
    connected.clock.advance(3600)

    answer = rerun(connected, key, first)

    assert (answer["statusCode"], body_of(answer)["status"]) == (202, "pending")
    second = finish(connected, cloud)
    assert second == body_of(answer)["executionId"] != first
    before, after = told(connected, key, first), told(connected, key, second)
    assert (after["rerunOf"], after["status"], before["rerunOf"]) == (first, "completed", None)
    assert after["output"][:2] == [{"n": 1}, "yes"]
    assert after["version"] == before["version"]
    assert len({call.arguments["text"] for call in slack.calls()}) == 4


def test_run_goes_on_from_its_failed_step_and_posts_nothing_twice(
    connected: Scene, cloud: Cloud, key: str, slack: SlackVendor
) -> None:
    slack_fails = POST_TWICE.replace("CHANNEL", '"nowhere"')
    first = run_once(connected, cloud, key, slack_fails)
    assert told(connected, key, first)["status"] == "failed"
    posted = slack.calls()[0].arguments["text"]
    connected.clock.advance(3600)

    answer = rerun(connected, key, first, **{"from": "failedStep"})

    second = finish(connected, cloud)
    after = told(connected, key, second)
    assert answer["statusCode"] == 202
    assert [str(call.arguments["text"])[0] for call in slack.calls()] == ["1", "2", "2"]
    assert slack.calls()[2].arguments["text"] == slack.calls()[1].arguments["text"]
    assert [(step["sequence"], step["status"]) for step in after["steps"]] == [(1, "succeeded"), (2, "failed")]
    assert after["steps"][0]["input"]["args"]["text"] == posted


@pytest.mark.parametrize("tier", ["instant", "standard"])
def test_current_version_runs_where_it_is_asked_for(scene: Scene, cloud: Cloud, key: str, tier: str) -> None:
    first = run_once(scene, cloud, key, "export default async function main() { return 'old'; }")
    mended = "export default async function main(ctx) { return ['new', ctx.input]; }"
    body = {"name": "Flow", "language": "javascript", "tier": tier, "isActive": True, "source": mended}
    workflow_id = WorkflowId(uuid.UUID(told(scene, key, first)["workflowId"]))
    edit = DraftEdit(workflow_id, UpdateWorkflow.model_validate(body), None)
    workflows.update_workflow(
        scene.database, scene.scope, edit=edit, check_source=lambda _source, _language: None, clock=scene.clock
    )
    scene.deploy(workflow_id)

    for version in ("same", "current"):
        assert rerun(scene, key, first, version=version)["statusCode"] == 202
        if version == "current" and tier == "instant":
            scene.functions.call(execute_instant, json.loads(cloud.functions.invoked[-1]["Payload"]))
        else:
            finish(scene, cloud)

    rows = scene.rows("SELECT output, version_number, tier FROM executions ORDER BY version_number")
    assert [(row["output"], row["version_number"], row["tier"]) for row in rows] == [
        ("old", 1, "standard"), ("old", 1, "standard"), (["new", {"n": 1}], 2, tier),
    ]  # fmt: skip


def test_rerun_that_makes_no_sense_is_refused_and_stores_nothing(scene: Scene, cloud: Cloud, key: str) -> None:
    done = run_once(scene, cloud, key, "export default async function main() { return 1; }")
    pending = body_of(rerun(scene, key, done))["executionId"]

    answers = [
        rerun(scene, key, done, **{"from": "failedStep"}),
        rerun(scene, key, pending),
        rerun(scene, key, done, version="current", **{"from": "failedStep"}),
        rerun(scene, key, done, version="latest"),
        rerun(scene, key, uuid.uuid4()),
    ]

    assert [answer["statusCode"] for answer in answers] == [409, 409, 400, 400, 404]
    assert len(scene.rows("SELECT FROM executions")) == 2


def test_rerun_needs_the_execute_permission_a_live_key_and_its_owner(
    scene: Scene, stranger: Scene, cloud: Cloud, key: str, issue_key: IssueKey
) -> None:
    done = run_once(scene, cloud, key, "export default async function main() { return 1; }")
    reader = issue_key(scene.scope, permissions=[Permission.EXECUTIONS_READ]).text
    test_key = issue_key(scene.scope, mode=KeyMode.TEST).text
    strangers = issue_key(stranger.scope).text

    answers = [rerun(scene, reader, done), rerun(scene, test_key, done), rerun(stranger, strangers, done)]

    assert [answer["statusCode"] for answer in answers] == [403, 403, 404]
    assert len(scene.rows("SELECT FROM executions")) == 1


def test_triggered_instant_run_that_failed_waits_in_a_state_machine(scene: Scene, cloud: Cloud, key: str) -> None:
    first = run_once(scene, cloud, key, "export default async function main() { throw new Error('mine'); }")
    with scene.database.transaction(scene.scope) as session:
        session.execute(
            """UPDATE executions SET tier = 'instant', status = 'pending', finished_at = NULL,
                   retry = '{"max_attempts": 2, "initial_interval_ms": 5000, "backoff_coefficient": 2,
                             "max_interval_ms": 60000}'"""
        )
    message = {**json.loads(cloud.machines.started[-1]["input"]), "launch": 7}

    scene.functions.call(execute_instant, message)

    assert cloud.machines.started[-1]["name"] == f"{first}-7"
    waiting = scene.functions.call(run_segment, message)
    assert waiting == {**message, "state": "wait", "seconds": 5}
    scene.clock.advance(5)
    assert scene.functions.call(run_segment, message) == {**message, "state": "done"}
    assert told(scene, key, first)["attempt"] == 2
