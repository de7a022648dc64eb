"""Forks Lambda execution environments from one process that has the heavy libraries loaded already.

It stays single-threaded (a fork copies one thread only) and holds no code of the project: an environment
imports the current sources after the fork, so a changed file is seen by the next environment.
"""

import gc
import importlib
import importlib.util
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from fastn.local import environment, frames
from fastn.local.lifeline import adopt_orphans, children_of, die_with_parent, kill_group

PRELOADED_LIBRARIES = (
    "awslambdaric.bootstrap",
    "aws_lambda_powertools.logging",
    "aws_lambda_powertools.metrics",
    "boto3",
    "botocore.client",
    "cryptography.hazmat.primitives.ciphers.aead",
    "httpx2",
    "psycopg",
    "psycopg.rows",
    "psycopg.types.json",
    "pydantic",
    "pynamodb.models",
    "quickjs_rs",
    "stamina",
    "wasmtime",
    "yaml",
)
REQUEST_TIMEOUT_SECONDS = 5.0
EXIT_GRACE_SECONDS = 0.3
REMEMBERED_EXITS = 1000


class ForkServer:
    """Accepts launches and control messages on a unix socket; see `control` for the messages."""

    def __init__(self, listener: socket.socket, *, cpu_log_path: str | None) -> None:
        self._listener = listener
        self._cpu_log_path = cpu_log_path
        self._generation = environment.Generation()
        self._routes: dict[str, int] = {}
        self._living: dict[int, str] = {}
        self._exits: dict[str, int] = {}
        self._is_stopping = False
        self._wakeup_reader, self._wakeup_writer = socket.socketpair()
        self._wakeup_reader.setblocking(False)
        self._wakeup_writer.setblocking(False)

    def serve(self) -> None:
        """Run until SIGTERM, which ends every environment first."""
        adopt_orphans()
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGCHLD, _ignore)  # without a handler the wakeup below never happens
        signal.set_wakeup_fd(self._wakeup_writer.fileno(), warn_on_full_buffer=False)
        while not self._is_stopping:
            readable, _, _ = select.select([self._listener, self._wakeup_reader], [], [])
            if self._wakeup_reader in readable:
                self._drain_wakeups()
                self._reap()
            if self._listener in readable:
                connection, _ = self._listener.accept()
                with connection:
                    self._answer(connection)

        for environment_id in list(self._living.values()):
            self._end(environment_id, kill=True)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._is_stopping = True

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(REQUEST_TIMEOUT_SECONDS)
        try:
            frame = frames.receive(connection)
            if frame is None:
                return
            if frame.header["kind"] == "launch":
                self._fork(connection, environment.Launch.from_header(frame.header))
            else:
                frames.send(connection, self._obey(frame.header))
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"fork server: refused a message: {error!r}", file=sys.stderr, flush=True)

    def _obey(self, header: Mapping[str, Any]) -> Mapping[str, object]:
        match header["kind"]:
            case "routes":
                self._routes = {str(host): int(port) for host, port in header["routes"].items()}
                self._generation.advance()
            case "recycle":
                self._generation.advance()
            case "end":
                return {"exit_status": self._end(header["environment_id"], kill=header["kill"])}
            case "list":
                return {"pids": sorted(self._living)}
            case unknown:
                raise ValueError(f"unknown message {unknown!r}")
        return {"generation": self._generation.current}

    def _fork(self, connection: socket.socket, launch: environment.Launch) -> None:
        server_pid = os.getpid()
        pid = os.fork()
        if pid != 0:
            self._living[pid] = launch.environment_id
            return
        os.setpgid(0, 0)
        die_with_parent(server_pid)
        adopt_orphans()
        self._listener.close()
        self._wakeup_reader.close()
        connection.settimeout(None)
        environment.run(
            connection,
            launch,
            self._generation,
            routes=self._routes,
            cpu_log_path=self._cpu_log_path,
        )

    def _end(self, environment_id: str, *, kill: bool) -> int | None:
        """The exit status of an environment, after killing it or giving it a moment to finish by itself."""
        pid = next((pid for pid, id_ in self._living.items() if id_ == environment_id), None)
        deadline = time.monotonic() + (0 if kill else EXIT_GRACE_SECONDS)
        while pid in self._living:
            if time.monotonic() >= deadline:
                kill_group(pid, pid)
            self._reap()
            time.sleep(0.001)
        return self._exits.pop(environment_id, None)

    def _reap(self) -> None:
        """Collect ended environments, and whatever they left running."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None:
                break
            environment_id = self._living.pop(ended.si_pid, None)
            if environment_id is not None:
                kill_group(ended.si_pid)  # before the zombie is collected: until then its id is not reused
            _, status = os.waitpid(ended.si_pid, 0)
            if environment_id is not None:
                self._remember_exit(environment_id, os.waitstatus_to_exitcode(status))
        for orphan in children_of(os.getpid()):
            if orphan not in self._living:
                kill_group(orphan, orphan)

    def _remember_exit(self, environment_id: str, exit_status: int) -> None:
        self._exits[environment_id] = exit_status
        while len(self._exits) > REMEMBERED_EXITS:
            del self._exits[next(iter(self._exits))]

    def _drain_wakeups(self) -> None:
        try:
            while self._wakeup_reader.recv(4096):
                pass
        except BlockingIOError:
            return


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; the wakeup file descriptor tells the loop."""


def preload(libraries: Sequence[str]) -> None:
    """Import what handlers will import anyway; a library that is not installed is passed over."""
    for name in libraries:
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            continue
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the pages the forks share


def main(socket_path: str, parent_pid: int) -> None:
    """Serve on a unix socket until the parent ends; prints one line when ready."""
    die_with_parent(parent_pid)
    preload(PRELOADED_LIBRARIES)
    listener = socket.socket(socket.AF_UNIX)
    Path(socket_path).unlink(missing_ok=True)
    listener.bind(socket_path)
    Path(socket_path).chmod(0o600)
    listener.listen(128)
    print("ready", flush=True)
    ForkServer(listener, cpu_log_path=os.environ.get("FASTN_LOCAL_CPU_LOG")).serve()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
