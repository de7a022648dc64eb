"""The API as an OpenAPI 3.1 document, read from the registry: `python -m fastn.http.openapi ROOT > openapi.json`."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import Field, JsonValue, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import CoreSchema

from fastn import errors
from fastn.errors import FastnError
from fastn.http.declarations import FALLBACK_PATH, EndpointDeclaration, Method
from fastn.http.registry import Registry, load_registry
from fastn.http.responses import JSON, JsonText, Reply
from fastn.platform.resources import Need
from fastn.platform.wire import WireModel

Node = dict[str, Any]  # a JSON object of the document

VERSION = "1"
DESCRIPTION = """\
Send your API key in `x-fastn-api-key` (or `x-fastn-access-key`). A tenant, in the path or in
`x-fastn-space-tenantid`, is a UUID or your own external id. Lists take `limit` and `cursor` and return `data` and
`nextCursor`. Resources with an `ETag` take it back in `If-Match`."""

_REFERENCES = "#/components/schemas/{model}"
_SECURITY: Sequence[Node] = ({"apiKey": []}, {"accessKey": []})
_SECURITY_SCHEMES: Node = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-fastn-api-key"},
    "accessKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-fastn-access-key",
        "description": "Another spelling of x-fastn-api-key.",
    },
}
_SPACE_HEADERS = ("x-fastn-space-id", "x-fastn-account-id")
_TENANT_HEADERS = ("x-fastn-space-tenantid", "x-fastn-account-tenant-id")
_ANY_ERROR = "ERROR"
_WITH_BODY = (Method.POST, Method.PUT, Method.PATCH)


_CODES = {error.code for error in vars(errors).values() if isinstance(error, type) and issubclass(error, FastnError)}


class ErrorBody(WireModel):
    """Every error of the API. `code` is stable; `message` says what to do; quote `requestId` when asking for help."""

    code: Annotated[str, Field(examples=sorted(_CODES))]
    status_code: int
    message: str
    request_id: str
    is_custom_auth_error: bool
    step: Annotated[str | None, Field(description="The step that failed.")] = None
    datasource_debug: Annotated[dict[str, JsonValue] | None, Field(description="The vendor's own words.")] = None
    details: Annotated[dict[str, JsonValue] | None, Field(description="What was wrong, by field.")] = None


class _WireSchema(GenerateJsonSchema):
    """pydantic's schemas, as these values look on the wire."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # as pydantic declares it
        """Never: the titles made from names repeat them."""
        return False


@dataclass(frozen=True, slots=True)
class _Operation:
    """One endpoint, and the schemas of what goes in and out of it."""

    name: str
    declaration: EndpointDeclaration
    schemas: Mapping[tuple[str, JsonSchemaMode], Node]

    def schema(self, part: Literal["body", "query", "response"]) -> Node | None:
        """The schema of this part of the exchange; None if it has none."""
        mode: JsonSchemaMode = "serialization" if part == "response" else "validation"
        return self.schemas.get((f"{self.name}.{part}", mode))


def openapi_document(registry: Registry) -> Node:
    """The OpenAPI 3.1 document of every endpoint but the fallback; the same registry gives the same document."""
    endpoints = [
        (function.name, declaration)
        for function, declaration in registry.endpoints()
        if declaration.path != FALLBACK_PATH
    ]
    schemas, components = _schemas_of(endpoints)
    paths: dict[str, Node] = {}
    for name, declaration in sorted(endpoints, key=lambda endpoint: (endpoint[1].path, endpoint[1].method)):
        operation = _Operation(name, declaration, schemas)
        paths.setdefault(declaration.path, {})[declaration.method.lower()] = _operation(operation, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fastn API", "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "responses": _error_responses(),
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def render(document: Node) -> str:
    """The document as the text of `openapi.json`."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """The command line; 0 when the document of the tree at ROOT is written to standard output."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m fastn.http.openapi ROOT\n")
        return 2
    root = Path(arguments[0]).resolve()
    sys.path.insert(0, str(root))
    sys.stdout.write(render(openapi_document(load_registry(root))))
    return 0


# ── Schemas ───────────────────────────────────────────────────────────────────────────────────────


