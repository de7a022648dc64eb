"""API keys, the principals they stand for, and the permissions a route may ask for."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fastn.platform.ids import OrganizationId, SpaceId, TenantId
from fastn.platform.scope import Scope


class Permission(StrEnum):
    """What a principal may be allowed to do; a route declares exactly one."""

    CONNECTORS_READ = "connectors:read"
    CONNECTIONS_READ = "connections:read"
    CONNECTIONS_WRITE = "connections:write"
    WORKFLOWS_READ = "workflows:read"
    WORKFLOWS_WRITE = "workflows:write"
    WORKFLOWS_PUBLISH = "workflows:publish"
    WORKFLOWS_DEPLOY = "workflows:deploy"
    WORKFLOWS_EXECUTE = "workflows:execute"
    EXECUTIONS_READ = "executions:read"
    TRIGGERS_READ = "triggers:read"
    TRIGGERS_WRITE = "triggers:write"
    SECRETS_READ = "secrets:read"
    SECRETS_WRITE = "secrets:write"


class KeyMode(StrEnum):
    """A Test key reaches every environment but production."""

    TEST = "test"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """The parts of `wak_{mode}_{id}_{secret}` as a caller presented it."""

    mode: KeyMode
    id: uuid.UUID
    secret: str


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is kept of an API key: the hash of its secret, never the secret."""

    id: uuid.UUID
    organization_id: OrganizationId
    space_id: SpaceId
    tenant_id: TenantId | None
    mode: KeyMode
    secret_sha256: bytes
    permissions: frozenset[str]
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key; `text` holds the secret and is shown this once."""

    text: str
    stored: StoredKey


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    key_id: uuid.UUID
    mode: KeyMode
    scope: Scope
    """The key's space, narrowed to a tenant where the key is restricted to one."""
    permissions: frozenset[str]

    @property
    def actor(self) -> str:
        """How this caller is named in records."""
        return f"api_key:{self.key_id}"
