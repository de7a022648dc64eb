"""A customer with a webhook trigger and workflows, for runs under load on the embedded runtime."""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from fastn.access.models import KeyMode, Permission
from fastn.access.service import issue_key
from fastn.connectors.signatures import FASTN_SCHEME, sign
from fastn.local.demo.api import ApiCaller
from fastn.local.vendors.slack import LOCAL_TOKEN
from fastn.platform.capabilities import Platform
from fastn.platform.scope import Scope
from fastn.tenants.service import add_tenant, found_organization

CUSTOMER = "loaded-customer"
CHANNEL = "C0000000001"

# One 1 KB order in, one code step, one vendor call.
ORDER_TO_SLACK = """
export default async function (ctx) {
  const order = ctx.input;
  const total = order.lines.reduce((sum, line) => sum + line.quantity * line.price, 0);
  const sent = await fastn.connector.slack.postMessage({
    channel: "%s", text: `order ${order.id} total ${total.toFixed(2)}`,
  });
  return { order: order.id, total, ts: sent.ts };
}
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """What the load runs against."""

    api_url: str
    api_key: str
    owner: Scope
    webhook_path: str
    webhook_secret: str

    def caller(self) -> ApiCaller:
        """A new caller with a connection of its own."""
        return ApiCaller(self.api_url, {"x-fastn-api-key": self.api_key, "x-fastn-space-tenantid": CUSTOMER})


def set_scene(platform: Platform, api_url: str) -> Scene:
    """A new organization and customer with a Standard workflow behind a webhook and an Instant one."""
    space = found_organization(platform.database, name="Load", clock=platform.clock)
    whole_space = space.space_scope
    customer = add_tenant(platform.database, whole_space, external_id=CUSTOMER, name="Loaded", clock=platform.clock)
    with platform.database.transaction(whole_space) as session:
        key = issue_key(
            session, whole_space, name="load", mode=KeyMode.LIVE, permissions=Permission, clock=platform.clock
        )
    tenant = f"/api/v1/tenants/{CUSTOMER}"
    credential = {"connector": "slack", "authMethod": "bearer", "secret": {"access_token": LOCAL_TOKEN}}
    with closing(ApiCaller(api_url, {"x-fastn-api-key": key.text})) as caller:
        caller.call("POST", f"{tenant}/credentials", credential)
        standard = _deployed(caller, tenant, name="Order to Slack", tier="standard")
        _deployed(caller, tenant, name="Order to Slack now", tier="instant")
        wanted = {"name": "Orders", "routes": [{"workflowId": standard}]}
        trigger = caller.call("POST", f"{tenant}/triggers/webhooks", wanted)
    return Scene(
        api_url=api_url,
        api_key=key.text,
        owner=space.scope.for_tenant(customer.id),
        webhook_path=f"/api/v1/clients/{space.scope.space_id}/webhooks/{trigger['id']}",
        webhook_secret=trigger["secret"],
    )


def order(order_id: str) -> dict[str, Any]:
    """An order of about 1 KB."""
    lines = [
        {"sku": f"SKU-{number:04d}", "title": "A thing that somebody ordered", "quantity": number + 1, "price": 9.95}
        for number in range(9)
    ]
    return {"id": order_id, "currency": "EUR", "customer": {"email": "someone@example.com"}, "lines": lines}


def signed_order(scene: Scene, order_id: str) -> tuple[bytes, Mapping[str, str]]:
    """The order as a delivery in the platform's own scheme; the order's id is the delivery's."""
    body = json.dumps(order(order_id)).encode()
    headers = {
        "content-type": "application/json",
        "x-fastn-timestamp": str(int(time.time())),
        "x-fastn-delivery-id": order_id,
    }
    headers["x-fastn-signature"] = sign(FASTN_SCHEME, scene.webhook_secret.encode(), headers=headers, raw_body=body)
    return body, headers


def deliver(scene: Scene, caller: ApiCaller, order_id: str) -> int:
    """Posts one signed order; the HTTP status of the answer."""
    body, headers = signed_order(scene, order_id)
    return caller.send("POST", scene.webhook_path, body, headers)[0]


def new_order_ids(count: int) -> list[str]:
    """As many ids, all different."""
    return [f"order-{uuid.uuid4()}" for _ in range(count)]


def wait_until(is_done: Callable[[], bool], *, within_seconds: float, poll_seconds: float = 0.1) -> bool:
    """Whether it became true in time."""
    give_up_at = time.monotonic() + within_seconds
    while time.monotonic() < give_up_at:
        if is_done():
            return True
        time.sleep(poll_seconds)
    return is_done()


def _deployed(caller: ApiCaller, tenant: str, *, name: str, tier: str) -> str:
    created = caller.call(
        "POST", f"{tenant}/workflows", {"name": name, "tier": tier, "source": ORDER_TO_SLACK % CHANNEL}
    )
    path = f"{tenant}/workflows/{created['id']}"
    caller.call("POST", f"{path}/publish")
    caller.call("POST", f"{path}/deploy", {"environment": "production"})
    return str(created["id"])
