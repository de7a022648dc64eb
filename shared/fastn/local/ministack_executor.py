"""Runs the emulator's Python functions on the fork server, with the error shapes of AWS Lambda.

Lives in the emulator's process. The stock executor starts an interpreter per environment and reports every
failure as Runtime.HandlerError, which no Retry or Catch written for AWS would match.
"""

import json
import os
import select
import socket
import threading
import time
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from fastn.local import frames
from fastn.local.control import ForkServerControl

# Lambda quotas, https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
RESPONSE_LIMIT_BYTES = 6_291_556
INIT_TIMEOUT_SECONDS = 10.0
WARM_ENVIRONMENTS_PER_CORE = 2
PATIENCE_FOR_WARM_SECONDS = 3.0
MEBIBYTE = 1024 * 1024

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """What the supervisor decides. `source_root` switches from packed assets to the checkout's sources.

    `library_root` holds `fastn`, which AWS takes from a layer. Layers are never used here: they hold wheels
    for the Lambda runtime, and this interpreter has its own.
    """

    fork_server: ForkServerControl
    endpoint_url: str
    log_directory: Path
    scratch_directory: Path
    source_root: Path | None
    library_root: Path
    caps_memory: bool


class InitFailed(Exception):
    """The environment did not become ready; `payload` is what the caller of the function sees."""

    def __init__(self, payload: Mapping[str, object], log: str) -> None:
        super().__init__(str(payload.get("errorMessage")))
        self.payload = payload
        self.log = log


