"""One hop of an outbound call over a pinned address: connections, TLS and time limits.

Built on httpcore2, the transport under httpx2: httpx2's own transport takes no network backend, which is
where an address is pinned (a call through the guard costs 0.24 ms of CPU on loopback; httpx2's
client without a guard 0.32). A pool entry is keyed by name *and* address (the key goes where the pool
expects a host), so a connection is never shared by two names behind one address, nor kept for a name
that has moved. Imported when the first call is made.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpcore2

from fastn.errors import Unavailable
from fastn.platform.egress_errors import NotSent, ResponseTooLarge
from fastn.platform.egress_targets import Target

Dialer = Callable[[str, int, float | None], socket.socket]
"""A connected socket to (address, port) within so many seconds; raises OSError."""
_MAX_CONNECTIONS = 64
_MAX_IDLE_CONNECTIONS = 16
# Below the 60 s at which common load balancers drop an idle connection.
_IDLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Hop:
    """One request to one pinned address; the deadline is on the transport's monotonic clock.

    `is_plain`: the address is a loopback route, where no TLS is spoken.
    """

    target: Target
    address: str
    port: int
    method: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    connect_timeout_seconds: float
    read_timeout_seconds: float
    deadline_seconds: float
    max_body_bytes: int
    is_plain: bool


@dataclass(frozen=True, slots=True)
class RawResponse:
    """What one hop answered; the body is decoded."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class PinnedTransport:
    """Sends hops and keeps their connections alive between calls. Thread-safe."""

    def __init__(self, dialer: Dialer, monotonic_seconds: Callable[[], float], tls: ssl.SSLContext | None) -> None:
        self._monotonic_seconds = monotonic_seconds
        self._deadlines = _Deadlines(monotonic_seconds)
        self._tls = tls
        self._backend = _PinnedBackend(dialer, self._deadlines)
        self._plain_pool = self._new_pool(None)
        self._tls_pool: httpcore2.ConnectionPool | None = None
        self._tls_pool_lock = threading.Lock()

    def send(self, hop: Hop) -> RawResponse:
        """What the hop's address answers.

        Raises NotSent if no connection could be made, Unavailable if the connection broke or a time limit
        passed, ResponseTooLarge if the body, once decoded, is over the hop's limit.
        """
        pool = self._plain_pool if hop.is_plain else self._secure_pool()
        with _network_errors(hop.target.host), self._deadlines.until(hop.deadline_seconds):
            response = pool.handle_request(_to_core_request(hop))
            try:
                return self._read(hop, response)
            finally:
                response.close()

    def close(self) -> None:
        """Closes every connection."""
        self._plain_pool.close()
        if self._tls_pool is not None:
            self._tls_pool.close()

    def _read(self, hop: Hop, response: httpcore2.Response) -> RawResponse:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers)
        fields = {name.lower(): value for name, value in headers}
        body = _BodyReader(hop.max_body_bytes, fields.get("content-encoding", "").strip().lower())
        declared = fields.get("content-length", "")
        if declared.isdigit() and int(declared) > hop.max_body_bytes and hop.method != "HEAD":
            raise ResponseTooLarge(f"The answer is larger than {hop.max_body_bytes} bytes.")
        for chunk in response.iter_stream():
            body.feed(chunk)
        return RawResponse(response.status, headers, body.finish())

    def _secure_pool(self) -> httpcore2.ConnectionPool:
        with self._tls_pool_lock:
            if self._tls_pool is None:
                # Reads the trust store, about 25 ms: not before the first call that needs it.
                self._tls_pool = self._new_pool(self._tls or ssl.create_default_context())
            return self._tls_pool

    def _new_pool(self, tls: ssl.SSLContext | None) -> httpcore2.ConnectionPool:
        return httpcore2.ConnectionPool(
            ssl_context=tls,
            max_connections=_MAX_CONNECTIONS,
            max_keepalive_connections=_MAX_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=self._backend,
        )


def _to_core_request(hop: Hop) -> httpcore2.Request:
    read_seconds = hop.read_timeout_seconds
    timeouts = {"connect": hop.connect_timeout_seconds, "read": read_seconds, "write": read_seconds}
    return httpcore2.Request(
        method=hop.method.encode("ascii"),
        url=httpcore2.URL(
            scheme=b"http" if hop.is_plain else b"https",
            host=f"{hop.target.host}/{hop.address}".encode("ascii"),
            port=hop.port,
            target=hop.target.path_and_query.encode("ascii"),
        ),
        headers=list(hop.headers),
        content=hop.body,
        extensions={"timeout": {**timeouts, "pool": hop.connect_timeout_seconds}, "sni_hostname": hop.target.host},
    )


