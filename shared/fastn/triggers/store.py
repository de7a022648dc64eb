"""Webhook triggers and their routes in PostgreSQL; every query sees its session's tenant only."""

import uuid
from collections.abc import Mapping, Sequence
from typing import LiteralString

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from fastn.platform.database import Session
from fastn.platform.ids import OrganizationId, SpaceId, TenantId, TriggerId, WorkflowId
from fastn.platform.scope import Scope
from fastn.triggers.models import Route, WebhookTrigger

_TRIGGER: LiteralString = """SELECT organization_id, space_id, tenant_id, id, environment, name, scheme,
                                    secret_ciphertext, created_at FROM triggers """


def insert_trigger(session: Session, trigger: WebhookTrigger) -> None:
    """Stores a new trigger and its routes."""
    owner = (trigger.scope.organization_id, trigger.scope.space_id, trigger.scope.tenant_id)
    session.execute(
        """INSERT INTO triggers (organization_id, space_id, tenant_id, id, environment, kind, name, scheme,
                                 secret_ciphertext, created_at, updated_at)
           VALUES (%s, %s, %s, %s, %s, 'webhook', %s, %s, %s, %s, %s)""",
        (
            *owner, trigger.id, trigger.environment, trigger.name, trigger.scheme, trigger.sealed_secret,
            trigger.created_at, trigger.created_at,
        ),
    )  # fmt: skip
    session.execute_many(
        """INSERT INTO webhook_routes (organization_id, space_id, tenant_id, id, trigger_id, workflow_id,
                                       position, body_filter, header_filter, created_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            (
                *owner, route.id, trigger.id, route.workflow_id, route.position, Jsonb(route.body_filter),
                Jsonb(route.header_filter), trigger.created_at,
            )
            for route in trigger.routes
        ],
    )  # fmt: skip


def list_triggers(session: Session, *, environment: str, after: uuid.UUID | None, limit: int) -> list[WebhookTrigger]:
    """The tenant's webhook triggers of an environment, newest first, from below `after` on."""
    rows = session.execute(
        _TRIGGER
        + """WHERE kind = 'webhook' AND environment = %(environment)s
                        AND (%(after)s::uuid IS NULL OR id < %(after)s)
                      ORDER BY id DESC LIMIT %(limit)s""",
        {"environment": environment, "after": after, "limit": limit},
    ).fetchall()
    return _with_routes(session, rows)


def list_triggers_to_project(session: Session, *, after: uuid.UUID | None, limit: int) -> list[WebhookTrigger]:
    """Webhook triggers of every environment, oldest first, locked against deletion until the session ends."""
    rows = session.execute(
        _TRIGGER
        + """WHERE kind = 'webhook' AND (%(after)s::uuid IS NULL OR id > %(after)s)
                      ORDER BY id LIMIT %(limit)s FOR SHARE""",
        {"after": after, "limit": limit},
    ).fetchall()
    return [_trigger(row, ()) for row in rows]


def hold_trigger(session: Session, trigger_id: uuid.UUID) -> bool:
    """Whether the trigger still exists; if so it is locked against deletion until the session ends."""
    return session.execute("SELECT 1 FROM triggers WHERE id = %s FOR SHARE", (trigger_id,)).fetchone() is not None


def lock_trigger(session: Session, trigger_id: uuid.UUID, *, environment: str) -> bool:
    """Whether the tenant has this webhook trigger in this environment; if so it is locked for deletion."""
    row = session.execute(
        "SELECT id FROM triggers WHERE id = %s AND environment = %s AND kind = 'webhook' FOR UPDATE",
        (trigger_id, environment),
    ).fetchone()
    return row is not None


def delete_trigger(session: Session, trigger_id: uuid.UUID) -> None:
    """Removes a trigger and, through the foreign key, its routes."""
    session.execute("DELETE FROM triggers WHERE id = %s", (trigger_id,))


def list_routes(session: Session, trigger_ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, tuple[Route, ...]]:
    """The routes of each of these triggers, in their order; a trigger without routes is left out."""
    rows = session.execute(
        """SELECT trigger_id, id, workflow_id, position, body_filter, header_filter FROM webhook_routes
           WHERE trigger_id = ANY(%s) ORDER BY trigger_id, position""",
        (list(trigger_ids),),
    ).fetchall()
    routes: dict[uuid.UUID, tuple[Route, ...]] = {}
    for row in rows:
        route = Route(
            row["id"], WorkflowId(row["workflow_id"]), row["position"], row["body_filter"], row["header_filter"]
        )
        routes[row["trigger_id"]] = (*routes.get(row["trigger_id"], ()), route)
    return routes


def find_runnable_workflows(session: Session, workflow_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Which of these workflows the tenant may run: its own and the space's shared ones, unless archived."""
    rows = session.execute(
        "SELECT id FROM workflows WHERE id = ANY(%s) AND archived_at IS NULL", (list(workflow_ids),)
    ).fetchall()
    return {row["id"] for row in rows}


def _with_routes(session: Session, rows: Sequence[DictRow]) -> list[WebhookTrigger]:
    routes = list_routes(session, [row["id"] for row in rows])
    return [_trigger(row, routes.get(row["id"], ())) for row in rows]


def _trigger(row: DictRow, routes: tuple[Route, ...]) -> WebhookTrigger:
    scope = Scope(OrganizationId(row["organization_id"]), SpaceId(row["space_id"]), TenantId(row["tenant_id"]))
    return WebhookTrigger(
        id=TriggerId(row["id"]),
        scope=scope,
        environment=row["environment"],
        name=row["name"],
        scheme=row["scheme"],
        sealed_secret=bytes(row["secret_ciphertext"]),
        created_at=row["created_at"],
        routes=routes,
    )
