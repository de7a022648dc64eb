"""A small HTTP/1.1 server on 127.0.0.1 for stand-in vendors: keep-alive, no Nagle delay, a thread per connection.

Leaner than `http.server` (which parses headers as e-mail), since it stands in the path that is measured.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self, cast
from urllib.parse import parse_qs, urlsplit

_MAX_HEADER_LINES = 200
_MAX_BODY_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class VendorRequest:
    """One received request; header names are lower-case. `received_at_ms` is Unix time."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    received_at_ms: float

    def json(self) -> object:
        """The body as JSON. Raises ValueError if it is not."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class VendorResponse:
    """One answer; Content-Length is added."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of_json(cls, value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Self:
        """A JSON answer."""
        fields = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
        return cls(status, json.dumps(value, separators=(",", ":")).encode(), fields)


VendorHandler = Callable[[VendorRequest], VendorResponse]


class LoopbackServer:
    """Serves a handler on a loopback port from entry to exit of its `with` block; port 0 picks a free one."""

    def __init__(self, handler: VendorHandler, *, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: VendorHandler) -> None:
        self.vendor_handler = handler
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Connection)

    def note_open(self, connection: socket.socket) -> None:
        with self._open_lock:
            self._open.add(connection)

    def note_closed(self, connection: socket.socket) -> None:
        with self._open_lock:
            self._open.discard(connection)

    def close_connections(self) -> None:
        """Wakes the threads that wait for a next request on a kept-alive connection."""
        with self._open_lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    @property
    def _vendor(self) -> _Server:
        return cast(_Server, self.server)

    def handle(self) -> None:
        self._vendor.note_open(self.connection)
        try:
            while self._serve_one():
                pass
        except (ConnectionError, TimeoutError):
            return
        finally:
            self._vendor.note_closed(self.connection)

    def _serve_one(self) -> bool:
        line = self.rfile.readline(65_537)
        received_at_ms = time.time() * 1000
        parts = line.decode("latin-1").split()
        if len(parts) != 3:
            return False
        headers = self._read_headers()
        length = headers.get("content-length", "0")
        if headers.get("transfer-encoding") or not length.isdigit() or int(length) > _MAX_BODY_BYTES:
            self._write(VendorResponse(411), keep_alive=False)
            return False
        body = self.rfile.read(int(length))
        address = urlsplit(parts[1])
        query = {name: values[-1] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        request = VendorRequest(parts[0], address.path, query, headers, body, received_at_ms)
        keep_alive = headers.get("connection", "").lower() != "close"
        self._write(self._vendor.vendor_handler(request), keep_alive=keep_alive, is_head=parts[0] == "HEAD")
        return keep_alive

    def _read_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for _ in range(_MAX_HEADER_LINES):
            line = self.rfile.readline(65_537)
            if line in (b"\r\n", b"\n", b""):
                break
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return headers

    def _write(self, response: VendorResponse, *, keep_alive: bool, is_head: bool = False) -> None:
        lines = [f"HTTP/1.1 {response.status} {_reason(response.status)}"]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        lines += [f"Content-Length: {len(response.body)}", f"Connection: {'keep-alive' if keep_alive else 'close'}"]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.connection.sendall(head if is_head else head + response.body)


def _reason(status: int) -> str:
    return {200: "OK", 201: "Created", 429: "Too Many Requests"}.get(status, "Status")
