"""Delete a customer's secret with every version of it."""

from fastn.access.models import Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need
from fastn.secrets import service as secrets
from fastn.secrets.service import StoredSecret


@endpoint(
    "DELETE /api/v1/tenants/{tenant_id}/secrets/{secret_id}",
    permission=Permission.SECRETS_WRITE,
    needs={Need.DATABASE},
    status=204,
    environment_bound=True,
)
def handler(request: Request, platform: Platform) -> None:
    stored = StoredSecret(request.owner, request.environment, request.id("secret_id"))
    secrets.delete_secret(platform.database, stored)
