"""List a customer's executions, newest first."""

from fastn.access.models import Permission
from fastn.executions import service
from fastn.executions.models import ExecutionSummary, ListExecutions
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need
from fastn.platform.wire import Page


@endpoint("GET /api/v1/tenants/{tenant_id}/executions", permission=Permission.EXECUTIONS_READ, needs={Need.DATABASE})
def handler(request: Request[None, ListExecutions], platform: Platform) -> Page[ExecutionSummary]:
    return service.list_executions(platform.database, request.owner, request.query)
