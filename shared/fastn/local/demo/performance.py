"""The demo itself: set up once, post one delivery, watch it through every hop."""

import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastn.connectors.catalog import ConnectorCatalog
from fastn.errors import InternalError
from fastn.local.demo.api import ApiCaller, CallFailed
from fastn.local.demo.delivery import issue_opened, signed_delivery
from fastn.local.demo.hops import Hop, await_finished, hops_of, machine_start, trace_of
from fastn.local.demo.setting import CUSTOMER, Setting, caller_for, load_or_create
from fastn.local.installation import Installation
from fastn.local.supervisor import Endpoints
from fastn.local.vendors.slack import SlackVendor

SLACK_HOST = "slack.com"


@dataclass(frozen=True, slots=True)
class Performance:
    """What the demo did and saw."""

    hops: list[Hop]
    execution: Mapping[str, Any]
    vendor_calls: int
    setting: Setting

    def as_json(self) -> str:
        """The one JSON object `fastn demo --json` prints."""
        return json.dumps(
            {
                "ok": self.is_ok,
                "hops": [hop.as_json() for hop in self.hops],
                "execution": self.execution,
                "vendor_calls": self.vendor_calls,
            }
        )

    @property
    def is_ok(self) -> bool:
        """Whether the delivery became exactly one completed run and one accepted vendor call."""
        return self.execution["status"] == "completed" and self.vendor_calls == 1


def perform(
    installation: Installation, endpoints: Endpoints, slack: SlackVendor, report: Callable[[str], None]
) -> Performance:
    """Sets the scene if it is not set, posts one delivery and follows it. Raises NeverArrived or CallFailed."""
    with closing(installation.platform(endpoints)) as platform:
        setting, is_new = load_or_create(installation.state / "demo.json", platform, endpoints.api_url)
        report(f"{'created' if is_new else 'found'} organization, customer '{CUSTOMER}', Slack credential,")
        report("  workflow 'Issue to Slack' (published, deployed) and a GitHub webhook trigger")
        calls_before = len(slack.calls("chat.postMessage"))
        with closing(caller_for(setting, endpoints.api_url)) as caller:
            event_id = _deliver(installation, setting, caller, report)
            sighting = await_finished(platform, setting.owner, event_id)
            execution_id = str((sighting.execution or {})["id"])
            trace = trace_of(caller, execution_id)
        posted = slack.calls("chat.postMessage")[calls_before:]
        hops = hops_of(
            sighting,
            machine_started_at=machine_start(platform, execution_id),
            vendor_at=datetime.fromtimestamp(posted[-1].received_at_ms / 1000, UTC) if posted else None,
        )
    return Performance(hops, trace, sum(call.error is None for call in posted), setting)


def _deliver(
    installation: Installation, setting: Setting, caller: ApiCaller, report: Callable[[str], None]
) -> uuid.UUID:
    webhooks = ConnectorCatalog().load_connector("github").webhooks
    if webhooks is None:
        raise InternalError("the GitHub connector signs no webhooks")
    delivery = signed_delivery(issue_opened(installation.checkout), webhooks.scheme, setting.webhook_secret)
    report(f"posting GitHub's own issues.opened delivery ({len(delivery.body)} bytes, signed, {delivery.id})")
    status, answer = caller.send("POST", setting.webhook_path, delivery.body, delivery.headers)
    if status != 202:
        raise CallFailed(f"the receiver answered {status}: {answer.decode(errors='replace')}")
    return uuid.UUID(json.loads(answer)["eventId"])


def show(performance: Performance, endpoints: Endpoints, report: Callable[[str], None]) -> None:
    """The hops, the trace, and how to do it again by hand."""
    report("")
    for hop in performance.hops:
        report(f"  {hop.ms:8.1f} ms  {hop.name:<24} {hop.at.astimezone(UTC).isoformat(timespec='milliseconds')}")
    execution = performance.execution
    report("")
    report(f"execution {execution['id']}  {execution['status']} in {execution['durationMs']} ms")
    for step in execution["steps"]:
        report(f"  step {step['sequence']}  {step['operation']}  {step['status']}  {step['durationMs']} ms")
        report(f"    in   {json.dumps(step['input'])[:200]}")
        report(f"    out  {json.dumps(step['output'] or step['error'])[:200]}")
    for line in execution["console"]:
        report(f"  console.{line['level']}: {line['text']}")
    report("")
    _show_commands(performance, endpoints, report)


def _show_commands(performance: Performance, endpoints: Endpoints, report: Callable[[str], None]) -> None:
    setting = performance.setting
    base = f"{endpoints.api_url}/api/v1/tenants/{CUSTOMER}"
    key = f"-H 'x-fastn-api-key: {setting.api_key}'"
    report("Do it again (the body must be signed byte for byte as it is sent):")
    report(f"  SECRET='{setting.webhook_secret}'")
    report("  EXAMPLES=@octokit/webhooks-examples/api.github.com/index.json")
    report("  node -e \"process.stdout.write(JSON.stringify(require('$EXAMPLES').find(e=>e.name=='issues')")
    report("    .examples.find(e=>e.action=='opened')))\" > /tmp/delivery.json")
    report("  SIGNATURE=$(openssl dgst -sha256 -hmac \"$SECRET\" -hex < /tmp/delivery.json | sed 's/.* //')")
    report(f"  curl -sS '{endpoints.api_url}{setting.webhook_path}' -H 'content-type: application/json' \\")
    report("    -H 'x-github-event: issues' -H \"x-github-delivery: $(date +%s%N)\" \\")
    report('    -H "x-hub-signature-256: sha256=$SIGNATURE" --data-binary @/tmp/delivery.json')
    report("Then look:")
    report(f"  curl -sS '{base}/executions?limit=1' {key}")
    report(f"  curl -sS '{base}/executions/{performance.execution['id']}' {key}")
