"""What holds for every function in `functions/`, whoever wrote it."""

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from fastn.access.models import Permission
from fastn.http.declarations import EndpointDeclaration, Method
from fastn.http.registry import RegisteredFunction, load_registry
from fastn.http.responses import JsonText, Reply
from fastn.platform.resources import settings_of
from fastn.platform.wire import Page, WireModel

CHECKOUT = Path(__file__).parents[2]
REGISTRY = load_registry(CHECKOUT)
FUNCTIONS = {function.name: function for function in REGISTRY.functions}
ENDPOINTS = {function.name: declaration for function, declaration in REGISTRY.endpoints()}
LONGEST_HANDLER_LINES = 10
MAX_TIMEOUT_SECONDS_OF_A_ROUTE = 29  # API Gateway gives up after 30
MAX_TIMEOUT_SECONDS = 900
MAX_FUNCTION_NAME_CHARACTERS = 40  # Lambda allows 64, with the installation's name and a hash around it

# Each takes more than 100 ms of CPU to import, which a cold start pays before it reads the request.
# (Powertools imports the root module of botocore, which is next to nothing.)
TOO_HEAVY_FOR_AN_ENDPOINT = (
    "boto3", "botocore.session", "botocore.client", "botocore.config", "aws_xray_sdk", "pynamodb", "wasmtime",
    "quickjs_rs", "httpx2", "alembic", "sqlalchemy", "jsonschema",
)  # fmt: skip
# Imported once for all; third parties may read the environment, and only reads by our own modules count.
LIGHT_PACKAGES = ("aws_lambda_powertools", "aws_lambda_powertools.metrics", "psycopg", "pydantic", "cryptography")

_PROBE = """
import collections.abc, importlib, json, os, sys

class Watched(collections.abc.MutableMapping):
    def __init__(self):
        self.reads = []
    def note(self, key):
        frame = sys._getframe(2)
        while frame.f_code.co_filename.startswith("<") or frame.f_globals["__name__"] == "os":
            frame = frame.f_back
        if frame.f_globals["__name__"].split(".")[0] in ("fastn", "functions"):
            self.reads.append(f"{frame.f_globals['__name__']} reads {key}")
    def __getitem__(self, key):
        self.note(key)
        raise KeyError(key)
    def __setitem__(self, key, value):
        self.note(key)
    def __delitem__(self, key):
        self.note(key)
    def __iter__(self):
        self.note("everything")
        return iter(())
    def __len__(self):
        return 0

question = json.load(sys.stdin)
sys.path[:0] = question["search_path"]
for name in question["light"]:
    importlib.import_module(name)
already = sorted(set(question["heavy"]) & set(sys.modules))
for name in question["modules"]:
    if os.fork() == 0:
        os.environ = watched = Watched()
        importlib.import_module(name)
        heavy = sorted(set(question["heavy"]) & set(sys.modules))
        sys.stdout.write(json.dumps({"module": name, "reads": watched.reads, "heavy": heavy}) + "\\n")
        sys.stdout.flush()
        os._exit(0)
    os.wait()
assert already == [], already
"""


