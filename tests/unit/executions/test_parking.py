"""Sealed images open for the run, wait and build they were sealed for, and are kept in S3 (moto)."""

import os
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import boto3
import pytest
from moto import mock_aws

from fastn.engine.images import RunImage
from fastn.engine.languages import Language
from fastn.engine.models import Completed, JsonText, RunInput, Settled
from fastn.engine.runs import JavaScriptEngine
from fastn.executions.parking import (
    ImageBinding,
    ImageRefused,
    ImageStoreUnavailable,
    S3ImageStore,
    open_image,
    seal_image,
)
from fastn.platform.clock import FrozenClock
from fastn.platform.ids import ExecutionId, OrganizationId, SpaceId, TenantId
from fastn.platform.scope import Scope
from fastn.secrets.errors import DecryptionFailed
from fastn.secrets.models import DataKeyId, NewDataKey, StoredDataKey
from fastn.secrets.vault import TenantVault

BUCKET = "run-images-of-tests"
IMAGE = b"an image of a run" * 100
BINDING = ImageBinding(
    scope=Scope(OrganizationId(uuid.UUID(int=1)), SpaceId(uuid.UUID(int=2)), TenantId(uuid.UUID(int=3))),
    execution_id=ExecutionId(uuid.UUID(int=4)),
    sequence=7,
    engine_build="a" * 64,
)
FOREIGN = {
    "tenant": replace(BINDING, scope=BINDING.scope.for_tenant(TenantId(uuid.UUID(int=33)))),
    "execution": replace(BINDING, execution_id=ExecutionId(uuid.UUID(int=44))),
    "sequence": replace(BINDING, sequence=8),
    "engine build": replace(BINDING, engine_build="b" * 64),
}
TAMPERINGS: dict[str, Callable[[bytes], bytes]] = {
    "format": lambda sealed: bytes([sealed[0] ^ 1]) + sealed[1:],
    "body": lambda sealed: sealed[:40] + bytes([sealed[40] ^ 1]) + sealed[41:],
    "tag": lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]),
    "shortened": lambda sealed: sealed[:-1],
    "lengthened": lambda sealed: sealed + b"\0",
    "nothing": lambda _: b"",
    "plain": lambda _: IMAGE,
}
USES: dict[str, Callable[[S3ImageStore], object]] = {
    "put": lambda store: store.put(BINDING, b""),
    "find": lambda store: store.find(BINDING),
    "delete": lambda store: store.delete(BINDING),
}


@dataclass(slots=True)
class KeysInMemory:
    """A key service and key store that bind a key to its context and owner, as KMS and PostgreSQL do."""

    contexts: dict[bytes, tuple[bytes, dict[str, str]]] = field(
        default_factory=dict[bytes, tuple[bytes, dict[str, str]]]
    )
    stored: list[tuple[Scope, StoredDataKey]] = field(default_factory=list[tuple[Scope, StoredDataKey]])

    def generate_data_key(self, context: Mapping[str, str]) -> NewDataKey:
        """A new key."""
        plaintext, encrypted = os.urandom(32), os.urandom(16)
        self.contexts[encrypted] = (plaintext, dict(context))
        return NewDataKey(plaintext, encrypted)

    def decrypt(self, encrypted: bytes, context: Mapping[str, str]) -> bytes:
        """The key, for the context it was made for."""
        plaintext, made_for = self.contexts[encrypted]
        if made_for != dict(context):
            raise DecryptionFailed("The data key cannot be opened.")
        return plaintext

    def newest(self, scope: Scope) -> StoredDataKey | None:
        """The tenant's last key."""
        return next((key for owner, key in reversed(self.stored) if owner == scope), None)

    def find(self, scope: Scope, key_id: DataKeyId) -> StoredDataKey | None:
        """The tenant's key of this id."""
        return next((key for owner, key in self.stored if owner == scope and key.id == key_id), None)

    def add(self, scope: Scope, key: StoredDataKey) -> None:
        """Keeps a key."""
        self.stored.append((scope, key))


@pytest.fixture
def keys() -> KeysInMemory:
    return KeysInMemory()


@pytest.fixture
def vault(keys: KeysInMemory, clock: FrozenClock) -> TenantVault:
    return TenantVault(keys, keys, clock=clock)


