"""How a connector looks to who may use it."""

from typing import Annotated, Literal

from pydantic import Field

from fastn.connectors.models import AuthMethod
from fastn.platform.wire import WireModel


class ActionView(WireModel):
    """An operation that workflows can call."""

    name: str
    description: str


class ConnectorView(WireModel):
    """A vendor the platform can talk to."""

    slug: str
    name: str
    description: str
    code_name: Annotated[str, Field(description="Its name in workflow code: fastn.connector.<codeName>.")]
    auth_methods: list[AuthMethod]
    actions: list[ActionView]
    triggers: Annotated[list[Literal["webhook"]], Field(description="How the vendor's events can arrive.")]
    visibility: Annotated[Literal["public", "private"], Field(description="Private: a connector of the space's own.")]
