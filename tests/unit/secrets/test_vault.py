"""Envelope encryption against KMS (moto) and PostgreSQL: who can open what."""

import uuid
from collections.abc import Generator, Mapping

import boto3
import pytest
from moto import mock_aws
from mypy_boto3_kms import KMSClient

from fastn.platform.clock import FrozenClock
from fastn.platform.database import Database
from fastn.platform.scope import Scope
from fastn.secrets.errors import DecryptionFailed, KeyServiceUnavailable
from fastn.secrets.kms import KmsKeyService
from fastn.secrets.models import DataKeyId, NewDataKey
from fastn.secrets.store import SqlDataKeyStore
from fastn.secrets.vault import TenantVault


class InterruptibleKeys:
    """A key service that can be made to stop answering."""

    def __init__(self, keys: KmsKeyService) -> None:
        self.is_down = False
        self._keys = keys

    def generate_data_key(self, context: Mapping[str, str]) -> NewDataKey:
        self._check()
        return self._keys.generate_data_key(context)

    def decrypt(self, encrypted: bytes, context: Mapping[str, str]) -> bytes:
        self._check()
        return self._keys.decrypt(encrypted, context)

    def _check(self) -> None:
        if self.is_down:
            raise KeyServiceUnavailable("The key service does not answer.")


@pytest.fixture
def kms() -> Generator[KMSClient]:
    with mock_aws():
        yield boto3.client(  # pyright: ignore[reportUnknownMemberType]  # stubs of other services are absent
            "kms", region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
        )


@pytest.fixture
def keys(kms: KMSClient) -> KmsKeyService:
    return KmsKeyService(kms, kms.create_key()["KeyMetadata"].get("Arn", ""))


@pytest.fixture
def store(database: Database, clock: FrozenClock) -> SqlDataKeyStore:
    return SqlDataKeyStore(database, clock)


@pytest.fixture
def vault(keys: KmsKeyService, store: SqlDataKeyStore, clock: FrozenClock) -> TenantVault:
    return TenantVault(keys, store, clock=clock)


def test_another_process_opens_what_this_one_encrypted(
    vault: TenantVault, keys: KmsKeyService, store: SqlDataKeyStore, clock: FrozenClock, customer: Scope
) -> None:
    ciphertext = vault.encrypt(customer, b"secret", purpose="credential")

    assert TenantVault(keys, store, clock=clock).decrypt(customer, ciphertext, purpose="credential") == b"secret"
    assert b"secret" not in ciphertext


def test_the_same_plaintext_never_gives_the_same_ciphertext(vault: TenantVault, customer: Scope) -> None:
    assert len({vault.encrypt(customer, b"x", purpose="p") for _ in range(20)}) == 20


def test_another_purpose_does_not_open(vault: TenantVault, customer: Scope) -> None:
    ciphertext = vault.encrypt(customer, b"secret", purpose="credential")

    with pytest.raises(DecryptionFailed):
        vault.decrypt(customer, ciphertext, purpose="state")


def test_another_tenant_does_not_open(vault: TenantVault, customer: Scope, sibling: Scope) -> None:
    ciphertext = vault.encrypt(customer, b"secret", purpose="p")
    vault.prepare(sibling)

    with pytest.raises(DecryptionFailed):
        vault.decrypt(sibling, ciphertext, purpose="p")


def test_a_data_key_moved_to_another_tenants_row_does_not_open(
    vault: TenantVault, store: SqlDataKeyStore, customer: Scope, sibling: Scope
) -> None:
    ciphertext = vault.encrypt(customer, b"secret", purpose="p")
    moved = store.newest(customer)
    assert moved is not None
    store.add(sibling, moved)

    with pytest.raises(DecryptionFailed):
        vault.decrypt(sibling, ciphertext, purpose="p")


@pytest.mark.parametrize("position", [0, 3, 4, 19, 20, 31, 32, -1])
def test_any_changed_byte_is_noticed(vault: TenantVault, customer: Scope, position: int) -> None:
    changed = bytearray(vault.encrypt(customer, b"secret", purpose="p"))
    changed[position] ^= 1

    with pytest.raises(DecryptionFailed):
        vault.decrypt(customer, bytes(changed), purpose="p")


@pytest.mark.parametrize("length", [0, 3, 31, 47])
def test_a_cut_ciphertext_is_noticed(vault: TenantVault, customer: Scope, length: int) -> None:
    ciphertext = vault.encrypt(customer, b"", purpose="p")

    with pytest.raises(DecryptionFailed):
        vault.decrypt(customer, ciphertext[:length], purpose="p")


def test_after_a_rotation_old_ciphertexts_still_open_and_new_ones_use_the_new_key(
    vault: TenantVault, customer: Scope, clock: FrozenClock
) -> None:
    old = vault.encrypt(customer, b"old", purpose="p")
    clock.advance(1)
    rotated = vault.rotate(customer)
    new = vault.encrypt(customer, b"new", purpose="p")

    assert vault.decrypt(customer, old, purpose="p") == b"old"
    assert new[4:20] == rotated.bytes != old[4:20]


def test_an_open_key_is_kept_for_five_minutes_and_then_asked_for_again(
    keys: KmsKeyService, store: SqlDataKeyStore, customer: Scope, clock: FrozenClock
) -> None:
    interrupted = InterruptibleKeys(keys)
    vault = TenantVault(interrupted, store, clock=clock)
    ciphertext = vault.encrypt(customer, b"secret", purpose="p")
    interrupted.is_down = True

    clock.advance(299)
    assert vault.decrypt(customer, ciphertext, purpose="p") == b"secret"
    clock.advance(2)
    with pytest.raises(KeyServiceUnavailable):
        vault.decrypt(customer, ciphertext, purpose="p")


def test_forgotten_keys_are_asked_for_again(
    keys: KmsKeyService, store: SqlDataKeyStore, customer: Scope, clock: FrozenClock
) -> None:
    interrupted = InterruptibleKeys(keys)
    vault = TenantVault(interrupted, store, clock=clock)
    ciphertext = vault.encrypt(customer, b"secret", purpose="p")
    interrupted.is_down = True
    assert customer.tenant_id is not None
    vault.forget(customer.tenant_id)

    with pytest.raises(KeyServiceUnavailable):
        vault.decrypt(customer, ciphertext, purpose="p")


def test_a_scope_without_a_tenant_is_refused(vault: TenantVault, customer: Scope) -> None:
    with pytest.raises(ValueError, match="tenant"):
        vault.encrypt(Scope(customer.organization_id, customer.space_id), b"x", purpose="p")


def test_another_tenants_key_is_not_even_found(
    vault: TenantVault, store: SqlDataKeyStore, customer: Scope, sibling: Scope
) -> None:
    vault.prepare(customer)
    key = store.newest(customer)

    assert key is not None
    assert store.find(customer, key.id) == key
    assert store.find(sibling, key.id) is None
    assert store.newest(sibling) is None
    assert store.find(customer, DataKeyId(uuid.uuid4())) is None


def test_kms_refuses_another_context(keys: KmsKeyService) -> None:
    made = keys.generate_data_key({"tenant": "a"})

    assert keys.decrypt(made.encrypted, {"tenant": "a"}) == made.plaintext
    assert len(made.plaintext) == 32
    with pytest.raises(DecryptionFailed):
        keys.decrypt(made.encrypted, {"tenant": "b"})
