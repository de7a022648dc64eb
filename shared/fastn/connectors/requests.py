"""From an action and its arguments to the request that goes out."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast
from urllib.parse import quote, urlencode

from fastn.connectors.arguments import check_values
from fastn.connectors.models import (
    Action,
    AuthMethod,
    BodyEncoding,
    Connector,
    Credential,
    Destination,
    IdempotencyFormat,
    Place,
)
from fastn.connectors.templates import ReferenceMissing, Template, Values, as_text, render_tree
from fastn.errors import ValidationFailed
from fastn.platform.egress import OutboundCredentials

# RFC 9110 section 9.2.2; a body on the first three has no meaning (section 9.3).
_WITHOUT_BODY = frozenset(("GET", "HEAD", "DELETE"))
_REPEATABLE = frozenset(("GET", "HEAD", "PUT", "DELETE"))
# Where keys of the platform become UUIDs of a vendor's; any constant will do, as long as it never changes.
_KEY_NAMESPACE = uuid.UUID("6f6b1c5e-3a52-5d0c-9c1b-0e5b7a3c9d21")
# What a caller's own header fields may not be: the credential has its place, and it is not there.
_CALLER_MAY_NOT_SET = frozenset(("authorization", "cookie", "proxy-authorization"))


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request before its URL and body are written; paging fills in `query` and `body` between pages."""

    method: str
    url: str
    headers: Mapping[str, str]
    query: Mapping[str, object]
    body: object
    encoding: BodyEncoding
    credentials: OutboundCredentials = field(repr=False)
    allowed_hosts: tuple[str, ...]
    is_repeatable: bool

    def full_url(self) -> str:
        """The URL with its query; a list in the query repeats its name."""
        if not self.query:
            return self.url
        pairs = [(name, as_text(item)) for name, value in self.query.items() for item in _each(value)]
        return f"{self.url}{'&' if '?' in self.url else '?'}{urlencode(pairs)}"

    def encoded_body(self) -> tuple[bytes, str | None]:
        """The body's bytes and the media type they are in; None if there is no body."""
        if self.body is None or self.method in _WITHOUT_BODY:
            return b"", None
        if self.encoding is BodyEncoding.FORM:
            fields = cast(Mapping[str, object], self.body)
            text = urlencode([(name, as_text(value)) for name, value in fields.items()])
            return text.encode(), "application/x-www-form-urlencoded"
        if self.encoding is BodyEncoding.AUTO and isinstance(self.body, str):
            return self.body.encode(), "text/plain; charset=utf-8"
        text = json.dumps(self.body, separators=(",", ":"), ensure_ascii=False)
        return text.encode(), "application/json; charset=utf-8"


def prepare_request(
    connector: Connector,
    action: Action,
    *,
    arguments: Mapping[str, object],
    credential: Credential,
    config: Mapping[str, object],
) -> PreparedRequest:
    """The request these arguments make, with no idempotency key and no paging yet.

    Raises ValidationFailed if an argument, a setting or a credential field is unknown, missing or malformed, or
    the connector does not know the authentication method.
    """
    given = check_values(arguments, action.parameters, what=f"Arguments of {connector.slug}.{action.name}")
    settings = check_values(config, connector.config, what=f"Settings of the {connector.name} connection")
    values: Values = {"in": given, "config": settings}
    method = action.method.render(values)
    query, body = _place_arguments(action, method, given, values)
    try:
        return PreparedRequest(
            method=method,
            url=_url(connector, action, values),
            headers=_headers(connector, action, values),
            query=query,
            body=body,
            encoding=action.encoding,
            credentials=_credentials(connector, credential, settings),
            allowed_hosts=_allowed_hosts(connector, values),
            is_repeatable=method in _REPEATABLE if action.is_idempotent is None else action.is_idempotent,
        )
    except ReferenceMissing as error:
        raise ValidationFailed(f"'{error.reference}' must be given.") from error


