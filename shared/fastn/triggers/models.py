"""Webhook triggers, their routes, and what of them is projected for the receiver."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fastn.platform.ids import TriggerId, WorkflowId
from fastn.platform.scope import Scope

OWN_SCHEME = "fastn"
"""The platform's own signature scheme, for a sender that is not one of the connectors."""


@dataclass(frozen=True, slots=True)
class Route:
    """Which deliveries of a trigger start which workflow; an empty filter takes every delivery."""

    id: uuid.UUID
    workflow_id: WorkflowId
    position: int
    body_filter: Mapping[str, object]
    header_filter: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class WebhookTrigger:
    """An address a vendor may deliver to. `sealed_secret` is what its signatures are checked with, encrypted."""

    id: TriggerId
    scope: Scope
    environment: str
    name: str
    scheme: str
    sealed_secret: bytes = field(repr=False)
    created_at: datetime
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class CreatedTrigger:
    """A new trigger with its secret in the clear: shown to its creator this once."""

    trigger: WebhookTrigger
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProjectedTrigger:
    """What the receiver needs to verify a delivery without asking PostgreSQL."""

    id: TriggerId
    scope: Scope
    """Narrowed to the trigger's tenant."""
    environment: str
    scheme: str
    sealed_secret: bytes = field(repr=False)


def secret_purpose(trigger_id: TriggerId) -> str:
    """What a trigger's secret is sealed for: opened under any other trigger's name, it is refused."""
    return f"trigger-secret:{trigger_id}"


def projected(trigger: WebhookTrigger) -> ProjectedTrigger:
    """The projection of a stored trigger."""
    return ProjectedTrigger(trigger.id, trigger.scope, trigger.environment, trigger.scheme, trigger.sealed_secret)
