"""Execute a flow: an Instant one answers with its result, any other with 202 and the execution's id."""

from fastn.access.models import Permission
from fastn.engine.rules import strip_auth_headers
from fastn.executions.inline import AcceptedExecution, ExecuteFlow, FlowCall
from fastn.executions.wiring import flow_executor_of
from fastn.http.declarations import Sizing
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.http.responses import JsonText, Reply
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@endpoint(
    "POST /api/v1/{flow_name}",
    permission=Permission.WORKFLOWS_EXECUTE,
    needs={
        Need.DATABASE, Need.ENGINE, Need.EGRESS, Need.TENANT_KEYS, Need.TENANT_DATABASE,
        Need.STATE, Need.WORKFLOW_RUNS, Need.INSTANT_RUNS,
        Need.CANCEL_FLAGS,
    },
    environment_bound=True,
    sizing=Sizing(memory_mb=1769),
)  # fmt: skip
def handler(request: Request[ExecuteFlow], platform: Platform) -> Reply[JsonText | AcceptedExecution]:
    call = request.call
    headers = strip_auth_headers(call.headers)
    flow = FlowCall(request.owner, request.environment, call.path["flow_name"], request.body.input, headers)
    answer = flow_executor_of(platform).execute(flow, request.caller, call.trace_id)
    told = {"x-fastn-execution-id": str(answer.execution_id)}
    if answer.output_json is None:
        return Reply(AcceptedExecution(execution_id=answer.execution_id, status=answer.status), 202, told)
    return Reply(JsonText(answer.output_json), 200, told)
