"""Rotate a customer's secret: workflows read the new value from now on."""

from fastn.access.models import Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need
from fastn.secrets import service as secrets
from fastn.secrets.service import StoredSecret
from fastn.secrets.views import SecretRotation, SecretView


@endpoint(
    "PUT /api/v1/tenants/{tenant_id}/secrets/{secret_id}",
    permission=Permission.SECRETS_WRITE,
    needs={Need.DATABASE, Need.TENANT_KEYS},
    environment_bound=True,
)
def handler(request: Request[SecretRotation], platform: Platform) -> SecretView:
    stored = StoredSecret(request.owner, request.environment, request.id("secret_id"), request.expected_revision)
    return secrets.rotate_secret(secrets.secret_tools(platform), stored, request.body)
