"""`POST /api/v1/{flow_name}`: results inline, refusals in the vendor's words, nothing lost, nothing leaked."""

import json
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from fastn.access.models import KeyMode, Permission, Principal
from fastn.engine.runs import JavaScriptEngine
from fastn.executions.inline import INLINE_SECONDS, FlowCall, FlowExecutor
from fastn.executions.launching import Launcher
from fastn.executions.models import RunnableExecution
from fastn.executions.running import PerformedCall, Runner
from fastn.executions.stopping import StopSignal
from fastn.local.vendors.slack import LOCAL_TOKEN, SlackVendor
from fastn.platform.clock import FrozenClock
from fastn.platform.resources import Need
from fastn.platform.scope import Scope
from functions.api.flow_name.execute_flow import handler as execute_flow
from functions.executors.execute_instant import handler as execute_instant
from tests.foundation.api_calls import body_of
from tests.foundation.platforms import SETTINGS, IssueKey
from tests.integration.events.cloud import Cloud
from tests.integration.events.scene import Scene

ECHO = "export default async function main(ctx) { return { input: ctx.input, headers: ctx.headers }; }"
POST = """export default async function main(ctx) {
  return await fastn.connector.slack.postMessage({ channel: ctx.input.channel, text: "hello" });
}"""
EXECUTIONS = "SELECT id, status, tier, triggered_by, environment, version_number, error FROM executions ORDER BY id"


@pytest.fixture
def key(scene: Scene, issue_key: IssueKey) -> str:
    """A Live key of the customer's own."""
    return issue_key(scene.scope).text


def execute(scene: Scene, key: str | None, flow: str, run_input: object = None, **sent: Any) -> dict[str, Any]:
    """What the endpoint answers."""
    body = sent.pop("body", {"input": run_input})
    return scene.functions.endpoint(execute_flow, path={"flow_name": flow}, key=key, body=body, **sent)


def test_instant_flow_answers_with_its_result_and_the_executions_id(scene: Scene, key: str) -> None:
    scene.live("Orders", source=ECHO, tier="instant")

    response = execute(scene, key, "orders", {"n": 1}, headers={"authorization": "planted", "x-kept": "yes"})

    body = body_of(response)
    [execution] = scene.rows(EXECUTIONS)
    assert response["statusCode"] == 200
    assert response["headers"]["x-fastn-execution-id"] == str(execution["id"])
    assert response["headers"]["content-type"] == "application/json"
    assert (body["input"], body["headers"]["x-kept"]) == ({"n": 1}, "yes")
    assert key not in response["body"]
    assert "planted" not in response["body"]
    assert (execution["status"], execution["tier"], execution["environment"], execution["version_number"]) == (
        "completed", "instant", "production", 1,
    )  # fmt: skip
    assert execution["triggered_by"].startswith("api_key:")


@pytest.mark.parametrize("name", ["send-order-mail", "send_order_mail", "send-order_mail"])
def test_hyphens_and_underscores_name_the_same_flow(scene: Scene, key: str, name: str) -> None:
    scene.live("Send order mail", source=ECHO, tier="instant")

    assert execute(scene, key, name)["statusCode"] == 200


def test_customer_runs_what_the_default_tenant_shares_as_a_run_of_its_own(
    scene: Scene, default_scene: Scene, key: str
) -> None:
    default_scene.live("Shared", source=ECHO, tier="instant")

    response = execute(scene, key, "shared")

    assert response["statusCode"] == 200
    assert len(scene.rows(EXECUTIONS)) == 1
    assert default_scene.rows(EXECUTIONS) == []


def test_key_of_the_space_without_a_tenant_acts_for_the_default_tenant(
    scene: Scene, default_scene: Scene, issue_key: IssueKey
) -> None:
    default_scene.live("Shared", source=ECHO, tier="instant")
    key = issue_key(replace(default_scene.scope, tenant_id=None)).text

    response = execute(scene, key, "shared")

    assert response["statusCode"] == 200
    assert len(default_scene.rows(EXECUTIONS)) == 1


