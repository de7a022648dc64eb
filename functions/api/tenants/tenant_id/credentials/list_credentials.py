"""List a customer's credentials in an environment, without their secrets."""

from fastn.access.models import Permission
from fastn.connections import service as connections
from fastn.connections.views import CredentialView
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need
from fastn.platform.wire import Page, PageRequest


@endpoint(
    "GET /api/v1/tenants/{tenant_id}/credentials",
    permission=Permission.CONNECTIONS_READ,
    needs={Need.DATABASE},
    environment_bound=True,
)
def handler(request: Request[None, PageRequest], platform: Platform) -> Page[CredentialView]:
    return connections.list_credentials(platform.database, request.owner, request.environment, request.query)
