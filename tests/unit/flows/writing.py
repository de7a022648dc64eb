"""Flows as callers write them."""

from collections.abc import Mapping
from typing import Any

from fastn.flows.models import FlowDefinition

Step = Mapping[str, Any]  # JSON


def flow(*steps: Step, **members: Any) -> FlowDefinition:  # members are JSON
    """The flow of these steps."""
    return FlowDefinition.model_validate({"name": "sample", "steps": list(steps), **members})


def code(name: str, body: str = "return 1;", **members: Any) -> Step:  # as above
    """A custom code step."""
    return {"name": name, "code": body, **members}


def log(name: str, message: str, **members: Any) -> Step:  # as above
    """A step that writes this message."""
    return {"name": name, "operation": "log", "message": message, **members}


ORDER_TO_INVOICE: dict[str, Any] = {
    "name": "order_to_invoice",
    "description": "When a Shopify order is created, create an invoice in Xero",
    "trigger": {"type": "event", "source": "shopify", "event": "order.created"},
    "steps": [
        {
            "name": "create_invoice",
            "type": "action",
            "connector": "xero",
            "action": "createInvoice",
            "mapping": {
                "Contact.EmailAddress": "{{trigger.customer.email}}",
                "LineItems": "{{trigger.line_items}}",
                "Total": "{{trigger.total_price}}",
            },
        }
    ],
}
