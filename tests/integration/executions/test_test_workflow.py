"""Running a program that is not saved."""

from typing import Any

import pytest

from fastn.access.models import KeyMode, Permission
from fastn.local.vendors.slack import SlackVendor
from functions.api.tenants.tenant_id.workflows.test_workflow import handler as try_out
from tests.foundation.api_calls import body_of
from tests.foundation.platforms import IssueKey
from tests.integration.events.scene import Scene

POST = """export default async function main(ctx) {
  console.log("posting", ctx.headers["x-kept"]);
  return await fastn.connector.slack.postMessage({ channel: "general", text: ctx.input.text });
}"""


@pytest.fixture
def key(scene: Scene, issue_key: IssueKey) -> str:
    """A Live key of the customer's own."""
    return issue_key(scene.scope).text


def tried(scene: Scene, key: str, source: str, *, stage: str | None = None, **members: Any) -> dict[str, Any]:
    """The endpoint's answer."""
    path = {"tenant_id": str(scene.scope.tenant_id)}
    headers = {"stage": stage} if stage else {}
    body = {"source": source, **members}
    return scene.functions.endpoint(try_out, path=path, key=key, body=body, headers=headers)


def test_program_runs_with_real_calls_and_nothing_of_it_is_stored(
    connected: Scene, key: str, slack: SlackVendor
) -> None:
    headers = {"X-Kept": "yes", "Authorization": "planted"}

    answer = tried(connected, key, POST, input={"text": "hello"}, headers=headers)

    run = body_of(answer)
    assert (answer["statusCode"], run["status"], run["output"]["message"]["text"]) == (200, "completed", "hello")
    assert [line["text"] for line in run["console"]] == ["posting yes"]
    assert [(step["operation"], step["status"]) for step in run["steps"]] == [
        ("connector.slack.postMessage", "succeeded")
    ]
    assert run["steps"][0]["exchange"]["response"]["status"] == 200
    assert len(slack.calls()) == 1
    for rows in (
        connected.rows("SELECT FROM executions"),
        connected.rows("SELECT FROM execution_steps"),
        connected.rows("SELECT FROM workflows"),
        connected.rows("SELECT FROM workflow_sources"),
    ):
        assert rows == []


@pytest.mark.parametrize(
    ("source", "status", "fault"),
    [
        ("export default async function main() { throw new Error('mine'); }", "failed", "SCRIPT_ERROR"),
        ("export default async function main( {", "failed", "PROGRAM_INVALID"),
        ("export default async function main() { while (true) {} }", "timed_out", "TIME_LIMIT"),
    ],
)
def test_program_that_fails_is_told_how(scene: Scene, key: str, source: str, status: str, fault: str) -> None:
    run = body_of(tried(scene, key, source, timeoutSeconds=1))

    assert (run["status"], run["error"]["fault"], run["output"]) == (status, fault, None)


def test_program_works_in_the_environment_that_is_named(connected: Scene, key: str, slack: SlackVendor) -> None:
    run = body_of(tried(connected, key, POST, stage="DRAFT", input={"text": "hello"}))

    assert (run["status"], run["error"]["name"], slack.calls()) == ("failed", "NotConnected", [])


def test_test_key_may_try_in_the_draft_environment_only(scene: Scene, issue_key: IssueKey) -> None:
    test_key = issue_key(scene.scope, mode=KeyMode.TEST).text
    source = "export default async function main() { return 1; }"

    answers = [tried(scene, test_key, source, stage="DRAFT"), tried(scene, test_key, source)]

    assert [answer["statusCode"] for answer in answers] == [200, 403]


@pytest.mark.parametrize("permission", [Permission.WORKFLOWS_EXECUTE, Permission.WORKFLOWS_WRITE])
def test_trying_a_program_of_ones_own_takes_both_writing_and_executing(
    scene: Scene, issue_key: IssueKey, permission: Permission
) -> None:
    half = issue_key(scene.scope, permissions=[permission]).text

    assert tried(scene, half, POST)["statusCode"] == 403


@pytest.mark.parametrize(
    "members", [{"timeoutSeconds": 26}, {"timeoutSeconds": 0}, {"language": "python"}, {"input": "\0"}]
)
def test_trial_that_makes_no_sense_is_refused(scene: Scene, key: str, members: dict[str, Any]) -> None:
    assert tried(scene, key, POST, **members)["statusCode"] == 400
