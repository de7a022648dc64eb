"""How values look on the wire: camelCase members, RFC 3339 instants, and pages of a list."""

import base64
import binascii
import uuid
from datetime import datetime
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from fastn.errors import ValidationFailed
from fastn.platform.clock import rfc3339

ItemT = TypeVar("ItemT", bound=BaseModel)

Instant = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]
"""An instant; in JSON RFC 3339 in UTC with milliseconds and Z."""


class WireModel(BaseModel):
    """A request or response body: camelCase on the wire, unknown members refused, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid", frozen=True
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

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True)

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