@pytest.fixture
def s3() -> Generator[Any]:
    with mock_aws():
        client = cast(Any, boto3).client(
            "s3", region_name="us-east-1", aws_access_key_id="tests", aws_secret_access_key="tests"
        )
        client.create_bucket(Bucket=BUCKET)
        yield client


# -- sealing ----------------------------------------------------------------------------------------
def test_a_sealed_image_opens_in_another_process_and_shows_nothing_before(
    vault: TenantVault, keys: KeysInMemory, clock: FrozenClock
) -> None:
    sealed = seal_image(IMAGE, BINDING, vault=vault)

    assert open_image(sealed, BINDING, vault=TenantVault(keys, keys, clock=clock)) == IMAGE
    assert IMAGE[:17] not in sealed


@pytest.mark.parametrize("foreign", FOREIGN)
def test_an_image_sealed_for_something_else_is_refused(vault: TenantVault, foreign: str) -> None:
    vault.prepare(FOREIGN[foreign].scope)
    sealed = seal_image(IMAGE, BINDING, vault=vault)

    with pytest.raises(ImageRefused):
        open_image(sealed, FOREIGN[foreign], vault=vault)


def test_an_image_whose_data_key_was_moved_to_another_tenant_is_refused(vault: TenantVault, keys: KeysInMemory) -> None:
    sealed = seal_image(IMAGE, BINDING, vault=vault)
    (_, key), foreign = keys.stored[0], FOREIGN["tenant"]
    keys.add(foreign.scope, key)

    with pytest.raises(ImageRefused):
        open_image(sealed, foreign, vault=vault)


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_a_tampered_image_is_refused(vault: TenantVault, tampering: str) -> None:
    sealed = seal_image(IMAGE, BINDING, vault=vault)

    with pytest.raises(ImageRefused):
        open_image(TAMPERINGS[tampering](sealed), BINDING, vault=vault)


def test_an_image_without_a_tenant_is_not_sealed(vault: TenantVault) -> None:
    nobodys = replace(BINDING, scope=Scope(BINDING.scope.organization_id, BINDING.scope.space_id))

    with pytest.raises(ValueError, match="tenant"):
        seal_image(IMAGE, nobodys, vault=vault)


# -- storing ----------------------------------------------------------------------------------------
def test_each_binding_has_a_place_of_its_own(s3: Any) -> None:
    store = S3ImageStore(s3, BUCKET)
    bindings = [BINDING, *FOREIGN.values()]

    for number, binding in enumerate(bindings):
        store.put(binding, b"%d" % number)

    assert [store.find(binding) for binding in bindings] == [b"0", b"1", b"2", b"3", b"4"]


def test_an_image_is_replaced_and_forgotten(s3: Any) -> None:
    store = S3ImageStore(s3, BUCKET)
    store.put(BINDING, b"old")
    store.put(BINDING, b"new")
    replaced = store.find(BINDING)

    store.delete(BINDING)
    store.delete(BINDING)

    assert replaced == b"new"
    assert store.find(BINDING) is None


@pytest.mark.parametrize("use", USES)
def test_a_store_that_fails_is_told_from_an_image_that_is_missing(s3: Any, use: str) -> None:
    store = S3ImageStore(s3, "no-such-bucket")

    with pytest.raises(ImageStoreUnavailable) as caught:
        USES[use](store)

    assert caught.value.retryable


def test_a_waiting_run_goes_on_from_its_stored_image(vault: TenantVault, engine: JavaScriptEngine, s3: Any) -> None:
    program = engine.compile("export default async () => 'got ' + await fastn.sleep(1)", Language.JAVASCRIPT)
    run = engine.start(program, RunInput(JsonText("{}"), {}, 0, bytes(32)))
    run.advance()
    binding, store = replace(BINDING, engine_build=engine.build_id), S3ImageStore(s3, BUCKET)
    store.put(binding, seal_image(run.snapshot().to_bytes(), binding, vault=vault))
    run.close()

    found = store.find(binding)

    assert found is not None
    resumed = engine.resume(program, RunImage.from_bytes(open_image(found, binding, vault=vault)))
    resumed.settle(resumed.pending_calls[0].call_id, Settled.ok('"it"'))
    assert resumed.advance() == Completed(JsonText('"got it"'))
