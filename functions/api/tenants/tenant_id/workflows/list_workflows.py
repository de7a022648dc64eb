"""List a customer's workflows.

Its own and those its space shares with every customer, newest first.
"""

from fastn.access.models import Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need
from fastn.platform.wire import Page
from fastn.workflows import service
from fastn.workflows.models import ListWorkflows, WorkflowSummary


@endpoint("GET /api/v1/tenants/{tenant_id}/workflows", permission=Permission.WORKFLOWS_READ, needs={Need.DATABASE})
def handler(request: Request[None, ListWorkflows], platform: Platform) -> Page[WorkflowSummary]:
    return service.list_workflows(platform.database, request.owner, query=request.query)
