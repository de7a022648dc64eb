"""Keys and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType, Protocol
from uuid import UUID

from fastn.platform.scope import Scope

DataKeyId = NewType("DataKeyId", UUID)


@dataclass(frozen=True, slots=True)
class NewDataKey:
    """A data key just made: 32 plaintext bytes for use, and the form to store."""

    plaintext: bytes = field(repr=False)
    encrypted: bytes


@dataclass(frozen=True, slots=True)
class StoredDataKey:
    """A data key at rest, encrypted by the key service."""

    id: DataKeyId
    encrypted: bytes = field(repr=False)


class KeyService(Protocol):
    """Makes and opens data keys; the context is bound to the key and must be the same both times."""

    def generate_data_key(self, context: Mapping[str, str]) -> NewDataKey:
        """A new 256-bit key. Raises KeyServiceUnavailable."""
        ...

    def decrypt(self, encrypted: bytes, context: Mapping[str, str]) -> bytes:
        """The key's plaintext. Raises DecryptionFailed on another context, KeyServiceUnavailable."""
        ...


class DataKeyStore(Protocol):
    """Where a tenant's data keys are kept. The scope must name the tenant."""

    def newest(self, scope: Scope) -> StoredDataKey | None:
        """The key to encrypt with; None if the tenant has none yet."""
        ...

    def find(self, scope: Scope, key_id: DataKeyId) -> StoredDataKey | None:
        """The key with this id; None if the tenant has no such key."""
        ...

    def add(self, scope: Scope, key: StoredDataKey) -> None:
        """Stores a new key, durably before it returns: what a lost key encrypted is lost with it."""
        ...
