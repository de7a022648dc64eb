"""Pure decisions about state: where a key lies, when an item has expired, what fits into one."""

import json
import math
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import ValidationError

from fastn.errors import ValidationFailed
from fastn.platform.wire import WireModel
from fastn.state.errors import StateTooLarge
from fastn.state.models import StateKey, StateOwner, StateScope, StoredState

CallT = TypeVar("CallT", bound=WireModel)

MAX_KEY_BYTES = 1024
ITEM_LIMIT_BYTES = 400_000
"""DynamoDB's limit is 400 KB, which it counts as 409,600 bytes: nothing that passes here is refused there."""
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html: an item's size
# is that of its attributes' names and values; the expiry, a number, takes at most this much with its name.
_EXPIRY_BYTES = len("expires_at") + 21


def read_call(kind: type[CallT], arguments_json: str) -> CallT:
    """The arguments of a state call. Raises ValidationFailed, naming the members that are wrong."""
    try:
        return kind.model_validate_json(arguments_json)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'arguments'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise ValidationFailed(problems) from error


def state_key(owner: StateOwner, scope: StateScope, key: str) -> StateKey:
    """Where this owner's key lies. Raises ValidationFailed for a key that is empty or over MAX_KEY_BYTES.

    Two owners never meet: each part before the program's key has a fixed length, or (the environment) no `#`.
    """
    size_bytes = len(key.encode())
    if not 1 <= size_bytes <= MAX_KEY_BYTES:
        raise ValidationFailed(f"key: must have 1 to {MAX_KEY_BYTES} bytes in UTF-8, and has {size_bytes}")
    tenant = f"{owner.scope.organization_id}#{owner.scope.tenant_id}#{owner.environment}"
    if scope is StateScope.INVOCATION:
        return StateKey(f"INVOCATION#{tenant}#{owner.execution_id}#{key}")
    return StateKey(f"ORG#{tenant}#{owner.workflow_id}#{key}")


def value_text(value: object) -> str:
    """The value as it is kept: compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def check_size(state: StoredState) -> None:
    """Raises StateTooLarge if DynamoDB would refuse the item for its size."""
    members = {"state_key": state.key, "value_json": state.value_json, "version": state.version}
    size_bytes = sum(len(name) + len(value.encode()) for name, value in members.items()) + _EXPIRY_BYTES
    if size_bytes > ITEM_LIMIT_BYTES:
        raise StateTooLarge(
            f"The value makes an item of {size_bytes} bytes; {ITEM_LIMIT_BYTES} is the most. Keep it in parts.",
            details={"sizeBytes": size_bytes, "limitBytes": ITEM_LIMIT_BYTES},
        )


def expiry(now: datetime, lifetime_seconds: float | None, latest: datetime | None) -> datetime | None:
    """When a value written now expires, in whole seconds: DynamoDB knows no others. Never after `latest`."""
    ends = [] if lifetime_seconds is None else [now.timestamp() + lifetime_seconds]
    ends += [] if latest is None else [latest.timestamp()]
    return datetime.fromtimestamp(math.ceil(min(ends)), UTC) if ends else None


def has_expired(state: StoredState, now: datetime) -> bool:
    """Whether its time is over; DynamoDB removes it only days later."""
    return state.expires_at is not None and state.expires_at <= now


def answer_to_get(state: StoredState | None, *, with_version: bool) -> str:
    """What the program is told, as JSON text: null for an absent key."""
    if state is None:
        return "null"
    if not with_version:
        return state.value_json
    return f'{{"value":{state.value_json},"version":{json.dumps(state.version)}}}'
