"""Run an execution again, from the start or from its failed step."""

from fastn.access.models import Permission
from fastn.executions.inline import AcceptedExecution
from fastn.executions.rerunning import RerunExecution, RerunOrder, RerunTools, rerun_execution
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@endpoint(
    "POST /api/v1/tenants/{tenant_id}/executions/{execution_id}/rerun",
    permission=Permission.WORKFLOWS_EXECUTE,
    needs={Need.DATABASE, Need.WORKFLOW_RUNS, Need.INSTANT_RUNS},
    status=202,
)
def handler(request: Request[RerunExecution], platform: Platform) -> AcceptedExecution:
    order = RerunOrder(request.id("execution_id"), request.body, request.caller, request.call.trace_id)
    return rerun_execution(RerunTools.of(platform), request.owner, order)
