"""The whole way, through the front door: what a customer's vendor and a customer's backend would see."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fastn.local.demo.api import ApiCaller
from fastn.local.postgres import EmbeddedPostgres
from tests.e2e.pipeline.conftest import CHECKOUT, House
from tests.load.scene import CUSTOMER, Scene, deliver, new_order_ids, order, signed_order, wait_until

pytestmark = pytest.mark.e2e

FINISH_SECONDS = 30.0
ENDED_BY = {"MEMORY_LIMIT", "STACK_OVERFLOW", "TIME_LIMIT", "SCRIPT_ERROR"}
# Each would run for ever or take all memory, and several never ask whether they may go on.
RUNAWAYS = {
    "endless loop": "while (true) {}",
    "huge array": "return new Array(1e9).fill(0).length;",
    "huge join": "return new Array(2**32 - 1).join().length;",
    "native loop": "return Array.prototype.includes.call({length: 2**53 - 1}, 1);",
    "endless recursion": "const f = () => f() + 1; return f();",
    "big integer": "return (2n**1000000n).toString().length;",
    "catastrophic expression": "return /^(a+)+$/.test('a'.repeat(40) + '!');",
    "endless microtasks": "const again = () => Promise.resolve().then(again); await again();",
}


def executions(house: House, **filters: str) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={value}" for name, value in {"limit": "100", **filters}.items())
    return house.caller.call("GET", f"/api/v1/tenants/{CUSTOMER}/executions?{query}")["data"]


def messages_about(house: House, order_id: str) -> list[str]:
    texts = [str(call.arguments.get("text")) for call in house.slack.calls("chat.postMessage") if call.error is None]
    return [text for text in texts if order_id in text]


def stored(house: House) -> tuple[int, int]:
    with house.platform.database.transaction(house.scene.owner) as session:
        row = session.execute(
            "SELECT (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM executions) AS executions"
        ).fetchone()
    assert row is not None
    return row["events"], row["executions"]


def test_a_delivery_posted_twenty_times_in_parallel_is_one_execution(house: House) -> None:
    (order_id,) = new_order_ids(1)
    body, headers = signed_order(house.scene, order_id)
    events_before, executions_before = stored(house)

    def post(_number: int) -> int:
        with closing(house.scene.caller()) as caller:
            return caller.send("POST", house.scene.webhook_path, body, headers)[0]

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(post, range(20)))

    assert statuses == [202] * 20
    assert wait_until(lambda: bool(messages_about(house, order_id)), within_seconds=FINISH_SECONDS)
    assert wait_until(lambda: not executions(house, status="running"), within_seconds=FINISH_SECONDS)
    assert stored(house) == (events_before + 1, executions_before + 1)
    assert len(messages_about(house, order_id)) == 1


def test_the_trace_tells_what_went_in_and_came_out_and_not_the_token(house: House) -> None:
    (order_id,) = new_order_ids(1)

    deliver(house.scene, house.caller, order_id)

    def finished() -> list[dict[str, Any]]:
        return [
            one for one in executions(house, status="completed") if trace(house, one["id"])["input"]["id"] == order_id
        ]

    assert wait_until(lambda: bool(finished()), within_seconds=FINISH_SECONDS)
    told = trace(house, finished()[0]["id"])
    (step,) = told["steps"]
    assert step["operation"] == "connector.slack.postMessage"
    assert step["status"] == "succeeded"
    assert order_id in step["input"]["args"]["text"]
    assert step["output"]["ok"] is True
    assert step["exchange"]["response"]["status"] == 200
    assert told["triggeredBy"] == "webhook"
    assert "xoxb-" not in json.dumps(told)


def trace(house: House, execution_id: str) -> dict[str, Any]:
    return house.caller.call("GET", f"/api/v1/tenants/{CUSTOMER}/executions/{execution_id}")


def with_wrong_signature(_scene: Scene, body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    return body, {**headers, "x-fastn-signature": "sha256=" + "0" * 64}


def without_signature(_scene: Scene, body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    return body, {name: value for name, value in headers.items() if name != "x-fastn-signature"}


def with_stale_timestamp(_scene: Scene, body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    return body, {**headers, "x-fastn-timestamp": "1700000000"}


def with_garbage(_scene: Scene, _body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    return b"\xff\xfe garbage " * (1024 * 1024 // 11), headers


@pytest.mark.parametrize("spoil", [with_wrong_signature, without_signature, with_stale_timestamp, with_garbage])
def test_a_delivery_that_is_not_genuine_stores_nothing(
    house: House, spoil: Callable[[Scene, bytes, dict[str, str]], tuple[bytes, dict[str, str]]]
) -> None:
    body, headers = signed_order(house.scene, new_order_ids(1)[0])
    spoilt_body, spoilt_headers = spoil(house.scene, body, dict(headers))
    before = stored(house)

    status, answer = house.caller.send("POST", house.scene.webhook_path, spoilt_body, spoilt_headers)

    assert (status, json.loads(answer)["code"]) == (401, "UNAUTHORIZED")
    assert stored(house) == before


def test_an_instant_flow_answers_with_its_result(house: House) -> None:
    (order_id,) = new_order_ids(1)

    result = house.caller.call("POST", "/api/v1/order_to_slack_now", {"input": order(order_id)})

    assert result["order"] == order_id
    assert messages_about(house, order_id)


@pytest.mark.parametrize("name", sorted(RUNAWAYS))
def test_a_runaway_ends_its_own_run_and_the_next_one_works(house: House, name: str) -> None:
    caller = house.caller
    flow = deployed(caller, f"Runaway {name}", f"export default async function (ctx) {{ {RUNAWAYS[name]} }}")

    status, answer = caller.send("POST", f"/api/v1/{flow}", b'{"input": {}}', {"content-type": "application/json"})

    told = json.loads(answer)
    assert (status, told["code"]) in {(408, "TIMED_OUT"), (500, "INTERNAL_ERROR")}
    assert status == 408 or told["details"]["error"]["fault"] in {
        "MEMORY_LIMIT",
        "STACK_OVERFLOW",
        "TIME_LIMIT",
        "SCRIPT_ERROR",
    }
    assert caller.call("POST", "/api/v1/order_to_slack_now", {"input": order("after")})["order"] == "after"


def deployed(caller: ApiCaller, name: str, source: str) -> str:
    tenant = f"/api/v1/tenants/{CUSTOMER}"
    wanted = {"name": name, "tier": "instant", "timeoutSeconds": 2, "source": source}
    created = caller.call("POST", f"{tenant}/workflows", wanted)
    caller.call("POST", f"{tenant}/workflows/{created['id']}/publish")
    caller.call("POST", f"{tenant}/workflows/{created['id']}/deploy", {"environment": "production"})
    return created["slug"]


def test_the_demo_prints_one_json_object_and_data_survives_to_the_next(tmp_path: Path, engine_directory: Path) -> None:
    assert engine_directory.is_dir()
    command = [sys.executable, "-m", "fastn.cli.main", "demo", "--json", "--state-directory", str(tmp_path)]

    first = json.loads(subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout)
    second = json.loads(subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout)
    EmbeddedPostgres(tmp_path / "postgres").erase()

    assert first["ok"] is second["ok"] is True
    assert [hop["name"] for hop in first["hops"]] == [
        "received", "outbox", "bus", "routed", "step functions", "javascript run", "slack chat.postMessage", "recorded",
    ]  # fmt: skip
    times = [hop["ms"] for hop in first["hops"]]
    assert times == sorted(times)
    assert first["vendor_calls"] == second["vendor_calls"] == 1
    assert first["execution"]["workflowId"] == second["execution"]["workflowId"]


def test_the_supervisors_own_environment_does_not_point_at_the_emulator(house: House) -> None:
    assert house.scene.api_url
    assert "AWS_ENDPOINT_URL" not in os.environ
