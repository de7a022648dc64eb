"""Where each tenant's own database lies."""

from fastn.platform.migrations.sql_files import run_in_migration

revision = "0004_tenant_databases"
down_revision = "0003_secrets"


def upgrade() -> None:
    """Creates the table, its policy and grants."""
    run_in_migration(revision)
