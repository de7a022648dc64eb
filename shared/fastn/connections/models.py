"""Connections as they are stored, and as a call uses them."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from fastn.connectors.models import AuthMethod, Credential
from fastn.platform.scope import Scope

ConnectionId = NewType("ConnectionId", uuid.UUID)
DEFAULT_NAME = "default"


class ConnectionStatus(StrEnum):
    """Whether a connection can be used."""

    ACTIVE = "active"
    REAUTHORIZATION_NEEDED = "reauthorization_needed"


@dataclass(frozen=True, slots=True)
class Connection:
    """A customer's access to one connector in one environment; its credential only as ciphertext."""

    id: ConnectionId
    scope: Scope
    environment: str
    connector: str
    name: str
    auth_method: AuthMethod
    config: Mapping[str, object]
    credential_ciphertext: bytes | None = field(repr=False)
    credential_version: int
    status: ConnectionStatus
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new credential for a stored connection. `config` None leaves it as it is."""

    credential_ciphertext: bytes | None = field(repr=False)
    config: Mapping[str, object] | None
    expected_version: int | None
    rotated_at: datetime


@dataclass(frozen=True, slots=True)
class ConnectionForCall:
    """What a connector call needs; `credential` maps the auth method's fields to secrets in the clear."""

    id: ConnectionId
    auth_method: AuthMethod
    config: Mapping[str, object]
    credential: Mapping[str, str] = field(repr=False)
    credential_version: int

    def authentication(self) -> Credential:
        """The credential as connector calls take it."""
        return Credential(self.auth_method, self.credential)
