"""List a customer's secrets in an environment: their names and versions, never their values."""

from fastn.access.models import Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need
from fastn.platform.wire import Page, PageRequest
from fastn.secrets import service as secrets
from fastn.secrets.views import SecretView


@endpoint(
    "GET /api/v1/tenants/{tenant_id}/secrets",
    permission=Permission.SECRETS_READ,
    needs={Need.DATABASE},
    environment_bound=True,
)
def handler(request: Request[None, PageRequest], platform: Platform) -> Page[SecretView]:
    return secrets.list_secrets(platform.database, request.owner, request.environment, request.query)
