"""Every call to the internet: checked, pinned to the checked address, bounded in time and size.

For each hop, redirects included: read the URL strictly, resolve the name, refuse unless *every* address
is public, connect to one of those very addresses (the name goes into SNI, certificate check and Host), cap the
body and the time. Credentials travel apart from the other headers and go only to the origin first
called, and only if its host is one the connector declares.

No setting or environment variable loosens this. The embedded runtime passes `loopback_routes` in memory:
a host named there is dialled at 127.0.0.1:port in plain http; every other rule stays in force.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlencode

from fastn.errors import ValidationFailed
from fastn.platform.clock import Clock
from fastn.platform.egress_addresses import is_reachable_address
from fastn.platform.egress_errors import EgressRefused, NotSent
from fastn.platform.egress_targets import (
    HostPattern,
    Target,
    parse_host_pattern,
    parse_target,
    redirect_target,
)

if TYPE_CHECKING:
    import ssl

    from fastn.platform.egress_transport import Dialer, Hop, PinnedTransport, RawResponse

Resolver = Callable[[str], Sequence[str]]
"""The addresses of a host name; raises OSError if it has none."""

_USER_AGENT = "fastn/1"
# One name may answer with many addresses; a dead site must not cost a time-out for each of them.
_MAX_ADDRESSES_TRIED = 3
_RESOLUTION_SECONDS = 30.0
_MAX_RESOLUTIONS = 512
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_CONNECTION_FIELDS = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade")
) | frozenset(("proxy-authorization", "proxy-connection", "expect", "accept-encoding"))
# What may accompany a request that was redirected to another origin: nothing that could identify anybody.
_FIELDS_KEPT_ACROSS_ORIGINS = frozenset(("accept", "accept-language", "content-type", "user-agent"))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


@dataclass(frozen=True, slots=True, repr=False)
class OutboundCredentials:
    """Header fields and query parameters that authenticate; never shown, never sent to an undeclared host."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    query: Mapping[str, str] = field(default_factory=dict[str, str])

    def __bool__(self) -> bool:
        return bool(self.headers or self.query)


@dataclass(frozen=True, slots=True)
class OutboundLimits:
    """Bounds of one call, all its redirects together; looking up names has the resolver's own time limit."""

    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 30.0
    total_timeout_seconds: float = 60.0
    max_response_bytes: int = 10 * 1024 * 1024
    max_redirects: int = 3


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """A call to make. With `allowed_hosts`, the first hop must match one of its patterns (`HostPattern`)."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    credentials: OutboundCredentials = field(default_factory=OutboundCredentials)
    allowed_hosts: Sequence[str] | None = None
    limits: OutboundLimits = field(default_factory=OutboundLimits)


@dataclass(frozen=True, slots=True)
class OutboundResponse:
    """What the last hop answered; `url` is where from, without credentials. Any status is a response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    url: str

    def header(self, name: str) -> str | None:
        """The first field of that name, whatever its case; None if there is none."""
        wanted = name.lower()
        return next((value for field_name, value in self.headers if field_name.lower() == wanted), None)


