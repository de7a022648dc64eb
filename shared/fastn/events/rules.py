"""Pure decisions about events: identity, type, what is passed on."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime

from fastn.errors import ValidationFailed
from fastn.events.models import NormalizedEvent, OutboxRow

UNKNOWN_TYPE = "webhook"
LONGEST_TYPE_CHARACTERS = 200
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def idempotency_key(trigger_id: str, delivery_id: str | None, *, raw_body: bytes, signed_at: int | None) -> bytes:
    """SHA-256 over the trigger and what makes this delivery itself: the vendor's delivery id where there is one.

    Without one, the raw body and the time the vendor signed: the same body sent again later is another event.
    """
    digest = hashlib.sha256()
    digest.update(trigger_id.encode())
    if delivery_id is not None:
        digest.update(b"\x00delivery\x00" + delivery_id.encode("utf-8", "surrogatepass"))
    else:
        digest.update(b"\x00body\x00" + str(signed_at or "").encode() + b"\x00" + raw_body)
    return digest.digest()


def parse_payload(raw_body: bytes) -> tuple[str, object]:
    """The body as JSON text and as a value. Raises ValidationFailed for anything that is not JSON in UTF-8."""
    try:
        text = raw_body.decode()
        value = json.loads(text, parse_constant=_refuse_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ValidationFailed("The body is not JSON. Set the webhook's content type to application/json.") from error
    return text, value


def _refuse_constant(name: str) -> None:
    # Python reads NaN and Infinity, which are not JSON (RFC 8259 section 6) and which PostgreSQL refuses.
    raise ValueError(f"{name} is not JSON")


def event_type(event: str | None, payload: object) -> str:
    """The vendor's name of the event, with the action where the payload has one: `issues.opened`.

    Cut to 200 characters and without control characters, whatever the sender wrote: it travels on the bus,
    where one oversized entry would hold up every customer's, and into a text column.
    """
    action = payload.get("action") if isinstance(payload, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # a vendor's JSON
    if event is None:
        return UNKNOWN_TYPE
    name = f"{event}.{action}" if isinstance(action, str) else event
    return _UNPRINTABLE.sub("", name[:LONGEST_TYPE_CHARACTERS]) or UNKNOWN_TYPE


def normalize(row: OutboxRow, published_at: datetime) -> NormalizedEvent:
    """The event as it goes to the bus."""
    return NormalizedEvent(
        scope=row.scope,
        event_id=row.event_id,
        trigger_id=row.trigger_id,
        environment=row.environment,
        source=row.source,
        type=row.type,
        idempotency_key=row.idempotency_key.hex(),
        priority=row.priority,
        trace_id=row.trace_id,
        received_at=row.received_at,
        published_at=published_at,
    )


def shard_of(space_id: str, shards: int) -> int:
    """Which outbox marker a space's events set; spread, so that no one item takes every write."""
    return int.from_bytes(hashlib.sha256(space_id.encode()).digest()[:4], "big") % shards


def header_text(headers: Mapping[str, str]) -> str:
    """Header fields as JSON text."""
    return json.dumps(dict(headers), ensure_ascii=False, separators=(",", ":"))
