"""Create a workflow.

It starts as a draft: publish it to make a version, deploy the version to run it in an environment.
"""

from fastn.access.models import Permission
from fastn.http.declarations import Sizing
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need
from fastn.workflows import service
from fastn.workflows.models import CreateWorkflow, WorkflowView
from fastn.workflows.source_check import source_checker


@endpoint(
    "POST /api/v1/tenants/{tenant_id}/workflows",
    permission=Permission.WORKFLOWS_WRITE,
    needs={Need.DATABASE, Need.ENGINE},
    status=201,
    sizing=Sizing(memory_mb=1024),
)
def handler(request: Request[CreateWorkflow], platform: Platform) -> WorkflowView:
    return service.create_workflow(
        platform.database,
        request.owner,
        body=request.body,
        check_source=source_checker(platform),
        clock=platform.clock,
    )
