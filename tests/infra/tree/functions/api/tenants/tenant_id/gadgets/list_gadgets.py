"""List a customer's gadgets."""

from fastn.access.models import Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@endpoint("GET /api/v1/tenants/{tenant_id}/gadgets", permission=Permission.WORKFLOWS_READ, needs={Need.DATABASE})
def handler(_request: Request, _platform: Platform) -> None:
    return None
