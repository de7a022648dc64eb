"""Starts the runtime's own processes (fork server, emulator) and waits until they serve."""

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastn.local import ports
from fastn.local.errors import StartFailed
from fastn.local.lifeline import bound_to_this_process

READY_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 5.0


class ServiceProcess:
    """One long-lived child with a log file. It is killed when this process ends, however it ends."""

    def __init__(self, name: str, command: Sequence[str], variables: Mapping[str, str], *, log_path: Path) -> None:
        self._name = name
        self._log_path = log_path
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=dict(variables),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=bound_to_this_process(),  # noqa: PLW1509  # only prctl, no allocation
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait_for_socket(self, path: Path) -> None:
        """Return once a server accepts connections on a unix socket; raises StartFailed if none comes."""
        deadline = self._deadline()
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                except OSError:
                    self._check(deadline)
                else:
                    return

    def wait_for_http(self, port: int, path: str) -> None:
        """Return once a request is answered with 200; raises StartFailed if none is."""
        deadline = self._deadline()
        while True:
            connection = http.client.HTTPConnection(ports.LOOPBACK, port, timeout=5)
            try:
                connection.request("GET", path)
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return
            except OSError:
                pass
            finally:
                connection.close()
            self._check(deadline)

    def kill(self) -> None:
        """End it now: right for a process whose state is in memory anyway."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL if it does not end in time."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _deadline(self) -> float:
        return time.monotonic() + READY_TIMEOUT_SECONDS

    def _check(self, deadline: float) -> None:
        if self._process.poll() is not None or time.monotonic() > deadline:
            raise StartFailed(f"the {self._name} did not start; see {self._log_path}")
        time.sleep(0.02)


def base_variables(**added: str) -> dict[str, str]:
    """What a child inherits from our environment: no credentials, no Python settings of the shell."""
    inherited = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in inherited if name in os.environ} | added
