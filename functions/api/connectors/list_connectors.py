"""List the connectors of a space: the built-in ones and its own."""

from fastn.access.models import Permission
from fastn.connectors import service as connectors
from fastn.connectors.views import ConnectorView
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need
from fastn.platform.wire import Page, PageRequest


@endpoint("GET /api/v1/connectors", permission=Permission.CONNECTORS_READ, needs={Need.DATABASE})
def handler(request: Request[None, PageRequest], platform: Platform) -> Page[ConnectorView]:
    return connectors.list_connectors(connectors.connector_tools(platform), request.owner, request.query)
