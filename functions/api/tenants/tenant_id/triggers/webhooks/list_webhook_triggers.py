"""List a customer's webhook addresses in an environment with their routes."""

from fastn.access.models import Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Setting
from fastn.platform.wire import Page, PageRequest
from fastn.triggers import service as triggers
from fastn.triggers.views import WebhookTriggerView


@endpoint(
    "GET /api/v1/tenants/{tenant_id}/triggers/webhooks",
    permission=Permission.TRIGGERS_READ,
    needs={Need.DATABASE},
    environment_bound=True,
)
def handler(request: Request[None, PageRequest], platform: Platform) -> Page[WebhookTriggerView]:
    public_url = platform.settings[Setting.PUBLIC_URL]
    place = (platform.database, request.owner, request.environment)
    return triggers.list_webhook_triggers(*place, page=request.query, public_url=public_url)