@pytest.mark.parametrize("header", ["x-fastn-space-tenantid", "x-fastn-account-tenant-id"])
def test_key_of_the_space_acts_for_the_tenant_in_the_header(scene: Scene, issue_key: IssueKey, header: str) -> None:
    scene.live("Orders", source=ECHO, tier="instant")
    key = issue_key(replace(scene.scope, tenant_id=None)).text

    response = execute(scene, key, "orders", headers={header: "tenant_customer_123"})

    assert response["statusCode"] == 200
    assert len(scene.rows(EXECUTIONS)) == 1


def test_flow_of_another_tenant_looks_missing(scene: Scene, sibling: Scope, key: str) -> None:
    private = replace(scene, scope=sibling).live("Private", source=ECHO, tier="instant")
    missing = [execute(scene, key, "absent"), execute(scene, key, str(uuid.uuid4()))]

    foreign = [execute(scene, key, "private"), execute(scene, key, str(private))]
    other_tenant = execute(scene, key, "private", headers={"x-fastn-space-tenantid": str(sibling.tenant_id)})

    assert foreign == missing
    assert other_tenant == missing[0]
    assert (missing[0]["statusCode"], body_of(missing[0])["code"]) == (404, "NOT_FOUND")
    assert scene.rows(EXECUTIONS) == []


@pytest.mark.parametrize("state", ["draft", "elsewhere", "nonsense name!"])
def test_flow_that_is_not_live_here_is_not_found(scene: Scene, key: str, state: str) -> None:
    if state == "draft":
        scene.draft("Orders", source=ECHO, tier="instant")
    else:
        scene.live("Orders", source=ECHO, tier="instant", environment="staging")

    response = execute(scene, key, "orders" if state != "nonsense name!" else state)

    assert (response["statusCode"], body_of(response)["code"]) == (404, "NOT_FOUND")


def test_test_key_reaches_the_draft_and_not_production(scene: Scene, issue_key: IssueKey) -> None:
    scene.live("Orders", source=ECHO, tier="instant")
    key = issue_key(scene.scope, mode=KeyMode.TEST).text

    in_production = execute(scene, key, "orders")
    as_draft = execute(scene, key, "orders", headers={"stage": "DRAFT"})

    assert (in_production["statusCode"], body_of(in_production)["code"]) == (403, "FORBIDDEN")
    assert as_draft["statusCode"] == 200
    assert [(row["environment"], row["version_number"]) for row in scene.rows(EXECUTIONS)] == [("draft", None)]


def test_caller_needs_a_key_with_the_permission(scene: Scene, issue_key: IssueKey) -> None:
    scene.live("Orders", source=ECHO, tier="instant")
    reader = issue_key(scene.scope, permissions=[Permission.WORKFLOWS_READ]).text

    statuses = [execute(scene, key, "orders")["statusCode"] for key in (None, "wak_live_x_y", reader)]

    assert statuses == [401, 401, 403]
    assert scene.rows(EXECUTIONS) == []


def test_input_that_does_not_fit_the_request_schema_starts_nothing(scene: Scene, key: str) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    scene.live("Orders", source=ECHO, tier="instant", request_schema=schema)

    wrong: list[object] = [None, {}, {"n": "1"}, []]
    refused = [execute(scene, key, "orders", run_input) for run_input in wrong]
    accepted = execute(scene, key, "orders", {"n": 1})

    assert {(response["statusCode"], body_of(response)["code"]) for response in refused} == {(400, "VALIDATION_FAILED")}
    assert accepted["statusCode"] == 200
    assert len(scene.rows(EXECUTIONS)) == 1


@pytest.mark.parametrize("body", ["", "no json", '{"other": 1}', "[]", '{"input": NaN}', '{"input": 1e400}'])
def test_body_that_is_not_a_request_is_refused(scene: Scene, key: str, body: str) -> None:
    scene.live("Orders", source=ECHO, tier="instant")

    response = execute(scene, key, "orders", body=body)

    assert (response["statusCode"], body_of(response)["code"]) == (400, "VALIDATION_FAILED")
    assert scene.rows(EXECUTIONS) == []


