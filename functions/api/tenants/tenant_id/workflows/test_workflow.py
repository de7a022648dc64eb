"""Run a program once without saving it: its output, its console and every step it took."""

from fastn.access.models import Permission
from fastn.executions.trying import Trial, TrialRun, TrialRunView
from fastn.executions.wiring import trials_of
from fastn.http.declarations import Sizing
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@endpoint(
    "POST /api/v1/tenants/{tenant_id}/workflows/test",
    permission=Permission.WORKFLOWS_EXECUTE,
    needs={
        Need.DATABASE,
        Need.ENGINE,
        Need.EGRESS,
        Need.TENANT_KEYS,
        Need.TENANT_DATABASE,
        Need.CANCEL_FLAGS,
        Need.STATE,
    },
    environment_bound=True,
    sizing=Sizing(memory_mb=1769),
)
def handler(request: Request[TrialRun], platform: Platform) -> TrialRunView:
    return trials_of(platform).run(Trial(request.owner, request.environment, request.caller, request.body))
