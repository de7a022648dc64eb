"""How results and errors are rendered: one renderer for each, used by every door."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

from pydantic import BaseModel

from fastn.errors import DatasourceError, FastnError, InternalError, TooManyRequests

ValueT = TypeVar("ValueT")

JSON = "application/json"
INTERNAL_MESSAGE = "Something went wrong on our side. Try again; if it persists, quote the requestId."


@runtime_checkable
class Revised(Protocol):
    """A resource with a revision: its ETag."""

    @property
    def revision(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Reply(Generic[ValueT]):
    """A result with a status or headers of its own; a plain result gets the declared status."""

    value: ValueT
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def render_result(result: object, status: int, request_id: str) -> dict[str, Any]:  # Lambda's response format
    """The API Gateway response for what a handler returned."""
    headers = {"x-request-id": request_id, "cache-control": "no-store"}
    if isinstance(result, Reply):
        reply = cast(Reply[object], result)
        status = reply.status or status
        headers |= reply.headers
        result = reply.value
    if isinstance(result, Revised):
        headers["etag"] = f'"{result.revision}"'
    if result is None:
        return {"statusCode": status, "headers": headers}
    headers.setdefault("content-type", JSON)
    return {"statusCode": status, "headers": headers, "body": to_json(result)}


def to_json(value: object) -> str:
    """JSON text of a wire model or of plain JSON values."""
    if isinstance(value, BaseModel):
        return value.model_dump_json(by_alias=True)
    if isinstance(value, JsonText):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class JsonText(str):
    """Text that already is JSON, passed through unparsed."""

    __slots__ = ()


def render_error(error: FastnError, request_id: str) -> dict[str, Any]:  # Lambda's response format
    """The API Gateway response for an error, in the format of the API reference.

    An internal error's own message stays in the log: the caller learns the request id.
    """
    body: dict[str, object] = {
        "code": error.code,
        "statusCode": error.status,
        "message": INTERNAL_MESSAGE if isinstance(error, InternalError) else error.message,
        "requestId": request_id,
        "isCustomAuthError": False,
    }
    headers = {"content-type": JSON, "x-request-id": request_id, "cache-control": "no-store"}
    if isinstance(error, DatasourceError):
        if error.step is not None:
            body["step"] = error.step
        if error.datasource_debug is not None:
            body["datasourceDebug"] = error.datasource_debug
    if error.details is not None and not isinstance(error, InternalError):
        body["details"] = error.details
    if isinstance(error, TooManyRequests):
        headers["retry-after"] = "1"
    return {"statusCode": error.status, "headers": headers, "body": json.dumps(body)}
