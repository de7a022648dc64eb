"""The projection of triggers in DynamoDB: a delivery is verified from it while Aurora sleeps.

One item per trigger, keyed by its id. PostgreSQL is the truth: rows are written before the item and the
item is deleted before the rows, so the projection never knows a trigger that does not exist.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NewType

from fastn.platform.ids import OrganizationId, SpaceId, TenantId, TriggerId
from fastn.platform.scope import Scope
from fastn.triggers.errors import ProjectionUnavailable
from fastn.triggers.models import ProjectedTrigger

if TYPE_CHECKING:
    from fastn.triggers.projection_table import TriggerItem

TableName = NewType("TableName", str)


@dataclass(slots=True)
class TriggerProjection:
    """Reads and writes the projection. Every method raises ProjectionUnavailable if DynamoDB does not answer."""

    table: TableName
    _items: type[TriggerItem] | None = field(default=None, init=False, repr=False)

    def get(self, trigger_id: TriggerId) -> ProjectedTrigger | None:
        """The trigger with this id in any space, read consistently; None if there is none."""
        items = self._model()
        from pynamodb.exceptions import DoesNotExist

        try:
            with _reporting("read"):
                item = items.get(str(trigger_id), consistent_read=True)
        except DoesNotExist:
            return None
        scope = Scope(
            OrganizationId(uuid.UUID(item.organization_id)),
            SpaceId(uuid.UUID(item.space_id)),
            TenantId(uuid.UUID(item.tenant_id)),
        )
        return ProjectedTrigger(trigger_id, scope, item.environment, item.scheme, item.sealed_secret)

    def put(self, trigger: ProjectedTrigger) -> None:
        """Writes the trigger's item, replacing an earlier one."""
        item = self._model()(
            str(trigger.id),
            organization_id=str(trigger.scope.organization_id),
            space_id=str(trigger.scope.space_id),
            tenant_id=str(trigger.scope.tenant_id),
            environment=trigger.environment,
            scheme=trigger.scheme,
            sealed_secret=trigger.sealed_secret,
        )
        with _reporting("write"):
            item.save()

    def delete(self, trigger_id: TriggerId) -> None:
        """Removes the trigger's item; nothing happens if there is none."""
        item = self._model()(str(trigger_id))
        with _reporting("delete"):
            item.delete()

    def _model(self) -> type[TriggerItem]:
        if self._items is None:
            # PynamoDB takes 0.3 s to import: only who speaks to DynamoDB pays for it.
            from fastn.triggers.projection_table import item_model

            self._items = item_model(self.table)
        return self._items


@contextmanager
def _reporting(what: str) -> Generator[None]:
    from pynamodb.exceptions import DoesNotExist, PynamoDBException

    try:
        yield
    except DoesNotExist:
        raise
    except PynamoDBException as error:
        raise ProjectionUnavailable(f"could not {what} the projection of a trigger") from error
