"""The fork server starts environments, replaces stale ones, and cleans up after those that end."""

import json
import os
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from fastn.local import frames, scratch
from fastn.local.control import ForkServerControl
from fastn.local.processes import ServiceProcess, base_variables

PACKAGE_ROOT = Path(__file__).resolve().parents[3] / "shared"

CODE = """
import os, subprocess, sys

def echo(event, context):
    return event

def hold(event, context):
    return len(bytearray(event["bytes"]))

def spawn(event, context):
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    return [os.getpid(), child.pid]

def leave(event, context):
    sys.exit(7)

def modules(event, context):
    return {"fastn": [n for n in sys.modules if n.split(".")[0] == "fastn"], "preloaded": "boto3" in sys.modules}
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """The executor's end of one environment."""

    id: str
    connection: socket.socket
    first: frames.Frame

    def ask(self, event: object) -> frames.Frame | None:
        """Send one invocation; the answer, or None if the environment ended."""
        header = {"request_id": "r", "function_arn": "arn", "deadline_ms": 2**42, "trace_id": None}
        frames.send(self.connection, header, json.dumps(event).encode())
        return frames.receive(self.connection)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServerControl]:
    directory = tmp_path_factory.mktemp("fork")
    socket_path = scratch.directory_for(directory) / "fork.sock"
    command = [sys.executable, "-m", "fastn.local.fork_server", str(socket_path), str(os.getpid())]
    variables = base_variables(PYTHONPATH=str(PACKAGE_ROOT))
    server = ServiceProcess("fork server", command, variables, log_path=directory / "log")
    server.wait_for_socket(socket_path)
    yield ForkServerControl(socket_path)
    server.stop()
    shutil.rmtree(socket_path.parent)
    assert not psutil.pid_exists(server.pid)


@pytest.fixture
def start(control: ForkServerControl, tmp_path: Path) -> Iterator[Callable[..., Environment]]:
    (tmp_path / "code.py").write_text(CODE)
    connections: list[socket.socket] = []

    def launch(handler: str, memory_limit_bytes: int | None = None) -> Environment:
        connection = socket.socket(socket.AF_UNIX)
        connections.append(connection)
        connection.settimeout(10)
        connection.connect(str(control.socket_path))
        header: dict[str, Any] = {
            "kind": "launch",
            "environment_id": uuid.uuid4().hex,
            "function_name": "probe",
            "handler": f"code.{handler}",
            "variables": {"PATH": "/usr/bin:/bin", "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"},
            "search_path": [str(tmp_path)],
            "working_directory": str(tmp_path),
            "log_path": str(tmp_path / "log"),
            "memory_limit_bytes": memory_limit_bytes,
        }
        frames.send(connection, header)
        first = frames.receive(connection)
        assert first is not None
        return Environment(header["environment_id"], connection, first)

    yield launch
    for connection in connections:
        connection.close()


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + 5
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < deadline, "a process is still there"
        time.sleep(0.005)


def test_environment_answers_with_what_the_handler_returned(start: Callable[..., Environment]) -> None:
    environment = start("echo")

    answers = [environment.ask({"n": number}) for number in range(2)]

    assert environment.first.header["status"] == "ready"
    assert [json.loads(answer.payload) for answer in answers if answer] == [{"n": 0}, {"n": 1}]


def test_function_finds_the_libraries_loaded_and_none_of_our_modules(start: Callable[..., Environment]) -> None:
    answer = start("modules").ask({})

    assert answer is not None
    assert json.loads(answer.payload) == {"fastn": [], "preloaded": True}


def test_stale_environment_says_so_and_ends(control: ForkServerControl, start: Callable[..., Environment]) -> None:
    environment = start("echo")

    control.recycle()
    answer = environment.ask(1)

    assert answer is not None
    assert answer.header == {"status": "stale"}
    wait_until_gone(environment.first.header["pid"])


def test_killed_environment_takes_its_detached_children_along(
    control: ForkServerControl, start: Callable[..., Environment]
) -> None:
    environment = start("spawn")
    answer = environment.ask({})
    assert answer is not None

    status = control.end_environment(environment.id, kill=True)

    assert status == -9
    wait_until_gone(*json.loads(answer.payload))


def test_hanging_up_ends_the_environment_and_its_children(start: Callable[..., Environment]) -> None:
    environment = start("spawn")
    answer = environment.ask({})
    assert answer is not None

    environment.connection.close()

    wait_until_gone(*json.loads(answer.payload))


def test_exit_status_is_known_after_the_environment_ended(
    control: ForkServerControl, start: Callable[..., Environment]
) -> None:
    environment = start("leave")

    answer = environment.ask({})

    assert answer is None
    assert control.end_environment(environment.id, kill=False) == 7
    assert control.end_environment("unknown", kill=True) is None


def test_memory_over_the_cap_is_refused_to_the_handler(start: Callable[..., Environment]) -> None:
    environment = start("hold", 512 * 1024 * 1024)

    within, over = environment.ask({"bytes": 1024}), environment.ask({"bytes": 600 * 1024 * 1024})

    assert within is not None
    assert over is not None
    assert within.header["status"] == "ok"
    assert json.loads(over.payload)["errorType"] == "MemoryError"


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_impossible_route_is_refused(control: ForkServerControl, port: int) -> None:
    with pytest.raises(ValueError, match="not a route"):
        control.set_loopback_routes({"host": port})


def test_message_that_makes_no_sense_does_not_end_the_server(control: ForkServerControl) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(control.socket_path))
        frames.send(connection, {"kind": "nonsense"})
        refused = frames.receive(connection)

    assert refused is None
    assert control.environment_pids() is not None
