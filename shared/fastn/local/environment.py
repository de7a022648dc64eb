"""One Lambda execution environment: a forked process that runs AWS's own awslambdaric loop.

The runtime client of awslambdaric speaks HTTP to Lambda's Runtime API; ours speaks frames over the socket the
executor opened. Everything between the two (handler lookup, context, error shapes, logging) is AWS's code.
"""

import importlib
import json
import mmap
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO, TextIOWrapper
from types import MappingProxyType
from typing import Any, NoReturn

from fastn.local import frames
from fastn.local.cpu_log import CpuLog


@dataclass(frozen=True, slots=True)
class Launch:
    """What the executor asks for: a function's handler, its variables and where its code lies."""

    environment_id: str
    function_name: str
    handler: str
    variables: Mapping[str, str]
    search_path: Sequence[str]
    working_directory: str
    log_path: str
    memory_limit_bytes: int | None

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> "Launch":
        """The launch a frame describes; raises KeyError if a field is missing."""
        return cls(**{name: header[name] for name in cls.__slots__})


class Generation:
    """A number shared by the fork server and its forks; an environment of an older one is replaced."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    @property
    def current(self) -> int:
        """The generation new environments belong to."""
        return int.from_bytes(self._memory[:8], "big")

    def advance(self) -> None:
        """Make every environment started so far an old one. Called by the fork server alone."""
        self._memory[:8] = (self.current + 1).to_bytes(8, "big")


@dataclass(slots=True)
class _Invocation:
    """The fields awslambdaric reads from an event request."""

    invoke_id: str
    event_body: bytes
    invoked_function_arn: str
    deadline_time_in_ms: int
    x_amzn_trace_id: str | None
    content_type: str = "application/json"
    client_context: str | None = None
    cognito_identity: str | None = None
    tenant_id: str | None = None
    invocation_id: str | None = None


class FrameRuntimeClient:
    """Stands in for awslambdaric's LambdaRuntimeClient: the same calls, over the executor's socket."""

    def __init__(self, connection: socket.socket, generation: Generation, cpu_log: CpuLog) -> None:
        # Created here, in the fork: its encoder depends on AWS_EXECUTION_ENV.
        self.marshaller = _awslambdaric("lambda_runtime_marshaller").LambdaMarshaller()
        self._connection = connection
        self._generation = generation
        self._born_in = generation.current
        self._cpu_log = cpu_log
        self._is_ready = False

    def wait_next_invocation(self) -> _Invocation:
        """The next event; ends the process when the executor hangs up or the sources changed."""
        if not self._is_ready:
            self._is_ready = True
            self._cpu_log.record("init", "")
            frames.send(self._connection, {"status": "ready", "pid": os.getpid()})
        frame = frames.receive(self._connection)
        if frame is None:
            _exit_now(0)
        if self._generation.current != self._born_in:
            frames.send(self._connection, {"status": "stale"})
            _exit_now(0)
        self._cpu_log.start()
        return _Invocation(
            invoke_id=frame.header["request_id"],
            event_body=frame.payload,
            invoked_function_arn=frame.header["function_arn"],
            deadline_time_in_ms=frame.header["deadline_ms"],
            x_amzn_trace_id=frame.header["trace_id"],
        )

    def post_invocation_result(
        self, invoke_id: str, result: str | bytes, _content_type: str, _invocation_id: str | None = None
    ) -> None:
        """Hand a handler's result to the executor."""
        payload = result.encode() if isinstance(result, str) else result
        self._finish(invoke_id, "ok", payload)

    def post_invocation_error(
        self, invoke_id: str, error: str, _xray_fault: str, _invocation_id: str | None = None
    ) -> None:
        """Hand a handler's exception to the executor; the environment stays warm, as on AWS."""
        self._finish(invoke_id, "error", error.encode())

    def post_init_error(self, error: Mapping[str, object]) -> None:
        """Tell the executor that the handler's module cannot be loaded."""
        frames.send(self._connection, {"status": "init_error"}, json.dumps(dict(error)).encode())

    def _finish(self, invoke_id: str, status: str, payload: bytes) -> None:
        self._cpu_log.record("invoke", invoke_id)
        sys.stdout.flush()
        sys.stderr.flush()
        frames.send(self._connection, {"status": status}, payload)


def run(
    connection: socket.socket,
    launch: Launch,
    generation: Generation,
    *,
    routes: Mapping[str, int],
    cpu_log_path: str | None,
) -> NoReturn:
    """Serve invocations until the executor hangs up; never returns to the fork server's own code."""
    try:
        _become_function(launch)
        cpu_log = CpuLog(cpu_log_path, launch.function_name)
        bootstrap = _runtime_bootstrap(launch.variables)
        _offer_routes(bootstrap, MappingProxyType(dict(routes)))
        bootstrap.run(launch.handler, FrameRuntimeClient(connection, generation, cpu_log))
    except SystemExit as exit_request:
        code = exit_request.code
        _exit_now(code if isinstance(code, int) else int(code is not None))
    except BaseException:  # noqa: BLE001  # the outermost frame of this process
        traceback.print_exc()
    _exit_now(1)


def _become_function(launch: Launch) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    os.environ.clear()
    os.environ.update(launch.variables)
    time.tzset()
    os.chdir(launch.working_directory)
    sys.path[:] = [*launch.search_path, *_paths_of_dependencies()]
    for name in [name for name in sys.modules if name == "fastn" or name.startswith("fastn.")]:
        del sys.modules[name]  # the fork server's own modules; the function imports those of the checkout
    importlib.invalidate_caches()
    log = os.open(launch.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        unbuffered = TextIOWrapper(FileIO(descriptor, "w", closefd=False), "utf-8", write_through=True)
        setattr(sys, name, unbuffered)
    if launch.memory_limit_bytes is not None:
        # Writable private memory only: a WebAssembly engine reserves address space it never touches.
        resource.setrlimit(resource.RLIMIT_DATA, (launch.memory_limit_bytes, launch.memory_limit_bytes))


def _paths_of_dependencies() -> list[str]:
    """The interpreter's own paths, without those of the project the fork server was started from."""
    prefixes = (sys.prefix, sys.base_prefix)
    return [path for path in sys.path if path.startswith(prefixes)]


def _runtime_bootstrap(variables: Mapping[str, str]) -> Any:
    bootstrap = _awslambdaric("bootstrap")
    if "AWS_LAMBDA_LOG_FORMAT" in variables or "AWS_LAMBDA_LOG_LEVEL" in variables:
        importlib.reload(bootstrap)  # it reads both when it is imported, which was before the fork
    return bootstrap


def _offer_routes(bootstrap: Any, routes: Mapping[str, int]) -> None:
    create_context = bootstrap.create_lambda_context

    def create_context_with_routes(*arguments: object) -> object:
        context = create_context(*arguments)
        context.fastn_loopback_routes = routes
        return context

    bootstrap.create_lambda_context = create_context_with_routes


def _exit_now(status: int) -> NoReturn:
    """Leave without running the fork server's exit handlers."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue
    os._exit(status)


def _awslambdaric(module: str) -> Any:
    """A module of AWS's runtime client, which ships without type information."""
    return importlib.import_module(f"awslambdaric.{module}")