def _schemas_of(
    endpoints: Iterable[tuple[str, EndpointDeclaration]],
) -> tuple[Mapping[tuple[str, JsonSchemaMode], Node], dict[str, Node]]:
    # One generator for all, so that a model is described once however many endpoints use it.
    wanted: list[tuple[str, JsonSchemaMode, CoreSchema]] = [
        ("error", "serialization", TypeAdapter[Any](ErrorBody).core_schema)
    ]
    for name, declaration in endpoints:
        response = _plain_response(declaration.response)
        if declaration.body is not None:
            wanted.append((f"{name}.body", "validation", TypeAdapter[Any](declaration.body).core_schema))
        if declaration.query is not None:
            wanted.append((f"{name}.query", "validation", TypeAdapter[Any](declaration.query).core_schema))
        if response is not NoneType:
            wanted.append((f"{name}.response", "serialization", TypeAdapter[Any](response).core_schema))
    generator = _WireSchema(by_alias=True, ref_template=_REFERENCES)
    schemas, definitions = generator.generate_definitions(cast(Any, wanted))
    return cast(Mapping[tuple[str, JsonSchemaMode], Node], schemas), cast(dict[str, Node], definitions)


def _plain_response(annotation: Any) -> Any:  # a type, for TypeAdapter
    """What the annotation says of the body: Reply and text that is JSON already are only ways to send it."""
    if annotation is None:
        return NoneType
    if annotation is JsonText:
        return JsonValue
    origin = get_origin(annotation)
    if origin is Reply:
        return _plain_response(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return Union[tuple(_plain_response(member) for member in get_args(annotation))]  # noqa: UP007  # made at run time
    return annotation


def _chooses_status(annotation: Any) -> bool:  # as _plain_response
    """Whether the handler may answer with a status of its own."""
    if get_origin(annotation) in (Union, UnionType):
        return any(_chooses_status(member) for member in get_args(annotation))
    return annotation is Reply or get_origin(annotation) is Reply


def _resolved(schema: Node, components: Mapping[str, Node]) -> Node:
    reference = schema.get("$ref")
    return components[reference.rsplit("/", 1)[-1]] if isinstance(reference, str) else schema


# ── Operations ────────────────────────────────────────────────────────────────────────────────────


def _operation(operation: _Operation, components: Mapping[str, Node]) -> Node:
    declaration = operation.declaration
    summary, _, description = declaration.summary.partition("\n")
    node: Node = {"operationId": operation.name, "summary": summary.strip(), "tags": [_tag(declaration)]}
    if description.strip():
        node["description"] = description.strip()
    if declaration.permission is None:
        node["security"] = []
    else:
        node["security"] = list(_SECURITY)
        node["x-fastn-permission"] = str(declaration.permission)
    parameters = _parameters(operation, components)
    if parameters:
        node["parameters"] = parameters
    if declaration.takes_raw_body:
        node["requestBody"] = {"required": True, "content": {"*/*": {}}}
    elif (body := operation.schema("body")) is not None:
        node["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    node["responses"] = _responses(operation, components)
    return node


def _tag(declaration: EndpointDeclaration) -> str:
    """The resource: the permission's, or the last literal segment of the path."""
    if declaration.permission is not None:
        return str(declaration.permission).partition(":")[0]
    return [segment for segment in declaration.path.split("/") if segment and not segment.startswith("{")][-1]


def _parameters(operation: _Operation, components: Mapping[str, Node]) -> list[Node]:
    declaration = operation.declaration
    parameters = [_path_parameter(name) for name in declaration.path_parameters]
    query = operation.schema("query")
    if query is not None:
        model = _resolved(query, components)
        required: Sequence[str] = model.get("required", ())
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": _without_null(schema)}
            for name, schema in cast(Mapping[str, Node], model.get("properties", {})).items()
        ]
    return parameters + _header_parameters(operation, components)


def _without_null(schema: Node) -> Node:
    """The schema of a query parameter: text that is there or not there, but never null."""
    branches = [branch for branch in schema.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) != 1:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    return {**branches[0], **rest}


def _path_parameter(name: str) -> Node:
    node: Node = {"name": name, "in": "path", "required": True}
    if name == "tenant_id":
        node["description"] = "The customer: its UUID or your external id; `default` is the space's own."
        node["schema"] = {"type": "string", "minLength": 1, "maxLength": 200}
    elif name.endswith("_id"):
        node["schema"] = {"type": "string", "format": "uuid"}
    else:
        node["schema"] = {"type": "string"}
    return node


def _header_parameters(operation: _Operation, components: Mapping[str, Node]) -> list[Node]:
    declaration = operation.declaration
    parameters: list[Node] = []
    if declaration.permission is not None:
        parameters += _spellings(_SPACE_HEADERS, "The space of the key; any other is not found.")
        if Need.DATABASE in declaration.needs and "tenant_id" not in declaration.path_parameters:
            parameters += _spellings(
                _TENANT_HEADERS, "On whose behalf to work; the space's default tenant unless given."
            )
    if declaration.environment_bound:
        parameters += _spellings(("stage",), "`DRAFT` or the name of an environment; production unless given.")
    if _takes_if_match(operation, components):
        parameters += _spellings(("if-match",), "The ETag you read; the call is refused if it changed since.")
    return parameters


def _spellings(names: Sequence[str], description: str) -> list[Node]:
    first, *others = names
    texts = [description, *(f"Another spelling of {first}." for _ in others)]
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in zip(names, texts, strict=True)
    ]


