"""Workflows that keep state and read secrets: what they see, and what nobody else ever does."""

import base64
import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from fastn.local.vendors.slack import SlackVendor
from fastn.platform.resources import Need, Setting
from fastn.platform.wire import PageRequest
from fastn.secrets import service as secrets
from fastn.secrets.service import StoredSecret, secret_tools
from fastn.secrets.views import NewSecret, SecretRotation, SecretView
from functions.api.flow_name.execute_flow import handler as execute_flow
from functions.api.tenants.tenant_id.executions.execution_id.get_execution import handler as get_execution
from functions.executors.run_segment import handler as run_segment
from tests.foundation.api_calls import body_of
from tests.foundation.databases import ProvisionedDatabase
from tests.foundation.platforms import SETTINGS, IssueKey
from tests.foundation.seeding import read_tables
from tests.integration.events.cloud import Cloud
from tests.integration.events.scene import Scene

PLANTED = "s3cr3t/planted+4f9a'1c\"ü"
OUTCOME = "SELECT status, output, error FROM executions ORDER BY id"
SECRET_NEEDS = frozenset({Need.DATABASE, Need.TENANT_KEYS})
POST_AFTER_SLEEP = """export default async function main() {
  const before = await fastn.secrets.get("TOKEN");
  await fastn.sleep(40000);
  const after = await fastn.secrets.get("TOKEN");
  await fastn.connector.slack.postMessage({ channel: "general", text: `${before} then ${after}` });
}"""
DEDUPLICATE = """export default async function main(ctx) {
  const key = `deal:${ctx.input.id}`;
  if (await fastn.state.get(key)) return "skipped";
  await fastn.state.set(key, { processedAt: new Date().toISOString() }, { ttl: 3600 });
  return "processed";
}"""


@pytest.fixture
def key(scene: Scene, issue_key: IssueKey) -> str:
    """A Live key of the customer's own."""
    return issue_key(scene.scope).text


def keep_secret(scene: Scene, value: str, *, name: str = "TOKEN", environment: str = "production") -> SecretView:
    """A secret of this customer's."""
    tools = secret_tools(scene.functions.platform("make_secret", SECRET_NEEDS))
    return secrets.create_secret(tools, scene.scope, environment, NewSecret(name=name, value=SecretStr(value)))


def rotate(scene: Scene, view: SecretView, value: str) -> None:
    """Its next version."""
    tools = secret_tools(scene.functions.platform("make_secret", SECRET_NEEDS))
    stored = StoredSecret(scene.scope, view.environment, view.id)
    secrets.rotate_secret(tools, stored, SecretRotation(value=SecretStr(value)))


def execute(scene: Scene, key: str, flow: str, run_input: object = None, **headers: str) -> dict[str, Any]:
    """What the endpoint answers."""
    body = {"input": run_input}
    return scene.functions.endpoint(execute_flow, path={"flow_name": flow}, key=key, body=body, headers=headers)


def launched(scene: Scene, cloud: Cloud, key: str, source: str) -> Mapping[str, Any]:
    """The input of the state machine that a call of this flow has started."""
    scene.live("Flow", source=source, tier="standard")
    return json.loads(started_again(scene, cloud, key))


def started_again(scene: Scene, cloud: Cloud, key: str) -> str:
    """The same for one more call."""
    assert execute(scene, key, "flow")["statusCode"] == 202
    return cloud.machines.started[-1]["input"]


def segment(scene: Scene, message: Mapping[str, Any]) -> Any:
    """What the state machine's choice is given."""
    return scene.functions.call(run_segment, dict(message))


def everything_stored(database: ProvisionedDatabase) -> str:
    """Every row of every table."""
    with psycopg.connect(database.superuser_url) as connection:
        queries = [
            sql.SQL("SELECT to_json(t)::text FROM {} t").format(sql.Identifier(table))
            for table in read_tables(database.superuser_url)
        ]
        return "\n".join(str(row) for query in queries for (row,) in connection.execute(query).fetchall())


def all_forms(value: str) -> set[str]:
    """How the value may have been written down; base64 at any alignment shares a core with one of these."""
    raw = value.encode()
    cores = {base64.b64encode(b"_" * shift + raw).decode()[4:-4] for shift in range(3)}
    return {value, quote(value, safe=""), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], *cores}


def test_the_documented_deduplication_lets_each_deal_through_once(scene: Scene, key: str) -> None:
    scene.live("Deals", source=DEDUPLICATE, tier="instant")

    answers = [body_of(execute(scene, key, "deals", {"id": number})) for number in (1, 1, 2, 1)]
    scene.clock.advance(3600)

    assert answers == ["processed", "skipped", "processed", "skipped"]
    assert body_of(execute(scene, key, "deals", {"id": 1})) == "processed"


