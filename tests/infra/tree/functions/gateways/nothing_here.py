"""Answer what no route does."""

from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform


@endpoint("ANY $default", open_because="it says that nothing is here")
def handler(_request: Request, _platform: Platform) -> None:
    return None
