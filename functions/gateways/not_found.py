"""Answer every path that no route declares, in the platform's own error format."""

from fastn.errors import NotFound
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform


@endpoint("ANY $default", open_because="it only says that nothing is here", max_body_bytes=6 * 1024 * 1024)
def handler(_request: Request[bytes], _platform: Platform) -> None:
    raise NotFound
