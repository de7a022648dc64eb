"""The foundation: owners, and the tables an event passes through."""

from fastn.platform.migrations.sql_files import run_in_migration

revision = "0001_foundation"
down_revision = None


def upgrade() -> None:
    """Creates the tables, their policies and grants."""
    run_in_migration(revision)