@pytest.mark.parametrize("value", ["ä", 2**70, 1.5, [], None, {"": {"a": [None]}}], ids=repr)
def test_odd_input_comes_back_as_it_went(scene: Scene, key: str, value: object) -> None:
    scene.live("Orders", source=ECHO, tier="instant")

    response = execute(scene, key, "orders", value)

    assert response["statusCode"] == 200
    assert body_of(response)["input"] == (float(2**70) if value == 2**70 else value)


@pytest.mark.parametrize("value", ["\0", "\ud800", {"\0": 1}], ids=ascii)
def test_input_that_no_database_keeps_is_refused(scene: Scene, key: str, value: object) -> None:
    scene.live("Orders", source=ECHO, tier="instant")

    response = execute(scene, key, "orders", value)

    assert (response["statusCode"], body_of(response)["code"]) == (400, "VALIDATION_FAILED")
    assert scene.rows(EXECUTIONS) == []


# ── Vendors ───────────────────────────────────────────────────────────────────────────────────────


def test_connector_call_goes_out_with_the_customers_credential_and_answers(
    connected: Scene, key: str, slack: SlackVendor
) -> None:
    connected.live("Post", source=POST, tier="instant")

    response = execute(connected, key, "post", {"channel": "general"})

    assert response["statusCode"] == 200
    assert body_of(response)["channel"] == "C0000000001"
    assert [call.arguments["text"] for call in slack.calls("chat.postMessage")] == ["hello"]
    assert set(slack.messages_by_key().values()) == {1}


def test_vendors_refusal_is_told_as_the_api_reference_shows_it(connected: Scene, key: str) -> None:
    connected.live("Post", source=POST, tier="instant")

    response = execute(connected, key, "post", {"channel": "nowhere"})

    body = body_of(response)
    message = body.pop("message")
    assert response["statusCode"] == 400
    assert body == {
        "code": "DATASOURCE_CONNECTION_ERROR",
        "statusCode": 400,
        "requestId": "request-1",
        "isCustomAuthError": False,
        "step": "postMessage",
        "datasourceDebug": {"name": "postMessage", "jsonObject": {"ok": False, "error": "channel_not_found"}},
    }
    assert "channel_not_found" in message
    assert [row["status"] for row in connected.rows(EXECUTIONS)] == ["failed"]


def test_refusal_that_the_flow_catches_is_its_own_affair(connected: Scene, key: str) -> None:
    source = POST.replace("});", "}).catch((error) => [error.name, error.details.datasourceDebug.jsonObject.error]);")
    connected.live("Post", source=source, tier="instant")

    response = execute(connected, key, "post", {"channel": "nowhere"})

    assert (response["statusCode"], body_of(response)) == (200, ["Rejected", "channel_not_found"])


def test_missing_connection_is_named(scene: Scene, key: str, slack: SlackVendor) -> None:
    scene.live("Post", source=POST, tier="instant")

    response = execute(scene, key, "post", {"channel": "general"})

    assert (response["statusCode"], body_of(response)["code"]) == (400, "DATASOURCE_CONNECTION_ERROR")
    assert "slack" in body_of(response)["message"]
    assert slack.calls() == []


def test_connection_of_another_environment_or_tenant_is_not_used(
    scene: Scene, default_scene: Scene, key: str, slack: SlackVendor
) -> None:
    scene.connect("slack", {"access_token": LOCAL_TOKEN}, environment="staging")
    default_scene.connect("slack", {"access_token": LOCAL_TOKEN})
    default_scene.live("Post", source=POST, tier="instant")

    response = execute(scene, key, "post", {"channel": "general"})

    assert response["statusCode"] == 400
    assert slack.calls() == []


