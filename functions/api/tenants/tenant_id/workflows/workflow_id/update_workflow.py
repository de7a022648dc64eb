"""Save a workflow's draft.

Replaces the whole draft. With If-Match the save is refused if somebody saved in between. What is published
and deployed does not change.
"""

from fastn.access.models import Permission
from fastn.http.declarations import Sizing
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.ids import WorkflowId
from fastn.platform.resources import Need
from fastn.workflows import service
from fastn.workflows.models import DraftEdit, UpdateWorkflow, WorkflowView
from fastn.workflows.source_check import source_checker


@endpoint(
    "PUT /api/v1/tenants/{tenant_id}/workflows/{workflow_id}",
    permission=Permission.WORKFLOWS_WRITE,
    needs={Need.DATABASE, Need.ENGINE},
    sizing=Sizing(memory_mb=1024),
)
def handler(request: Request[UpdateWorkflow], platform: Platform) -> WorkflowView:
    edit = DraftEdit(WorkflowId(request.id("workflow_id")), request.body, request.expected_revision)
    check = source_checker(platform)
    return service.update_workflow(
        platform.database, request.owner, edit=edit, check_source=check, clock=platform.clock
    )
