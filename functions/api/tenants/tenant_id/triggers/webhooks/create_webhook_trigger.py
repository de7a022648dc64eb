"""Make a webhook address for a customer, with its routes; the signing secret is shown this once."""

from fastn.access.models import Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Setting
from fastn.triggers import service as triggers
from fastn.triggers.views import CreatedWebhookTriggerView, NewWebhookTrigger, created_view


@endpoint(
    "POST /api/v1/tenants/{tenant_id}/triggers/webhooks",
    permission=Permission.TRIGGERS_WRITE,
    needs={Need.DATABASE, Need.TENANT_KEYS, Need.TRIGGER_PROJECTION_WRITE},
    status=201,
    environment_bound=True,
)
def handler(request: Request[NewWebhookTrigger], platform: Platform) -> CreatedWebhookTriggerView:
    tools = triggers.trigger_tools(platform)
    created = triggers.create_webhook_trigger(tools, request.owner, request.environment, request.body)
    return created_view(created, platform.settings[Setting.PUBLIC_URL])