def test_state_of_customers_and_environments_is_apart(
    scene: Scene, default_scene: Scene, issue_key: IssueKey, key: str
) -> None:
    default_scene.live("Deals", source=DEDUPLICATE, tier="instant")
    default_key = issue_key(default_scene.scope).text

    answers = [
        body_of(execute(scene, key, "deals", {"id": 1})),
        body_of(execute(default_scene, default_key, "deals", {"id": 1})),
        body_of(execute(scene, key, "deals", {"id": 1}, stage="DRAFT")),
        body_of(execute(scene, key, "deals", {"id": 1})),
    ]

    assert answers == ["processed", "processed", "processed", "skipped"]


def test_too_large_a_value_is_a_rejection_the_flow_can_catch(scene: Scene, key: str) -> None:
    source = """export default async function main() {
      return await fastn.state.set("k", "x".repeat(400000)).catch((e) => [e.name, e.code, e.details.problems]);
    }"""
    scene.live("Large", source=source, tier="instant")

    name, code, details = body_of(execute(scene, key, "large"))

    assert (name, code, details["limitBytes"]) == ("StateTooLarge", "PAYLOAD_TOO_LARGE", 400_000)
    assert 400_000 < details["sizeBytes"] < 400_500


def test_what_a_run_read_from_state_it_reads_again_in_its_replay(
    scene: Scene, cloud: Cloud, key: str, slack: SlackVendor
) -> None:
    source = """export default async function main() {
      const before = await fastn.state.get("k");
      const claim = await fastn.state.set("k", "mine", { ifAbsent: true });
      await fastn.sleep(40000);
      return [before, claim.stored, await fastn.state.get("k")];
    }"""
    message = launched(scene, cloud, key, source)
    segment(scene, message)
    table, tables = SETTINGS[Setting.STATE_TABLE], cloud.clients["dynamodb"]
    [item] = tables.scan(TableName=table)["Items"]
    tables.put_item(TableName=table, Item={**item, "value_json": {"S": '"changed since"'}})
    scene.clock.advance(40)

    segment(scene, message)

    assert scene.rows(OUTCOME)[0]["output"] == [None, True, "changed since"]


