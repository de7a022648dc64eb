"""Making, listing and deleting webhook triggers, and keeping their projection true."""

import base64
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastn.connectors.catalog import ConnectorCatalog
from fastn.engine.rules import strip_auth_headers
from fastn.errors import NotFound, ValidationFailed
from fastn.platform.capabilities import Platform
from fastn.platform.clock import Clock
from fastn.platform.database import Database
from fastn.platform.ids import TriggerId, WorkflowId, new_id
from fastn.platform.resources import Need, Setting
from fastn.platform.scope import Scope
from fastn.platform.wire import Page, PageRequest
from fastn.secrets.kms import KmsKeyService
from fastn.secrets.portable import PortableSealer
from fastn.tenants.store import has_environment
from fastn.triggers import rules, store
from fastn.triggers.models import (
    OWN_SCHEME,
    CreatedTrigger,
    Route,
    WebhookTrigger,
    projected,
    secret_purpose,
)
from fastn.triggers.projection import TableName, TriggerProjection
from fastn.triggers.rules import FilterProblem
from fastn.triggers.views import NewRoute, NewWebhookTrigger, WebhookTriggerView, trigger_view

SECRET_BYTES = 32
_PROJECTED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class TriggerTools:
    """What it takes to make a trigger."""

    database: Database
    projection: TriggerProjection
    sealer: PortableSealer
    catalog: ConnectorCatalog
    clock: Clock
    random_bytes: Callable[[int], bytes] = os.urandom


def trigger_tools(platform: Platform) -> TriggerTools:
    """The tools of this process. Needs DATABASE, TENANT_KEYS and TRIGGER_PROJECTION_WRITE."""
    return platform.keep(
        TriggerTools,
        lambda: TriggerTools(
            platform.database,
            projection_of(platform, Need.TRIGGER_PROJECTION_WRITE),
            sealer_of(platform),
            ConnectorCatalog(),
            platform.clock,
        ),
    )


def projection_of(platform: Platform, need: Need) -> TriggerProjection:
    """This installation's projection, for a function that declares the need to read or to write it."""
    platform.require(need)
    return platform.keep(
        TriggerProjection, lambda: TriggerProjection(TableName(platform.settings[Setting.TRIGGER_TABLE]))
    )


def sealer_of(platform: Platform) -> PortableSealer:
    """What seals and opens the secrets of triggers in this process. Needs TENANT_KEYS."""
    return platform.keep(
        PortableSealer,
        lambda: PortableSealer(
            KmsKeyService(platform.client(Need.TENANT_KEYS), platform.settings[Setting.TENANT_KEY_ARN]),
            platform.clock,
        ),
    )


def create_webhook_trigger(
    tools: TriggerTools, owner: Scope, environment: str, wanted: NewWebhookTrigger
) -> CreatedTrigger:
    """A new webhook trigger of the owner in this environment, with its routes and its secret.

    Raises ValidationFailed for an unknown environment or scheme or a filter that says nothing clear;
    NotFound if a route names a workflow the owner may not run; ProjectionUnavailable if the trigger was
    stored but not projected: deliveries are refused until `project_all` ran.
    """
    _check(tools.catalog, wanted)
    now = tools.clock.now()
    trigger_id = TriggerId(new_id(now))
    secret = wanted.secret.get_secret_value() if wanted.secret else _new_secret(tools.random_bytes)
    trigger = WebhookTrigger(
        id=trigger_id,
        scope=owner,
        environment=environment,
        name=wanted.name,
        scheme=wanted.scheme,
        sealed_secret=tools.sealer.seal(owner, secret.encode(), purpose=secret_purpose(trigger_id)),
        created_at=now,
        routes=tuple(
            Route(new_id(now), WorkflowId(route.workflow_id), position, route.filter, route.headers)
            for position, route in enumerate(wanted.routes)
        ),
    )
    with tools.database.transaction(owner) as session:
        if not has_environment(session, environment):
            raise ValidationFailed("stage: the space has no environment of this name")
        named = {route.workflow_id for route in trigger.routes}
        if store.find_runnable_workflows(session, list(named)) != named:
            raise NotFound
        store.insert_trigger(session, trigger)
    _project(tools, trigger)
    return CreatedTrigger(trigger, secret)


