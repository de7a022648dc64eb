"""Where an outbound call goes: strict reading of URLs, and the hosts a connector declares."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from fastn.platform.egress_errors import EgressRefused


class Scheme(StrEnum):
    """The schemes a call may use; http only towards a loopback route."""

    HTTPS = "https"
    HTTP = "http"


_DEFAULT_PORTS = {Scheme.HTTPS: 443, Scheme.HTTP: 80}
_MAX_URL_CHARACTERS = 16_384
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PATTERN = re.compile(r"(?P<wildcard>\*\.)?(?P<host>[^:*\[\]/@]+)(:(?P<port>[0-9]{1,5}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """One address a request goes to. `host` is lower-case ASCII without brackets or a trailing dot."""

    scheme: Scheme
    host: str
    port: int
    path_and_query: str

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address rather than a name."""
        return ":" in self.host or self.host.rpartition(".")[2].isdigit()

    @property
    def origin(self) -> tuple[Scheme, str, int]:
        """Scheme, host and port: what credentials are bound to."""
        return (self.scheme, self.host, self.port)

    @property
    def host_header(self) -> str:
        """The Host field (RFC 9110 section 7.2): no port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The absolute URL, normalized."""
        return f"{self.scheme}://{self.host_header}{self.path_and_query}"


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A host a connector declares: `slack.com`, `*.myshopify.com` (below it, never itself), `erp.example:8443`."""

    host: str
    port: int | None
    is_wildcard: bool

    def matches(self, target: Target) -> bool:
        """Whether the target's host and port are declared by this pattern; no port means the scheme's own."""
        if target.port != (self.port or _DEFAULT_PORTS[target.scheme]):
            return False
        if self.is_wildcard:
            return not target.is_address and target.host.endswith("." + self.host)
        return target.host == self.host


def parse_host_pattern(text: str) -> HostPattern:
    """The pattern `text` declares.

    Raises EgressRefused if it is none, or if it is as wide as a whole top-level domain (`*.com`).
    """
    found = _PATTERN.fullmatch(text.strip())
    if found is None:
        raise EgressRefused(f"'{text[:80]}' is not a host: write slack.com, *.myshopify.com or host:8443.")
    host = _checked_host(found["host"])
    is_wildcard = found["wildcard"] is not None
    if is_wildcard and "." not in host:
        raise EgressRefused(f"'{text[:80]}' would admit a whole top-level domain.")
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 1 <= port <= 65535:
        raise EgressRefused(f"'{text[:80]}' names a port that does not exist.")
    return HostPattern(host, port, is_wildcard)


def parse_target(url: str, *, plain_hosts: Collection[str] = ()) -> Target:
    """The target an absolute URL names; only `plain_hosts` may be spoken to in http.

    Raises EgressRefused on any other scheme, userinfo, control characters, and every spelling of an
    IP address but the canonical one (octal, hexadecimal, decimal, short forms), since resolvers read
    those differently from checkers.
    """
    if len(url) > _MAX_URL_CHARACTERS:
        raise EgressRefused(f"The URL is longer than {_MAX_URL_CHARACTERS} characters.")
    # urlsplit silently drops tabs and newlines, and browsers read \ as /: both hide the real host.
    if any(ord(character) <= 0x20 or character in "\\\x7f" for character in url):
        raise EgressRefused("The URL contains a space, a control character or a backslash.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise EgressRefused("The URL cannot be read.") from error
    if parts.username is not None or parts.password is not None:
        raise EgressRefused("The URL carries a user name: credentials belong in the connection.")
    host = _checked_host(parts.hostname or "")
    if "[" in parts.netloc and ":" not in host:
        raise EgressRefused("The URL's host is not a plain IPv6 address.")
    scheme = _checked_scheme(parts.scheme, host, plain_hosts)
    return Target(scheme, host, _DEFAULT_PORTS[scheme] if port is None else port, _path_and_query(parts))


def redirect_target(source: Target, location: str, *, plain_hosts: Collection[str] = ()) -> Target:
    """The target a Location field names, relative to where the answer came from (RFC 9110 section 10.2.2)."""
    try:
        absolute = urljoin(source.url, location)
    except ValueError as error:
        raise EgressRefused("The redirect's location cannot be read.") from error
    return parse_target(absolute, plain_hosts=plain_hosts)


def _checked_scheme(text: str, host: str, plain_hosts: Collection[str]) -> Scheme:
    if text == Scheme.HTTPS:
        return Scheme.HTTPS
    if text == Scheme.HTTP and host in plain_hosts:
        return Scheme.HTTP
    raise EgressRefused("Outbound calls use https only.")


def _path_and_query(parts: SplitResult) -> str:
    # Characters outside ASCII are encoded; what is encoded already stays as it is.
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    return f"{path}?{query}" if query else path


def _checked_host(text: str) -> str:
    host = text.removesuffix(".").lower()
    if not host.isascii():
        host = _to_ascii(host)
    if ":" in host:
        return _canonical_ipv6(host)
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise EgressRefused("The URL names no valid host.")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        return _canonical_ipv4(host)
    return host


def _to_ascii(host: str) -> str:
    import idna

    try:
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except idna.IDNAError as error:
        raise EgressRefused("The URL's host is not a valid international name.") from error


def _canonical_ipv4(host: str) -> str:
    try:
        return str(IPv4Address(host))
    except ValueError as error:
        raise EgressRefused("The URL's host is a number that is not a plain IPv4 address.") from error


def _canonical_ipv6(host: str) -> str:
    try:
        address = IPv6Address(host)
    except ValueError as error:
        raise EgressRefused("The URL's host is not a plain IPv6 address.") from error
    if address.scope_id is not None:
        raise EgressRefused("The URL's host carries an IPv6 zone.")
    return str(address)
