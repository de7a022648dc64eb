"""How state looks as a DynamoDB item. Importing this module imports PynamoDB."""

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.models import Model


class StateItem(Model):
    """One key. Abstract: `item_model` gives it its table."""

    state_key = UnicodeAttribute(hash_key=True)
    value_json = UnicodeAttribute()
    version = UnicodeAttribute()
    expires_at = NumberAttribute(null=True)


def item_model(table: str) -> type[StateItem]:
    """The item type of this table; endpoint, region and credentials are botocore's to find."""

    class Item(StateItem):
        class Meta:  # pyright: ignore[reportIncompatibleVariableOverride]  # PynamoDB fills in the rest
            table_name = table
            connect_timeout_seconds = 2
            read_timeout_seconds = 5
            max_retry_attempts = 3

    return Item
