"""Named secrets in PostgreSQL; every query sees its session's tenant only."""

import uuid
from datetime import datetime
from typing import LiteralString

from psycopg.rows import DictRow

from fastn.platform.database import Session
from fastn.platform.scope import Scope
from fastn.secrets.named_models import VERSIONS_KEPT, NamedSecret, SecretId, SecretReference

_NAMED: LiteralString = "SELECT id, environment, name, version, created_at, updated_at FROM secrets "


def insert_secret(session: Session, scope: Scope, secret: NamedSecret, ciphertext: bytes) -> bool:
    """Stores a new secret with its first version; False if its name is taken in this environment."""
    row = session.execute(
        """INSERT INTO secrets (organization_id, space_id, tenant_id, id, environment, name, version, created_at,
               updated_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (tenant_id, environment, name) DO NOTHING RETURNING id""",
        (
            scope.organization_id, scope.space_id, scope.tenant_id, secret.id, secret.environment, secret.name,
            secret.version, secret.created_at, secret.updated_at,
        ),
    ).fetchone()  # fmt: skip
    if row is None:
        return False
    _insert_version(session, scope, secret, ciphertext)
    return True


def list_secrets(session: Session, *, environment: str, after: uuid.UUID | None, limit: int) -> list[NamedSecret]:
    """The tenant's secrets in an environment, newest first, from below `after` on."""
    rows = session.execute(
        _NAMED
        + """WHERE environment = %(environment)s AND (%(after)s::uuid IS NULL OR id < %(after)s)
             ORDER BY id DESC LIMIT %(limit)s""",
        {"environment": environment, "after": after, "limit": limit},
    ).fetchall()
    return [_secret(row) for row in rows]


def find_secret(session: Session, secret_id: uuid.UUID, *, environment: str) -> NamedSecret | None:
    """The tenant's secret with this id in this environment, or None."""
    row = session.execute(_NAMED + "WHERE id = %s AND environment = %s", (secret_id, environment)).fetchone()
    return _secret(row) if row else None


def add_version(
    session: Session, scope: Scope, secret_id: SecretId, ciphertext: bytes, *, rotated_at: datetime
) -> NamedSecret | None:
    """The secret with one more version, its oldest beyond VERSIONS_KEPT deleted; None if the secret is gone.

    Rotations of one secret take turns: the row is locked until the transaction ends.
    """
    row = session.execute(
        """UPDATE secrets SET version = version + 1, updated_at = %s WHERE id = %s
           RETURNING id, environment, name, version, created_at, updated_at""",
        (rotated_at, secret_id),
    ).fetchone()
    if row is None:
        return None
    secret = _secret(row)
    _insert_version(session, scope, secret, ciphertext)
    session.execute(
        "DELETE FROM secret_versions WHERE secret_id = %s AND version <= %s",
        (secret.id, secret.version - VERSIONS_KEPT),
    )
    return secret


def delete_secret(session: Session, secret_id: uuid.UUID, *, environment: str) -> bool:
    """Removes the secret with every version; False if the tenant has no such secret in this environment."""
    cursor = session.execute("DELETE FROM secrets WHERE id = %s AND environment = %s", (secret_id, environment))
    return cursor.rowcount == 1


def find_current(session: Session, *, environment: str, name: str) -> tuple[SecretReference, bytes] | None:
    """The current version of the tenant's secret of this name, as ciphertext; None if there is none."""
    row = session.execute(
        """SELECT s.id, s.name, v.version, v.ciphertext
           FROM secrets s
           JOIN secret_versions v ON v.tenant_id = s.tenant_id AND v.secret_id = s.id AND v.version = s.version
           WHERE s.environment = %s AND s.name = %s""",
        (environment, name),
    ).fetchone()
    if row is None:
        return None
    return SecretReference(SecretId(row["id"]), row["name"], row["version"]), bytes(row["ciphertext"])


def find_version(session: Session, reference: SecretReference) -> bytes | None:
    """The ciphertext of this very version; None if it or its secret was deleted."""
    row = session.execute(
        "SELECT ciphertext FROM secret_versions WHERE secret_id = %s AND version = %s",
        (reference.id, reference.version),
    ).fetchone()
    return None if row is None else bytes(row["ciphertext"])


def _insert_version(session: Session, scope: Scope, secret: NamedSecret, ciphertext: bytes) -> None:
    session.execute(
        """INSERT INTO secret_versions (organization_id, space_id, tenant_id, secret_id, version, ciphertext,
               created_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (
            scope.organization_id, scope.space_id, scope.tenant_id, secret.id, secret.version, ciphertext,
            secret.updated_at,
        ),
    )  # fmt: skip


def _secret(row: DictRow) -> NamedSecret:
    return NamedSecret(
        SecretId(row["id"]), row["environment"], row["name"], row["version"], row["created_at"], row["updated_at"]
    )
