"""Receive a webhook delivery: verified against its trigger, stored once, answered at once."""

from fastn.events.models import Delivery, HandshakeReply, Receipt
from fastn.events.wiring import receiver_of
from fastn.http.endpoint import endpoint
from fastn.http.requests import Request
from fastn.http.responses import Reply
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need

LARGEST_DELIVERY_BYTES = 4 * 1024 * 1024


@endpoint(
    "POST /api/v1/clients/{space_id}/webhooks/{webhook_id}",
    open_because="the trigger's signature authenticates the sender",
    needs={Need.DATABASE, Need.TRIGGER_PROJECTION, Need.TENANT_KEYS, Need.OUTBOX_ANNOUNCE, Need.RAW_EVENTS},
    status=202,
    max_body_bytes=LARGEST_DELIVERY_BYTES,
)
def handler(request: Request[bytes], platform: Platform) -> Reply[Receipt | HandshakeReply]:
    path, call = request.call.path, request.call
    delivery = Delivery(path["space_id"], path["webhook_id"], call.headers, request.body, call.trace_id)
    answer = receiver_of(platform).receive(delivery)
    return Reply(answer, status=200 if isinstance(answer, HandshakeReply) else 202)
