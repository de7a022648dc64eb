"""A table of outbox markers in DynamoDB."""

from collections.abc import Generator
from typing import Any, cast

import boto3
import pytest
from moto import mock_aws

REGION = "eu-west-1"
MARKER_TABLE = "outbox-markers"


@pytest.fixture
def marker_table(monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """The table's name; it is made as the CDK app makes it."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    with mock_aws():
        cast(Any, boto3).client("dynamodb", region_name=REGION).create_table(
            TableName=MARKER_TABLE,
            KeySchema=[{"AttributeName": "shard", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "shard", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield MARKER_TABLE
