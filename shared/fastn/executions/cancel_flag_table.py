"""How a cancel flag looks as a DynamoDB item. Importing this module imports PynamoDB."""

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.models import Model


class CancelFlagItem(Model):
    """One cancelled run. Abstract: `item_model` gives it its table."""

    run = UnicodeAttribute(hash_key=True)
    expires_at = NumberAttribute()


def item_model(table: str) -> type[CancelFlagItem]:
    """The item type of this table; endpoint, region and credentials are botocore's to find."""

    class Item(CancelFlagItem):
        class Meta:  # pyright: ignore[reportIncompatibleVariableOverride]  # PynamoDB fills in the rest
            table_name = table
            connect_timeout_seconds = 1
            read_timeout_seconds = 1
            max_retry_attempts = 2

    return Item
