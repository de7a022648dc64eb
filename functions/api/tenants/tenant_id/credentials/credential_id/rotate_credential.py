"""Rotate a customer's credential: the new secret replaces the old one at once."""

from fastn.access.models import Permission
from fastn.connections import service as connections
from fastn.connections.service import StoredCredential
from fastn.connections.views import CredentialRotation, CredentialView
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@endpoint(
    "PUT /api/v1/tenants/{tenant_id}/credentials/{credential_id}",
    permission=Permission.CONNECTIONS_WRITE,
    needs={Need.DATABASE, Need.TENANT_KEYS},
    environment_bound=True,
)
def handler(request: Request[CredentialRotation], platform: Platform) -> CredentialView:
    stored = StoredCredential(
        request.owner, request.environment, request.id("credential_id"), request.expected_revision
    )
    return connections.rotate_credential(connections.connection_tools(platform), stored, request.body)
