"""Data keys in PostgreSQL, each read and write in a transaction of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastn.platform.clock import Clock
from fastn.platform.scope import Scope
from fastn.secrets.models import DataKeyId, StoredDataKey

if TYPE_CHECKING:
    from psycopg.rows import DictRow

    from fastn.platform.database import Database


class SqlDataKeyStore:
    """The DataKeyStore over the table data_keys, whose rows never change."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def newest(self, scope: Scope) -> StoredDataKey | None:
        """The tenant's youngest key; None if it has none. Ids are UUIDv7, so they sort by age."""
        with self._database.transaction(scope) as session:
            row = session.execute(
                """
                SELECT id, encrypted_key FROM data_keys
                WHERE tenant_id = %(tenant_id)s ORDER BY id DESC LIMIT 1
                """,
                {"tenant_id": scope.tenant_id},
            ).fetchone()
        return _to_key(row)

    def find(self, scope: Scope, key_id: DataKeyId) -> StoredDataKey | None:
        """The key with this id; None if the tenant has no such key."""
        with self._database.transaction(scope) as session:
            row = session.execute(
                "SELECT id, encrypted_key FROM data_keys WHERE tenant_id = %(tenant_id)s AND id = %(id)s",
                {"tenant_id": scope.tenant_id, "id": key_id},
            ).fetchone()
        return _to_key(row)

    def add(self, scope: Scope, key: StoredDataKey) -> None:
        """Stores a new key; committed when this returns."""
        with self._database.transaction(scope) as session:
            session.execute(
                """
                INSERT INTO data_keys (organization_id, space_id, tenant_id, id, encrypted_key, created_at)
                VALUES (%(organization_id)s, %(space_id)s, %(tenant_id)s, %(id)s, %(encrypted)s, %(created_at)s)
                """,
                {
                    "organization_id": scope.organization_id,
                    "space_id": scope.space_id,
                    "tenant_id": scope.tenant_id,
                    "id": key.id,
                    "encrypted": key.encrypted,
                    "created_at": self._clock.now(),
                },
            )


def _to_key(row: DictRow | None) -> StoredDataKey | None:
    return None if row is None else StoredDataKey(DataKeyId(row["id"]), bytes(row["encrypted_key"]))
