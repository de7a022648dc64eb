"""Tell that the API answers."""

from typing import Literal

from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform
from fastn.platform.wire import WireModel


class Health(WireModel):
    """The API answers."""

    status: Literal["ok"]


@endpoint("GET /api/v1/health", open_because="a health check carries no credential and reveals nothing")
def handler(_request: Request, _platform: Platform) -> Health:
    return Health(status="ok")
