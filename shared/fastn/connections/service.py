"""Storing, listing and rotating credentials, and opening one for a connector call."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from pydantic import SecretStr

from fastn.connections import rules, store
from fastn.connections.errors import NotConnected
from fastn.connections.models import (
    DEFAULT_NAME,
    Connection,
    ConnectionForCall,
    ConnectionId,
    ConnectionStatus,
    Rotation,
)
from fastn.connections.views import CredentialRotation, CredentialView, NewCredential, credential_view
from fastn.connectors.catalog import ConnectorCatalog
from fastn.connectors.models import Connector
from fastn.errors import AuthExpired, Conflict, NotFound, PreconditionFailed, ValidationFailed
from fastn.platform.capabilities import Platform
from fastn.platform.clock import Clock
from fastn.platform.database import Database
from fastn.platform.ids import new_id
from fastn.platform.resources import Need, Setting
from fastn.platform.scope import Scope
from fastn.platform.wire import Page, PageRequest
from fastn.secrets.kms import KmsKeyService
from fastn.secrets.store import SqlDataKeyStore
from fastn.secrets.vault import TenantVault
from fastn.tenants.store import has_environment


@dataclass(frozen=True, slots=True)
class ConnectionTools:
    """What it takes to write or open a credential."""

    database: Database
    vault: TenantVault
    catalog: ConnectorCatalog
    clock: Clock


def connection_tools(platform: Platform) -> ConnectionTools:
    """The tools of this process. Needs DATABASE and TENANT_KEYS."""
    return platform.keep(
        ConnectionTools,
        lambda: ConnectionTools(
            platform.database,
            TenantVault(
                KmsKeyService(platform.client(Need.TENANT_KEYS), platform.settings[Setting.TENANT_KEY_ARN]),
                SqlDataKeyStore(platform.database, platform.clock),
                clock=platform.clock,
            ),
            ConnectorCatalog(),
            platform.clock,
        ),
    )


def create_credential(tools: ConnectionTools, owner: Scope, environment: str, wanted: NewCredential) -> CredentialView:
    """The stored credential, without its secret.

    Raises ValidationFailed if the connector or environment does not exist or the connector's manifest does
    not accept the values; Conflict if the name is taken for this connector and environment.
    """
    connector = _connector(tools.catalog, wanted.connector)
    secret = _clear(wanted.secret)
    scheme = rules.auth_scheme(connector, wanted.auth_method, secret)
    now = tools.clock.now()
    connection_id = ConnectionId(new_id(now))
    connection = Connection(
        id=connection_id,
        scope=owner,
        environment=environment,
        connector=connector.slug,
        name=wanted.name,
        auth_method=scheme.method,
        config=rules.check_config(connector, wanted.config),
        # Before the transaction: the vault commits a new data key in one of its own.
        credential_ciphertext=_encrypted(tools, owner, connection_id, rules.check_secret(scheme, secret)),
        credential_version=1,
        status=ConnectionStatus.ACTIVE,
        created_at=now,
        updated_at=now,
    )
    with tools.database.transaction(owner) as session:
        if not has_environment(session, environment):
            raise ValidationFailed("stage: the space has no environment of this name")
        if not store.insert_connection(session, connection):
            raise Conflict(f"A credential named {wanted.name} exists for {connector.slug} in {environment}: rotate it.")
    return credential_view(connection)


def list_credentials(database: Database, owner: Scope, environment: str, page: PageRequest) -> Page[CredentialView]:
    """The owner's credentials in this environment, newest first, without their secrets."""
    with database.transaction(owner) as session:
        found = store.list_connections(session, environment=environment, after=page.after(), limit=page.limit + 1)
    views = [credential_view(connection) for connection in found]
    return Page[CredentialView].of(views, [connection.id for connection in found], page.limit)


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """Which credential is meant. `expected_version` None means whatever version is stored."""

    owner: Scope
    environment: str
    id: uuid.UUID
    expected_version: int | None = None


def rotate_credential(tools: ConnectionTools, stored: StoredCredential, wanted: CredentialRotation) -> CredentialView:
    """The credential with its new secret and a version one higher; calls that begin now use it.

    Raises NotFound, PreconditionFailed if it is not at the expected version, and ValidationFailed if the
    connector's manifest does not accept the values.
    """
    with tools.database.transaction(stored.owner) as session:
        found = store.find_connection(session, stored.id, environment=stored.environment)
    if found is None:
        raise NotFound
    if stored.expected_version not in (None, found.credential_version):
        raise _superseded()
    connector = _connector(tools.catalog, found.connector)
    scheme = rules.auth_scheme(connector, found.auth_method, {})
    rotation = Rotation(
        credential_ciphertext=_encrypted(
            tools, stored.owner, found.id, rules.check_secret(scheme, _clear(wanted.secret))
        ),
        config=None if wanted.config is None else rules.check_config(connector, wanted.config),
        expected_version=stored.expected_version,
        rotated_at=tools.clock.now(),
    )
    with tools.database.transaction(stored.owner) as session:
        rotated = store.rotate_credential(session, found.id, rotation)
    if rotated is None:
        raise _superseded() if stored.expected_version is not None else NotFound
    return credential_view(rotated)


def connection_for_call(
    tools: ConnectionTools, scope: Scope, environment: str, connector: str, *, name: str = DEFAULT_NAME
) -> ConnectionForCall:
    """The tenant's connection to this connector, its credential in the clear.

    Raises NotConnected if there is none, AuthExpired if the customer must connect again. Not to be called
    inside a transaction: opening the credential may take one.
    """
    with tools.database.transaction(scope) as session:
        found = store.find_connection_for_call(session, environment=environment, connector=connector, name=name)
    if found is None:
        raise NotConnected(f"There is no connection to {connector} named {name} in {environment}: make one first.")
    if found.status is ConnectionStatus.REAUTHORIZATION_NEEDED:
        raise AuthExpired(f"The connection to {connector} named {name} has expired: connect again.")
    return ConnectionForCall(
        found.id, found.auth_method, found.config, _decrypted(tools.vault, found), found.credential_version
    )


def _connector(catalog: ConnectorCatalog, slug: str) -> Connector:
    try:
        return catalog.load_connector(slug)
    except NotFound as error:
        raise ValidationFailed("connector: no connector has this slug") from error


def _clear(secret: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in secret.items()}


def _encrypted(
    tools: ConnectionTools, owner: Scope, connection_id: ConnectionId, secret: Mapping[str, str]
) -> bytes | None:
    if not secret:
        return None
    plaintext = json.dumps(secret, ensure_ascii=False).encode()
    return tools.vault.encrypt(owner, plaintext, purpose=rules.credential_purpose(connection_id))


def _decrypted(vault: TenantVault, connection: Connection) -> dict[str, str]:
    if connection.credential_ciphertext is None:
        return {}
    purpose = rules.credential_purpose(connection.id)
    plaintext = vault.decrypt(connection.scope, connection.credential_ciphertext, purpose=purpose)
    return cast(dict[str, str], json.loads(plaintext))


def _superseded() -> PreconditionFailed:
    return PreconditionFailed("The credential was rotated since: read it again, and send its new ETag.")
