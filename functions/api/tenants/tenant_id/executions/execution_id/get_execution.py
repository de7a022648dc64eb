"""Get one execution with its step-by-step trace."""

from fastn.access.models import Permission
from fastn.executions import service
from fastn.executions.models import ExecutionView
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@endpoint(
    "GET /api/v1/tenants/{tenant_id}/executions/{execution_id}",
    permission=Permission.EXECUTIONS_READ,
    needs={Need.DATABASE},
)
def handler(request: Request, platform: Platform) -> ExecutionView:
    return service.get_execution(platform.database, request.owner, request.id("execution_id"))