@pytest.mark.parametrize(
    ("call", "name", "says"),
    [
        ("fastn.connector.nothing.postMessage({})", "NotFound", "does not exist"),
        ("fastn.connector.slack.nothing({})", "ValidationFailed", "nothing"),
        ("fastn.connector.slack.postMessage({})", "ValidationFailed", "channel"),
        ("fastn.connector.slack.postMessage([1])", "ValidationFailed", "named arguments"),
        ("fastn.state.set('k')", "ValidationFailed", "value: Field required"),
        ("fastn.secrets.get('MISSING')", "SecretMissing", "no secret named MISSING in production"),
        ("fastn.secrets.get('../nul\\u0000')", "SecretMissing", "names look like"),
        ("fastn.secrets.get(7)", "ValidationFailed", "name of a secret"),
    ],
)
def test_call_that_cannot_be_made_says_so_to_the_flow(
    connected: Scene, key: str, slack: SlackVendor, call: str, name: str, says: str
) -> None:
    source = f"export default async function main() {{ return await {call}.catch((e) => [e.name, e.message]); }}"
    connected.live("Call", source=source, tier="instant")

    response = execute(connected, key, "call")

    assert response["statusCode"] == 200
    assert body_of(response)[0] == name
    assert says in body_of(response)[1]
    assert slack.calls() == []


def test_failed_flow_names_the_error_and_the_execution(scene: Scene, key: str) -> None:
    scene.live("Broken", source="export default async function main() { null.x; }", tier="instant")

    response = execute(scene, key, "broken")

    body = body_of(response)
    [execution] = scene.rows(EXECUTIONS)
    assert (response["statusCode"], body["code"]) == (500, "INTERNAL_ERROR")
    assert "TypeError" in body["message"]
    assert body["details"]["executionId"] == str(execution["id"])
    assert execution["status"] == "failed"


