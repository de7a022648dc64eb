"""Talks to a running fork server: routes to fakes, recycling, ending an environment."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastn.local import frames

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ForkServerControl:
    """One fork server, named by its socket; each call is one short connection.

    Every method raises OSError if the fork server is not there.
    """

    socket_path: Path

    def set_loopback_routes(self, routes: Mapping[str, int]) -> None:
        """Have every environment started from now on reach these hosts on these loopback ports.

        Handlers find them as `context.fastn_loopback_routes`, an attribute that does not exist on AWS. Warm
        environments are replaced before their next invocation, so the routes hold as soon as this returns.
        """
        for host, port in routes.items():
            if not host or not 0 < port < 2**16:
                raise ValueError(f"not a route: {host!r} to port {port}")
        self._ask({"kind": "routes", "routes": dict(routes)})

    def recycle(self) -> None:
        """Have every environment replaced before its next invocation, so that it imports changed sources."""
        self._ask({"kind": "recycle"})

    def end_environment(self, environment_id: str, *, kill: bool) -> int | None:
        """The exit status of an environment, negative for a signal; None if it is not known.

        With `kill` a living one is killed first, with every process it started.
        """
        answer = self._ask({"kind": "end", "environment_id": environment_id, "kill": kill})
        status = answer.get("exit_status")
        return status if isinstance(status, int) else None

    def environment_pids(self) -> list[int]:
        """The process ids of the living environments."""
        return [int(pid) for pid in self._ask({"kind": "list"})["pids"]]

    def _ask(self, header: Mapping[str, object]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_SECONDS)
            connection.connect(str(self.socket_path))
            frames.send(connection, header)
            answer = frames.receive(connection)
        if answer is None:
            raise ConnectionError("the fork server closed the connection")
        return answer.header
