"""A real `issues.opened` delivery of GitHub's, signed the way GitHub signs it."""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fastn.connectors.signatures import SignatureScheme, sign

EXAMPLES = Path("node_modules/@octokit/webhooks-examples/api.github.com/index.json")


@dataclass(frozen=True, slots=True)
class SignedDelivery:
    """What GitHub would post."""

    id: str
    headers: dict[str, str]
    body: bytes


def issue_opened(checkout: Path) -> dict[str, Any]:
    """The recorded payload of an opened issue. Raises FileNotFoundError if npm's packages are not installed."""
    groups = cast("list[dict[str, Any]]", json.loads((checkout / EXAMPLES).read_text("utf-8")))
    examples = next(group["examples"] for group in groups if group["name"] == "issues")
    return next(example for example in examples if example.get("action") == "opened")


def signed_delivery(payload: dict[str, Any], scheme: SignatureScheme, secret: str) -> SignedDelivery:
    """The payload as a new delivery: docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries."""
    body = json.dumps(payload, separators=(",", ":")).encode()
    delivery_id = str(uuid.uuid4())
    headers = {
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/demo",
        "x-github-event": "issues",
        "x-github-delivery": delivery_id,
    }
    headers[scheme.header.lower()] = sign(scheme, secret.encode(), headers=headers, raw_body=body)
    return SignedDelivery(delivery_id, headers, body)
