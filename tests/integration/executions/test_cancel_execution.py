"""Cancelling over the API, while a segment is in a call to a vendor that never answers."""

import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from fastn.access.models import KeyMode, Permission
from fastn.local.vendors.loopback_server import LoopbackServer, VendorRequest, VendorResponse
from fastn.local.vendors.slack import LOCAL_TOKEN
from functions.api.flow_name.execute_flow import handler as execute_flow
from functions.api.tenants.tenant_id.executions.execution_id.cancel_execution import handler as cancel_execution
from functions.executors.run_segment import handler as run_segment
from tests.foundation.api_calls import body_of
from tests.foundation.platforms import IssueKey
from tests.integration.events.cloud import Cloud
from tests.integration.events.scene import Scene

CALL = """export default async function main() {
  return await fastn.connector.slack.postMessage({ channel: "general", text: "x" });
}"""


@pytest.fixture
def key(scene: Scene, issue_key: IssueKey) -> str:
    """A Live key of the customer's own."""
    return issue_key(scene.scope).text


def launched(scene: Scene, cloud: Cloud, key: str) -> dict[str, str]:
    """The input of the state machine of a run that calls Slack."""
    scene.live("Flow", source=CALL, tier="standard")
    assert scene.functions.endpoint(execute_flow, path={"flow_name": "flow"}, key=key, body={})["statusCode"] == 202
    return json.loads(cloud.machines.started[-1]["input"])


def cancel(scene: Scene, key: str, execution_id: str, tenant_id: object = None) -> dict[str, Any]:
    """The endpoint's answer."""
    path = {"tenant_id": str(tenant_id or scene.scope.tenant_id), "execution_id": execution_id}
    return scene.functions.endpoint(cancel_execution, path=path, key=key)


def test_run_in_a_call_that_is_never_answered_is_left_within_two_seconds(scene: Scene, cloud: Cloud, key: str) -> None:
    asked, told = threading.Event(), threading.Event()
    cancelled_at: list[float] = []
    answers: list[dict[str, Any]] = []

    def never(_request: VendorRequest) -> VendorResponse:
        asked.set()
        told.wait(20)
        return VendorResponse()

    with LoopbackServer(never) as vendor:
        scene.functions.routes["slack.com"] = vendor.port
        scene.connect("slack", {"access_token": LOCAL_TOKEN})
        message = launched(scene, cloud, key)

        def cancel_it() -> None:
            asked.wait(10)
            answers.append(cancel(scene, key, message["executionId"]))
            cancelled_at.append(time.monotonic())

        canceller = threading.Thread(target=cancel_it)
        canceller.start()
        answer = scene.functions.call(run_segment, message)
        took_seconds = time.monotonic() - cancelled_at[0]
        canceller.join()
        told.set()

    assert answer == {**message, "state": "done"}
    assert took_seconds < 2
    assert (answers[0]["statusCode"], body_of(answers[0])["status"]) == (200, "cancelled")
    assert [row["status"] for row in scene.rows("SELECT status FROM executions")] == ["cancelled"]
    assert scene.rows("SELECT FROM execution_steps") == []


def test_waiting_machine_that_wakes_finds_its_run_cancelled(connected: Scene, cloud: Cloud, key: str) -> None:
    message = launched(connected, cloud, key)

    first, second = (cancel(connected, key, message["executionId"]) for _ in range(2))

    assert connected.functions.call(run_segment, message) == {**message, "state": "done"}
    assert (first["statusCode"], second["statusCode"]) == (200, 409)
    assert body_of(second)["details"] == {"status": "cancelled"}


def test_run_that_is_not_the_callers_answers_as_a_missing_one(
    scene: Scene, stranger: Scene, cloud: Cloud, key: str, issue_key: IssueKey
) -> None:
    message = launched(scene, cloud, key)
    strangers_key = issue_key(stranger.scope).text

    foreign = cancel(stranger, strangers_key, message["executionId"])
    missing = cancel(stranger, strangers_key, str(uuid.uuid4()))

    assert (foreign, foreign["statusCode"]) == (missing, 404)
    assert [row["status"] for row in scene.rows("SELECT status FROM executions")] == ["pending"]


@pytest.mark.parametrize(
    "members",
    [{"permissions": [Permission.EXECUTIONS_READ, Permission.WORKFLOWS_READ]}, {"mode": KeyMode.TEST}],
    ids=["reader", "test key"],
)
def test_cancelling_needs_the_execute_permission_and_in_production_a_live_key(
    scene: Scene, cloud: Cloud, key: str, issue_key: Callable[..., Any], members: dict[str, Any]
) -> None:
    message = launched(scene, cloud, key)

    answer = cancel(scene, issue_key(scene.scope, **members).text, message["executionId"])

    assert (answer["statusCode"], body_of(answer)["code"]) == (403, "FORBIDDEN")
