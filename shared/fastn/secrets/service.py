"""Storing, listing, rotating and deleting named secrets, and reading one for a run."""

import uuid
from dataclasses import dataclass

from fastn.errors import Conflict, NotFound, PreconditionFailed, ValidationFailed
from fastn.platform.capabilities import Platform
from fastn.platform.clock import Clock
from fastn.platform.database import Database
from fastn.platform.ids import new_id
from fastn.platform.resources import Need, Setting
from fastn.platform.scope import Scope
from fastn.platform.wire import Page, PageRequest
from fastn.secrets import named_store
from fastn.secrets.errors import SecretMissing
from fastn.secrets.kms import KmsKeyService
from fastn.secrets.named_models import SECRET_NAME, NamedSecret, OpenedSecret, SecretId, SecretReference
from fastn.secrets.store import SqlDataKeyStore
from fastn.secrets.vault import TenantVault
from fastn.secrets.views import NewSecret, SecretRotation, SecretView, secret_view
from fastn.tenants.store import has_environment


@dataclass(frozen=True, slots=True)
class SecretTools:
    """What it takes to write or open a named secret."""

    database: Database
    vault: TenantVault
    clock: Clock


def secret_tools(platform: Platform) -> SecretTools:
    """The tools of this process. Needs DATABASE and TENANT_KEYS."""
    return platform.keep(
        SecretTools,
        lambda: SecretTools(
            platform.database,
            TenantVault(
                KmsKeyService(platform.client(Need.TENANT_KEYS), platform.settings[Setting.TENANT_KEY_ARN]),
                SqlDataKeyStore(platform.database, platform.clock),
                clock=platform.clock,
            ),
            platform.clock,
        ),
    )


def create_secret(tools: SecretTools, owner: Scope, environment: str, wanted: NewSecret) -> SecretView:
    """The stored secret, without its value.

    Raises ValidationFailed if the environment does not exist, Conflict if the name is taken in it.
    """
    now = tools.clock.now()
    secret = NamedSecret(SecretId(new_id(now)), environment, wanted.name, 1, now, now)
    # Before the transaction: the vault commits a new data key in one of its own.
    ciphertext = _encrypted(tools, owner, secret, wanted.value.get_secret_value())
    with tools.database.transaction(owner) as session:
        if not has_environment(session, environment):
            raise ValidationFailed("stage: the space has no environment of this name")
        if not named_store.insert_secret(session, owner, secret, ciphertext):
            raise Conflict(f"A secret named {wanted.name} exists in {environment}: rotate it.")
    return secret_view(secret)


def list_secrets(database: Database, owner: Scope, environment: str, page: PageRequest) -> Page[SecretView]:
    """The owner's secrets in this environment, newest first, without their values."""
    with database.transaction(owner) as session:
        found = named_store.list_secrets(session, environment=environment, after=page.after(), limit=page.limit + 1)
    views = [secret_view(secret) for secret in found]
    return Page[SecretView].of(views, [secret.id for secret in found], page.limit)


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """Which secret is meant. `expected_version` None means whatever version is stored."""

    owner: Scope
    environment: str
    id: uuid.UUID
    expected_version: int | None = None


def rotate_secret(tools: SecretTools, stored: StoredSecret, wanted: SecretRotation) -> SecretView:
    """The secret with its new value and a version one higher; what workflows read from now on.

    Runs that have read an earlier version go on with that one, as long as it is among the last VERSIONS_KEPT.
    Raises NotFound, and PreconditionFailed if it is not at the expected version.
    """
    with tools.database.transaction(stored.owner) as session:
        found = named_store.find_secret(session, stored.id, environment=stored.environment)
    if found is None:
        raise NotFound
    ciphertext = _encrypted(tools, stored.owner, found, wanted.value.get_secret_value())
    with tools.database.transaction(stored.owner) as session:
        rotated = named_store.add_version(session, stored.owner, found.id, ciphertext, rotated_at=tools.clock.now())
        if rotated is None:
            raise NotFound
        # Judged under the row's lock: of two rotations that expect one version, the second is refused.
        if stored.expected_version not in (None, rotated.version - 1):
            raise PreconditionFailed("The secret was rotated since: read it again, and send its new ETag.")
    return secret_view(rotated)


def delete_secret(database: Database, stored: StoredSecret) -> None:
    """Removes the secret and every version of it; a run that has to read one of them again fails. Raises NotFound."""
    with database.transaction(stored.owner) as session:
        if not named_store.delete_secret(session, stored.id, environment=stored.environment):
            raise NotFound


def read_current(tools: SecretTools, owner: Scope, environment: str, name: str) -> OpenedSecret:
    """The owner's secret of this name, at its current version, in the clear. Raises SecretMissing.

    Strictly the owner's: a shared workflow reads the secrets of the customer it runs for, never its author's.
    Not to be called inside a transaction: opening the value may take one.
    """
    if not SECRET_NAME.fullmatch(name):
        raise SecretMissing(f"No secret can have this name; names look like {SECRET_NAME.pattern}.")
    with tools.database.transaction(owner) as session:
        found = named_store.find_current(session, environment=environment, name=name)
    if found is None:
        raise SecretMissing(f"There is no secret named {name} in {environment}: make it first.")
    reference, ciphertext = found
    return _opened(tools, owner, environment, reference, ciphertext)


def read_version(tools: SecretTools, owner: Scope, environment: str, reference: SecretReference) -> OpenedSecret:
    """The very version that was read before, in the clear. Raises SecretMissing if it is gone."""
    with tools.database.transaction(owner) as session:
        ciphertext = named_store.find_version(session, reference)
    if ciphertext is None:
        raise SecretMissing(f"Version {reference.version} of the secret {reference.name} does not exist any more.")
    return _opened(tools, owner, environment, reference, ciphertext)


def _encrypted(tools: SecretTools, owner: Scope, secret: NamedSecret, value: str) -> bytes:
    purpose = _purpose(secret.id, secret.environment, secret.name)
    return tools.vault.encrypt(owner, value.encode(), purpose=purpose)


def _opened(
    tools: SecretTools, owner: Scope, environment: str, reference: SecretReference, ciphertext: bytes
) -> OpenedSecret:
    purpose = _purpose(reference.id, environment, reference.name)
    return OpenedSecret(reference, tools.vault.decrypt(owner, ciphertext, purpose=purpose).decode())


def _purpose(secret_id: SecretId, environment: str, name: str) -> str:
    # Moved to another secret, name or environment, a ciphertext does not open. None of the parts has a colon.
    return f"named-secret:{secret_id}:{environment}:{name}"
