"""How credentials look on the wire: what is sent has secrets, what comes back never does."""

import uuid
from typing import Annotated

from pydantic import Field, JsonValue, SecretStr

from fastn.connections.models import DEFAULT_NAME, Connection, ConnectionStatus
from fastn.connectors.models import AuthMethod
from fastn.platform.wire import STORABLE, Instant, WireModel

SecretFields = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=100)], Annotated[SecretStr, Field(min_length=1, max_length=16384)]
    ],
    Field(max_length=20, description="The fields of the auth method, such as access_token. Never returned."),
]
Config = Annotated[
    dict[str, JsonValue],
    Field(max_length=50, description="The connector's settings, such as a store's name."),
    STORABLE,
]


class NewCredential(WireModel):
    """A credential to store."""

    connector: Annotated[str, Field(min_length=1, max_length=100, description="The connector's slug.")]
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            pattern=r"^[^\x00-\x1f\x7f]+$",
            description="Tells several connections to one connector apart.",
        ),
    ] = DEFAULT_NAME
    auth_method: Annotated[
        AuthMethod | None, Field(description="May be left out where the secret's fields fit one method only.")
    ] = None
    config: Config = Field(default_factory=dict)
    secret: SecretFields = Field(default_factory=dict)


class CredentialRotation(WireModel):
    """A new secret for a stored credential."""

    secret: SecretFields
    config: Annotated[Config | None, Field(description="Replaces the settings; absent leaves them.")] = None


class CredentialView(WireModel):
    """A stored credential without its secret."""

    id: uuid.UUID
    connector: str
    name: str
    environment: str
    auth_method: AuthMethod
    config: Config
    status: ConnectionStatus
    revision: Annotated[int, Field(description="Grows with each rotation; also the ETag.")]
    created_at: Instant
    updated_at: Instant


def credential_view(connection: Connection) -> CredentialView:
    """The connection as its owner sees it."""
    return CredentialView.model_validate(
        {
            "id": connection.id,
            "connector": connection.connector,
            "name": connection.name,
            "environment": connection.environment,
            "auth_method": connection.auth_method,
            "config": connection.config,
            "status": connection.status,
            "revision": connection.credential_version,
            "created_at": connection.created_at,
            "updated_at": connection.updated_at,
        }
    )
