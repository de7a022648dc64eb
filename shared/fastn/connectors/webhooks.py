"""Reading a vendor's delivery once its signature has been verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastn.connectors.models import Webhooks
from fastn.connectors.selectors import Selector, Subject
from fastn.connectors.templates import as_text


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """What a delivery says about itself; None where it says nothing. `handshake_reply` is the text to answer with."""

    event: str | None
    delivery_id: str | None
    account: str | None
    handshake_reply: str | None = None


def read_delivery(webhooks: Webhooks, *, headers: Mapping[str, str], payload: object) -> DeliveryFacts:
    """The facts of a delivery; `payload` is its body as parsed JSON, None if it was none."""
    subject = Subject(payload, {name.lower(): value for name, value in headers.items()})
    route, handshake = webhooks.route, webhooks.handshake
    wants_reply = handshake is not None and handshake.when.holds(subject)
    return DeliveryFacts(
        event=_text(route.event, subject),
        delivery_id=_text(route.delivery_id, subject),
        account=_text(route.account, subject),
        handshake_reply=_text(handshake.reply, subject) if handshake is not None and wants_reply else None,
    )


def _text(selector: Selector | None, subject: Subject) -> str | None:
    value = None if selector is None else selector.select(subject)
    return None if value is None else as_text(value)