@pytest.fixture(scope="module")
def imported() -> Mapping[str, Mapping[str, list[str]]]:
    """What importing each function alone did, in a process without an environment."""
    question = {
        "search_path": [str(CHECKOUT / "shared"), str(CHECKOUT)],
        "light": LIGHT_PACKAGES,
        "heavy": TOO_HEAVY_FOR_AN_ENDPOINT,
        "modules": [function.module for function in REGISTRY.functions],
    }
    outcome = subprocess.run(
        [sys.executable, "-I", "-c", _PROBE],
        env={},
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return {found["module"]: found for found in map(json.loads, outcome.stdout.splitlines())}


def test_there_are_functions_of_every_kind() -> None:
    assert {"get_health", "not_found", "list_workflows", "receive_webhook", "relay_outbox"} <= FUNCTIONS.keys()


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_importing_a_function_reads_no_environment(
    function: RegisteredFunction, imported: Mapping[str, Mapping[str, list[str]]]
) -> None:
    assert function.module in imported, "it cannot be imported without an environment"
    assert imported[function.module]["reads"] == []


@pytest.mark.parametrize("function", [FUNCTIONS[name] for name in ENDPOINTS], ids=ENDPOINTS)
def test_importing_an_endpoint_imports_nothing_heavy(
    function: RegisteredFunction, imported: Mapping[str, Mapping[str, list[str]]]
) -> None:
    assert imported[function.module]["heavy"] == []


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_handler_is_short_and_holds_no_logic(function: RegisteredFunction) -> None:
    tree = ast.parse((CHECKOUT / function.file).read_text(encoding="utf-8"))
    handler = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "handler")

    lines = (handler.end_lineno or 0) - handler.lineno
    loops = [node for node in ast.walk(handler) if isinstance(node, ast.For | ast.While | ast.Try | ast.With)]
    others = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name != "handler"]

    assert lines <= LONGEST_HANDLER_LINES
    assert loops == [], "loops, with-blocks and try-blocks belong in a service"
    assert others == [], "a second function belongs in a service"


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_functions_file_says_in_one_line_what_it_does(function: RegisteredFunction) -> None:
    summary = function.declaration.summary

    assert summary
    assert summary.splitlines()[0].endswith(".")
    assert summary == inspect.getdoc(sys.modules[function.module])
    assert len(function.name) <= MAX_FUNCTION_NAME_CHARACTERS


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_functions_size_is_one_lambda_offers(function: RegisteredFunction) -> None:
    sizing = function.declaration.sizing
    is_route = isinstance(function.declaration, EndpointDeclaration)

    assert 128 <= sizing.memory_mb <= 3008
    assert 1 <= sizing.timeout_seconds <= (MAX_TIMEOUT_SECONDS_OF_A_ROUTE if is_route else MAX_TIMEOUT_SECONDS)
    assert settings_of(function.declaration.needs)


@pytest.mark.parametrize("declaration", ENDPOINTS.values(), ids=ENDPOINTS)
def test_a_route_has_a_known_permission_or_a_reason_to_be_open(declaration: EndpointDeclaration) -> None:
    assert (declaration.permission is None) != (declaration.open_because is None)
    assert declaration.permission is None or declaration.permission in set(Permission)
    assert declaration.open_because is None or len(declaration.open_because) > 10


def test_open_routes_are_these_and_no_others() -> None:
    open_routes = {declaration.route for declaration in ENDPOINTS.values() if declaration.permission is None}

    assert open_routes == {
        "$default",
        "GET /api/v1/health",
        "POST /api/v1/clients/{space_id}/webhooks/{webhook_id}",
    }


@pytest.mark.parametrize("declaration", ENDPOINTS.values(), ids=ENDPOINTS)
def test_a_read_needs_no_more_than_a_read_permission(declaration: EndpointDeclaration) -> None:
    if declaration.permission is None or declaration.method is Method.ANY:
        return
    is_read = str(declaration.permission).endswith(":read")

    assert is_read == (declaration.method is Method.GET)


@pytest.mark.parametrize("declaration", ENDPOINTS.values(), ids=ENDPOINTS)
def test_what_a_route_takes_and_returns_are_wire_models(declaration: EndpointDeclaration) -> None:
    assert declaration.body is None or issubclass(declaration.body, WireModel)
    assert declaration.query is None or issubclass(declaration.query, WireModel)
    for response in _alternatives(declaration.response):
        assert response in {NoneType, JsonText} or (
            isinstance(response, type) and issubclass(response, WireModel | Page)
        ), f"{declaration.route} returns {response}"


@pytest.mark.parametrize("declaration", ENDPOINTS.values(), ids=ENDPOINTS)
def test_names_on_the_wire_are_in_camel_case(declaration: EndpointDeclaration) -> None:
    models = [declaration.body, declaration.query, *_alternatives(declaration.response)]
    schemas = [
        model.model_json_schema(by_alias=True)
        for model in models
        if isinstance(model, type) and issubclass(model, BaseModel)
    ]

    names = {name for schema in schemas for name in _property_names(schema)}

    assert {name for name in names if "_" in name or name[:1].isupper()} == set()


def _alternatives(annotation: Any) -> list[Any]:  # annotations have no common type
    if get_origin(annotation) is Reply:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) is Union or type(annotation).__name__ == "UnionType":
        return [inner for argument in get_args(annotation) for inner in _alternatives(argument)]
    return [annotation]


def _property_names(schema: dict[str, Any]) -> set[str]:
    described = [schema, *schema.get("$defs", {}).values()]
    return {name for part in described for name in part.get("properties", {})}
