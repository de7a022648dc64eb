"""The guarded client: what it refuses to dial, what it never passes on, and where it stops."""

import datetime as dt
import gzip
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fastn.errors import FastnError, Unavailable, ValidationFailed
from fastn.local.vendors.loopback_server import VendorResponse
from fastn.platform.clock import FrozenClock, SystemClock
from fastn.platform.egress import (
    GuardedClient,
    OutboundCredentials,
    OutboundLimits,
    OutboundRequest,
)
from fastn.platform.egress_errors import EgressRefused, NotSent, ResponseTooLarge
from tests.fakes.http_target import HttpTarget

PUBLIC = "93.184.215.14"
TOKEN = OutboundCredentials(headers={"Authorization": "Bearer t0ken"}, query={"key": "s3cret"})


@dataclass
class Network:
    """Names and sockets as a test wants them; remembers what was resolved and dialled."""

    names: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    port: int = 0
    dead: frozenset[str] = frozenset()
    resolved: list[str] = field(default_factory=list[str])
    dialled: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def resolve(self, host: str) -> Sequence[str]:
        self.resolved.append(host)
        if host not in self.names:
            raise socket.gaierror("no such name")
        return self.names[host]

    def dial(self, address: str, port: int, timeout_seconds: float | None) -> socket.socket:
        self.dialled.append((address, port))
        if address in self.dead or not self.port:
            raise ConnectionRefusedError
        return socket.create_connection(("127.0.0.1", self.port), timeout_seconds)


@contextmanager
def guarded(
    network: Network,
    *,
    routes: Mapping[str, int] | None = None,
    tls: ssl.SSLContext | None = None,
    clock: FrozenClock | None = None,
) -> Generator[GuardedClient]:
    client = GuardedClient(
        clock or SystemClock(), resolver=network.resolve, dialer=network.dial, loopback_routes=routes, tls=tls
    )
    yield client
    client.close()


@pytest.fixture
def target() -> Generator[HttpTarget]:
    with HttpTarget() as served:
        yield served


@pytest.fixture
def routed(target: HttpTarget) -> Generator[GuardedClient]:
    """A client with two hosts routed to the target."""
    routes = {"api.example": target.port, "other.example": target.port}
    client = GuardedClient(SystemClock(), resolver=Network().resolve, loopback_routes=routes)
    yield client
    client.close()


# ── What is never dialled ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["169.254.169.254"], ["10.1.2.3"], ["64:ff9b::a9fe:a9fe"], ["::ffff:10.0.0.1"], ["100.64.0.1"]],
)
def test_a_name_at_a_private_address_is_not_dialled(addresses: list[str]) -> None:
    network = Network({"rebind.example": addresses})

    with guarded(network) as client, pytest.raises(EgressRefused):
        client.send(OutboundRequest("GET", "https://rebind.example/"))
    assert network.dialled == []


def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    network = Network({"rebind.example": [PUBLIC, "127.0.0.1"]})

    with guarded(network) as client, pytest.raises(EgressRefused):
        client.send(OutboundRequest("GET", "https://rebind.example/"))
    assert network.dialled == []


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "file:///etc/passwd", "gopher://example.com/", "https://127.0.0.1/"),
        *("https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://0x7f.1/", "https://2130706433/"),
        *("https://a:b@example.com/", "https://example.com:22/", "https://169.254.169.254/latest/meta-data/"),
    ],
)
def test_a_forbidden_url_is_neither_resolved_nor_dialled(url: str) -> None:
    network = Network({"example.com": [PUBLIC]})

    with guarded(network) as client, pytest.raises(EgressRefused):
        client.send(OutboundRequest("GET", url))
    assert (network.resolved, network.dialled) == ([], [])


def test_credentials_without_declared_hosts_are_refused() -> None:
    network = Network({"example.com": [PUBLIC]})

    with guarded(network) as client, pytest.raises(EgressRefused):
        client.send(OutboundRequest("GET", "https://example.com/", credentials=TOKEN))
    assert network.dialled == []


def test_a_host_the_connector_does_not_declare_is_refused() -> None:
    network = Network({"evil.example": [PUBLIC]})

    with guarded(network) as client, pytest.raises(EgressRefused):
        client.send(OutboundRequest("GET", "https://evil.example/", allowed_hosts=("api.example",)))
    assert (network.resolved, network.dialled) == ([], [])


