"""Delete a customer's webhook address; deliveries to it are refused from then on."""

from fastn.access.models import Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need
from fastn.triggers import service as triggers


@endpoint(
    "DELETE /api/v1/tenants/{tenant_id}/triggers/webhooks/{trigger_id}",
    permission=Permission.TRIGGERS_WRITE,
    needs={Need.DATABASE, Need.TRIGGER_PROJECTION_WRITE},
    status=204,
    environment_bound=True,
)
def handler(request: Request, platform: Platform) -> None:
    projection = triggers.projection_of(platform, Need.TRIGGER_PROJECTION_WRITE)
    place = (platform.database, projection, request.owner, request.environment)
    triggers.delete_webhook_trigger(*place, trigger_id=request.id("trigger_id"))
