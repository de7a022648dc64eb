"""How webhook triggers look on the wire."""

import uuid
from typing import Annotated

from pydantic import Field, SecretStr

from fastn.platform.wire import STORABLE, Instant, StorableObject, WireModel
from fastn.triggers.models import OWN_SCHEME, CreatedTrigger, Route, WebhookTrigger

Name = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", description="A name for people to read.")
]
BodyFilter = Annotated[
    StorableObject,
    Field(
        description="Which bodies the route takes: members (dotted paths or nested objects) that must be equal, or "
        "objects of $eq, $ne, $in, $nin, $gt, $gte, $lt, $lte, $prefix, $suffix, $contains, $exists. "
        "Arrays match if any element does. Empty: every body."
    ),
]
HeaderFilter = Annotated[
    dict[str, str | list[str]],
    Field(description="Header names, in any case, with the exact value or a list of accepted values."),
    STORABLE,
]


class NewRoute(WireModel):
    """A workflow that deliveries start, and which deliveries."""

    workflow_id: uuid.UUID
    filter: BodyFilter = Field(default_factory=dict)
    headers: HeaderFilter = Field(default_factory=dict)


class NewWebhookTrigger(WireModel):
    """A webhook address to make."""

    name: Name
    scheme: Annotated[
        str,
        Field(
            min_length=1,
            max_length=100,
            description="Whose signature scheme deliveries follow: a connector's slug, or fastn for our own.",
        ),
    ] = OWN_SCHEME
    secret: Annotated[
        SecretStr | None,
        Field(min_length=16, max_length=1024, description="The signing secret; one is generated if absent."),
    ] = None
    routes: Annotated[list[NewRoute], Field(min_length=1, max_length=50)]


class RouteView(WireModel):
    """A workflow that deliveries start, and which deliveries."""

    id: uuid.UUID
    workflow_id: uuid.UUID
    filter: BodyFilter
    headers: HeaderFilter


class WebhookTriggerView(WireModel):
    """A webhook address and its routes. The secret is never part of it."""

    id: uuid.UUID
    name: str
    environment: str
    scheme: str
    url: Annotated[str, Field(description="Where the vendor delivers to, with POST.")]
    routes: list[RouteView]
    created_at: Instant


class CreatedWebhookTriggerView(WebhookTriggerView):
    """A new webhook address with its signing secret, which is shown this once."""

    secret: str


def trigger_view(trigger: WebhookTrigger, public_url: str) -> WebhookTriggerView:
    """The trigger as its owner sees it; `public_url` is the installation's, without a path."""
    return WebhookTriggerView(
        id=trigger.id,
        name=trigger.name,
        environment=trigger.environment,
        scheme=trigger.scheme,
        url=f"{public_url.rstrip('/')}/api/v1/clients/{trigger.scope.space_id}/webhooks/{trigger.id}",
        routes=[_route_view(route) for route in trigger.routes],
        created_at=trigger.created_at,
    )


def created_view(created: CreatedTrigger, public_url: str) -> CreatedWebhookTriggerView:
    """The new trigger as its creator sees it, this once with its secret."""
    seen = trigger_view(created.trigger, public_url)
    return CreatedWebhookTriggerView(**seen.model_dump(), secret=created.secret)


def _route_view(route: Route) -> RouteView:
    return RouteView.model_validate(
        {
            "id": route.id,
            "workflow_id": route.workflow_id,
            "filter": route.body_filter,
            "headers": route.header_filter,
        }
    )