def resolve_by_system(host: str) -> list[str]:
    """Every address the system's resolver knows for a host, IPv4 first. Raises OSError if there is none."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
    return sorted(addresses, key=lambda address: ":" in address)


def dial(address: str, port: int, timeout_seconds: float | None) -> socket.socket:
    """A TCP connection to an address. Raises OSError if it cannot be made in time."""
    return socket.create_connection((address, port), timeout_seconds)


class GuardedClient:
    """The one HTTP client of the platform. Thread-safe; keeps connections alive between calls."""

    def __init__(
        self,
        clock: Clock,
        *,
        resolver: Resolver = resolve_by_system,
        dialer: Dialer = dial,
        loopback_routes: Mapping[str, int] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls` None means the system's trust store. Nothing is resolved or imported before the first call."""
        self._clock = clock
        self._dialer = dialer
        self._tls = tls
        self._routes = {host.lower(): port for host, port in (loopback_routes or {}).items()}
        self._resolutions = _CheckedResolutions(resolver, clock)
        self._patterns: dict[str, HostPattern] = {}
        self._transport: PinnedTransport | None = None
        self._transport_lock = threading.Lock()

    def send(self, request: OutboundRequest) -> OutboundResponse:
        """The answer to a request, after at most `limits.max_redirects` redirects.

        Raises EgressRefused if a hop is not allowed (nothing is dialled for it), ValidationFailed if a header
        or the method is malformed, NotSent if no connection could be made, Unavailable if it broke or timed
        out, ResponseTooLarge if the body is over the limit. Never repeats a request that may have been carried out.
        """
        _check_fields(request)
        deadline_seconds = self._clock.monotonic_seconds() + request.limits.total_timeout_seconds
        target = self._first_target(request)
        for _ in range(request.limits.max_redirects + 1):
            answer = self._send_hop(request, target, deadline_seconds)
            location = _location(answer)
            if location is None:
                return OutboundResponse(answer.status, answer.headers, answer.body, target.url)
            target, request = self._follow(request, answer.status, target, location)
        raise EgressRefused(f"{target.host} redirected more than {request.limits.max_redirects} times.")

    def close(self) -> None:
        """Closes every connection; the client may be used again."""
        with self._transport_lock:
            if self._transport is not None:
                self._transport.close()
                self._transport = None

    def _first_target(self, request: OutboundRequest) -> Target:
        target = parse_target(request.url, plain_hosts=self._routes)
        if request.allowed_hosts is None:
            if request.credentials:
                raise EgressRefused("A request with credentials must name the hosts they may go to.")
            if target.port not in (443, 80):
                raise EgressRefused(f"Port {target.port} is not open to outbound calls.")
        elif not self._is_declared(target, request.allowed_hosts):
            raise EgressRefused(f"{target.host} is not among the hosts this connector declares.")
        return target

    def _is_declared(self, target: Target, allowed_hosts: Sequence[str]) -> bool:
        return any(self._pattern(text).matches(target) for text in allowed_hosts)

    def _pattern(self, text: str) -> HostPattern:
        pattern = self._patterns.get(text)
        if pattern is None:
            if len(self._patterns) >= _MAX_RESOLUTIONS:
                self._patterns.clear()
            pattern = self._patterns[text] = parse_host_pattern(text)
        return pattern

    def _follow(
        self, request: OutboundRequest, status: int, source: Target, location: str
    ) -> tuple[Target, OutboundRequest]:
        target = redirect_target(source, location, plain_hosts=self._routes)
        is_declared = request.allowed_hosts is not None and self._is_declared(target, request.allowed_hosts)
        if target.port not in (443, 80) and not is_declared and target.origin != source.origin:
            raise EgressRefused(f"{source.host} redirected to a port that is not open to outbound calls.")
        request = _redirected(request, status)
        if target.origin != source.origin:
            if request.body and not is_declared:
                raise EgressRefused(f"{source.host} redirected a request body to {target.host}.")
            kept = {n: v for n, v in request.headers.items() if n.lower() in _FIELDS_KEPT_ACROSS_ORIGINS}
            # Dropped for good: a redirect back to the first origin is made by whoever the other one is.
            request = replace(request, headers=kept, credentials=OutboundCredentials())
        return target, request

    def _send_hop(self, request: OutboundRequest, target: Target, deadline_seconds: float) -> RawResponse:
        from fastn.platform.egress_transport import Hop

        route = self._routes.get(target.host)
        addresses = ("127.0.0.1",) if route is not None else self._resolutions.addresses(target)
        limits = request.limits
        hop = Hop(
            target=_with_query(target, request.credentials.query),
            address=addresses[0],
            port=target.port if route is None else route,
            method=request.method,
            headers=_header_fields(request, target),
            body=request.body,
            connect_timeout_seconds=limits.connect_timeout_seconds,
            read_timeout_seconds=limits.read_timeout_seconds,
            deadline_seconds=deadline_seconds,
            max_body_bytes=limits.max_response_bytes,
            is_plain=route is not None,
        )
        return self._send_to_first_reachable(hop, addresses[:_MAX_ADDRESSES_TRIED])

    def _send_to_first_reachable(self, hop: Hop, addresses: Sequence[str]) -> RawResponse:
        transport = self._open_transport()
        for address in addresses[:-1]:
            with suppress(NotSent):
                return transport.send(replace(hop, address=address))
        return transport.send(hop if len(addresses) == 1 else replace(hop, address=addresses[-1]))

    def _open_transport(self) -> PinnedTransport:
        from fastn.platform.egress_transport import PinnedTransport

        with self._transport_lock:
            if self._transport is None:
                self._transport = PinnedTransport(self._dialer, self._clock.monotonic_seconds, self._tls)
            return self._transport


