"""What a trace keeps of a vendor call: enough to understand it, nothing to steal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from fastn.connectors.models import Connector, Credential, ValueType
from fastn.connectors.requests import PreparedRequest
from fastn.platform.egress import OutboundResponse
from fastn.secrets.rules import MASK, SecretMask

MAX_KEPT_BODY_CHARACTERS = 4096
# Beside the credential's own values: what vendors call their keys and sessions.
_SENSITIVE_HEADERS = frozenset(
    ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "x-auth-token")
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """The last request of a call and its answer, masked and cut, as JSON. `response` None: there was none."""

    request: Mapping[str, object]
    response: Mapping[str, object] | None


def redacted_exchange(request: PreparedRequest, response: OutboundResponse | None, secrets: SecretMask) -> Exchange:
    """The exchange with `secrets` masked, in whatever form they were written."""
    body, media_type = request.encoded_body()
    headers = {**request.headers, **({"Content-Type": media_type} if media_type else {})}
    sent: dict[str, object] = {
        "method": request.method,
        "url": secrets.mask(request.full_url()),
        "headers": _masked_headers(list(headers.items()), secrets),
        "body": _masked_body(body, secrets),
    }
    if response is None:
        return Exchange(sent, None)
    return Exchange(
        sent,
        {
            "status": response.status,
            "headers": _masked_headers(response.headers, secrets),
            "body": _masked_body(response.body, secrets),
        },
    )


def secrets_of(connector: Connector, credential: Credential, request: PreparedRequest) -> SecretMask:
    """The mask for every value that must not be seen: the credential's secrets, and what they became in the request."""
    scheme = connector.auth[credential.method]
    fields = (
        value
        for name, value in credential.fields.items()
        if name not in scheme.fields or scheme.fields[name].type is ValueType.SECRET
    )
    placed = request.credentials
    return SecretMask((*fields, *placed.headers.values(), *placed.query.values()))


def masked_json(value: object, secrets: SecretMask) -> object:
    """The same JSON with known values masked in every text and every member name."""
    if isinstance(value, str):
        return secrets.mask(value)
    if isinstance(value, Mapping):
        members = cast(Mapping[str, object], value).items()
        return {secrets.mask(name): masked_json(member, secrets) for name, member in members}
    if isinstance(value, list):
        return [masked_json(element, secrets) for element in cast(list[object], value)]
    return value


def _masked_headers(headers: Sequence[tuple[str, str]], secrets: SecretMask) -> dict[str, str]:
    return {name: MASK if name.lower() in _SENSITIVE_HEADERS else secrets.mask(value) for name, value in headers}


def _masked_body(body: bytes, secrets: SecretMask) -> str | None:
    if not body:
        return None
    window = 4 * MAX_KEPT_BODY_CHARACTERS
    text = secrets.mask(body[:window].decode("utf-8", "replace"))
    if len(body) > window:
        # A secret cut by the window is no longer recognised, so the stretch it could fill goes too.
        text = text[: -secrets.longest_form_characters or None]
    return text if len(text) <= MAX_KEPT_BODY_CHARACTERS else text[:MAX_KEPT_BODY_CHARACTERS] + "…"