def _has_etag(operation: _Operation, components: Mapping[str, Node]) -> bool:
    response = operation.schema("response")
    return response is not None and "revision" in _resolved(response, components).get("properties", {})


def _takes_if_match(operation: _Operation, components: Mapping[str, Node]) -> bool:
    changes = operation.declaration.method in (Method.PUT, Method.PATCH)
    return changes and _has_etag(operation, components)


# ── Responses ─────────────────────────────────────────────────────────────────────────────────────


def _responses(operation: _Operation, components: Mapping[str, Node]) -> Node:
    declaration = operation.declaration
    success: Node = {"description": HTTPStatus(declaration.status).phrase}
    headers: Node = {"x-request-id": {"schema": {"type": "string"}}}
    if _has_etag(operation, components):
        headers["etag"] = {"schema": {"type": "string", "examples": ['"3"']}}
    success["headers"] = headers
    response = operation.schema("response")
    if response is not None:
        success["content"] = {JSON: {"schema": response}}
    responses: Node = {str(declaration.status): success}
    if _chooses_status(declaration.response):
        responses["2XX"] = success
    for error, applies in _ERRORS_OF_OPERATIONS:
        if applies(operation, components):
            responses[str(error.status)] = {"$ref": f"#/components/responses/{error.code}"}
    responses["default"] = {"$ref": f"#/components/responses/{_ANY_ERROR}"}
    return responses


_Applies = Callable[[_Operation, Mapping[str, Node]], bool]


def _always(_operation: _Operation, _components: Mapping[str, Node]) -> bool:
    return True


def _is_protected(operation: _Operation, _components: Mapping[str, Node]) -> bool:
    return operation.declaration.permission is not None


def _is_bound(operation: _Operation, _components: Mapping[str, Node]) -> bool:
    return bool(operation.declaration.path_parameters) or operation.declaration.permission is not None


def _writes(operation: _Operation, _components: Mapping[str, Node]) -> bool:
    return operation.declaration.method in _WITH_BODY and operation.declaration.permission is not None


def _takes_body(operation: _Operation, _components: Mapping[str, Node]) -> bool:
    return operation.declaration.body is not None or operation.declaration.takes_raw_body


def _runs(operation: _Operation, _components: Mapping[str, Node]) -> bool:
    return (operation.declaration.permission or "").endswith(":execute")


_ERRORS_OF_OPERATIONS: Sequence[tuple[type[FastnError], _Applies]] = (
    (errors.ValidationFailed, _always),
    (errors.Unauthorized, _is_protected),
    (errors.Forbidden, _is_protected),
    (errors.NotFound, _is_bound),
    (errors.TimedOut, _runs),
    (errors.Conflict, _writes),
    (errors.PreconditionFailed, _takes_if_match),
    (errors.PayloadTooLarge, _takes_body),
    (errors.TooManyRequests, _is_protected),
    (errors.InternalError, _always),
)


def _error_responses() -> Node:
    content: Node = {JSON: {"schema": {"$ref": _REFERENCES.format(model=ErrorBody.__name__)}}}
    responses: Node = {_ANY_ERROR: {"description": "Any other error.", "content": content}}
    for error, _ in _ERRORS_OF_OPERATIONS:
        described = f"`{error.code}`: {(error.__doc__ or '').strip().partition(chr(10))[0]}"
        if error.status == errors.DatasourceError.status:
            described += f" Or `{errors.DatasourceError.code}`: a connector failed to talk to its vendor."
        responses[error.code] = {"description": described, "content": content}
    return responses


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
