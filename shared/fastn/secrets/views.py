"""How named secrets look on the wire: a value is sent, and never comes back."""

import uuid
from typing import Annotated

from pydantic import Field, SecretStr

from fastn.platform.wire import Instant, WireModel
from fastn.secrets.named_models import SECRET_NAME, NamedSecret
from fastn.secrets.rules import MIN_SECRET_CHARACTERS

MAX_SECRET_CHARACTERS = 8192

# What is shorter than the least that is masked could not be kept out of logs and traces. What is longer than this
# limit would be cut by the console (10,000 characters of a text inside an object), and not be recognised then.
SecretValue = Annotated[
    SecretStr,
    Field(min_length=MIN_SECRET_CHARACTERS, max_length=MAX_SECRET_CHARACTERS, description="Encrypted. Never returned."),
]


class NewSecret(WireModel):
    """A secret to store."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            pattern=f"^{SECRET_NAME.pattern}$",
            description="What workflows call it: fastn.secrets.get(name).",
        ),
    ]
    value: SecretValue


class SecretRotation(WireModel):
    """A new value for a stored secret."""

    value: SecretValue


class SecretView(WireModel):
    """A stored secret without its value."""

    id: uuid.UUID
    name: str
    environment: str
    revision: Annotated[int, Field(description="The current version; grows with each rotation. Also the ETag.")]
    created_at: Instant
    updated_at: Instant


def secret_view(secret: NamedSecret) -> SecretView:
    """The secret as the API shows it."""
    return SecretView(
        id=secret.id,
        name=secret.name,
        environment=secret.environment,
        revision=secret.version,
        created_at=secret.created_at,
        updated_at=secret.updated_at,
    )
