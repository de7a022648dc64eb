"""How an outbox marker looks as a DynamoDB item. Importing this module imports PynamoDB."""

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.models import Model


class MarkerItem(Model):
    """One shard's marker. Abstract: `item_model` gives it its table."""

    shard = UnicodeAttribute(hash_key=True)
    token = UnicodeAttribute()
    marked_at = NumberAttribute()


def item_model(table: str) -> type[MarkerItem]:
    """The item type of this table; endpoint, region and credentials are botocore's to find."""

    class Item(MarkerItem):
        class Meta:  # pyright: ignore[reportIncompatibleVariableOverride]  # PynamoDB fills in the rest
            table_name = table
            connect_timeout_seconds = 2
            read_timeout_seconds = 5
            max_retry_attempts = 3

    return Item