class ForkedEnvironment:
    """One environment of one function, seen from the emulator; offers what it expects of a process."""

    def __init__(self, options: ExecutorOptions, config: Mapping[str, Any], code_directory: Path) -> None:
        self._options = options
        self._config = config
        self._id = uuid.uuid4().hex
        self._log_path = options.scratch_directory / f"{self._id}.log"
        self._log_position = 0
        self._connection = socket.socket(socket.AF_UNIX)
        self._launch(code_directory)

    def _launch(self, code_directory: Path) -> None:
        timeout_seconds = INIT_TIMEOUT_SECONDS + _timeout_seconds(self._config)
        self._connection.settimeout(timeout_seconds)
        self._connection.connect(str(self._options.fork_server.socket_path))
        frames.send(self._connection, self._launch_header(code_directory))
        try:
            frame = frames.receive(self._connection)
        except TimeoutError:
            message = f"Init timed out after {timeout_seconds:.2f} seconds"
            raise self._init_failure({"errorType": "Sandbox.Timedout", "errorMessage": message}) from None
        if frame is None:
            raise self._init_failure(self._exit_error(""))
        if frame.header["status"] == "init_error":
            raise self._init_failure(json.loads(frame.payload))

    def _init_failure(self, payload: Mapping[str, object]) -> InitFailed:
        self.kill()
        log = self.read_log()
        self.discard()
        return InitFailed(payload, log)

    def _launch_header(self, code_directory: Path) -> Mapping[str, object]:
        task_root = _task_root(self._options.source_root, self._config["Handler"]) or code_directory
        limit = int(self._config.get("MemorySize", 128)) * MEBIBYTE if self._options.caps_memory else None
        return {
            "kind": "launch",
            "environment_id": self._id,
            "function_name": self._config["FunctionName"],
            "handler": self._config["Handler"],
            "variables": _variables(self._config, self._options.endpoint_url, task_root),
            "search_path": [str(task_root), str(self._options.library_root)],
            "working_directory": str(task_root),
            "log_path": str(self._log_path),
            "memory_limit_bytes": limit,
        }

    def is_alive(self) -> bool:
        """Whether the other end still holds the connection."""
        watch = select.poll()  # select() itself ends at descriptor 1024
        watch.register(self._connection, select.POLLIN)
        return not watch.poll(0)  # an idle environment says nothing: an event means it hung up

    def invoke(self, event: bytes, request_id: str, *, function_arn: str, trace_id: str | None) -> frames.Frame:
        """The environment's answer: ok, error or stale. A dead one answers as AWS does for it."""
        timeout_seconds = _timeout_seconds(self._config)
        header = {
            "request_id": request_id,
            "function_arn": function_arn,
            "deadline_ms": int((time.time() + timeout_seconds) * 1000),
            "trace_id": trace_id,
        }
        self._connection.settimeout(timeout_seconds)
        try:
            frames.send(self._connection, header, event)
            frame = frames.receive(self._connection)
        except TimeoutError:
            self.kill()
            message = f"RequestId: {request_id} Error: Task timed out after {timeout_seconds:.2f} seconds"
            return _failure({"errorType": "Sandbox.Timedout", "errorMessage": message})
        except OSError:
            frame = None
        return frame or _failure(self._exit_error(request_id))

    def read_log(self) -> str:
        """What was written since the last call."""
        try:
            with self._log_path.open("rb") as log:
                log.seek(self._log_position)
                written = log.read()
        except FileNotFoundError:
            return ""
        self._log_position += len(written)
        return written.decode("utf-8", "replace").rstrip("\n")

    def _exit_error(self, request_id: str) -> Mapping[str, object]:
        status = self._options.fork_server.end_environment(self._id, kill=False)
        self._connection.close()
        if not status:
            reason = "Runtime exited without providing a reason"
        elif status < 0:
            reason = "Runtime exited with error: signal: killed"
        else:
            reason = f"Runtime exited with error: exit status {status}"
        return {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: {request_id} Error: {reason}"}

    # What the emulator's pool calls on a subprocess.Popen:

    def poll(self) -> int | None:
        """None while the environment lives."""
        return None if self._connection.fileno() >= 0 and self.is_alive() else 1

    def kill(self) -> None:
        """End the environment and every process it started."""
        self._connection.close()
        self._options.fork_server.end_environment(self._id, kill=True)

    def discard(self) -> None:
        """Forget the log of an environment that has ended."""
        self._log_path.unlink(missing_ok=True)

    terminate = kill

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; `kill` has waited already."""
        del timeout
        return 0


class ForkWorker:
    """What the emulator's pool leases: at most one environment, replaced when it dies or its sources change."""

    def __init__(self, options: ExecutorOptions, config: Mapping[str, Any], code_zip: bytes) -> None:
        self._options = options
        self.config = config
        self.code_zip = code_zip
        self.in_use = False
        self.last_used = time.time()
        self._lock = threading.Lock()
        self._proc: ForkedEnvironment | None = None
        self._environment: ForkedEnvironment | None = None

    def run(self, event: object, request_id: str, *, trace_id: str | None) -> Result:
        """The outcome of one invocation, in the emulator's terms: body, error, log."""
        with self._lock:
            log = ""
            try:
                frame = self._answer(json.dumps(event).encode(), request_id, trace_id)
            except InitFailed as failure:
                frame, log = _failure(failure.payload), failure.log
            if self._environment is not None:
                log = self._environment.read_log()
        result = _result(frame, log, request_id)
        self._write_log(request_id, result["log"])
        return result

    def _answer(self, event: bytes, request_id: str, trace_id: str | None) -> frames.Frame:
        while True:
            frame = self._living_environment().invoke(
                event, request_id, function_arn=self.config.get("FunctionArn", ""), trace_id=trace_id
            )
            if frame.header["status"] != "stale":
                return frame
            self._discard_tmpdir()
            self._proc = None

    def _living_environment(self) -> ForkedEnvironment:
        if self._proc is None or self._proc.poll() is not None:
            self._discard_tmpdir()
            lambda_service: Any = import_module("ministack.services.lambda_svc")
            code_directory = Path(lambda_service._provided_runtime_code_dir(self.code_zip))
            self._environment = self._proc = ForkedEnvironment(self._options, self.config, code_directory)
        return self._proc

    def _spawn(self) -> None:
        self._living_environment()

    def _discard_tmpdir(self) -> None:
        if self._environment is not None:
            self._environment.discard()
            self._environment = None

    def _write_log(self, request_id: str, text: str) -> None:
        lines = [f"START RequestId: {request_id}", *text.splitlines(), f"END RequestId: {request_id}"]
        with (self._options.log_directory / f"{self.config['FunctionName']}.log").open("ab") as log:
            log.write(("\n".join(lines) + "\n").encode())


class WarmPreference:
    """Has a burst wait a moment for a warm environment before it starts another.

    AWS has a machine for every cold start; here they would all compete for this one's cores. After the
    moment the invocation goes ahead all the same, so a function full of long runs still takes more.
    """

    def __init__(self, environments_per_function: int, patience_seconds: float) -> None:
        self._size = environments_per_function
        self._patience_seconds = patience_seconds
        self._places: dict[str, threading.Semaphore] = {}
        self._lock = threading.Lock()

    @contextmanager
    def place(self, function_name: str) -> Generator[None]:
        """A place among the function's warm environments, or, after the moment, none."""
        with self._lock:
            places = self._places.setdefault(function_name, threading.Semaphore(self._size))
        has_place = places.acquire(timeout=self._patience_seconds)
        try:
            yield
        finally:
            if has_place:
                places.release()


def install(options: ExecutorOptions) -> None:
    """Make the emulator run functions of Python runtimes here; others stay with its own executors."""
    runtime: Any = import_module("ministack.core.lambda_runtime")
    service: Any = import_module("ministack.services.lambda_svc")
    warm = WarmPreference(WARM_ENVIRONMENTS_PER_CORE * (os.cpu_count() or 1), PATIENCE_FOR_WARM_SECONDS)
    stock_class_for, stock_execute = runtime._worker_class_for, service._execute_function_warm

    def worker_class_for(config: Mapping[str, Any]) -> Any:
        return new_worker if _is_python(config) else stock_class_for(config)

    def new_worker(_name: str, config: Mapping[str, Any], code_zip: bytes) -> ForkWorker:
        return ForkWorker(options, config, code_zip)

    def execute(function: Mapping[str, Any], event: object, request_id: str) -> Result:
        config = function.get("config") or function
        if not _is_python(config) or not function.get("code_zip"):
            return stock_execute(function, event, request_id)
        service._ensure_reaper_thread()
        with warm.place(config["FunctionName"]):
            worker, _ = runtime.acquire_worker(
                config["FunctionName"],
                config,
                function["code_zip"],
                qualifier=config.get("Version", "$LATEST"),
            )
            try:
                trace_id = service._xray_trace_id_for_invocation(config)
                return worker.run(event, request_id, trace_id=trace_id)
            finally:
                worker.last_used = time.time()
                runtime.release_worker(worker)

    runtime._worker_class_for = worker_class_for
    service._execute_function_warm = execute


def _is_python(config: Mapping[str, Any]) -> bool:
    return str(config.get("Runtime", "")).startswith("python")


def _timeout_seconds(config: Mapping[str, Any]) -> float:
    return float(config.get("Timeout", 3))


def _failure(payload: Mapping[str, object]) -> frames.Frame:
    return frames.Frame({"status": "error"}, json.dumps(payload).encode())


def _result(frame: frames.Frame, log: str, request_id: str) -> Result:
    if frame.header["status"] == "ok" and len(frame.payload) > RESPONSE_LIMIT_BYTES:
        message = f"Response payload size exceeded maximum allowed payload size ({RESPONSE_LIMIT_BYTES} bytes)."
        frame = _failure({"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message})
    try:
        body: Any = json.loads(frame.payload)
    except ValueError:  # a handler that returns bytes, which Lambda passes on untouched
        return {"body": frame.payload, "log": log}
    if frame.header["status"] == "ok":
        return {"body": body, "log": log}
    if body.get("errorType") == "Sandbox.Timedout":
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        task = str(body["errorMessage"]).partition("Error: ")[2]
        log = "\n".join(filter(None, [log, f"{now} {request_id} {task}"]))
    return {"body": body, "error": True, "function_error": "Unhandled", "log": log}


def _task_root(source_root: Path | None, handler: str) -> Path | None:
    """The directory of the checkout a handler's module is found in; None if its sources are not there."""
    if source_root is None:
        return None
    module = handler.rpartition(".")[0].replace(".", "/")
    roots = (source_root, source_root / "functions")
    return next((root for root in roots if (root / f"{module}.py").is_file()), None)


def _variables(config: Mapping[str, Any], endpoint_url: str, task_root: Path) -> dict[str, str]:
    """The environment of the function: the template's variables and what Lambda itself sets, nothing else.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
    """
    runtime: Any = import_module("ministack.core.lambda_runtime")
    _, region = runtime._account_region_from_function_config(config)
    today, version = datetime.now(UTC), config.get("Version", "$LATEST")
    logging: Mapping[str, str] = config.get("LoggingConfig") or {}
    template: Mapping[str, Mapping[str, str]] = config.get("Environment") or {}
    variables: dict[str, Any] = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        # A developer's own AWS profile must not reach a function.
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": endpoint_url,
        runtime.HOST_PREFIX_ENV: "true",
        **template.get("Variables", {}),
        **runtime.execution_credentials(config),
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{config['Runtime']}",
        "AWS_LAMBDA_FUNCTION_NAME": config["FunctionName"],
        "AWS_LAMBDA_FUNCTION_VERSION": version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": logging.get("LogGroup") or f"/aws/lambda/{config['FunctionName']}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{today:%Y/%m/%d}/[{version}]{uuid.uuid4().hex}",
        "LAMBDA_TASK_ROOT": str(task_root),
        "_HANDLER": config["Handler"],
    }
    if logging.get("LogFormat") == "JSON":
        variables["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        variables["AWS_LAMBDA_LOG_LEVEL"] = logging.get("ApplicationLogLevel", "INFO")
    return {name: str(value) for name, value in variables.items()}
