"""Cancel a pending or running execution, of any tier and wherever it is."""

from fastn.access.models import Permission
from fastn.executions import service
from fastn.executions.models import ExecutionView
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@endpoint(
    "POST /api/v1/tenants/{tenant_id}/executions/{execution_id}/cancel",
    permission=Permission.WORKFLOWS_EXECUTE,
    needs={Need.DATABASE, Need.CANCEL_FLAGS_WRITE},
)
def handler(request: Request, platform: Platform) -> ExecutionView:
    tools = service.CancelTools.of(platform)
    return service.cancel_execution(tools, request.owner, request.id("execution_id"), request.caller)
