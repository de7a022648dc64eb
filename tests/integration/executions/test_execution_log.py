"""The log of a customer's runs: filtered, page by page, and nobody else's."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from fastn.access.models import Permission
from fastn.local.vendors.slack import SlackVendor
from fastn.platform.clock import rfc3339
from functions.api.flow_name.execute_flow import handler as execute_flow
from functions.api.tenants.tenant_id.executions.execution_id.get_execution import handler as get_execution
from functions.api.tenants.tenant_id.executions.list_executions import handler as list_executions
from tests.foundation.api_calls import body_of
from tests.foundation.platforms import IssueKey
from tests.integration.events.scene import Scene

RETURNS = "export default async function main(ctx) { console.log('hello'); return ctx.input; }"
THROWS = "export default async function main() { throw new Error('mine'); }"


@pytest.fixture
def key(scene: Scene, issue_key: IssueKey) -> str:
    """A Live key of the customer's own."""
    return issue_key(scene.scope).text


def execute(scene: Scene, key: str, flow: str, run_input: object = None) -> str:
    """Executes an Instant flow, one second after the last; the execution's id."""
    scene.clock.advance(1)
    response = scene.functions.endpoint(execute_flow, path={"flow_name": flow}, key=key, body={"input": run_input})
    if response["statusCode"] == 200:
        return response["headers"]["x-fastn-execution-id"]
    return body_of(response)["details"]["executionId"]


def listed(scene: Scene, key: str, tenant: object = None, **query: str) -> dict[str, Any]:
    """What the list answers."""
    path = {"tenant_id": tenant or scene.scope.tenant_id}
    return scene.functions.endpoint(list_executions, path=path, key=key, query=query)


def ids(response: dict[str, Any]) -> list[str]:
    assert response["statusCode"] == 200, response
    return [item["id"] for item in body_of(response)["data"]]


def get(scene: Scene, key: str, execution_id: object, tenant: object = None) -> dict[str, Any]:
    """One execution."""
    path = {"tenant_id": tenant or scene.scope.tenant_id, "execution_id": execution_id}
    return scene.functions.endpoint(get_execution, path=path, key=key)


@pytest.fixture
def runs(scene: Scene, key: str) -> list[str]:
    """Four runs, oldest first: good, bad, good, good, each a second after the other."""
    scene.live("Good", source=RETURNS, tier="instant")
    scene.live("Bad", source=THROWS, tier="instant")
    return [execute(scene, key, flow, {"n": n}) for n, flow in enumerate(("good", "bad", "good", "good"))]


def test_runs_are_listed_newest_first_without_their_payloads(scene: Scene, key: str, runs: list[str]) -> None:
    response = listed(scene, key)

    assert ids(response) == runs[::-1]
    body = body_of(response)
    assert body["nextCursor"] is None
    newest = body["data"][0]
    now = rfc3339(scene.clock.now())
    assert newest == {
        "id": runs[-1],
        "workflowId": newest["workflowId"],
        "workflowName": "Good",
        "tier": "instant",
        "version": 1,
        "environment": "production",
        "status": "completed",
        "triggeredBy": newest["triggeredBy"],
        "eventId": None,
        "traceId": newest["traceId"],
        "createdAt": now,
        "startedAt": now,
        "finishedAt": now,
        "durationMs": 0,
    }


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_pages_put_together_are_the_list(scene: Scene, key: str, runs: list[str], limit: int) -> None:
    seen: list[str] = []
    query = {"limit": str(limit)}
    while True:
        response = listed(scene, key, **query)
        seen += ids(response)
        cursor = body_of(response)["nextCursor"]
        if cursor is None:
            break
        query["cursor"] = cursor

    assert seen == runs[::-1]


def test_filters_narrow_and_combine(scene: Scene, key: str, runs: list[str]) -> None:
    [bad] = [item for item in body_of(listed(scene, key))["data"] if item["status"] == "failed"]
    last = scene.clock.now()
    third = rfc3339(last - timedelta(seconds=1))

    assert ids(listed(scene, key, status="failed")) == [runs[1]]
    assert ids(listed(scene, key, status="running")) == []
    assert ids(listed(scene, key, workflowId=bad["workflowId"])) == [runs[1]]
    assert ids(listed(scene, key, since=third)) == [runs[3], runs[2]]
    assert ids(listed(scene, key, until=third)) == [runs[1], runs[0]]
    assert ids(listed(scene, key, until=third, status="completed")) == [runs[0]]
    assert ids(listed(scene, key, workflowId=str(uuid.uuid4()))) == []