class _CheckedResolutions:
    """Addresses that were checked, kept for seconds: a call uses the checked address, never a second look-up."""

    def __init__(self, resolver: Resolver, clock: Clock) -> None:
        self._resolver = resolver
        self._clock = clock
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}

    def addresses(self, target: Target) -> tuple[str, ...]:
        """The public addresses of the target. Raises EgressRefused if any is not, NotSent if there is none."""
        if target.is_address:
            return self._checked(target.host, [target.host])
        now = self._clock.monotonic_seconds()
        known = self._known.get(target.host)
        if known is not None and now < known[0]:
            return known[1]
        addresses = self._checked(target.host, self._resolve(target.host))
        if len(self._known) >= _MAX_RESOLUTIONS:
            self._known.clear()
        self._known[target.host] = (now + _RESOLUTION_SECONDS, addresses)
        return addresses

    def _resolve(self, host: str) -> Sequence[str]:
        try:
            found = self._resolver(host)
        except OSError as error:
            raise NotSent(f"The name {host} cannot be resolved.") from error
        if not found:
            raise NotSent(f"The name {host} has no address.")
        return found

    @staticmethod
    def _checked(host: str, addresses: Sequence[str]) -> tuple[str, ...]:
        # One private address among public ones is a rebinding attempt, not a choice.
        if not all(is_reachable_address(address) for address in addresses):
            raise EgressRefused(f"{host} is at an address that outbound calls may not reach.")
        return tuple(addresses)


def _check_fields(request: OutboundRequest) -> None:
    if request.method not in _METHODS:
        raise ValidationFailed(f"'{request.method[:20]}' is not a method outbound calls use.")
    for source in (request.headers, request.credentials.headers):
        for name, value in source.items():
            if not _TOKEN.fullmatch(name) or name.lower() in _CONNECTION_FIELDS:
                raise ValidationFailed(f"The header '{name[:80]}' cannot be set.")
            if not _FIELD_VALUE.fullmatch(value):
                _refuse_value(name)


def _refuse_value(name: str) -> NoReturn:
    # The value is not repeated: it may be a secret.
    raise ValidationFailed(f"The value of the header '{name[:80]}' contains characters that headers cannot carry.")


def _header_fields(request: OutboundRequest, target: Target) -> tuple[tuple[bytes, bytes], ...]:
    fields = {"user-agent": _USER_AGENT, "accept": "*/*"}
    fields.update((name.lower(), value) for name, value in request.headers.items())
    fields.update((name.lower(), value) for name, value in request.credentials.headers.items())
    fields["accept-encoding"] = "gzip"
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        fields["content-length"] = str(len(request.body))
    ordered = [("host", target.host_header), *fields.items()]
    return tuple((name.encode("ascii"), value.encode("latin-1")) for name, value in ordered)


def _with_query(target: Target, query: Mapping[str, str]) -> Target:
    if not query:
        return target
    separator = "&" if "?" in target.path_and_query else "?"
    return replace(target, path_and_query=f"{target.path_and_query}{separator}{urlencode(query)}")


def _location(answer: RawResponse) -> str | None:
    if answer.status not in _REDIRECTS:
        return None
    return next((value for name, value in answer.headers if name.lower() == "location"), None)


def _redirected(request: OutboundRequest, status: int) -> OutboundRequest:
    # RFC 9110 section 15.4: 303 turns into GET; 301 and 302 do so for POST, as every client does.
    becomes_get = (status == 303 and request.method not in ("GET", "HEAD")) or (
        status in (301, 302) and request.method == "POST"
    )
    if not becomes_get:
        return request
    kept = {name: value for name, value in request.headers.items() if name.lower() != "content-type"}
    return replace(request, method="GET", body=b"", headers=kept)
