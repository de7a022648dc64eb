"""State as it is kept, and as programs ask for it."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, NewType

from pydantic import Field, JsonValue, model_validator

from fastn.platform.ids import ExecutionId
from fastn.platform.scope import Scope
from fastn.platform.wire import WireModel

MAX_TTL_SECONDS = 10 * 366 * 86_400

StateKey = NewType("StateKey", str)
"""Where an item lies in the table: owner, scope and the program's own key in one."""


class StateScope(StrEnum):
    """How long a key is remembered, and by whom."""

    ORG = "ORG"
    """By every run of the workflow for the same customer in the same environment."""
    INVOCATION = "INVOCATION"
    """By one run."""


@dataclass(frozen=True, slots=True)
class StateOwner:
    """The run that asks, and for which customer it does."""

    scope: Scope
    environment: str
    workflow_id: uuid.UUID
    execution_id: ExecutionId


@dataclass(frozen=True, slots=True)
class StoredState:
    """An item. `version` changes with every write; `expires_at` None means never."""

    key: StateKey
    value_json: str
    version: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a set: whether it was stored, and the version that the key has now; None if the key is absent."""

    stored: bool
    version: str | None


class KeyOptions(WireModel):
    """The options of a delete."""

    scope: StateScope = StateScope.ORG


class GetOptions(KeyOptions):
    """The options of a get."""

    with_version: Annotated[bool, Field(description="Answer {value, version} and not the value alone.")] = False


class SetOptions(KeyOptions):
    """The options of a set."""

    ttl_seconds: Annotated[float | None, Field(gt=0, le=MAX_TTL_SECONDS)] = None
    ttl: Annotated[float | None, Field(gt=0, le=MAX_TTL_SECONDS, description="The same as ttlSeconds.")] = None
    if_absent: bool = False
    if_version: Annotated[str | None, Field(max_length=200)] = None

    @model_validator(mode="after")
    def _agree(self) -> "SetOptions":
        if self.ttl is not None and self.ttl_seconds is not None:
            raise ValueError("ttl and ttlSeconds are the same: give one")
        if self.if_absent and self.if_version is not None:
            raise ValueError("ifAbsent and ifVersion exclude each other")
        return self

    @property
    def lifetime_seconds(self) -> float | None:
        """How long the value lives; None means until it is deleted."""
        return self.ttl if self.ttl is not None else self.ttl_seconds


class GetCall(WireModel):
    """The arguments of state.get."""

    key: str
    options: GetOptions | None = None


class SetCall(WireModel):
    """The arguments of state.set; without a value there is nothing to set."""

    key: str
    value: JsonValue
    options: SetOptions | None = None


class DeleteCall(WireModel):
    """The arguments of state.delete."""

    key: str
    options: KeyOptions | None = None
