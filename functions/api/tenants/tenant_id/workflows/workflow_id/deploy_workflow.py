"""Deploy a version of a workflow to an environment.

The latest version unless the body names another; an older one is a roll-back.
"""

from fastn.access.models import Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.ids import WorkflowId
from fastn.platform.resources import Need
from fastn.workflows import service
from fastn.workflows.models import DeploymentOrder, DeploymentView, DeployWorkflow


@endpoint(
    "POST /api/v1/tenants/{tenant_id}/workflows/{workflow_id}/deploy",
    permission=Permission.WORKFLOWS_DEPLOY,
    needs={Need.DATABASE},
)
def handler(request: Request[DeployWorkflow], platform: Platform) -> DeploymentView:
    order = DeploymentOrder(WorkflowId(request.id("workflow_id")), request.body, request.caller)
    return service.deploy_workflow(platform.database, request.owner, order=order, clock=platform.clock)
