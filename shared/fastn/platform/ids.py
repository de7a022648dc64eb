"""Identifiers: UUIDs that sort by the time they were made."""

import os
import re
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import NewType

OrganizationId = NewType("OrganizationId", uuid.UUID)
SpaceId = NewType("SpaceId", uuid.UUID)
TenantId = NewType("TenantId", uuid.UUID)
WorkflowId = NewType("WorkflowId", uuid.UUID)
ExecutionId = NewType("ExecutionId", uuid.UUID)
TriggerId = NewType("TriggerId", uuid.UUID)
EventId = NewType("EventId", uuid.UUID)

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


def new_id(instant: datetime, *, random_bytes: Callable[[int], bytes] = os.urandom) -> uuid.UUID:
    """A UUID version 7: 48 bits of Unix milliseconds, then 74 random bits (RFC 9562 section 5.7)."""
    milliseconds = int(instant.timestamp() * 1000) & ((1 << 48) - 1)
    random_bits = int.from_bytes(random_bytes(10), "big")
    rand_a = (random_bits >> 68) & 0xFFF
    rand_b = random_bits & ((1 << 62) - 1)
    return uuid.UUID(int=(milliseconds << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b)


def parse_id(text: str) -> uuid.UUID | None:
    """The UUID this text spells in its canonical form; None if it is anything else."""
    lowered = text.lower()
    return uuid.UUID(lowered) if _CANONICAL.fullmatch(lowered) else None
