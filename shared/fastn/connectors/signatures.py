"""Whether a delivery was really sent by who says so: HMAC over the raw bytes, in constant time.

Everything missing is a refusal: no secret, no signature, no timestamp where the scheme has one. A header
may carry several signatures (separated by commas or spaces) while a vendor rotates its key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto

from fastn.connectors.templates import Reference, Template, parse_template

SIGNED_NAMESPACES = frozenset(("body", "timestamp", "header"))
_SEPARATORS = re.compile(r"[,\s]+")
_UNIX_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
# Enough for any rotation; a header of thousands would be a way to make us compute.
_MAX_SIGNATURES = 10


class SignatureAlgorithm(StrEnum):
    """The keyed hash a vendor signs with."""

    HMAC_SHA256 = "hmac-sha256"


class SignatureEncoding(StrEnum):
    """How the signature's bytes are written."""

    HEX = "hex"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """How one vendor signs. `signed` is built of `${body}`, `${timestamp}` and `${header.Name}`.

    With a timestamp header and a tolerance, a delivery older or newer than that is refused.
    """

    header: str
    signed: Template
    encoding: SignatureEncoding = SignatureEncoding.HEX
    prefix: str = ""
    algorithm: SignatureAlgorithm = SignatureAlgorithm.HMAC_SHA256
    timestamp_header: str | None = None
    tolerance_seconds: int | None = None
    delivery_id_header: str | None = None
    event_header: str | None = None


class SignatureFailure(StrEnum):
    """Why a delivery is not accepted."""

    SECRET_MISSING = auto()
    SIGNATURE_MISSING = auto()
    TIMESTAMP_MISSING = auto()
    TIMESTAMP_STALE = auto()
    SIGNATURE_WRONG = auto()


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """The verdict. `signed_at` (Unix seconds) is set only on accepted deliveries of schemes that sign a time."""

    failure: SignatureFailure | None
    signed_at: int | None = None
    delivery_id: str | None = None
    event: str | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the delivery is genuine and fresh."""
        return self.failure is None


FASTN_SCHEME = SignatureScheme(
    header="x-fastn-signature",
    signed=parse_template("${timestamp}.${body}", SIGNED_NAMESPACES),
    prefix="sha256=",
    timestamp_header="x-fastn-timestamp",
    tolerance_seconds=300,
    delivery_id_header="x-fastn-delivery-id",
)
"""The platform's own scheme, for triggers that belong to no connector."""


def verify_signature(
    scheme: SignatureScheme, secret: bytes | None, *, headers: Mapping[str, str], raw_body: bytes, now: datetime
) -> SignatureCheck:
    """Whether `raw_body`, byte for byte as it was received, is signed with `secret` under the scheme.

    Header names are matched without regard to case. Never raises on what a sender can control.
    """
    fields = {name.lower(): value for name, value in headers.items()}
    timestamp = _field(fields, scheme.timestamp_header)
    signed_at = int(timestamp) if timestamp is not None and _UNIX_SECONDS.fullmatch(timestamp) else None
    failure = _missing(scheme, secret, fields, signed_at) or _mismatch(scheme, secret or b"", fields, raw_body)
    # Last, so that only the secret's holder learns what the clock here says.
    if failure is None and _is_stale(scheme, signed_at, now):
        failure = SignatureFailure.TIMESTAMP_STALE
    if failure is not None:
        return SignatureCheck(failure)
    return SignatureCheck(
        None, signed_at, _field(fields, scheme.delivery_id_header), _field(fields, scheme.event_header)
    )


def sign(scheme: SignatureScheme, secret: bytes, *, headers: Mapping[str, str], raw_body: bytes) -> str:
    """The signature header's value for a body; `headers` must hold what the scheme signs beside it.

    Raises ValueError if one of those is missing.
    """
    message = signed_message(scheme, {name.lower(): value for name, value in headers.items()}, raw_body)
    if message is None:
        raise ValueError("a header that the scheme signs is missing")
    digest = hmac.digest(secret, message, hashlib.sha256)
    is_hex = scheme.encoding is SignatureEncoding.HEX
    return scheme.prefix + (digest.hex() if is_hex else base64.b64encode(digest).decode("ascii"))


def _missing(
    scheme: SignatureScheme, secret: bytes | None, fields: Mapping[str, str], signed_at: int | None
) -> SignatureFailure | None:
    if not secret:
        return SignatureFailure.SECRET_MISSING
    if scheme.header.lower() not in fields:
        return SignatureFailure.SIGNATURE_MISSING
    if scheme.timestamp_header is not None and signed_at is None:
        return SignatureFailure.TIMESTAMP_MISSING
    return None


def _mismatch(
    scheme: SignatureScheme, secret: bytes, fields: Mapping[str, str], raw_body: bytes
) -> SignatureFailure | None:
    given = _signatures(scheme, fields[scheme.header.lower()])
    message = signed_message(scheme, fields, raw_body)
    if message is None or not given:
        return SignatureFailure.SIGNATURE_WRONG
    expected = hmac.digest(secret, message, hashlib.sha256)
    # All are compared, so that the time taken does not tell which one was right.
    matches = [hmac.compare_digest(expected, signature) for signature in given]
    return None if any(matches) else SignatureFailure.SIGNATURE_WRONG


def signed_message(scheme: SignatureScheme, fields: Mapping[str, str], raw_body: bytes) -> bytes | None:
    """The bytes the vendor signed; None if a header among them is missing. `fields` has lower-case names."""
    pieces: list[bytes] = []
    for part in scheme.signed.parts:
        piece = part.encode() if isinstance(part, str) else _referenced(scheme, part, fields, raw_body)
        if piece is None:
            return None
        pieces.append(piece)
    return b"".join(pieces)


def _referenced(
    scheme: SignatureScheme, reference: Reference, fields: Mapping[str, str], raw_body: bytes
) -> bytes | None:
    if reference.namespace == "body":
        return raw_body
    name = scheme.timestamp_header if reference.namespace == "timestamp" else reference.name
    value = _field(fields, name)
    return None if value is None else value.encode("utf-8", "replace")


def _signatures(scheme: SignatureScheme, header: str) -> list[bytes]:
    texts = _SEPARATORS.split(header.strip())[:_MAX_SIGNATURES]
    prefix = scheme.prefix
    decoded = [_decode(scheme.encoding, text[len(prefix) :]) for text in texts if text.startswith(prefix)]
    return [signature for signature in decoded if signature]


def _decode(encoding: SignatureEncoding, text: str) -> bytes | None:
    try:
        if encoding is SignatureEncoding.HEX:
            return binascii.unhexlify(text)
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def _field(fields: Mapping[str, str], name: str | None) -> str | None:
    return None if name is None else fields.get(name.lower())


def _is_stale(scheme: SignatureScheme, signed_at: int | None, now: datetime) -> bool:
    if signed_at is None or scheme.tolerance_seconds is None:
        return False
    return abs(now.timestamp() - signed_at) > scheme.tolerance_seconds
