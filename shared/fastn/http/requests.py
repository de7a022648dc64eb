"""An HTTP request as a handler sees it: authenticated, bound to its tenant, validated."""

import base64
import binascii
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, cast

from pydantic import BaseModel, ValidationError
from typing_extensions import TypeVar

from fastn.access.models import KeyMode, Principal
from fastn.errors import Forbidden, NotFound, PayloadTooLarge, ValidationFailed
from fastn.http.declarations import EndpointDeclaration
from fastn.platform.ids import parse_id
from fastn.platform.scope import Scope
from fastn.tenants.models import DRAFT, PRODUCTION

BodyT = TypeVar("BodyT", default=None)
QueryT = TypeVar("QueryT", default=None)

_STAGE_DRAFT = "DRAFT"
_ETAG = re.compile(r'(?:W/)?"(\d{1,9})"', re.ASCII)
_ENVIRONMENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """What arrived, before anybody has looked at it (API Gateway's payload format 2.0)."""

    request_id: str
    trace_id: str
    headers: Mapping[str, str]
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Request(Generic[BodyT, QueryT]):
    """A request that passed every check its route declares."""

    call: IncomingCall
    principal: Principal | None
    scope: Scope | None
    environment: str
    body: BodyT
    query: QueryT

    @property
    def caller(self) -> Principal:
        """The authenticated caller. A route without a permission has none, and must not ask."""
        if self.principal is None:
            raise Forbidden("This route has no authenticated caller.")
        return self.principal

    @property
    def owner(self) -> Scope:
        """On whose behalf to work; narrowed to the tenant the caller named, or the space's default."""
        if self.scope is None:
            raise Forbidden("This route is not bound to an owner.")
        return self.scope

    def id(self, name: str) -> uuid.UUID:
        """The UUID in this path parameter. Raises NotFound for anything else: no such resource can exist."""
        parsed = parse_id(self.call.path[name])
        if parsed is None:
            raise NotFound
        return parsed

    @property
    def expected_revision(self) -> int | None:
        """The revision named in If-Match; None without the header or with `*`. Raises ValidationFailed."""
        given = self.call.headers.get("if-match")
        if given is None or given.strip() == "*":
            return None
        match = _ETAG.fullmatch(given.strip())
        if match is None:
            raise ValidationFailed('If-Match: expected an ETag of this API, such as "3"')
        return int(match.group(1))


def read_event(event: Mapping[str, Any], trace_id: str | None, max_body_bytes: int) -> IncomingCall:
    """The call in an API Gateway v2 event. Raises PayloadTooLarge over the limit, in decoded bytes."""
    given: dict[str, str] = event.get("headers") or {}
    headers = {name.lower(): value for name, value in given.items()}
    text: str = event.get("body") or ""
    try:
        body = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode()
    except binascii.Error as error:
        raise ValidationFailed("The body is not what its encoding says.") from error
    if len(body) > max_body_bytes:
        raise PayloadTooLarge(f"The body is over this route's limit of {max_body_bytes} bytes.")
    return IncomingCall(
        request_id=str(event.get("requestContext", {}).get("requestId", "")) or str(uuid.uuid4()),
        trace_id=trace_id or headers.get("x-amzn-trace-id") or headers.get("traceparent") or "",
        headers=headers,
        path=cast(Mapping[str, str], event.get("pathParameters") or {}),
        query=cast(Mapping[str, str], event.get("queryStringParameters") or {}),
        body=body,
    )


def header_of(call: IncomingCall, *names: str) -> str | None:
    """The first of these headers that is present and not empty; two spellings that disagree are refused."""
    values = {call.headers[name] for name in names if call.headers.get(name)}
    if len(values) > 1:
        raise ValidationFailed(f"{' and '.join(names)} say different things.")
    return values.pop() if values else None


def environment_of(call: IncomingCall, principal: Principal | None, declaration: EndpointDeclaration) -> str:
    """The environment in the `stage` header: DRAFT, a name, or production when absent.

    Raises Forbidden where the route works in an environment and a Test key asks for production.
    """
    stage = header_of(call, "stage")
    if stage is not None and not _ENVIRONMENT.fullmatch(stage):
        raise ValidationFailed("stage: expected DRAFT or the name of an environment")
    name = PRODUCTION if stage is None else DRAFT if stage == _STAGE_DRAFT else stage
    is_test = principal is not None and principal.mode is KeyMode.TEST
    if declaration.environment_bound and is_test and name == PRODUCTION:
        raise Forbidden("A Test key cannot reach production: name another environment in the stage header.")
    return name


def read_body(call: IncomingCall, declaration: EndpointDeclaration) -> object:
    """The validated body; raw bytes where the route takes them, None where it takes none.

    Raises ValidationFailed for a body that is not the declared JSON, and for any body on a route that
    declares none.
    """
    if declaration.takes_raw_body:
        return call.body
    if declaration.body is None:
        if call.body.strip():
            raise ValidationFailed("This route takes no body.")
        return None
    try:
        return declaration.body.model_validate_json(call.body)
    except ValidationError as error:
        raise ValidationFailed("The body is not valid.", details=_problems(error)) from error


def read_query(call: IncomingCall, declaration: EndpointDeclaration) -> BaseModel | None:
    """The validated query parameters; unknown ones are refused, except where the caller is a vendor."""
    if declaration.query is None:
        if call.query and not declaration.takes_raw_body:
            raise ValidationFailed(f"Unknown query parameters: {', '.join(sorted(call.query))}.")
        return None
    try:
        return declaration.query.model_validate_strings(dict(call.query), by_alias=True)
    except ValidationError as error:
        raise ValidationFailed("The query parameters are not valid.", details=_problems(error)) from error


def _problems(error: ValidationError) -> dict[str, object]:
    # Only where and why: the offending value may be a secret.
    problems = json.loads(error.json(include_url=False, include_input=False, include_context=False))
    return {
        "problems": [
            {"field": ".".join(str(part) for part in problem["loc"]), "problem": problem["msg"]} for problem in problems
        ]
    }
