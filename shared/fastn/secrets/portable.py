"""Ciphertexts that carry their own data key, for readers that cannot ask PostgreSQL for it.

A portable blob is

    version (1 byte, 1) | length of the encrypted key (2 bytes, big-endian) | encrypted key | nonce (12) | AES-256-GCM

where the data key is encrypted by KMS under the encryption context {tenant}, and the AEAD is bound to the
version, the tenant and the purpose. Each blob has a data key of its own, so its nonce cannot repeat.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from fastn.platform.clock import Clock
from fastn.platform.ids import TenantId
from fastn.platform.scope import Scope
from fastn.secrets.errors import DecryptionFailed
from fastn.secrets.models import KeyService

OPENED_KEY_SECONDS = 300.0
OPENED_KEYS_KEPT = 1000
_VERSION = b"\x01"
_LENGTH_BYTES = 2
_NONCE_BYTES = 12
_TAG_BYTES = 16


@dataclass(slots=True)
class PortableSealer:
    """Seals and opens portable blobs; an opened data key is remembered for five minutes.

    Every method raises ValueError if the scope names no tenant, KeyServiceUnavailable if KMS does not answer.
    """

    key_service: KeyService
    clock: Clock
    random_bytes: Callable[[int], bytes] = os.urandom
    _opened: OrderedDict[tuple[TenantId, bytes], tuple[float, bytes]] = field(
        default_factory=OrderedDict[tuple[TenantId, bytes], tuple[float, bytes]], init=False, repr=False
    )

    def seal(self, scope: Scope, plaintext: bytes, *, purpose: str) -> bytes:
        """The plaintext as a blob that opens for the scope's tenant and this purpose only."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        tenant_id = _tenant_of(scope)
        key = self.key_service.generate_data_key(_context(tenant_id))
        nonce = self.random_bytes(_NONCE_BYTES)
        sealed = AESGCM(key.plaintext).encrypt(nonce, plaintext, _bound_to(tenant_id, purpose))
        return _VERSION + len(key.encrypted).to_bytes(_LENGTH_BYTES, "big") + key.encrypted + nonce + sealed

    def open(self, scope: Scope, blob: bytes, *, purpose: str) -> bytes:
        """What was sealed. Raises DecryptionFailed if this blob was not sealed for this tenant and purpose."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        tenant_id = _tenant_of(scope)
        encrypted_key, nonce, sealed = _parts(blob)
        key = self._opened_key(tenant_id, encrypted_key)
        try:
            return AESGCM(key).decrypt(nonce, sealed, _bound_to(tenant_id, purpose))
        except InvalidTag as error:
            raise DecryptionFailed("The sealed value cannot be opened.") from error

    def _opened_key(self, tenant_id: TenantId, encrypted_key: bytes) -> bytes:
        now = self.clock.monotonic_seconds()
        remembered = self._opened.get((tenant_id, encrypted_key))
        if remembered is not None and now - remembered[0] < OPENED_KEY_SECONDS:
            return remembered[1]
        key = self.key_service.decrypt(encrypted_key, _context(tenant_id))
        self._opened[tenant_id, encrypted_key] = (now, key)
        self._opened.move_to_end((tenant_id, encrypted_key))
        if len(self._opened) > OPENED_KEYS_KEPT:
            self._opened.popitem(last=False)
        return key


def _parts(blob: bytes) -> tuple[bytes, bytes, bytes]:
    start = len(_VERSION) + _LENGTH_BYTES
    end_of_key = start + int.from_bytes(blob[len(_VERSION) : start], "big")
    if not blob.startswith(_VERSION) or len(blob) < end_of_key + _NONCE_BYTES + _TAG_BYTES:
        raise DecryptionFailed("The sealed value cannot be opened.")
    nonce_end = end_of_key + _NONCE_BYTES
    return blob[start:end_of_key], blob[end_of_key:nonce_end], blob[nonce_end:]


def _bound_to(tenant_id: TenantId, purpose: str) -> bytes:
    # Fixed-length parts first, so that no two different inputs give the same bytes.
    return _VERSION + tenant_id.bytes + purpose.encode()


def _context(tenant_id: TenantId) -> dict[str, str]:
    return {"tenant": str(tenant_id)}


def _tenant_of(scope: Scope) -> TenantId:
    if scope.tenant_id is None:
        raise ValueError("only what a tenant owns can be sealed, and the scope names no tenant")
    return scope.tenant_id
