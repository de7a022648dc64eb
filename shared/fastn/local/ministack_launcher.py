"""Starts ministack with our executor and patches. Runs in the interpreter of its own virtual environment.

It listens on three loopback ports: one is AWS, as any SDK expects it; the others are the product's two doors,
the HTTP API and the function URL, so that no client needs to resolve `*.execute-api.localhost`.
"""

import asyncio
import logging
import os
import resource
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastn.local import ministack_executor, ministack_keys, ministack_patches
from fastn.local.control import ForkServerControl
from fastn.local.lifeline import die_with_parent

Scope = MutableMapping[str, Any]
Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]


class FrontDoors:
    """Serves each of the product's doors at the root of a port of its own; other ports stay the emulator's.

    `hosts` tells, per port, the host name the emulator knows the door by; None until it is deployed.
    """

    def __init__(self, app: Any, hosts: Mapping[int, Callable[[], str | None]]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        server = scope.get("server")
        host_of = self._hosts.get(server[1]) if scope["type"] == "http" and server else None
        if host_of is not None:
            host = host_of()
            if host is None:
                await _answer_not_deployed(send)
                return
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope["headers"] = [*others, (b"host", host.encode())]
        await self._app(scope, receive, send)


def _http_api_host() -> str | None:
    """The HTTP API of the deployed template: it has one."""
    gateway: Any = import_module("ministack.services.apigateway")
    for key, api in list(gateway._apis._data.items()):
        if api.get("protocolType") == "HTTP":
            return f"{key[-1]}.execute-api.localhost"
    return None


def _function_url_host() -> str | None:
    """The function URL of the deployed template: the door for runs of up to 60 s is the only one."""
    functions: Any = import_module("ministack.services.lambda_svc")
    for configuration in list(functions._function_urls._data.values()):
        url: str = configuration["FunctionUrl"]
        return urlsplit(url).hostname
    return None


async def _answer_not_deployed(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"message":"Nothing is deployed yet"}'})


def main(parent_pid: int) -> None:
    """Serve until the parent ends. Every choice comes from the supervisor, by environment variables."""
    die_with_parent(parent_pid)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # a burst of connections needs them
    aws_port = int(os.environ["GATEWAY_PORT"])
    doors = {
        int(os.environ["FASTN_LOCAL_API_PORT"]): _http_api_host,
        int(os.environ["FASTN_LOCAL_INSTANT_PORT"]): _function_url_host,
    }
    source_root = os.environ.get("FASTN_LOCAL_SOURCE_ROOT")
    library_root = Path(source_root) / "shared" if source_root else Path(__file__).resolve().parents[2]
    options = ministack_executor.ExecutorOptions(
        fork_server=ForkServerControl(Path(os.environ["FASTN_LOCAL_FORK_SERVER"])),
        endpoint_url=f"http://127.0.0.1:{aws_port}",
        log_directory=Path(os.environ["FASTN_LOCAL_LOGS"]),
        scratch_directory=Path(os.environ["TMPDIR"]),
        source_root=Path(source_root) if source_root else None,
        library_root=library_root,
        caps_memory=os.environ.get("FASTN_LOCAL_MEMORY_CAP") == "1",
    )
    ministack_executor.install(options)
    ministack_patches.apply()
    ministack_keys.keep_template_keys(Path(os.environ["FASTN_LOCAL_KEY_SEED"]))
    # An access line per request would bury the emulator's own messages.
    logging.getLogger("hypercorn.access").setLevel(logging.WARNING)
    asyncio.run(_serve(FrontDoors(import_module("ministack.app").app, doors), [aws_port, *doors]))


async def _serve(app: FrontDoors, listening_ports: list[int]) -> None:
    config: Any = import_module("hypercorn.config").Config()
    config.bind = [f"127.0.0.1:{port}" for port in listening_ports]
    config.keep_alive_timeout = 75
    serve: Any = import_module("hypercorn.asyncio").serve
    await serve(app, config)


if __name__ == "__main__":
    main(int(sys.argv[1]))