def test_filters_go_on_over_the_pages(scene: Scene, key: str, runs: list[str]) -> None:
    first = listed(scene, key, status="completed", limit="2")

    second = listed(scene, key, status="completed", limit="2", cursor=body_of(first)["nextCursor"])

    assert ids(first) + ids(second) == [runs[3], runs[2], runs[0]]


@pytest.mark.parametrize(
    "query", [{"status": "nonsense"}, {"limit": "0"}, {"limit": "101"}, {"cursor": "?"}, {"since": "x"}, {"other": "1"}]
)
def test_question_that_makes_no_sense_is_refused(scene: Scene, key: str, query: dict[str, str]) -> None:
    response = listed(scene, key, **query)

    assert (response["statusCode"], body_of(response)["code"]) == (400, "VALIDATION_FAILED")


def test_one_run_is_told_with_its_payloads_console_and_steps(connected: Scene, key: str, slack: SlackVendor) -> None:
    source = """export default async function main(ctx) {
      console.log("posting");
      await fastn.connector.slack.postMessage({ channel: "nowhere", text: "x" }).catch(() => {});
      return await fastn.connector.slack.postMessage({ channel: "general", text: ctx.input.text });
    }"""
    connected.live("Post", source=source, tier="instant")
    execution_id = execute(connected, key, "post", {"text": "hello"})

    run = body_of(get(connected, key, execution_id))

    refused, posted = run["steps"]
    assert (run["input"], run["output"]["message"]["text"], run["error"]) == ({"text": "hello"}, "hello", None)
    assert [(line["level"], line["text"]) for line in run["console"]] == [("log", "posting")]
    assert (refused["sequence"], refused["status"], refused["output"]) == (1, "failed", None)
    assert refused["error"]["details"]["datasourceDebug"]["jsonObject"]["error"] == "channel_not_found"
    assert (posted["sequence"], posted["status"], posted["error"]) == (2, "succeeded", None)
    assert posted["operation"] == "connector.slack.postMessage"
    assert posted["input"]["args"] == {"channel": "general", "text": "hello"}
    assert posted["output"] == run["output"]
    assert posted["exchange"]["response"]["status"] == 200
    assert posted["durationMs"] >= 0
    assert posted["startedAt"] == rfc3339(connected.clock.now())


def test_failed_run_tells_why(scene: Scene, key: str, runs: list[str]) -> None:
    run = body_of(get(scene, key, runs[1]))

    assert (run["status"], run["output"], run["error"]["message"], run["steps"]) == ("failed", None, "mine", [])


@pytest.mark.parametrize("name", ["not-a-uuid", "..%2f", str(uuid.UUID(int=0))])
def test_run_that_does_not_exist_is_not_found(scene: Scene, key: str, name: str) -> None:
    response = get(scene, key, name)

    assert (response["statusCode"], body_of(response)["code"]) == (404, "NOT_FOUND")


def test_run_of_another_customer_answers_byte_for_byte_as_a_missing_one(
    scene: Scene, default_scene: Scene, stranger: Scene, issue_key: IssueKey, key: str, runs: list[str]
) -> None:
    space_key = issue_key(default_scene.scope).text
    strangers_key = issue_key(stranger.scope).text
    missing = get(scene, key, uuid.uuid4())

    of_a_sibling = get(default_scene, space_key, runs[0], default_scene.scope.tenant_id)
    of_a_stranger = get(stranger, strangers_key, runs[0], stranger.scope.tenant_id)
    named_by_the_path = get(stranger, strangers_key, runs[0], scene.scope.tenant_id)

    assert of_a_sibling == of_a_stranger == named_by_the_path == missing
    assert ids(listed(default_scene, space_key, default_scene.scope.tenant_id)) == []
    assert listed(stranger, strangers_key, scene.scope.tenant_id)["statusCode"] == 404


def test_log_needs_its_own_permission(scene: Scene, issue_key: IssueKey, runs: list[str]) -> None:
    executor = issue_key(scene.scope, permissions=[Permission.WORKFLOWS_EXECUTE]).text

    assert [listed(scene, executor)["statusCode"], get(scene, executor, runs[0])["statusCode"]] == [403, 403]
