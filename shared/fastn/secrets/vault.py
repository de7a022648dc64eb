"""Envelope encryption: AES-256-GCM under a data key of the tenant's own, the data key under one KMS key.

Ciphertext: 4 bytes of format and version, 16 of data key id, 12 of nonce, then AES-GCM's output with its
16-byte tag (NIST SP 800-38D). The additional data bind version, tenant, purpose and key id, so a ciphertext
moved to another tenant, column or key does not open. After a rotation old ciphertexts name their old key.
"""

from __future__ import annotations

import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from fastn.platform.clock import Clock
from fastn.platform.ids import TenantId, new_id
from fastn.platform.scope import Scope
from fastn.secrets.errors import DecryptionFailed
from fastn.secrets.models import DataKeyId, DataKeyStore, KeyService, StoredDataKey

_FORMAT = b"FNE\x01"
_HEADER = struct.Struct("!4s16s12s")
_TAG_BYTES = 16
_CACHE_SECONDS = 300.0
_MAX_CACHED_KEYS = 256


@dataclass(frozen=True, slots=True)
class _OpenKey:
    id: DataKeyId
    plaintext: bytes = field(repr=False)
    expires_at_seconds: float


class TenantVault:
    """Encrypts and decrypts for tenants. Thread-safe.

    Never call it inside an open transaction of the database its key store uses: a new data key commits on
    its own before anything is encrypted with it, so that a rolled-back business transaction cannot take
    along a key that is already cached and in use.
    """

    def __init__(
        self,
        key_service: KeyService,
        data_keys: DataKeyStore,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._key_service = key_service
        self._data_keys = data_keys
        self._clock = clock
        self._random_bytes = random_bytes
        self._by_id: OrderedDict[tuple[TenantId, DataKeyId], _OpenKey] = OrderedDict()
        self._current: OrderedDict[TenantId, _OpenKey] = OrderedDict()
        self._lock = threading.RLock()

    def encrypt(self, scope: Scope, plaintext: bytes, *, purpose: str) -> bytes:
        """A ciphertext that only `decrypt` with the same tenant and purpose opens.

        Raises ValueError if the scope names no tenant, KeyServiceUnavailable.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        tenant_id = _tenant(scope)
        key = self._key_to_encrypt_with(scope, tenant_id)
        nonce = self._random_bytes(12)
        header = _HEADER.pack(_FORMAT, key.id.bytes, nonce)
        bound = _additional_data(tenant_id, purpose, key.id)
        return header + AESGCM(key.plaintext).encrypt(nonce, plaintext, bound)

    def decrypt(self, scope: Scope, ciphertext: bytes, *, purpose: str) -> bytes:
        """The plaintext.

        Raises DecryptionFailed if it was changed, or made for another tenant or purpose; ValueError if the
        scope names no tenant; KeyServiceUnavailable.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        tenant_id = _tenant(scope)
        key_id, nonce = _read_header(ciphertext)
        key = self._key_by_id(scope, tenant_id, key_id)
        try:
            bound = _additional_data(tenant_id, purpose, key_id)
            return AESGCM(key.plaintext).decrypt(nonce, ciphertext[_HEADER.size :], bound)
        except InvalidTag as error:
            raise DecryptionFailed("The ciphertext cannot be opened.") from error

    def prepare(self, scope: Scope) -> None:
        """Makes sure that the tenant's key is made, committed and cached, before a transaction is opened."""
        self._key_to_encrypt_with(scope, _tenant(scope))

    def rotate(self, scope: Scope) -> DataKeyId:
        """A new data key for what is encrypted from now on; warm processes follow within five minutes."""
        return self._make_key(scope, _tenant(scope)).id

    def forget(self, tenant_id: TenantId) -> None:
        """Drops the tenant's keys from this process."""
        with self._lock:
            self._current.pop(tenant_id, None)
            for cached in [cached for cached in self._by_id if cached[0] == tenant_id]:
                del self._by_id[cached]

    def _key_to_encrypt_with(self, scope: Scope, tenant_id: TenantId) -> _OpenKey:
        with self._lock:
            current = self._current.get(tenant_id)
            if current is not None and self._clock.monotonic_seconds() < current.expires_at_seconds:
                self._current.move_to_end(tenant_id)
                return current
            stored = self._data_keys.newest(scope)
            if stored is None:
                return self._make_key(scope, tenant_id)
            return self._keep_current(tenant_id, self._open(tenant_id, stored))

    def _key_by_id(self, scope: Scope, tenant_id: TenantId, key_id: DataKeyId) -> _OpenKey:
        with self._lock:
            cached = self._by_id.get((tenant_id, key_id))
            if cached is not None and self._clock.monotonic_seconds() < cached.expires_at_seconds:
                self._by_id.move_to_end((tenant_id, key_id))
                return cached
            stored = self._data_keys.find(scope, key_id)
            if stored is None:
                raise DecryptionFailed("The ciphertext cannot be opened.")
            return self._open(tenant_id, stored)

    def _make_key(self, scope: Scope, tenant_id: TenantId) -> _OpenKey:
        made = self._key_service.generate_data_key(_context(tenant_id))
        stored = StoredDataKey(DataKeyId(new_id(self._clock.now())), made.encrypted)
        # Two processes may both make a tenant's first key: each ciphertext names its own, so both stay valid.
        self._data_keys.add(scope, stored)
        with self._lock:
            return self._keep_current(tenant_id, self._keep(tenant_id, stored.id, made.plaintext))

    def _open(self, tenant_id: TenantId, stored: StoredDataKey) -> _OpenKey:
        plaintext = self._key_service.decrypt(stored.encrypted, _context(tenant_id))
        return self._keep(tenant_id, stored.id, plaintext)

    def _keep(self, tenant_id: TenantId, key_id: DataKeyId, plaintext: bytes) -> _OpenKey:
        key = _OpenKey(key_id, plaintext, self._clock.monotonic_seconds() + _CACHE_SECONDS)
        self._by_id[(tenant_id, key_id)] = key
        self._by_id.move_to_end((tenant_id, key_id))
        if len(self._by_id) > _MAX_CACHED_KEYS:
            self._by_id.popitem(last=False)
        return key

    def _keep_current(self, tenant_id: TenantId, key: _OpenKey) -> _OpenKey:
        self._current[tenant_id] = key
        self._current.move_to_end(tenant_id)
        if len(self._current) > _MAX_CACHED_KEYS:
            self._current.popitem(last=False)
        return key


def _tenant(scope: Scope) -> TenantId:
    if scope.tenant_id is None:
        raise ValueError("a data key belongs to a tenant, and the scope names none")
    return scope.tenant_id


def _context(tenant_id: TenantId) -> dict[str, str]:
    return {"tenant": str(tenant_id)}


def _additional_data(tenant_id: TenantId, purpose: str, key_id: DataKeyId) -> bytes:
    # Fixed-length parts first, so that no two different inputs give the same bytes.
    return _FORMAT + tenant_id.bytes + key_id.bytes + purpose.encode()


def _read_header(ciphertext: bytes) -> tuple[DataKeyId, bytes]:
    if len(ciphertext) < _HEADER.size + _TAG_BYTES or not ciphertext.startswith(_FORMAT):
        raise DecryptionFailed("The ciphertext cannot be opened.")
    _, key_id, nonce = _HEADER.unpack_from(ciphertext)
    return DataKeyId(UUID(bytes=key_id)), nonce