def with_value(request: PreparedRequest, destination: Destination, value: object) -> PreparedRequest:
    """The same request with one more value at its place."""
    if destination.place is Place.HEADER:
        return replace(request, headers={**request.headers, destination.name: as_text(value)})
    if destination.place is Place.QUERY:
        return replace(request, query={**request.query, destination.name: value})
    members = request.body
    body = dict(cast(Mapping[str, object], members)) if isinstance(members, Mapping) else {}
    return replace(request, body={**body, destination.name: value})


def with_idempotency_key(request: PreparedRequest, action: Action, key: str | None) -> PreparedRequest:
    """The same request carrying the key, where the vendor has a place for one."""
    field_of_key = action.idempotency
    if field_of_key is None or key is None:
        return request
    is_uuid = field_of_key.format is IdempotencyFormat.UUID
    request = with_value(request, field_of_key.into, str(uuid.uuid5(_KEY_NAMESPACE, key)) if is_uuid else key)
    return replace(request, is_repeatable=request.is_repeatable or field_of_key.is_honoured)


def _place_arguments(
    action: Action, method: str, given: Mapping[str, object], values: Values
) -> tuple[Mapping[str, object], object]:
    remaining = {name: value for name, value in given.items() if name not in action.placed_arguments}
    query = cast(Mapping[str, object], render_tree(action.query, values) or {})
    body = render_tree(action.body, values)
    if method in _WITHOUT_BODY:
        return {**query, **remaining}, body
    if action.body is None:
        return query, remaining or None
    return {**query, **remaining}, body


def _url(connector: Connector, action: Action, values: Values) -> str:
    base = connector.http.base.render(values).rstrip("/")
    if action.path.sole_reference is None:
        return base + action.path.render(values, _path_segment)
    url = action.path.render(values)
    if url.startswith("/") and not url.startswith("//"):
        return base + url
    return url


def _path_segment(text: str) -> str:
    # An empty segment or a dot segment would turn the path into another operation's (RFC 3986 section 5.2.4).
    if text in ("", ".", ".."):
        raise ValidationFailed(f"'{text}' cannot be part of a path.")
    return quote(text, safe="")


def _headers(connector: Connector, action: Action, values: Values) -> dict[str, str]:
    headers = {name: template.render(values) for name, template in connector.http.headers.items()}
    given = cast(Mapping[str, object], render_tree(action.headers, values) or {})
    for name, value in given.items():
        if name.lower() in _CALLER_MAY_NOT_SET:
            raise ValidationFailed(f"The header '{name}' belongs to the connection's credential.")
        headers[name] = as_text(value)
    return headers


def _credentials(connector: Connector, credential: Credential, settings: Mapping[str, object]) -> OutboundCredentials:
    scheme = connector.auth.get(credential.method)
    if scheme is None:
        known = ", ".join(method.value for method in connector.auth)
        raise ValidationFailed(f"{connector.name} is authenticated by {known}, not {credential.method.value}.")
    fields = check_values(credential.fields, scheme.fields, what=f"Credential for {connector.name}")
    if credential.method is AuthMethod.BASIC:
        return OutboundCredentials(headers={"Authorization": _basic(fields)})
    values: Values = {"cred": fields, "config": settings}
    return OutboundCredentials(
        headers=dict(_rendered(pair, values) for pair in scheme.placement.headers),
        query=dict(_rendered(pair, values) for pair in scheme.placement.query),
    )


def _rendered(pair: tuple[Template, Template], values: Values) -> tuple[str, str]:
    return pair[0].render(values), pair[1].render(values)


def _basic(fields: Mapping[str, object]) -> str:
    user = str(fields["username"])
    if ":" in user:
        # RFC 7617 section 2: the first colon ends the user name.
        raise ValidationFailed("A user name for Basic authentication cannot contain a colon.")
    return "Basic " + base64.b64encode(f"{user}:{fields['password']}".encode()).decode("ascii")


def _allowed_hosts(connector: Connector, values: Values) -> tuple[str, ...]:
    hosts: list[str] = []
    for template in connector.http.hosts:
        reference = template.sole_reference
        found = None if reference is None else reference.look_up(values)
        if isinstance(found, list):
            hosts += [as_text(host) for host in cast(list[object], found)]
        else:
            hosts.append(template.render(values))
    return tuple(hosts)


def _each(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else [value]
