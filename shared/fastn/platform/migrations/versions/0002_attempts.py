"""Attempts of a run, re-runs, and receipts of writes that an earlier attempt completed."""

from fastn.platform.migrations.sql_files import run_in_migration

revision = "0002_attempts"
down_revision = "0001_foundation"


def upgrade() -> None:
    """Adds the columns."""
    run_in_migration(revision)
