"""Events, the outbox and dead letters in PostgreSQL."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fastn.events.models import (
    EventSource,
    NewEvent,
    OutboxRow,
    Priority,
    Stage,
    StoredEvent,
)
from fastn.platform.database import Session
from fastn.platform.ids import EventId, OrganizationId, SpaceId, TenantId, TriggerId
from fastn.platform.scope import Scope


def insert_event(session: Session, event: NewEvent, outbox_id: uuid.UUID) -> EventId | None:
    """Stores the event and its outbox row; or, if this delivery was stored before, the earlier event's id.

    One statement and one round trip: both rows or neither, and a second delivery adds nothing.
    """
    row = session.execute(
        """WITH stored AS (
               INSERT INTO events (organization_id, space_id, tenant_id, id, environment, trigger_id, source, type,
                   idempotency_key, priority, headers, payload, trace_id, received_at)
               VALUES (%(organization)s, %(space)s, %(tenant)s, %(id)s, %(environment)s, %(trigger)s, %(source)s,
                   %(type)s, %(key)s, %(priority)s, %(headers)s, %(payload)s, %(trace)s, %(received_at)s)
               ON CONFLICT (tenant_id, idempotency_key) DO NOTHING
               RETURNING id)
           INSERT INTO outbox (organization_id, space_id, tenant_id, id, event_id, environment, trigger_id, source,
               type, idempotency_key, priority, trace_id, received_at)
           SELECT %(organization)s, %(space)s, %(tenant)s, %(outbox_id)s, stored.id, %(environment)s, %(trigger)s,
               %(source)s, %(type)s, %(key)s, %(priority)s, %(trace)s, %(received_at)s
           FROM stored RETURNING event_id""",
        {
            "organization": event.scope.organization_id,
            "space": event.scope.space_id,
            "tenant": event.scope.tenant_id,
            "id": event.id,
            "environment": event.environment,
            "trigger": event.trigger_id,
            "source": str(event.source),
            "type": event.type,
            "key": event.idempotency_key,
            "priority": int(event.priority),
            "headers": event.headers_json,
            "payload": event.payload_json,
            "trace": event.trace_id,
            "received_at": event.received_at,
            "outbox_id": outbox_id,
        },
    ).fetchone()
    if row is not None:
        return None
    earlier = session.execute(
        "SELECT id FROM events WHERE tenant_id = %s AND idempotency_key = %s",
        (event.scope.tenant_id, event.idempotency_key),
    ).fetchone()
    return EventId(earlier["id"]) if earlier else event.id


def requeue_unrouted(session: Session, scope: Scope) -> int:
    """Puts the tenant's events that were never routed into the outbox again; how many that were.

    For a bus and queues that lost what they held. An event that is on its way after all is routed twice,
    which changes nothing.
    """
    return session.execute(
        """INSERT INTO outbox (organization_id, space_id, tenant_id, id, event_id, environment, trigger_id, source,
               type, idempotency_key, priority, trace_id, received_at)
           SELECT organization_id, space_id, tenant_id, id, id, environment, trigger_id, source, type,
               idempotency_key, priority, trace_id, received_at
           FROM events e
           WHERE tenant_id = %s AND routed_at IS NULL
             AND NOT EXISTS (SELECT FROM outbox o WHERE o.tenant_id = e.tenant_id AND o.event_id = e.id)""",
        (scope.tenant_id,),
    ).rowcount


def lock_outbox_rows(session: Session, limit: int) -> list[OutboxRow]:
    """The most urgent rows that no other relay is moving, locked until this transaction ends. As fastn_relay."""
    rows = session.execute(
        """SELECT organization_id, space_id, tenant_id, id, event_id, environment, trigger_id, source, type,
                  idempotency_key, priority, trace_id, received_at
           FROM outbox ORDER BY priority, id LIMIT %s FOR UPDATE SKIP LOCKED""",
        (limit,),
    ).fetchall()
    return [
        OutboxRow(
            id=row["id"],
            scope=_scope(row),
            event_id=EventId(row["event_id"]),
            environment=row["environment"],
            trigger_id=TriggerId(row["trigger_id"]) if row["trigger_id"] else None,
            source=EventSource(row["source"]),
            type=row["type"],
            idempotency_key=bytes(row["idempotency_key"]),
            priority=Priority(row["priority"]),
            trace_id=row["trace_id"],
            received_at=row["received_at"],
        )
        for row in rows
    ]


def delete_outbox_rows(session: Session, rows: Sequence[OutboxRow]) -> None:
    """Takes rows that are on the bus out of the outbox. As fastn_relay."""
    session.execute(
        "DELETE FROM outbox WHERE (tenant_id, id) IN (SELECT * FROM unnest(%s::uuid[], %s::uuid[]))",
        ([row.scope.tenant_id for row in rows], [row.id for row in rows]),
    )


def outbox_is_empty(session: Session) -> bool:
    """Whether nothing waits for the bus. As fastn_relay."""
    return session.execute("SELECT 1 FROM outbox LIMIT 1").fetchone() is None


def mark_routed(
    session: Session, scope: Scope, event_id: EventId, *, published_at: datetime, now: datetime
) -> StoredEvent | None:
    """The event, noting when it was published and routed (the first time counts); None if there is no such event."""
    row = session.execute(
        """UPDATE events SET published_at = coalesce(published_at, %s), routed_at = coalesce(routed_at, %s)
           WHERE tenant_id = %s AND id = %s
           RETURNING id, environment, trigger_id, source, headers::text AS headers, payload::text AS payload,
                     trace_id""",
        (published_at, now, scope.tenant_id, event_id),
    ).fetchone()
    if row is None:
        return None
    return StoredEvent(
        id=EventId(row["id"]),
        environment=row["environment"],
        trigger_id=TriggerId(row["trigger_id"]) if row["trigger_id"] else None,
        source=EventSource(row["source"]),
        headers_json=row["headers"],
        payload_json=row["payload"],
        trace_id=row["trace_id"],
    )


def find_event_times(session: Session, scope: Scope, event_id: uuid.UUID) -> Mapping[str, datetime | None] | None:
    """When the event was received, stored, published and routed; None if there is no such event."""
    return session.execute(
        "SELECT received_at, stored_at, published_at, routed_at FROM events WHERE tenant_id = %s AND id = %s",
        (scope.tenant_id, event_id),
    ).fetchone()


def insert_dead_letter(
    session: Session, scope: Scope, stage: Stage, *, ids: Mapping[str, uuid.UUID | None], payload: Any, error: Any,
    created_at: datetime,
) -> None:  # fmt: skip
    """Keeps what could not be processed; a second report of the same letter changes nothing."""
    session.execute(
        """INSERT INTO dead_letters (organization_id, space_id, tenant_id, id, stage, event_id, execution_id,
               payload, error, created_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant_id, id) DO NOTHING""",
        (
            scope.organization_id, scope.space_id, scope.tenant_id, ids["letter"], str(stage), ids.get("event"),
            ids.get("execution"), json.dumps(payload), json.dumps(error), created_at,
        ),
    )  # fmt: skip


def _scope(row: Mapping[str, Any]) -> Scope:
    return Scope(OrganizationId(row["organization_id"]), SpaceId(row["space_id"]), TenantId(row["tenant_id"]))
