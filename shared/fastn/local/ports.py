"""Chooses loopback ports once and keeps them, so that bookmarks stay right across restarts."""

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def choose(remembered_in: Path, names: Sequence[str]) -> dict[str, int]:
    """A distinct free port per name: the remembered one while it is still free, else a new one."""
    remembered = _read(remembered_in)
    chosen: dict[str, int] = {}
    for name in names:
        port = remembered.get(name)
        while port is None or port in chosen.values() or not is_free(port):
            port = free_port()
        chosen[name] = port
    remembered_in.parent.mkdir(parents=True, exist_ok=True)
    remembered_in.write_text(json.dumps(chosen, indent=2) + "\n", encoding="utf-8")
    return chosen


def _read(path: Path) -> dict[str, int]:
    try:
        stored: Any = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): int(port) for name, port in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