def test_token_is_nowhere_although_the_vendor_echoes_it(
    connected: Scene, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"""export default async function main() {{
      const post = (text) => fastn.connector.slack.postMessage({{ channel: "general", text }});
      const echoed = await post("{LOCAL_TOKEN}");
      console.log(echoed.message.text, echoed);
      const refused = await fastn.connector.slack.postMessage({{ channel: "{LOCAL_TOKEN}", text: "x" }})
        .catch((error) => error);
      console.error(refused.message, refused.details);
      await post(btoa("{LOCAL_TOKEN}"));
      if (echoed.message.text.includes("xoxb")) throw new Error("seen");
      throw new Error(`with ${{echoed.message.text}} and {LOCAL_TOKEN}`);
    }}"""
    connected.live("Leak", source=source, tier="instant")

    response = execute(connected, key, "leak")

    kept = [
        *connected.rows("SELECT output::text, error::text, console::text, input::text, headers::text FROM executions"),
        *connected.rows("SELECT arguments::text, result::text, error::text, exchange::text FROM execution_steps"),
    ]
    printed = capsys.readouterr()
    assert response["statusCode"] == 500
    assert len(kept) == 4
    assert LOCAL_TOKEN not in json.dumps(kept) + response["body"] + printed.out + printed.err
    assert "seen" not in response["body"]


# ── Not inline ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tier", ["standard", "long"])
def test_longer_tiers_are_started_and_answered_with_202(scene: Scene, key: str, cloud: Cloud, tier: str) -> None:
    scene.live("Orders", source=ECHO, tier=tier)

    response = execute(scene, key, "orders", {"n": 1})

    [execution] = scene.rows(EXECUTIONS)
    assert response["statusCode"] == 202
    assert response["headers"]["x-fastn-execution-id"] == str(execution["id"])
    assert body_of(response) == {"executionId": str(execution["id"]), "status": "pending"}
    assert cloud.machines.started == [
        {
            "stateMachineArn": SETTINGS[f"FASTN_{tier.upper()}_STATE_MACHINE_ARN"],
            "name": f"{execution['id']}-1",
            "input": json.dumps({**scene.scope.as_text(), "executionId": str(execution["id"]), "launch": 1}),
        }
    ]
    assert execution["status"] == "pending"


def test_run_that_outlives_its_callers_patience_is_handed_over_and_ends_in_the_background(
    connected: Scene, key: str, cloud: Cloud, slack: SlackVendor, engine: JavaScriptEngine
) -> None:
    source = """export default async function main() {
      const one = await fastn.connector.slack.postMessage({ channel: "general", text: "1" });
      const two = await fastn.connector.slack.postMessage({ channel: "general", text: "2" });
      return [one.message.text, two.message.text];
    }"""
    connected.live("Slow", source=source, tier="instant")
    executor = _slow_executor(connected, engine)
    call = FlowCall(connected.scope, "production", "slow", None, {})

    answer = executor.execute(call, _caller(connected), "trace-1")

    assert (answer.status, answer.output_json) == ("running", None)
    [invoked] = cloud.functions.invoked
    assert invoked["InvocationType"] == "Event"
    assert json.loads(invoked["Payload"])["executionId"] == str(answer.execution_id)
    assert [row["status"] for row in connected.rows(EXECUTIONS)] == ["running"]
    connected.functions.call(execute_instant, json.loads(invoked["Payload"]))
    [execution] = connected.rows("SELECT status, output FROM executions")
    assert execution == {"status": "completed", "output": ["slow", "2"]}
    assert [call.arguments["text"] for call in slack.calls("chat.postMessage")] == ["2"]


@dataclass(frozen=True, slots=True)
class SlowHost:
    """A vendor that takes longer than any caller waits."""

    clock: FrozenClock

    def perform(self, operation: str, arguments_json: str, idempotency_key: str) -> PerformedCall:
        """Its answer, late."""
        assert operation == "connector.slack.postMessage"
        assert json.loads(arguments_json)["args"]["text"] == "1"
        assert len(idempotency_key) == 64
        self.clock.advance(INLINE_SECONDS + 0.1)
        return PerformedCall('{"message": {"text": "slow"}}')

    def restored(self, operation: str, recorded_json: str) -> str:  # noqa: ARG002  # a Host's signature
        """What was recorded."""
        return recorded_json

    def is_write(self, operation: str, arguments_json: str) -> bool:  # noqa: ARG002  # a Host's signature
        """It is."""
        return True

    def masked(self, text: str) -> str:
        """It has no secrets."""
        return text

    def masked_json(self, json_text: str) -> str:
        """It has no secrets."""
        return json_text


def _slow_executor(scene: Scene, engine: JavaScriptEngine) -> FlowExecutor:
    def host_of(execution: RunnableExecution, until: datetime, stop: StopSignal) -> SlowHost:
        assert execution.is_first_launch
        assert until > scene.clock.now()
        return SlowHost(scene.clock)

    launcher = Launcher(scene.functions.platform("slow", frozenset({Need.WORKFLOW_RUNS, Need.INSTANT_RUNS})))
    return FlowExecutor(
        scene.database, lambda: Runner(scene.database, engine, host_of, scene.clock), launcher, scene.clock
    )


def _caller(scene: Scene) -> Principal:
    return Principal(uuid.uuid4(), KeyMode.LIVE, scene.scope, frozenset())


def test_sleep_longer_than_the_callers_patience_is_handed_over_at_once(scene: Scene, key: str, cloud: Cloud) -> None:
    source = "export default async function main() { await fastn.sleep(26000); return 1; }"
    scene.live("Nap", source=source, tier="instant", timeout_seconds=60)

    response = execute(scene, key, "nap")

    [execution] = scene.rows(EXECUTIONS)
    assert (response["statusCode"], body_of(response)["status"]) == (202, "running")
    assert len(cloud.functions.invoked) == 1
    scene.clock.advance(26)
    scene.functions.call(execute_instant, json.loads(cloud.functions.invoked[0]["Payload"]))
    assert [row["status"] for row in scene.rows(EXECUTIONS)] == ["completed"]
    assert execution["status"] == "running"


def test_flow_over_its_own_timeout_is_408(scene: Scene, key: str) -> None:
    source = "export default async function main() { while (true) {} }"
    scene.live("Endless", source=source, tier="instant", timeout_seconds=1)

    response = execute(scene, key, "endless")

    [execution] = scene.rows(EXECUTIONS)
    assert (response["statusCode"], body_of(response)["code"]) == (408, "TIMED_OUT")
    assert body_of(response)["details"] == {"executionId": str(execution["id"])}
    assert (execution["status"], execution["error"]["fault"]) == ("timed_out", "TIME_LIMIT")