def list_webhook_triggers(
    database: Database, owner: Scope, environment: str, *, page: PageRequest, public_url: str
) -> Page[WebhookTriggerView]:
    """The owner's webhook triggers in this environment, newest first, without their secrets."""
    with database.transaction(owner) as session:
        found = store.list_triggers(session, environment=environment, after=page.after(), limit=page.limit + 1)
    views = [trigger_view(trigger, public_url) for trigger in found]
    return Page[WebhookTriggerView].of(views, [trigger.id for trigger in found], page.limit)


def delete_webhook_trigger(
    database: Database, projection: TriggerProjection, owner: Scope, environment: str, *, trigger_id: uuid.UUID
) -> None:
    """Removes the trigger; deliveries are refused from then on.

    The projection goes first: what fails after that leaves a trigger that takes nothing and can be deleted
    again. Raises NotFound, or ProjectionUnavailable with nothing removed.
    """
    with database.transaction(owner) as session:
        if not store.lock_trigger(session, trigger_id, environment=environment):
            raise NotFound
        projection.delete(TriggerId(trigger_id))
        store.delete_trigger(session, trigger_id)


def project_all(database: Database, projection: TriggerProjection, scope: Scope) -> int:
    """Projects every webhook trigger of the scope's tenant anew; how many there are.

    Repairs a projection that was lost, or that a failed creation left behind. A trigger being deleted at
    the same time is not projected again: its row is locked while its item is written.
    """
    return sum(1 for _ in _project_in_batches(database, projection, scope))


def _project(tools: TriggerTools, trigger: WebhookTrigger) -> None:
    # After the commit, so that no item exists without its rows; under a lock, so that no deletion comes between.
    with tools.database.transaction(trigger.scope) as session:
        if store.hold_trigger(session, trigger.id):
            tools.projection.put(projected(trigger))


def _project_in_batches(database: Database, projection: TriggerProjection, scope: Scope) -> Iterator[TriggerId]:
    after: uuid.UUID | None = None
    while True:
        with database.transaction(scope) as session:
            batch = store.list_triggers_to_project(session, after=after, limit=_PROJECTED_AT_ONCE)
            for trigger in batch:
                projection.put(projected(trigger))
        yield from (trigger.id for trigger in batch)
        if len(batch) < _PROJECTED_AT_ONCE:
            return
        after = batch[-1].id


def _check(catalog: ConnectorCatalog, wanted: NewWebhookTrigger) -> None:
    problems = [
        {"field": f"routes.{position}.{found.field}".rstrip("."), "problem": found.problem}
        for position, route in enumerate(wanted.routes)
        for found in _route_problems(route)
    ]
    if wanted.scheme != OWN_SCHEME and not _has_webhooks(catalog, wanted.scheme):
        expected = f"expected {OWN_SCHEME}, or the slug of a connector that has webhooks"
        problems.append({"field": "scheme", "problem": expected})
    if problems:
        raise ValidationFailed("The trigger is not valid.", details={"problems": problems})


def _route_problems(route: NewRoute) -> Iterator[FilterProblem]:
    for found in rules.filter_problems(route.filter):
        yield FilterProblem(f"filter.{found.field}", found.problem)
    for found in rules.header_filter_problems(route.headers):
        yield FilterProblem(f"headers.{found.field}", found.problem)
    for name in route.headers:
        if not strip_auth_headers({name: ""}):
            yield FilterProblem(f"headers.{name}", "a header with credentials is not kept, so it would never match")


def _has_webhooks(catalog: ConnectorCatalog, slug: str) -> bool:
    try:
        return catalog.load_connector(slug).webhooks is not None
    except NotFound:
        return False


def _new_secret(random_bytes: Callable[[int], bytes]) -> str:
    return base64.urlsafe_b64encode(random_bytes(SECRET_BYTES)).rstrip(b"=").decode()
