"""Get a workflow: its draft, and the version each environment runs."""

from fastn.access.models import Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.ids import WorkflowId
from fastn.platform.resources import Need
from fastn.workflows import service
from fastn.workflows.models import WorkflowView


@endpoint(
    "GET /api/v1/tenants/{tenant_id}/workflows/{workflow_id}",
    permission=Permission.WORKFLOWS_READ,
    needs={Need.DATABASE},
)
def handler(request: Request, platform: Platform) -> WorkflowView:
    workflow_id = WorkflowId(request.id("workflow_id"))
    return service.get_workflow(platform.database, request.owner, workflow_id=workflow_id)
