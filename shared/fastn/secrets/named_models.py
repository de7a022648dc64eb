"""Named secrets: what a tenant keeps for its workflows in one environment."""

import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NewType, cast

SecretId = NewType("SecretId", uuid.UUID)

SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}", re.ASCII)
VERSIONS_KEPT = 5
"""How many versions of a secret can be read: a run goes on with the one it read, however often it is rotated since."""


@dataclass(frozen=True, slots=True)
class NamedSecret:
    """A secret without its value. `version` is the current one; versions count from 1."""

    id: SecretId
    environment: str
    name: str
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Names one version of one secret: all that a journal keeps of it.

    The id tells a secret from another of the same name that was made after the first was deleted.
    """

    id: SecretId
    name: str
    version: int

    def as_json(self) -> str:
        """The reference as JSON text."""
        return json.dumps({"secret": self.name, "version": self.version, "id": str(self.id)})

    @classmethod
    def from_json(cls, text: str) -> "SecretReference":
        """The reference `as_json` wrote. Raises KeyError or ValueError if it did not."""
        members = cast("dict[str, Any]", json.loads(text))
        return cls(SecretId(uuid.UUID(members["id"])), str(members["secret"]), int(members["version"]))


@dataclass(frozen=True, slots=True)
class OpenedSecret:
    """One version of a secret, in the clear."""

    reference: SecretReference
    value: str = field(repr=False)
