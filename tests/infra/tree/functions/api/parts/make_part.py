"""Make a part, with every need an endpoint may have."""

from fastn.access.models import Permission
from fastn.http.declarations import Sizing
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need


@endpoint(
    "POST /api/v1/parts",
    permission=Permission.WORKFLOWS_WRITE,
    needs=set(Need) - {Need.ENGINE, Need.RELAY_DATABASE},
    sizing=Sizing(memory_mb=1024, timeout_seconds=17),
)
def handler(_request: Request, _platform: Platform) -> None:
    return None