def test_a_planted_secret_reaches_the_vendor_and_nothing_else(
    connected: Scene,
    key: str,
    slack: SlackVendor,
    cloud: Cloud,
    provisioned_database: ProvisionedDatabase,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    source = """export default async function main(ctx) {
      const token = await fastn.secrets.get("TOKEN");
      console.log("token", token, { token, url: `https://x.test/?t=${encodeURIComponent(token)}` });
      console.error(JSON.stringify({ token }));
      const sent = await fastn.connector.slack.postMessage({ channel: "general", text: `<${token}>` });
      const kept = await fastn.state.set("token", { inside: `<${token}>` }).catch((e) => e);
      const asKey = await fastn.state.set(token, 1).catch((e) => e);
      const missing = await fastn.secrets.get(token).catch((e) => e);
      const again = await fastn.secrets.get("TOKEN");
      const told = [token, sent.message.text, kept.name, asKey.name, missing.message, again === token];
      if (ctx.input.fails) throw new Error(`it was ${token}`);
      return told;
    }"""
    keep_secret(connected, PLANTED)
    connected.live("Leak", source=source, tier="instant")

    returned, failed = (execute(connected, key, "leak", {"fails": fails}) for fails in (False, True))
    ids = [row["id"] for row in connected.rows("SELECT id FROM executions ORDER BY id")]
    traces = [
        connected.functions.endpoint(
            get_execution, path={"tenant_id": connected.scope.tenant_id, "execution_id": each}, key=key
        )
        for each in ids
    ]

    printed = capsys.readouterr()
    logged = [vars(record) for record in caplog.records]
    seen = f"{returned} {failed} {traces} {logged} {printed.out} {printed.err}"
    seen += everything_stored(provisioned_database)
    seen += str(cloud.clients["dynamodb"].scan(TableName=SETTINGS[Setting.STATE_TABLE]))
    assert {form for form in all_forms(PLANTED) if form in seen} == set()
    assert [call.arguments["text"] for call in slack.calls("chat.postMessage")] == [f"<{PLANTED}>"] * 2
    assert (returned["statusCode"], failed["statusCode"]) == (200, 500)
    told = body_of(returned)
    assert told[0] == "••••"
    assert told[2:4] == ["StateHoldsSecret"] * 2
    assert told[5] is True


def test_the_trace_names_the_secret_and_its_version_only(scene: Scene, key: str) -> None:
    view = keep_secret(scene, PLANTED)
    rotate(scene, view, PLANTED)
    scene.live("Read", source='export default async () => (await fastn.secrets.get("TOKEN")).length', tier="instant")

    response = execute(scene, key, "read")

    [step] = scene.rows("SELECT operation, arguments, result, error FROM execution_steps")
    assert body_of(response) == len(PLANTED)
    assert step == {
        "operation": "secrets.get",
        "arguments": {"name": "TOKEN"},
        "result": {"secret": "TOKEN", "version": 2, "id": str(view.id)},
        "error": None,
    }


@pytest.mark.parametrize("value", ["TOKEN", "secret", "version", "0000"])
def test_a_secret_that_looks_like_its_own_reference_is_restored_all_the_same(
    connected: Scene, cloud: Cloud, key: str, slack: SlackVendor, value: str
) -> None:
    keep_secret(connected, value)
    message = launched(connected, cloud, key, POST_AFTER_SLEEP)

    segment(connected, message)
    connected.clock.advance(40)
    segment(connected, message)

    assert [call.arguments["text"] for call in slack.calls("chat.postMessage")] == [f"{value} then {value}"]


def test_a_replay_after_a_rotation_goes_on_with_the_version_it_had_read(
    connected: Scene, cloud: Cloud, key: str, slack: SlackVendor, provisioned_database: ProvisionedDatabase
) -> None:
    view = keep_secret(connected, "planted-one")
    message = launched(connected, cloud, key, POST_AFTER_SLEEP)
    waits = segment(connected, message)
    rotate(connected, view, "planted-two")
    connected.clock.advance(40)

    ends = segment(connected, message)

    assert (waits["state"], ends["state"]) == ("wait", "done")
    assert [call.arguments["text"] for call in slack.calls("chat.postMessage")] == ["planted-one then planted-two"]
    assert "planted-" not in everything_stored(provisioned_database)


def test_a_run_goes_on_through_four_rotations_and_fails_plainly_after_five(
    connected: Scene, cloud: Cloud, key: str, slack: SlackVendor
) -> None:
    view = keep_secret(connected, "planted-1")
    kept = launched(connected, cloud, key, POST_AFTER_SLEEP)
    connected.clock.advance(1)
    lost = json.loads(started_again(connected, cloud, key))
    for message in (kept, lost):
        segment(connected, message)
    for number in range(2, 6):
        rotate(connected, view, f"planted-{number}")
    connected.clock.advance(40)
    segment(connected, kept)
    rotate(connected, view, "planted-6")

    segment(connected, lost)

    assert [call.arguments["text"] for call in slack.calls("chat.postMessage")] == ["planted-1 then planted-5"]
    completed, failed = connected.rows(OUTCOME)
    assert completed["status"] == "completed"
    assert (failed["status"], failed["error"]["name"]) == ("failed", "RunCannotResume")
    assert failed["error"]["message"] == "Version 1 of the secret TOKEN does not exist any more."


def test_a_secret_made_anew_under_the_same_name_is_not_taken_for_the_deleted_one(
    connected: Scene, cloud: Cloud, key: str, slack: SlackVendor
) -> None:
    view = keep_secret(connected, "planted-old")
    message = launched(connected, cloud, key, POST_AFTER_SLEEP)
    segment(connected, message)
    secrets.delete_secret(connected.database, StoredSecret(connected.scope, "production", view.id))
    keep_secret(connected, "planted-new")
    connected.clock.advance(40)

    segment(connected, message)

    assert slack.calls("chat.postMessage") == []
    assert connected.rows(OUTCOME)[0]["error"]["name"] == "RunCannotResume"


def test_a_shared_workflow_reads_the_secrets_of_the_customer_it_runs_for(
    scene: Scene, default_scene: Scene, key: str
) -> None:
    source = """export default async function main() {
      return await fastn.secrets.get("TOKEN").then((token) => token.length, (e) => e.name);
    }"""
    default_scene.live("Read", source=source, tier="instant")
    keep_secret(default_scene, "of the author")
    keep_secret(scene, "of staging", environment="staging")

    before = body_of(execute(scene, key, "read"))
    keep_secret(scene, "customer")
    after = body_of(execute(scene, key, "read"))

    assert (before, after) == ("SecretMissing", len("customer"))
    names = [view.name for view in secrets.list_secrets(scene.database, scene.scope, "production", PageRequest()).data]
    assert names == ["TOKEN"]
