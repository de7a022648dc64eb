"""How a trigger's projection looks as a DynamoDB item. Importing this module imports PynamoDB."""

from pynamodb.attributes import BinaryAttribute, UnicodeAttribute
from pynamodb.models import Model


class TriggerItem(Model):
    """One trigger. Abstract: `item_model` gives it its table."""

    trigger_id = UnicodeAttribute(hash_key=True)
    organization_id = UnicodeAttribute()
    space_id = UnicodeAttribute()
    tenant_id = UnicodeAttribute()
    environment = UnicodeAttribute()
    scheme = UnicodeAttribute()
    sealed_secret = BinaryAttribute(legacy_encoding=False)


def item_model(table: str) -> type[TriggerItem]:
    """The item type of this table.

    Region, credentials and endpoint are botocore's to find: PynamoDB passes a host of None on, so
    AWS_ENDPOINT_URL is honoured.
    """

    class Item(TriggerItem):
        class Meta:  # pyright: ignore[reportIncompatibleVariableOverride]  # PynamoDB fills in the rest
            table_name = table
            connect_timeout_seconds = 2
            read_timeout_seconds = 5
            max_retry_attempts = 3

    return Item
