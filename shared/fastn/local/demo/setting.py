"""The demo's cast: an organization, a customer, its Slack credential, a workflow and a GitHub trigger."""

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from fastn.access.models import KeyMode, Permission
from fastn.access.service import issue_key
from fastn.local.demo.api import ApiCaller
from fastn.local.vendors.slack import LOCAL_TOKEN
from fastn.platform.capabilities import Platform
from fastn.platform.scope import Scope
from fastn.tenants.service import add_tenant, found_organization

CUSTOMER = "acme"


@dataclass(frozen=True, slots=True)
class Setting:
    """What was set up, kept for the next start. The secrets in it open nothing but this laptop's demo."""

    api_key: str
    organization_id: str
    space_id: str
    tenant_id: str
    workflow_id: str
    webhook_url: str
    webhook_path: str
    webhook_secret: str

    @property
    def owner(self) -> Scope:
        """The demo's customer."""
        ids = {"organizationId": self.organization_id, "spaceId": self.space_id, "tenantId": self.tenant_id}
        return Scope.from_text(ids)


def load_or_create(file: Path, platform: Platform, api_url: str) -> tuple[Setting, bool]:
    """The demo's setting and whether it is new. Everything the API can do is done through the API."""
    if file.exists():
        return Setting(**cast("dict[str, str]", json.loads(file.read_text("utf-8")))), False
    setting = _create(platform, api_url)
    file.write_text(json.dumps(asdict(setting), indent=2), "utf-8")
    file.chmod(0o600)
    return setting, True


def caller_for(setting: Setting, api_url: str) -> ApiCaller:
    """A caller with the demo's key."""
    return ApiCaller(api_url, {"x-fastn-api-key": setting.api_key, "x-fastn-space-id": setting.space_id})


def _create(platform: Platform, api_url: str) -> Setting:
    space = found_organization(platform.database, name="Demo SaaS", clock=platform.clock)
    whole_space = space.space_scope
    customer = add_tenant(platform.database, whole_space, external_id=CUSTOMER, name="Acme Corp", clock=platform.clock)
    with platform.database.transaction(whole_space) as session:
        key = issue_key(
            session,
            whole_space,
            name="demo",
            mode=KeyMode.LIVE,
            permissions=Permission,
            clock=platform.clock,
        )
    tenant = f"/api/v1/tenants/{CUSTOMER}"
    with closing(ApiCaller(api_url, {"x-fastn-api-key": key.text})) as caller:
        caller.call(
            "POST",
            f"{tenant}/credentials",
            {"connector": "slack", "authMethod": "bearer", "secret": {"access_token": LOCAL_TOKEN}},
        )
        workflow = _deployed_workflow(caller, tenant)
        trigger = caller.call("POST", f"{tenant}/triggers/webhooks", _issues_opened(workflow))
    return Setting(
        api_key=key.text,
        organization_id=str(space.scope.organization_id),
        space_id=str(space.scope.space_id),
        tenant_id=str(customer.id),
        workflow_id=workflow,
        webhook_url=trigger["url"],
        webhook_path=f"/api/v1/clients/{space.scope.space_id}/webhooks/{trigger['id']}",
        webhook_secret=trigger["secret"],
    )


def _issues_opened(workflow_id: str) -> dict[str, object]:
    route = {"workflowId": workflow_id, "filter": {"action": "opened"}, "headers": {"x-github-event": "issues"}}
    return {"name": "GitHub issues", "scheme": "github", "routes": [route]}


def _deployed_workflow(caller: ApiCaller, tenant: str) -> str:
    source = (files("fastn.local.demo") / "workflow.js").read_text("utf-8")
    created: dict[str, Any] = caller.call(
        "POST", f"{tenant}/workflows", {"name": "Issue to Slack", "tier": "standard", "source": source}
    )
    path = f"{tenant}/workflows/{created['id']}"
    caller.call("POST", f"{path}/publish")
    caller.call("POST", f"{path}/deploy", {"environment": "production"})
    return str(created["id"])
