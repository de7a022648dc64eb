"""Organizations, spaces, tenants and environments in PostgreSQL."""

import uuid
from datetime import datetime

from fastn.platform.database import Session
from fastn.platform.ids import TenantId
from fastn.platform.scope import Scope
from fastn.tenants.models import Tenant


def find_tenant(session: Session, *, tenant_id: uuid.UUID | None, external_id: str | None) -> Tenant | None:
    """The tenant of this space with that id or external id, or None. Exactly one of the two is given."""
    row = session.execute(
        """SELECT id, external_id, name, is_default FROM tenants
           WHERE (%(id)s::uuid IS NOT NULL AND id = %(id)s)
              OR (%(external_id)s::text IS NOT NULL AND external_id = %(external_id)s)
           LIMIT 1""",
        {"id": tenant_id, "external_id": external_id},
    ).fetchone()
    return _tenant(row) if row else None


def list_tenants(session: Session) -> list[Tenant]:
    """Every tenant of this space, oldest first."""
    rows = session.execute("SELECT id, external_id, name, is_default FROM tenants ORDER BY id").fetchall()
    return [_tenant(row) for row in rows]


def insert_organization(session: Session, scope: Scope, *, name: str, created_at: datetime) -> None:
    """Stores a new organization."""
    session.execute(
        "INSERT INTO organizations (id, name, created_at) VALUES (%s, %s, %s)",
        (scope.organization_id, name, created_at),
    )


def insert_space(session: Session, scope: Scope, *, name: str, created_at: datetime) -> None:
    """Stores a new space of the scope's organization."""
    session.execute(
        "INSERT INTO spaces (organization_id, id, name, created_at) VALUES (%s, %s, %s, %s)",
        (scope.organization_id, scope.space_id, name, created_at),
    )


def insert_tenant(session: Session, scope: Scope, tenant: Tenant, *, created_at: datetime) -> None:
    """Stores a new tenant of the scope's space."""
    session.execute(
        """INSERT INTO tenants (organization_id, space_id, id, external_id, name, is_default, created_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (
            scope.organization_id, scope.space_id, tenant.id, tenant.external_id, tenant.name,
            tenant.is_default, created_at,
        ),
    )  # fmt: skip


def insert_environment(session: Session, scope: Scope, *, name: str, created_at: datetime) -> None:
    """Stores a new environment of the scope's space."""
    session.execute(
        "INSERT INTO environments (organization_id, space_id, name, created_at) VALUES (%s, %s, %s, %s)",
        (scope.organization_id, scope.space_id, name, created_at),
    )


def has_environment(session: Session, name: str) -> bool:
    """Whether the session's space has an environment of this name."""
    return session.execute("SELECT FROM environments WHERE name = %s", (name,)).fetchone() is not None


def _tenant(row: dict[str, object]) -> Tenant:
    return Tenant(
        TenantId(uuid.UUID(str(row["id"]))), str(row["external_id"]), str(row["name"]), bool(row["is_default"])
    )
