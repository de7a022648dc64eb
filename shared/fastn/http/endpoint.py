"""`@endpoint`: a handler becomes a Lambda that authenticates, authorizes, validates, binds and renders."""

import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from fastn.access.models import Permission, Principal
from fastn.access.service import Authenticator
from fastn.errors import FastnError, Forbidden, InternalError, NotFound, ValidationFailed
from fastn.http.declarations import EndpointDeclaration, Method, Sizing
from fastn.http.requests import (
    IncomingCall,
    Request,
    environment_of,
    header_of,
    read_body,
    read_event,
    read_query,
)
from fastn.http.responses import render_error, render_result
from fastn.platform.capabilities import NO_ROUTES, Platform
from fastn.platform.observability import Telemetry
from fastn.platform.resources import Need
from fastn.platform.scope import Scope
from fastn.platform.settings import lambda_trace_id
from fastn.tenants.service import resolve_tenant

ResultT = TypeVar("ResultT")
DEFAULT_MAX_BODY_BYTES = 1024 * 1024
_KEY_HEADERS = ("x-fastn-api-key", "x-fastn-access-key")
_SPACE_HEADERS = ("x-fastn-space-id", "x-fastn-account-id")
_TENANT_HEADERS = ("x-fastn-space-tenantid", "x-fastn-account-tenant-id")


class EndpointFunction(Generic[ResultT]):
    """The Lambda handler of one route."""

    def __init__(
        self, declaration: EndpointDeclaration, implementation: Callable[..., ResultT], platform: Platform | None = None
    ) -> None:
        self.declaration = declaration
        self.implementation = implementation
        self.name = implementation.__module__.rsplit(".", 1)[-1]
        self._platform = platform
        self._telemetry: Telemetry | None = None

    def bound_to(self, platform: Platform) -> "EndpointFunction[ResultT]":
        """The same function with these capabilities, as tests call it."""
        return EndpointFunction(self.declaration, self.implementation, platform)

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:  # Lambda's own signature
        """The response API Gateway expects; never raises."""
        started = time.perf_counter()
        telemetry = self._telemetry = self._telemetry or Telemetry(self.name)
        request_id = str(event.get("requestContext", {}).get("requestId", "")) or "unknown"
        principal: Principal | None = None
        try:
            platform = self._platform = self._platform or Platform.from_environment(
                self.declaration.needs, getattr(context, "fastn_loopback_routes", NO_ROUTES)
            )
            call = read_event(event, lambda_trace_id(), self.declaration.max_body_bytes)
            request_id = call.request_id
            request = self._bind(call, platform)
            principal = request.principal
            result = self.implementation(request, platform)
            response = render_result(result, self.declaration.status, request_id)
        except FastnError as error:
            if isinstance(error, InternalError):
                telemetry.log_failure("request failed", error, requestId=request_id)
            response = render_error(error, request_id)
        except Exception as error:  # noqa: BLE001  # the outermost wrapper: whatever happens, the caller gets our format
            telemetry.log_failure("request failed", error, requestId=request_id)
            response = render_error(InternalError(str(error)), request_id)
        milliseconds = round((time.perf_counter() - started) * 1000, 2)
        owner = principal.scope.as_text() if principal else {}
        telemetry.log("request", requestId=request_id, status=response["statusCode"], durationMs=milliseconds, **owner)
        telemetry.count(f"Status{response['statusCode'] // 100}xx")
        telemetry.milliseconds("Duration", milliseconds)
        telemetry.flush()
        return response

    def _bind(self, call: IncomingCall, platform: Platform) -> Request[Any, Any]:  # types are the handler's own
        declaration = self.declaration
        principal = None
        scope = None
        if declaration.permission is not None:
            principal = self._authenticate(call, platform)
            scope = _space_of(call, principal)
            scope = _tenant_of(call, scope, platform) if Need.DATABASE in declaration.needs else scope
        return Request(
            call=call,
            principal=principal,
            scope=scope,
            environment=environment_of(call, principal, declaration),
            body=read_body(call, declaration),
            query=read_query(call, declaration),
        )

    def _authenticate(self, call: IncomingCall, platform: Platform) -> Principal:
        authenticator = platform.keep(Authenticator, lambda: Authenticator(platform.ingress_database, platform.clock))
        principal = authenticator.authenticate(header_of(call, *_KEY_HEADERS))
        if self.declaration.permission not in principal.permissions:
            raise Forbidden(f"This key lacks the permission {self.declaration.permission}.")
        return principal


def _space_of(call: IncomingCall, principal: Principal) -> Scope:
    named = header_of(call, *_SPACE_HEADERS)
    if named is not None and named.lower() != str(principal.scope.space_id):
        raise NotFound
    return principal.scope


def _tenant_of(call: IncomingCall, scope: Scope, platform: Platform) -> Scope:
    in_path = call.path.get("tenant_id")
    in_header = header_of(call, *_TENANT_HEADERS)
    if in_path and in_header and in_path != in_header:
        raise ValidationFailed("The tenant in the path is not the tenant in the header.")
    return scope.for_tenant(resolve_tenant(platform.database, scope, in_path or in_header).id)


def endpoint(
    route: str,
    *,
    permission: Permission | None = None,
    open_because: str | None = None,
    needs: set[Need] | None = None,
    status: int = 200,
    environment_bound: bool = False,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    sizing: Sizing | None = None,
) -> Callable[[Callable[..., ResultT]], EndpointFunction[ResultT]]:
    """Declares a route; the handler's annotations say which body and query it takes and what it returns.

    A route either asks for a permission or says why it is open to callers without a key. Raises TypeError
    at import for a declaration that contradicts itself.
    """
    if (permission is None) == (open_because is None):
        raise TypeError(f"{route}: declare a permission, or open_because, and not both")

    def declare(implementation: Callable[..., ResultT]) -> EndpointFunction[ResultT]:
        method, _, path = route.partition(" ")
        body, query, response = _annotated_types(implementation)
        wanted = set(needs or ())
        if permission is not None:
            wanted.add(Need.INGRESS_DATABASE)
        declaration = EndpointDeclaration(
            summary=inspect.getdoc(inspect.getmodule(implementation)) or "",
            needs=frozenset(wanted),
            sizing=sizing or Sizing(),
            method=Method(method),
            path=path,
            permission=permission,
            open_because=open_because,
            status=status,
            environment_bound=environment_bound,
            max_body_bytes=max_body_bytes,
            body=None if body is bytes else cast("type[BaseModel] | None", body),
            takes_raw_body=body is bytes,
            query=query,
            response=response,
        )
        return EndpointFunction(declaration, implementation)

    return declare


def _annotated_types(implementation: Callable[..., object]) -> tuple[type | None, type[BaseModel] | None, object]:
    hints = get_type_hints(implementation)
    annotation = next(hint for name, hint in hints.items() if name.endswith("request"))
    arguments = get_args(annotation) if get_origin(annotation) is Request else ()
    none = type(None)
    body = arguments[0] if arguments and arguments[0] is not none else None
    query = arguments[1] if len(arguments) > 1 and arguments[1] is not none else None
    return body, query, hints["return"]
