"""The OpenAPI document: complete, true to what the endpoints do, and the committed one up to date."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, cast

import jsonschema_rs
import pytest
from pydantic import BaseModel, Field

from fastn.access.models import Permission
from fastn.errors import DatasourceError, FastnError, ValidationFailed
from fastn.http.declarations import FALLBACK_PATH, EndpointDeclaration
from fastn.http.endpoint import EndpointFunction, endpoint
from fastn.http.openapi import ErrorBody, main, openapi_document, render
from fastn.http.registry import RegisteredFunction, Registry, load_registry
from fastn.http.requests import Request
from fastn.http.responses import JsonText, Reply, render_error, to_json
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need
from fastn.platform.wire import Instant, Page, PageRequest, WireModel

ROOT = Path(__file__).parents[3]
REFRESH = "openapi.json is not what the endpoints declare; refresh it with: make openapi"

Json = Mapping[str, Any]


@cache
def _registry() -> Registry:
    return load_registry(ROOT)


@cache
def _document() -> dict[str, Any]:
    return openapi_document(_registry())


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in cast(Mapping[str, Mapping[str, Json]], document["paths"]).items():
        for method, operation in methods.items():
            yield method, path, operation


def _endpoints() -> list[tuple[RegisteredFunction, EndpointDeclaration]]:
    return [endpoint for endpoint in _registry().endpoints() if endpoint[1].path != FALLBACK_PATH]


def _parameters(operation: Json, place: str) -> dict[str, Json]:
    return {parameter["name"]: parameter for parameter in operation.get("parameters", []) if parameter["in"] == place}


def _component(document: Json, schema: Json) -> Json:
    return cast(Json, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]])


# ── The product's own document ────────────────────────────────────────────────────────────────────


def test_committed_document_is_the_one_the_registry_gives() -> None:
    committed = (ROOT / "openapi.json").read_text(encoding="utf-8")

    assert committed == render(_document()), REFRESH


def test_document_is_the_same_in_every_process() -> None:
    command = [sys.executable, "-m", "fastn.http.openapi", str(ROOT)]

    printed = subprocess.run(
        command, cwd="/", env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    ).stdout

    assert printed == render(_document())


def test_command_without_a_root_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_every_endpoint_is_an_operation_named_as_its_file() -> None:
    documented = {
        (method.upper(), path, operation["operationId"]) for method, path, operation in _operations(_document())
    }

    assert documented == {(str(one.method), one.path, function.name) for function, one in _endpoints()}


def test_every_operation_has_a_summary_a_tag_and_its_errors() -> None:
    for _, path, operation in _operations(_document()):
        assert operation["summary"], path
        assert operation["tags"], path
        assert {"400", "500", "default"} <= operation["responses"].keys(), path


def test_every_path_parameter_is_declared() -> None:
    for _, path, operation in _operations(_document()):
        assert set(_parameters(operation, "path")) == set(re.findall(r"{(\w+)}", path))


def test_protected_operations_take_a_key_in_either_spelling_and_say_which_permission_they_need() -> None:
    permissions = {function.name: one.permission for function, one in _endpoints()}

    for _, _, operation in _operations(_document()):
        permission = permissions[operation["operationId"]]
        assert operation["security"] == ([{"apiKey": []}, {"accessKey": []}] if permission else [])
        assert operation.get("x-fastn-permission") == permission
        assert ("401" in operation["responses"]) is (permission is not None)
    schemes = _document()["components"]["securitySchemes"].values()
    assert {scheme["name"] for scheme in schemes} == {"x-fastn-api-key", "x-fastn-access-key"}


def test_every_reference_leads_somewhere() -> None:
    document = _document()
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', render(document))):
        node: Any = document
        for part in reference.split("/"):
            assert part in node, reference
            node = node[part]


def test_every_schema_is_a_json_schema() -> None:
    for schema in _document()["components"]["schemas"].values():
        jsonschema_rs.Draft202012Validator({**schema, "components": _document()["components"]})


# ── What a document says, on endpoints of our own ─────────────────────────────────────────────────


class Note(WireModel):
    """A note."""

    written_at: Instant
    revision: int


class NewNote(WireModel):
    """A new note."""

    text: Annotated[str, Field(max_length=9)]
    page_size: int = 1


class ListNotes(PageRequest):
    """Which notes."""

    only_mine: bool | None = None


def _document_of(*handlers: EndpointFunction[Any]) -> dict[str, Any]:
    return openapi_document(
        Registry(tuple(RegisteredFunction(f"functions.note_{n}", "x", handler) for n, handler in enumerate(handlers)))
    )


def _only_operation(handler: EndpointFunction[Any]) -> tuple[Json, Json]:
    document = _document_of(handler)
    ((_, _, operation),) = _operations(document)
    return document, operation


def test_body_query_and_page_are_described_by_their_wire_names() -> None:
    @endpoint("POST /api/v1/notes", permission=Permission.WORKFLOWS_WRITE, status=201, environment_bound=True)
    def handler(request: Request[NewNote, ListNotes], _platform: Platform) -> Page[Note]:
        raise NotImplementedError

    document, operation = _only_operation(handler)

    body = _component(document, operation["requestBody"]["content"]["application/json"]["schema"])
    assert body["properties"]["text"] == {"type": "string", "maxLength": 9}
    assert "pageSize" in body["properties"]
    assert body["required"] == ["text"]
    query = _parameters(operation, "query")
    assert set(query) == {"limit", "cursor", "onlyMine"}
    assert query["onlyMine"]["schema"] == {"type": "boolean"}
    page = _component(document, operation["responses"]["201"]["content"]["application/json"]["schema"])
    note = _component(document, page["properties"]["data"]["items"])
    assert note["properties"]["writtenAt"] == {"type": "string", "format": "date-time"}
    assert "stage" in _parameters(operation, "header")
    assert {"409", "413"} <= operation["responses"].keys()


def test_resource_with_a_revision_has_an_etag_and_its_update_takes_if_match() -> None:
    @endpoint("PUT /api/v1/notes/{note_id}", permission=Permission.WORKFLOWS_WRITE)
    def update(request: Request[NewNote], _platform: Platform) -> Note:
        raise NotImplementedError

    @endpoint("GET /api/v1/notes/{note_id}", permission=Permission.WORKFLOWS_READ)
    def get(request: Request, _platform: Platform) -> Note:
        raise NotImplementedError

    operations = {method: operation for method, _, operation in _operations(_document_of(update, get))}

    assert "if-match" in _parameters(operations["put"], "header")
    assert "412" in operations["put"]["responses"]
    assert "if-match" not in _parameters(operations["get"], "header")
    assert all("etag" in operation["responses"]["200"]["headers"] for operation in operations.values())
    assert _parameters(operations["get"], "path")["note_id"]["schema"] == {"type": "string", "format": "uuid"}


def test_tenant_headers_are_documented_where_the_path_names_no_tenant() -> None:
    @endpoint("GET /api/v1/notes", permission=Permission.WORKFLOWS_READ, needs={Need.DATABASE})
    def by_header(request: Request, _platform: Platform) -> Note:
        raise NotImplementedError

    @endpoint("GET /api/v1/tenants/{tenant_id}/notes", permission=Permission.WORKFLOWS_READ, needs={Need.DATABASE})
    def by_path(request: Request, _platform: Platform) -> Note:
        raise NotImplementedError

    headers = [_parameters(operation, "header") for _, _, operation in _operations(_document_of(by_header, by_path))]

    assert "x-fastn-space-tenantid" in headers[0]
    assert "x-fastn-account-tenant-id" in headers[0]
    assert "x-fastn-space-tenantid" not in headers[1]


def test_answer_without_a_body_and_raw_body_are_described_as_such() -> None:
    @endpoint("POST /api/v1/notes", open_because="a test", status=204)
    def handler(request: Request[bytes], _platform: Platform) -> None:
        raise NotImplementedError

    _, operation = _only_operation(handler)

    assert "content" not in operation["responses"]["204"]
    assert operation["requestBody"]["content"] == {"*/*": {}}
    assert operation["tags"] == ["notes"]


def test_reply_with_a_status_of_its_own_is_described_for_any_success() -> None:
    @endpoint("POST /api/v1/{note_name}", permission=Permission.WORKFLOWS_EXECUTE)
    def handler(request: Request, _platform: Platform) -> Reply[JsonText] | Reply[Note]:
        raise NotImplementedError

    document, operation = _only_operation(handler)

    schema = operation["responses"]["2XX"]["content"]["application/json"]["schema"]
    assert [_component(document, branch).get("title") for branch in schema["anyOf"]] == [None, "Note"]
    assert "408" in operation["responses"]


def test_fallback_is_no_operation() -> None:
    @endpoint("ANY $default", open_because="a test")
    def handler(request: Request, _platform: Platform) -> None:
        raise NotImplementedError

    assert _document_of(handler)["paths"] == {}


# ── The document against what is sent ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "error",
    [
        ValidationFailed("no", details={"problems": [{"field": "a", "problem": "b"}]}),
        DatasourceError("no", step="send", datasource_debug={"name": "send", "jsonObject": {"ok": False}}),
    ],
)
def test_rendered_errors_are_what_the_error_schema_says(error: FastnError) -> None:
    document = _document()
    schema = {"$ref": "#/components/schemas/ErrorBody", "components": document["components"]}

    body = json.loads(render_error(error, "request-1")["body"])

    jsonschema_rs.validate(schema, body)
    assert body["code"] in ErrorBody.model_json_schema()["properties"]["code"]["examples"]


def test_rendered_values_are_what_their_schema_says() -> None:
    @endpoint("GET /api/v1/notes", permission=Permission.WORKFLOWS_READ)
    def handler(request: Request, _platform: Platform) -> Page[Note]:
        raise NotImplementedError

    document, operation = _only_operation(handler)
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    page: BaseModel = Page[Note](data=[Note(written_at=datetime.now(UTC), revision=1)], next_cursor=None)

    jsonschema_rs.Draft202012Validator(
        {**schema, "components": document["components"]}, validate_formats=True
    ).validate(json.loads(to_json(page)))
