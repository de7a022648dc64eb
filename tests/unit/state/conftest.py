"""The table of workflow state in DynamoDB, and a store on it."""

from collections.abc import Generator
from typing import Any, cast

import boto3
import pytest
from moto import mock_aws

from fastn.platform.clock import FrozenClock
from fastn.state.store import StateStore, TableName

REGION = "eu-west-1"
STATE_TABLE = "workflow-state"


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Generator[Any]:
    """A DynamoDB client; the table is made as the CDK app makes it."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    with mock_aws():
        client = cast(Any, boto3).client("dynamodb", region_name=REGION)
        client.create_table(
            TableName=STATE_TABLE,
            KeySchema=[{"AttributeName": "state_key", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "state_key", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client


@pytest.fixture
def store(tables: Any, clock: FrozenClock) -> StateStore:
    """The state of this installation."""
    assert tables.list_tables()["TableNames"] == [STATE_TABLE]
    return StateStore(TableName(STATE_TABLE), clock)
