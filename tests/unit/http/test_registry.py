"""The one list of functions, and what it refuses."""

import importlib
import re
import sys
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from fastn.http.declarations import EndpointDeclaration
from fastn.http.registry import DeclarationError, load_registry

ENDPOINT = '''"""Do it."""
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.platform.capabilities import Platform

@endpoint("{route}", open_because="a test")
def handler(_request: Request, _platform: Platform) -> None:
    return None
'''
CONSUMER = '''"""Do it."""
from fastn.http.consumers import queue_consumer
from fastn.platform.resources import Queue

@queue_consumer(Queue.P1)
def handler(_messages: object, _platform: object) -> None:
    return None
'''
SCHEDULED = '''"""Do it."""
from fastn.http.consumers import scheduled

@scheduled(every_minutes=1)
def handler(_event: object, _platform: object, _deadline: object) -> None:
    return None
'''
TASK = '''"""Do it."""
from fastn.http.consumers import task

@task()
def handler(_event: object, _platform: object, _deadline: object) -> None:
    return None
'''


@pytest.fixture
def tree(tmp_path: Path) -> Generator[Path]:
    """An empty checkout whose `functions` can be imported in place of the real ones."""
    real = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "functions"}
    for name in real:
        del sys.modules[name]
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    sys.path.remove(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "functions"]:
        del sys.modules[name]
    sys.modules.update(real)


def _write(tree: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        file = tree / "functions" / name
        for folder in (tree / "functions", *reversed([p for p in file.parents if tree / "functions" in p.parents])):
            folder.mkdir(exist_ok=True)
            # A regular package: the checkout's own `functions` is on the path too, and would be merged in.
            (folder / "__init__.py").touch()
        file.write_text(text)


def _route(route: str) -> str:
    return ENDPOINT.replace("{route}", route)


def test_functions_are_listed_by_file_with_their_names(tree: Path) -> None:
    _write(
        tree,
        {
            "api/things/list_things.py": _route("GET /api/v1/things"),
            "api/things/thing_id/get_thing.py": _route("GET /api/v1/things/{thing_id}"),
            "api/things/thing_id/publish_thing.py": _route("POST /api/v1/things/{thing_id}/publish"),
            "api/ai_agents/list_agents.py": _route("GET /api/v1/ai-agents"),
            "api/flow_name/run_it.py": _route("POST /api/v1/{flow_name}"),
            "events/take.py": CONSUMER,
            "gateways/nothing.py": _route("ANY $default"),
            "schedules/sweep.py": SCHEDULED,
            "executors/run.py": TASK,
        },
    )

    registry = load_registry(tree)

    assert [function.file for function in registry.functions] == sorted(
        function.file for function in registry.functions
    )
    assert {function.name for function in registry.functions} == {
        "list_things", "get_thing", "publish_thing", "list_agents", "run_it", "take", "nothing", "sweep", "run",
    }  # fmt: skip
    assert len(registry.endpoints()) == 6
    assert isinstance(registry.named("nothing").declaration, EndpointDeclaration)


def test_an_unknown_name_is_an_error(tree: Path) -> None:
    _write(tree, {"events/take.py": CONSUMER})

    with pytest.raises(DeclarationError, match="nobody"):
        load_registry(tree).named("nobody")


@pytest.mark.parametrize(
    ("files", "culprits"),
    [
        (
            {
                "api/things/list_things.py": _route("GET /api/v1/things"),
                "api/things/list_all.py": _route("GET /api/v1/things"),
            },
            ["api/things/list_things.py", "api/things/list_all.py", "GET /api/v1/things"],
        ),
        (
            {
                "api/things/thing_id/get_thing.py": _route("GET /api/v1/things/{thing_id}"),
                "api/things/name/get_by_name.py": _route("GET /api/v1/things/{name}"),
            },
            ["api/things/thing_id/get_thing.py", "api/things/name/get_by_name.py", "GET /api/v1/things/{}"],
        ),
        (
            {"events/take.py": CONSUMER, "executors/take.py": TASK},
            ["events/take.py", "executors/take.py", "the name take"],
        ),
        ({"api/people/list_things.py": _route("GET /api/v1/things")}, ["api/people/list_things.py", "api/things/"]),
        ({"api/things/list_things.py": _route("GET /things")}, ["api/things/list_things.py", "/api/v1/"]),
        ({"events/list_things.py": _route("GET /api/v1/things")}, ["events/list_things.py", "functions/events"]),
        ({"api/things/take.py": CONSUMER}, ["api/things/take.py", "functions/api"]),
        ({"gateways/sweep.py": SCHEDULED}, ["gateways/sweep.py", "functions/gateways"]),
        ({"events/empty.py": '"""Nothing."""'}, ["events/empty.py", "no handler"]),
        ({"events/plain.py": "def handler(event, context): ..."}, ["events/plain.py", "no handler"]),
    ],
)
def test_a_wrong_declaration_is_refused_naming_every_culprit(
    tree: Path, files: Mapping[str, str], culprits: list[str]
) -> None:
    _write(tree, files)

    with pytest.raises(DeclarationError) as refused:
        load_registry(tree)

    for culprit in culprits:
        assert re.search(re.escape(culprit), str(refused.value))