def test_a_route_to_loopback_opens_no_other_name(target: HttpTarget) -> None:
    network = Network({"inside.example": ["127.0.0.1"]})

    with guarded(network, routes={"api.example": target.port}) as client, pytest.raises(EgressRefused):
        client.send(OutboundRequest("GET", "https://inside.example/"))
    assert target.received == []


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Connection", "X Y", "X\r\nY", ""])
def test_headers_that_steer_the_connection_cannot_be_set(routed: GuardedClient, name: str) -> None:
    with pytest.raises(ValidationFailed):
        routed.send(OutboundRequest("GET", "https://api.example/", {name: "x"}))


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nb", "a\x00b", "\u20ac"])
def test_header_values_cannot_inject(routed: GuardedClient, target: HttpTarget, value: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        routed.send(OutboundRequest("GET", "https://api.example/", {"X-Value": value}))

    assert value not in refused.value.message
    assert target.received == []


# ── Pinning ─────────────────────────────────────────────────────────────────────────────────────


def test_the_checked_address_is_dialled_with_the_name_in_sni_and_host(target: HttpTarget, tmp_path: Path) -> None:
    trust, serve = _certificates(tmp_path, "api.example")
    with _tls_front(serve, target.port) as (port, seen_names):
        network = Network({"api.example": [PUBLIC]}, port=port)

        with guarded(network, tls=trust) as client:
            response = client.send(OutboundRequest("GET", "https://api.example/x"))

    assert response.status == 200
    assert network.dialled == [(PUBLIC, 443)]
    assert seen_names == ["api.example"]
    assert target.received[0].headers["host"] == "api.example"


def test_a_certificate_of_another_name_is_refused(target: HttpTarget, tmp_path: Path) -> None:
    trust, serve = _certificates(tmp_path, "other.example")
    with _tls_front(serve, target.port) as (port, _):
        network = Network({"api.example": [PUBLIC]}, port=port)

        with guarded(network, tls=trust) as client, pytest.raises(NotSent):
            client.send(OutboundRequest("GET", "https://api.example/"))
    assert target.received == []


def test_a_name_that_moves_to_a_private_address_is_refused_after_the_checked_one_expires() -> None:
    names = {"rebind.example": [PUBLIC]}
    network, clock = Network(names), FrozenClock()
    request = OutboundRequest("GET", "https://rebind.example/")
    with guarded(network, clock=clock) as client:
        with pytest.raises(NotSent):
            client.send(request)
        names["rebind.example"] = ["127.0.0.1"]

        with pytest.raises(NotSent):
            client.send(request)
        clock.advance(31)
        with pytest.raises(EgressRefused):
            client.send(request)

    assert set(network.dialled) == {(PUBLIC, 443)}


def test_the_next_address_is_tried_when_one_does_not_connect() -> None:
    addresses = [PUBLIC, "8.8.8.8", "1.1.1.1", "9.9.9.9"]
    network = Network({"api.example": addresses})

    with guarded(network) as client, pytest.raises(NotSent):
        client.send(OutboundRequest("GET", "https://api.example/"))

    assert [address for address, _ in network.dialled] == addresses[:3]


def test_a_name_that_does_not_resolve_was_not_sent() -> None:
    with guarded(Network()) as client, pytest.raises(NotSent):
        client.send(OutboundRequest("GET", "https://nowhere.example/"))


def test_connections_are_kept_between_calls_but_not_shared_between_names(target: HttpTarget) -> None:
    connections: list[str] = []

    def dial(address: str, port: int, timeout_seconds: float | None) -> socket.socket:
        connections.append(address)
        return socket.create_connection((address, port), timeout_seconds)

    routes = {"api.example": target.port, "other.example": target.port}
    client = GuardedClient(SystemClock(), dialer=dial, loopback_routes=routes)
    for host in ("api.example", "api.example", "other.example", "api.example"):
        client.send(OutboundRequest("GET", f"https://{host}/"))
    client.close()

    assert len(connections) == 2


# ── Redirects ───────────────────────────────────────────────────────────────────────────────────


def _redirect(location: str, status: int = 302) -> VendorResponse:
    return VendorResponse(status, b"", {"Location": location})


def test_credentials_stay_with_their_origin(routed: GuardedClient, target: HttpTarget) -> None:
    target.plan(_redirect("https://other.example/next"), _redirect("https://api.example/back"))
    hosts = ("api.example", "other.example")
    headers = {"X-Api-Key": "also-secret", "Cookie": "session=1", "Accept": "text/plain"}

    routed.send(OutboundRequest("GET", "https://api.example/", headers, b"", TOKEN, hosts))

    first, *later = target.received
    assert first.headers["authorization"] == "Bearer t0ken"
    assert first.query == {"key": "s3cret"}
    for request in later:
        assert not {"authorization", "x-api-key", "cookie"} & set(request.headers)
        assert request.query == {}
        assert request.headers["accept"] == "text/plain"


def test_credentials_follow_within_their_origin(routed: GuardedClient, target: HttpTarget) -> None:
    target.plan(_redirect("/v2"))

    response = routed.send(
        OutboundRequest("GET", "https://api.example/v1", credentials=TOKEN, allowed_hosts=("api.example",))
    )

    assert [request.headers["authorization"] for request in target.received] == ["Bearer t0ken"] * 2
    assert response.url == "https://api.example/v2"


def test_a_change_to_plain_http_is_another_origin(routed: GuardedClient, target: HttpTarget) -> None:
    target.plan(_redirect("http://api.example/"))

    routed.send(OutboundRequest("GET", "https://api.example/", credentials=TOKEN, allowed_hosts=("api.example",)))

    assert "authorization" not in target.received[1].headers


@pytest.mark.parametrize("location", ["https://inside.example/", "https://127.0.0.1/", "file:///etc/passwd"])
def test_every_redirect_is_checked_again(target: HttpTarget, location: str) -> None:
    network = Network({"inside.example": ["10.0.0.7"]})
    dialled: list[str] = []

    def dial(address: str, port: int, timeout_seconds: float | None) -> socket.socket:
        dialled.append(f"{address}:{port}")
        return socket.create_connection((address, port), timeout_seconds)

    client = GuardedClient(
        SystemClock(), resolver=network.resolve, dialer=dial, loopback_routes={"api.example": target.port}
    )
    target.plan(_redirect(location))
    with pytest.raises(EgressRefused):
        client.send(OutboundRequest("GET", "https://api.example/"))
    client.close()

    assert dialled == [f"127.0.0.1:{target.port}"]


def test_the_fourth_redirect_is_refused(routed: GuardedClient, target: HttpTarget) -> None:
    target.plan(*[_redirect("/again")] * 9)

    with pytest.raises(EgressRefused):
        routed.send(OutboundRequest("GET", "https://api.example/"))
    assert len(target.received) == 4


@pytest.mark.parametrize(
    ("status", "method", "followed_by"),
    [
        *((301, "POST", "GET"), (302, "POST", "GET"), (303, "PUT", "GET"), (303, "HEAD", "HEAD")),
        *((307, "POST", "POST"), (308, "PUT", "PUT"), (302, "PUT", "PUT")),
    ],
)
def test_redirects_keep_or_change_the_method_as_http_says(
    routed: GuardedClient, target: HttpTarget, status: int, method: str, followed_by: str
) -> None:
    target.plan(_redirect("/next", status))
    body = b"" if method == "HEAD" else b"data"

    routed.send(OutboundRequest(method, "https://api.example/", {"Content-Type": "text/plain"}, body))

    assert target.received[1].method == followed_by
    assert target.received[1].body == (b"" if followed_by in ("GET", "HEAD") else b"data")


def test_a_body_does_not_follow_to_an_undeclared_host(routed: GuardedClient, target: HttpTarget) -> None:
    target.plan(_redirect("https://other.example/", 307))

    with pytest.raises(EgressRefused):
        routed.send(OutboundRequest("POST", "https://api.example/", body=b"secret=1", allowed_hosts=("api.example",)))
    assert len(target.received) == 1


# ── Bounds ──────────────────────────────────────────────────────────────────────────────────────

SMALL = OutboundLimits(max_response_bytes=1000)


@pytest.mark.parametrize(
    "response",
    [
        VendorResponse(200, b"x" * 1001),
        VendorResponse(200, gzip.compress(b"\0" * 10_000_000), {"Content-Encoding": "gzip"}),
    ],
    ids=["plain", "gzip bomb"],
)
def test_an_answer_over_the_limit_is_refused(
    routed: GuardedClient, target: HttpTarget, response: VendorResponse
) -> None:
    limits = OutboundLimits(max_response_bytes=1000 if len(response.body) == 1001 else 100_000)
    target.plan(response)

    with pytest.raises(ResponseTooLarge):
        routed.send(OutboundRequest("GET", "https://api.example/", limits=limits))


def test_an_endless_answer_stops_at_the_limit() -> None:
    def stream(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")

    with _raw_server(stream) as port, guarded(_looped(port), routes={"api.example": port}) as client:
        error = _failure(client, OutboundRequest("GET", "https://api.example/", limits=SMALL))

    assert isinstance(error, ResponseTooLarge)


def test_an_answer_of_exactly_the_limit_is_taken(routed: GuardedClient, target: HttpTarget) -> None:
    target.plan(VendorResponse(200, gzip.compress(b"y" * 1000), {"Content-Encoding": "gzip"}))

    response = routed.send(OutboundRequest("GET", "https://api.example/", limits=SMALL))

    assert response.body == b"y" * 1000


@pytest.mark.parametrize(
    "response",
    [
        VendorResponse(200, gzip.compress(b"y" * 1000)[:-12], {"Content-Encoding": "gzip"}),
        VendorResponse(200, b"not gzip", {"Content-Encoding": "gzip"}),
        VendorResponse(200, b"?", {"Content-Encoding": "br"}),
    ],
    ids=["cut short", "damaged", "not asked for"],
)
def test_a_body_that_cannot_be_decoded_is_a_vendor_failure(
    routed: GuardedClient, target: HttpTarget, response: VendorResponse
) -> None:
    target.plan(response)

    with pytest.raises(Unavailable):
        routed.send(OutboundRequest("GET", "https://api.example/"))


def test_silence_ends_at_the_read_timeout() -> None:
    released = threading.Event()
    limits = OutboundLimits(read_timeout_seconds=0.05)

    with _raw_server(lambda _: _wait(released)) as port, guarded(_looped(port), routes={"api.example": port}) as client:
        client_error = _failure(client, OutboundRequest("GET", "https://api.example/", limits=limits))
        released.set()

    assert isinstance(client_error, Unavailable)
    assert not isinstance(client_error, NotSent)


def test_slow_drops_of_data_end_at_the_total_timeout() -> None:
    released = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not released.wait(0.01):
            connection.sendall(b"x")

    limits = OutboundLimits(read_timeout_seconds=5, total_timeout_seconds=0.1)
    with _raw_server(drip) as port, guarded(_looped(port), routes={"api.example": port}) as client:
        client_error = _failure(client, OutboundRequest("GET", "https://api.example/", limits=limits))
        released.set()

    assert isinstance(client_error, Unavailable)


def test_a_connection_that_breaks_is_unavailable_and_may_have_been_carried_out() -> None:
    with _raw_server(lambda _: None) as port, guarded(_looped(port), routes={"api.example": port}) as client:
        error = _failure(client, OutboundRequest("POST", "https://api.example/", body=b"x"))

    assert isinstance(error, Unavailable)
    assert not isinstance(error, NotSent)


def test_a_kept_connection_that_the_other_side_closed_is_replaced(target: HttpTarget) -> None:
    target.plan(VendorResponse(200, b"1", {"Connection": "close"}))
    with guarded(_looped(target.port), routes={"api.example": target.port}) as client:
        first = client.send(OutboundRequest("GET", "https://api.example/"))
        second = client.send(OutboundRequest("GET", "https://api.example/"))

    assert (first.status, second.status) == (200, 200)


def test_credentials_are_not_shown_by_repr() -> None:
    assert "t0ken" not in repr(OutboundRequest("GET", "https://a.example/", credentials=TOKEN))


def _looped(port: int) -> Network:
    return Network(port=port)


def _failure(client: GuardedClient, request: OutboundRequest) -> FastnError | None:
    try:
        client.send(request)
    except FastnError as error:
        return error
    return None


def _wait(released: threading.Event) -> None:
    released.wait(5)


@contextmanager
def _raw_server(serve: Callable[[socket.socket], None]) -> Generator[int]:
    """Accepts one connection, reads a request's beginning, and does with it what the test says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            try:
                with listener.accept()[0] as connection:
                    connection.recv(65_536)
                    serve(connection)
            except OSError:
                return

        listener.settimeout(5)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join(5)
        assert not thread.is_alive()


@contextmanager
def _tls_front(serve: ssl.SSLContext, backend_port: int) -> Generator[tuple[int, list[str]]]:
    """Terminates one TLS connection in front of a plain server; notes the name asked for."""
    names: list[str] = []

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        names.append(name or "")

    serve.sni_callback = note

    def run() -> None:
        try:
            accepted = listener.accept()[0]
            with (
                accepted,
                serve.wrap_socket(accepted, server_side=True) as secured,
                socket.create_connection(("127.0.0.1", backend_port)) as backend,
            ):
                backend.sendall(secured.recv(65_536))
                secured.sendall(backend.recv(65_536))
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1]), names
        thread.join(5)
        assert not thread.is_alive()


def _certificates(directory: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A context that trusts a certificate for `name`, and one that serves it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    encoded = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = directory / "certificate.pem"
    file.write_bytes(encoded + private)
    serve = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serve.load_cert_chain(file)
    return ssl.create_default_context(cadata=encoded.decode()), serve
