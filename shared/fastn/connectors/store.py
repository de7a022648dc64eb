"""A space's own connectors in PostgreSQL."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fastn.platform.database import Session


@dataclass(frozen=True, slots=True)
class CustomConnector:
    """A connector a space has defined; `definition` is in the manifest's language."""

    id: uuid.UUID
    slug: str
    name: str
    description: str
    visibility: Literal["public", "private"]
    definition: Mapping[str, object]


def list_custom_connectors(session: Session, *, after: uuid.UUID | None, limit: int) -> list[CustomConnector]:
    """The connectors the session's space has defined, newest first, from below `after` on."""
    rows = session.execute(
        """SELECT id, slug, name, description, visibility, definition FROM connectors
           WHERE %(after)s::uuid IS NULL OR id < %(after)s ORDER BY id DESC LIMIT %(limit)s""",
        {"after": after, "limit": limit},
    ).fetchall()
    return [CustomConnector(**row) for row in rows]
