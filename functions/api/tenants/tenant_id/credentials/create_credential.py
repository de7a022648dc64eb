"""Store a customer's credential for a connector; its secret is encrypted and never returned."""

from fastn.access.models import Permission
from fastn.connections import service as connections
from fastn.connections.views import CredentialView, NewCredential
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@endpoint(
    "POST /api/v1/tenants/{tenant_id}/credentials",
    permission=Permission.CONNECTIONS_WRITE,
    needs={Need.DATABASE, Need.TENANT_KEYS},
    status=201,
    environment_bound=True,
)
def handler(request: Request[NewCredential], platform: Platform) -> CredentialView:
    tools = connections.connection_tools(platform)
    return connections.create_credential(tools, request.owner, request.environment, request.body)
