"""A whole embedded runtime that can be killed with kill -9, every process of it, and started again."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from fastn.local.installation import Installation
from fastn.platform.capabilities import Platform
from tests.load.scene import wait_until

CHECKOUT = Path(__file__).parents[2]
START_SECONDS = 120.0


class KillableRuntime:
    """One runtime over one state directory."""

    def __init__(self, state: Path, slack_port: int) -> None:
        self._state = state
        self._slack_port = slack_port
        self._process: subprocess.Popen[bytes] | None = None
        self._platform: Platform | None = None
        self.api_url = ""

    def start(self) -> None:
        """Starts every process and waits until it serves. Raises RuntimeError if it does not."""
        self._state.mkdir(parents=True, exist_ok=True)
        serving = self._state / "serving.json"
        serving.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.soak.serve", str(self._state), str(self._slack_port)]
        with (self._state / "supervisor.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=log)
        if not wait_until(serving.exists, within_seconds=START_SECONDS, poll_seconds=0.02):
            raise RuntimeError(f"the runtime did not start: {(self._state / 'supervisor.log').read_text()[-3000:]}")
        told = json.loads(serving.read_text("utf-8"))
        self.api_url = told["api_url"]
        installation = Installation(CHECKOUT, state_directory=self._state)
        self._platform = installation.platform_at(
            owner_url=told["owner_url"], aws_endpoint_url=told["aws_endpoint_url"], outputs=told["outputs"]
        )

    def platform(self) -> Platform:
        """What the runtime's own supervisor may do. Raises RuntimeError before `start`."""
        if self._platform is None:
            raise RuntimeError("the runtime is not running")
        return self._platform

    def kill(self) -> None:
        """Kill -9 of every process of the runtime: PostgreSQL, emulator, fork server, environments, supervisor."""
        if self._process is None:
            return
        parent = psutil.Process(self._process.pid)
        family = [parent, *parent.children(recursive=True)]
        for process in family:
            # Some die with others of the family before their turn comes.
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=10)
        self._process.wait()
        self._process = None
        self._close_platform()

    def _close_platform(self) -> None:
        if self._platform is not None:
            self._platform.close()
            self._platform = None
