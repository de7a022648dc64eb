"""Portable blobs: opened without a database, by nobody but their tenant, for nothing but their purpose."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastn.platform.clock import FrozenClock
from fastn.platform.ids import OrganizationId, SpaceId, TenantId
from fastn.platform.scope import Scope
from fastn.secrets.errors import DecryptionFailed
from fastn.secrets.models import NewDataKey
from fastn.secrets.portable import OPENED_KEY_SECONDS, OPENED_KEYS_KEPT, PortableSealer

SCOPE = Scope(OrganizationId(uuid.UUID(int=1)), SpaceId(uuid.UUID(int=2)), TenantId(uuid.UUID(int=3)))
SIBLING = replace(SCOPE, tenant_id=TenantId(uuid.UUID(int=4)))


@dataclass(slots=True)
class RememberingKeyService:
    """Knows its keys by number and under which context each was made; counts what it is asked."""

    made: list[tuple[bytes, Mapping[str, str]]] = field(default_factory=list[tuple[bytes, Mapping[str, str]]])
    opened: int = 0

    def generate_data_key(self, context: Mapping[str, str]) -> NewDataKey:
        plaintext = len(self.made).to_bytes(32, "big")
        self.made.append((plaintext, dict(context)))
        return NewDataKey(plaintext, f"key-{len(self.made) - 1}".encode())

    def decrypt(self, encrypted: bytes, context: Mapping[str, str]) -> bytes:
        self.opened += 1
        number = encrypted.removeprefix(b"key-")
        if not number.isdigit() or int(number) >= len(self.made) or self.made[int(number)][1] != context:
            raise DecryptionFailed("The data key cannot be opened.")
        return self.made[int(number)][0]


@pytest.fixture
def key_service() -> RememberingKeyService:
    return RememberingKeyService()


@pytest.fixture
def sealer(key_service: RememberingKeyService, clock: FrozenClock) -> PortableSealer:
    return PortableSealer(key_service, clock)


@settings(deadline=None)
@given(st.binary(max_size=200), st.text(max_size=20))
def test_whatever_was_sealed_opens_in_another_process(plaintext: bytes, purpose: str) -> None:
    keys = RememberingKeyService()

    blob = PortableSealer(keys, FrozenClock()).seal(SCOPE, plaintext, purpose=purpose)

    assert PortableSealer(keys, FrozenClock()).open(SCOPE, blob, purpose=purpose) == plaintext
    assert len(plaintext) < 4 or plaintext not in blob


def test_data_key_is_bound_to_the_tenant(sealer: PortableSealer, key_service: RememberingKeyService) -> None:
    sealer.seal(SCOPE, b"secret", purpose="p")

    assert key_service.made[0][1] == {"tenant": str(SCOPE.tenant_id)}


def test_each_blob_has_a_key_of_its_own(sealer: PortableSealer, key_service: RememberingKeyService) -> None:
    blobs = {sealer.seal(SCOPE, b"secret", purpose="p") for _ in range(3)}

    assert len(blobs) == len(key_service.made) == 3


def test_blob_does_not_open_for_another_purpose(sealer: PortableSealer) -> None:
    blob = sealer.seal(SCOPE, b"secret", purpose="trigger-secret:1")

    with pytest.raises(DecryptionFailed):
        sealer.open(SCOPE, blob, purpose="trigger-secret:2")


def test_blob_does_not_open_for_another_tenant_even_when_its_key_is_cached(sealer: PortableSealer) -> None:
    blob = sealer.seal(SCOPE, b"secret", purpose="p")
    sealer.open(SCOPE, blob, purpose="p")

    with pytest.raises(DecryptionFailed):
        sealer.open(SIBLING, blob, purpose="p")


def test_blob_changed_in_any_byte_does_not_open(sealer: PortableSealer) -> None:
    blob = sealer.seal(SCOPE, b"secret", purpose="p")

    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 1
        with pytest.raises(DecryptionFailed):
            sealer.open(SCOPE, bytes(changed), purpose="p")


def test_blob_cut_anywhere_does_not_open(sealer: PortableSealer) -> None:
    blob = sealer.seal(SCOPE, b"secret", purpose="p")

    for length in range(len(blob)):
        with pytest.raises(DecryptionFailed):
            sealer.open(SCOPE, blob[:length], purpose="p")


def test_opened_key_is_remembered_for_five_minutes(
    sealer: PortableSealer, key_service: RememberingKeyService, clock: FrozenClock
) -> None:
    blob = sealer.seal(SCOPE, b"secret", purpose="p")
    sealer.open(SCOPE, blob, purpose="p")

    clock.advance(OPENED_KEY_SECONDS - 1)
    sealer.open(SCOPE, blob, purpose="p")
    asked_within = key_service.opened
    clock.advance(1)
    sealer.open(SCOPE, blob, purpose="p")

    assert asked_within == 1
    assert key_service.opened == 2


def test_remembered_keys_are_bounded(sealer: PortableSealer, key_service: RememberingKeyService) -> None:
    blobs = [sealer.seal(SCOPE, b"secret", purpose="p") for _ in range(OPENED_KEYS_KEPT + 1)]
    for blob in blobs:
        sealer.open(SCOPE, blob, purpose="p")

    sealer.open(SCOPE, blobs[-1], purpose="p")
    sealer.open(SCOPE, blobs[0], purpose="p")

    assert key_service.opened == OPENED_KEYS_KEPT + 2


def test_scope_without_a_tenant_is_refused(sealer: PortableSealer) -> None:
    with pytest.raises(ValueError, match="tenant"):
        sealer.seal(Scope(SCOPE.organization_id, SCOPE.space_id), b"secret", purpose="p")
