"""Named secrets and their versions."""

from fastn.platform.migrations.sql_files import run_in_migration

revision = "0003_secrets"
down_revision = "0002_attempts"


def upgrade() -> None:
    """Creates the tables, their policies and grants."""
    run_in_migration(revision)
