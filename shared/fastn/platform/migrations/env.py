"""What alembic runs: the migrations, in one transaction each, on the connection the runner opened."""

from typing import cast

from alembic import context
from sqlalchemy import Connection

context.configure(connection=cast(Connection, context.config.attributes["connection"]), transaction_per_migration=True)
context.run_migrations()
