"""Publish a workflow: make the next version of its draft.

A version never changes. No environment runs it before it is deployed there.
"""

from fastn.access.models import Permission
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.ids import WorkflowId
from fastn.platform.resources import Need
from fastn.workflows import service
from fastn.workflows.models import VersionView


@endpoint(
    "POST /api/v1/tenants/{tenant_id}/workflows/{workflow_id}/publish",
    permission=Permission.WORKFLOWS_PUBLISH,
    needs={Need.DATABASE},
    status=201,
)
def handler(request: Request, platform: Platform) -> VersionView:
    workflow_id, actor = WorkflowId(request.id("workflow_id")), request.caller.actor
    return service.publish_workflow(
        platform.database, request.owner, workflow_id=workflow_id, actor=actor, clock=platform.clock
    )
