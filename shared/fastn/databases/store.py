"""The table tenant_databases: which schema and role are a tenant's."""

from datetime import datetime

from fastn.databases.models import StoredTenantDatabase
from fastn.platform.database import Session
from fastn.platform.scope import Scope


def find_database(session: Session, owner: Scope, environment: str) -> StoredTenantDatabase | None:
    """The tenant's database in this environment; None if it never had one."""
    row = session.execute(
        """
        SELECT schema_name, role_name, password_ciphertext, provisioned_at IS NOT NULL AS is_provisioned
        FROM tenant_databases WHERE tenant_id = %(tenant_id)s AND environment = %(environment)s
        """,
        {"tenant_id": owner.tenant_id, "environment": environment},
    ).fetchone()
    if row is None:
        return None
    return StoredTenantDatabase(
        schema_name=row["schema_name"],
        role_name=row["role_name"],
        password_ciphertext=bytes(row["password_ciphertext"]),
        is_provisioned=row["is_provisioned"],
    )


def insert_database(
    session: Session, owner: Scope, environment: str, *, stored: StoredTenantDatabase, now: datetime
) -> None:
    """Names a database; does nothing if the tenant has one in this environment, which then counts."""
    session.execute(
        """
        INSERT INTO tenant_databases (organization_id, space_id, tenant_id, environment, schema_name, role_name,
                                      password_ciphertext, created_at)
        VALUES (%(organization_id)s, %(space_id)s, %(tenant_id)s, %(environment)s, %(schema_name)s, %(role_name)s,
                %(password_ciphertext)s, %(now)s)
        ON CONFLICT (tenant_id, environment) DO NOTHING
        """,
        {
            "organization_id": owner.organization_id,
            "space_id": owner.space_id,
            "tenant_id": owner.tenant_id,
            "environment": environment,
            "schema_name": stored.schema_name,
            "role_name": stored.role_name,
            "password_ciphertext": stored.password_ciphertext,
            "now": now,
        },
    )


def mark_provisioned(session: Session, owner: Scope, environment: str, now: datetime) -> None:
    """Remembers that the database exists."""
    session.execute(
        """
        UPDATE tenant_databases SET provisioned_at = %(now)s
        WHERE tenant_id = %(tenant_id)s AND environment = %(environment)s AND provisioned_at IS NULL
        """,
        {"tenant_id": owner.tenant_id, "environment": environment, "now": now},
    )
