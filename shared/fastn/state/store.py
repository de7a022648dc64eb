"""State in DynamoDB: one item per key, read consistently, and never read after its time."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NewType, cast

from fastn.platform.clock import Clock
from fastn.state import rules
from fastn.state.errors import StateUnavailable
from fastn.state.models import StateKey, StoredState, Written

if TYPE_CHECKING:
    from pynamodb.expressions.condition import Condition as ItemCondition

    from fastn.state.state_table import StateItem

TableName = NewType("TableName", str)


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of the key for a write to be done; `version` None means that it must be absent."""

    version: str | None


@dataclass(slots=True)
class StateStore:
    """The state of one installation. Every method raises StateUnavailable if DynamoDB does not answer."""

    table: TableName
    clock: Clock
    _items: type[StateItem] | None = field(default=None, init=False, repr=False)

    def get(self, key: StateKey) -> StoredState | None:
        """The item of this key; None if there is none, or its time is over."""
        items = self._model()
        from pynamodb.exceptions import DoesNotExist

        try:
            with _reporting("read"):
                item = items.get(key, consistent_read=True)
        except DoesNotExist:
            return None
        expiry_seconds = cast("float | None", item.expires_at)  # the attribute is nullable, its type says float
        expires_at = None if expiry_seconds is None else datetime.fromtimestamp(float(expiry_seconds), UTC)
        state = StoredState(key, item.value_json, item.version, expires_at)
        return None if rules.has_expired(state, self.clock.now()) else state

    def put(self, state: StoredState, condition: Condition | None = None) -> Written:
        """Writes the item, if the condition holds. Raises StateTooLarge before anything is sent.

        A write is known by its version. So the repeat of a conditional write whose answer was lost finds its own
        version there and is told that it was stored: it does not lose a race against itself.
        """
        rules.check_size(state)
        items = self._model()
        from pynamodb.exceptions import PutError

        expires_at = None if state.expires_at is None else int(state.expires_at.timestamp())
        item = items(state.key, value_json=state.value_json, version=state.version, expires_at=expires_at)
        try:
            with _reporting("write"):
                item.save(condition=None if condition is None else self._holds(items, condition))
        except PutError:
            found = self.get(state.key)
            version = None if found is None else found.version
            return Written(version == state.version, version)
        return Written(True, state.version)

    def delete(self, key: StateKey) -> None:
        """Removes the item; nothing happens if there is none."""
        item = self._model()(key)
        with _reporting("delete"):
            item.delete()

    def _holds(self, items: type[StateItem], condition: Condition) -> ItemCondition:
        now_seconds = self.clock.now().timestamp()
        if condition.version is None:
            return items.state_key.does_not_exist() | (items.expires_at <= now_seconds)
        is_alive = items.expires_at.does_not_exist() | (items.expires_at > now_seconds)
        return (items.version == condition.version) & is_alive

    def _model(self) -> type[StateItem]:
        if self._items is None:
            # PynamoDB takes 0.3 s to import: only a program that uses state pays for it.
            from fastn.state.state_table import item_model

            self._items = item_model(self.table)
        return self._items


@contextmanager
def _reporting(what: str) -> Generator[None]:
    from pynamodb.exceptions import DoesNotExist, PutError, PynamoDBException

    try:
        yield
    except DoesNotExist:
        raise
    except PutError as error:
        if error.cause_response_code == "ConditionalCheckFailedException":
            raise
        raise StateUnavailable(f"could not {what} state") from error
    except PynamoDBException as error:
        raise StateUnavailable(f"could not {what} state") from error