@contextmanager
def _network_errors(host: str) -> Generator[None]:
    try:
        yield
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout, httpcore2.PoolTimeout) as error:
        raise NotSent(f"No connection to {host} could be made.") from error
    except httpcore2.TimeoutException as error:
        raise Unavailable(f"{host} did not answer in time.") from error
    except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        raise Unavailable(f"The connection to {host} broke before the answer was complete.") from error


class _Deadlines(threading.local):
    """The deadline of the call this thread is making: pool connections outlive calls, so it is not theirs."""

    def __init__(self, monotonic_seconds: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic_seconds = monotonic_seconds
        self._deadline_seconds: float | None = None

    @contextmanager
    def until(self, deadline_seconds: float) -> Generator[None]:
        self._deadline_seconds = deadline_seconds
        try:
            yield
        finally:
            self._deadline_seconds = None

    def cap(self, timeout_seconds: float | None, expired: type[Exception]) -> float | None:
        """The time-out for one socket operation, so that slow drops of data cannot outlast the whole call."""
        if self._deadline_seconds is None:
            return timeout_seconds
        remaining = self._deadline_seconds - self._monotonic_seconds()
        if remaining <= 0:
            raise expired("the call's time is up")
        return remaining if timeout_seconds is None else min(timeout_seconds, remaining)


class _PinnedBackend(httpcore2.NetworkBackend):
    """Dials the address in the pool key, and nothing else: no name is resolved below this point."""

    def __init__(self, dialer: Dialer, deadlines: _Deadlines) -> None:
        self._dialer = dialer
        self._deadlines = deadlines

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002  # the library's signature
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        address = host.partition("/")[2]
        try:
            connected = self._dialer(address, port, self._deadlines.cap(timeout, httpcore2.ConnectTimeout))
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        return _DeadlineStream(connected, self._deadlines)


class _DeadlineStream(httpcore2.NetworkStream):
    """A socket whose every operation is also bound by the call's deadline."""

    def __init__(self, connected: socket.socket, deadlines: _Deadlines) -> None:
        self._socket = connected
        self._deadlines = deadlines

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._socket.settimeout(self._deadlines.cap(timeout, httpcore2.ReadTimeout))
            return self._socket.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore2.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            self._socket.settimeout(self._deadlines.cap(timeout, httpcore2.WriteTimeout))
            self._socket.sendall(buffer)
        except TimeoutError as error:
            raise httpcore2.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        try:
            self._socket.settimeout(self._deadlines.cap(timeout, httpcore2.ConnectTimeout))
            secured = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except OSError as error:
            self._socket.close()
            failure = httpcore2.ConnectTimeout if isinstance(error, TimeoutError) else httpcore2.ConnectError
            raise failure(str(error)) from error
        return _DeadlineStream(secured, self._deadlines)

    def get_extra_info(self, info: str) -> Any:  # the library's signature
        if info == "is_readable":
            return self._is_readable()
        if info == "socket":
            return self._socket
        return None

    def _is_readable(self) -> bool:
        # An idle connection with something to read is one the other side has closed. poll, unlike
        # select, takes descriptors over 1023.
        if self._socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


class _BodyReader:
    """Collects a body and decodes it, never holding more than the limit: a small gzip can unpack to terabytes."""

    def __init__(self, max_bytes: int, encoding: str) -> None:
        import zlib

        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise Unavailable(f"The answer is encoded as {encoding[:20]!r}, which was not asked for.")
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._has_input = False
        self._chunks: list[bytes] = []
        # 32 + 15: zlib recognizes gzip and zlib headers by itself.
        self._decoder = zlib.decompressobj(47) if encoding not in ("", "identity") else None
        self._zlib_error = zlib.error

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes from the wire."""
        self._has_input = True
        if self._decoder is None:
            self._keep(chunk)
            return
        try:
            self._keep(self._decoder.decompress(chunk, self._max_bytes - self._size_bytes + 1))
        except self._zlib_error as error:
            raise Unavailable("The answer's body is damaged.") from error

    def finish(self) -> bytes:
        """The whole body."""
        if self._decoder is not None and self._has_input and not self._decoder.eof:
            raise Unavailable("The answer's body ended early.")
        return b"".join(self._chunks)

    def _keep(self, data: bytes) -> None:
        self._size_bytes += len(data)
        if self._size_bytes > self._max_bytes:
            raise ResponseTooLarge(f"The answer is larger than {self._max_bytes} bytes.")
        self._chunks.append(data)
