"""Connections in PostgreSQL; every query sees its session's tenant only."""

import uuid
from typing import LiteralString

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from fastn.connections.models import Connection, ConnectionId, ConnectionStatus, Rotation
from fastn.connectors.models import AuthMethod
from fastn.platform.database import Session
from fastn.platform.ids import OrganizationId, SpaceId, TenantId
from fastn.platform.scope import Scope

_CONNECTION: LiteralString = """
    SELECT organization_id, space_id, tenant_id, id, environment, connector_slug, name, auth_method, config,
           credential_ciphertext, credential_version, status, created_at, updated_at
    FROM connections """


def insert_connection(session: Session, connection: Connection) -> bool:
    """Stores a new connection; False if its name is taken for this connector and environment."""
    scope = connection.scope
    row = session.execute(
        """INSERT INTO connections (organization_id, space_id, tenant_id, id, environment, connector_slug, name,
               auth_method, config, credential_ciphertext, credential_version, status, created_at, updated_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (tenant_id, environment, connector_slug, name) DO NOTHING RETURNING id""",
        (
            scope.organization_id, scope.space_id, scope.tenant_id, connection.id, connection.environment,
            connection.connector, connection.name, str(connection.auth_method), Jsonb(connection.config),
            connection.credential_ciphertext, connection.credential_version, str(connection.status),
            connection.created_at, connection.updated_at,
        ),
    ).fetchone()  # fmt: skip
    return row is not None


def list_connections(session: Session, *, environment: str, after: uuid.UUID | None, limit: int) -> list[Connection]:
    """The tenant's connections in an environment, newest first, from below `after` on."""
    rows = session.execute(
        _CONNECTION
        + """WHERE environment = %(environment)s AND (%(after)s::uuid IS NULL OR id < %(after)s)
             ORDER BY id DESC LIMIT %(limit)s""",
        {"environment": environment, "after": after, "limit": limit},
    ).fetchall()
    return [_connection(row) for row in rows]


def find_connection(session: Session, connection_id: uuid.UUID, *, environment: str) -> Connection | None:
    """The tenant's connection with this id in this environment, or None."""
    row = session.execute(_CONNECTION + "WHERE id = %s AND environment = %s", (connection_id, environment)).fetchone()
    return _connection(row) if row else None


def find_connection_for_call(session: Session, *, environment: str, connector: str, name: str) -> Connection | None:
    """The tenant's connection to a connector by name, or None."""
    row = session.execute(
        _CONNECTION + "WHERE environment = %s AND connector_slug = %s AND name = %s",
        (environment, connector, name),
    ).fetchone()
    return _connection(row) if row else None


def rotate_credential(session: Session, connection_id: ConnectionId, rotation: Rotation) -> Connection | None:
    """The connection with its new credential; None if it is gone or not at the expected version any more."""
    row = session.execute(
        """UPDATE connections
           SET credential_ciphertext = %(ciphertext)s, config = coalesce(%(config)s, config),
               credential_version = credential_version + 1, status = 'active', updated_at = %(now)s
           WHERE id = %(id)s AND (%(expected)s::integer IS NULL OR credential_version = %(expected)s)
           RETURNING *""",
        {
            "id": connection_id,
            "ciphertext": rotation.credential_ciphertext,
            "config": None if rotation.config is None else Jsonb(rotation.config),
            "expected": rotation.expected_version,
            "now": rotation.rotated_at,
        },
    ).fetchone()
    return _connection(row) if row else None


def _connection(row: DictRow) -> Connection:
    ciphertext = row["credential_ciphertext"]
    return Connection(
        id=ConnectionId(row["id"]),
        scope=Scope(OrganizationId(row["organization_id"]), SpaceId(row["space_id"]), TenantId(row["tenant_id"])),
        environment=row["environment"],
        connector=row["connector_slug"],
        name=row["name"],
        auth_method=AuthMethod(row["auth_method"]),
        config=row["config"],
        credential_ciphertext=None if ciphertext is None else bytes(ciphertext),
        credential_version=row["credential_version"],
        status=ConnectionStatus(row["status"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
