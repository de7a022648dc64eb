"""Events and contexts as API Gateway and Lambda hand them to a function (payload format 2.0)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

REQUEST_ID = "request-1"


@dataclass(frozen=True, slots=True)
class LambdaContext:
    """What Lambda tells a function about its invocation."""

    function_name: str = "function-under-test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:function-under-test"
    aws_request_id: str = "9bd1e8f0-0000-4000-8000-000000000001"
    remaining_milliseconds: int = 29_000
    fastn_loopback_routes: Mapping[str, int] = field(default_factory=dict[str, int])

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""
        return self.remaining_milliseconds


def api_event(
    route: str,
    *,
    path: Mapping[str, object] | None = None,
    key: str | None = None,
    body: object = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    request_id: str = REQUEST_ID,
) -> dict[str, Any]:  # Lambda's event format
    """The event of a call to `route` ("GET /api/v1/tenants/{tenant_id}/workflows").

    `path` fills the braces; `key` becomes the x-fastn-api-key header; a body that is neither text nor
    bytes is sent as JSON.
    """
    method, _, template = route.partition(" ")
    parameters = {name: str(value) for name, value in (path or {}).items()}
    raw_path = template
    for name, value in parameters.items():
        raw_path = raw_path.replace(f"{{{name}}}", value)
    sent = {"content-type": "application/json"} if body is not None else {}
    sent |= {"x-fastn-api-key": key} if key is not None else {}
    sent |= {name.lower(): value for name, value in (headers or {}).items()}
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route,
        "rawPath": raw_path,
        "rawQueryString": urlencode(query or {}),
        "headers": sent,
        "requestContext": {
            "requestId": request_id,
            "domainName": "api.example.test",
            "http": {"method": method, "path": raw_path, "sourceIp": "192.0.2.1", "userAgent": "tests"},
        },
        "isBase64Encoded": False,
    }
    if parameters:
        event["pathParameters"] = parameters
    if query:
        event["queryStringParameters"] = dict(query)
    if body is not None:
        event["body"] = _text(body)
    return event


def body_of(response: Mapping[str, Any]) -> Any:  # the shape is the assertion's to check
    """The JSON a function answered with."""
    return json.loads(response["body"])


def _text(body: object) -> str:
    if isinstance(body, bytes):
        return body.decode()
    return body if isinstance(body, str) else json.dumps(body)
