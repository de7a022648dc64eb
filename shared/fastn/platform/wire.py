"""How values look on the wire: camelCase members, RFC 3339 instants, storable text and JSON, and pages of a list."""

import base64
import binascii
import math
import uuid
from datetime import datetime
from typing import Annotated, Generic, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from fastn.errors import ValidationFailed
from fastn.platform.clock import rfc3339

ItemT = TypeVar("ItemT", bound=BaseModel)

Instant = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    # Of the serializer pydantic only sees that it returns text.
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An instant; in JSON RFC 3339 in UTC with milliseconds and Z."""


def _check_storable(value: JsonValue) -> JsonValue:
    # A loop, because the value may be nested as deep as its parser allows.
    pending: list[object] = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            if "\0" in part:
                raise ValueError("must not contain the character U+0000")
        elif isinstance(part, float):
            if not math.isfinite(part):
                raise ValueError("must not contain numbers beyond what a double can hold")
        elif isinstance(part, dict):
            members = cast(dict[str, object], part)
            pending.extend(members)
            pending.extend(members.values())
        elif isinstance(part, list):
            pending.extend(cast(list[object], part))
    return value


STORABLE = AfterValidator(_check_storable)
"""Refuses what PostgreSQL's text and jsonb have no place for: U+0000, NaN and infinity, at any depth.

Text, and JSON with limits of its own, is annotated with it last: a limit that follows a validator is neither part
of the type's own check (whitespace would be counted before it is stripped) nor described as what it is.
"""
StorableJson = Annotated[JsonValue, STORABLE]
"""Any JSON that a `json` or `jsonb` column takes."""
StorableObject = Annotated[dict[str, JsonValue], STORABLE]
"""Any JSON object that a `json` or `jsonb` column takes."""


class WireModel(BaseModel):
    """A request or response body: camelCase on the wire, unknown members refused, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        # Validators are built when a model is first used: a cold start pays for its own route's models only.
        defer_build=True,
    )


class PageRequest(WireModel):
    """Which part of a list the caller wants."""

    limit: Annotated[int, Field(ge=1, le=100, description="How many items at most.")] = 20
    cursor: Annotated[str | None, Field(max_length=200, description="The nextCursor of the page before.")] = None

    def after(self) -> uuid.UUID | None:
        """The id the page starts after; None for the first page. Raises ValidationFailed if not ours."""
        if self.cursor is None:
            return None
        try:
            return uuid.UUID(bytes=base64.urlsafe_b64decode(self.cursor + "=="))
        except (binascii.Error, ValueError) as error:
            raise ValidationFailed("cursor: not a cursor of this list") from error


class Page(BaseModel, Generic[ItemT]):
    """One page of a list, newest first; `next_cursor` is null on the last."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True, defer_build=True
    )

    data: list[ItemT]
    next_cursor: str | None

    @classmethod
    def of(cls, items: list[ItemT], ids: list[uuid.UUID], limit: int) -> "Page[ItemT]":
        """A page from `limit + 1` fetched items: the extra one only tells that there is more."""
        has_more = len(items) > limit
        return cls(data=items[:limit], next_cursor=cursor_after(ids[limit - 1]) if has_more else None)


def cursor_after(last_id: uuid.UUID) -> str:
    """The opaque cursor of a page that starts after this id."""
    return base64.urlsafe_b64encode(last_id.bytes).rstrip(b"=").decode()
