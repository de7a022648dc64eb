"""API keys in PostgreSQL."""

import uuid
from datetime import datetime

from fastn.access.models import KeyMode, StoredKey
from fastn.platform.database import Session
from fastn.platform.ids import OrganizationId, SpaceId, TenantId


def find_key_before_owner_is_known(session: Session, key_id: uuid.UUID) -> StoredKey | None:
    """The key with this id in any space, or None. Only fastn_ingress may ask."""
    row = session.execute(
        """SELECT id, organization_id, space_id, tenant_id, mode, secret_sha256, permissions, revoked_at
           FROM api_keys WHERE id = %s""",
        (key_id,),
    ).fetchone()
    if row is None:
        return None
    return StoredKey(
        id=row["id"],
        organization_id=OrganizationId(row["organization_id"]),
        space_id=SpaceId(row["space_id"]),
        tenant_id=TenantId(row["tenant_id"]) if row["tenant_id"] else None,
        mode=KeyMode(row["mode"]),
        secret_sha256=bytes(row["secret_sha256"]),
        permissions=frozenset(row["permissions"]),
        revoked_at=row["revoked_at"],
    )


def list_spaces_with_keys(session: Session) -> list[tuple[OrganizationId, SpaceId]]:
    """Every space that has ever issued a key. Only fastn_ingress may ask."""
    rows = session.execute("SELECT DISTINCT organization_id, space_id FROM api_keys ORDER BY 1, 2").fetchall()
    return [(OrganizationId(row["organization_id"]), SpaceId(row["space_id"])) for row in rows]


def insert_key(session: Session, key: StoredKey, *, name: str, created_at: datetime) -> None:
    """Stores a new key."""
    session.execute(
        """INSERT INTO api_keys (organization_id, space_id, id, tenant_id, name, mode, secret_sha256,
                                 permissions, created_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        (
            key.organization_id, key.space_id, key.id, key.tenant_id, name, str(key.mode), key.secret_sha256,
            sorted(key.permissions), created_at,
        ),
    )  # fmt: skip
