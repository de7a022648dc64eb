"""KMS and DynamoDB in this process, with what an installation has there, and calls of functions that use them.

The fixtures at the end are imported by the conftest.py of each folder that wants them.
"""

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from moto import mock_aws

from fastn.http.endpoint import EndpointFunction
from fastn.platform.resources import Setting
from tests.foundation.api_calls import LambdaContext, api_event
from tests.foundation.platforms import PlatformFor

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient

REGION = "eu-west-1"
TRIGGER_TABLE = "triggers"


@dataclass(frozen=True, slots=True)
class AwsClients:
    """Clients that serve a whole test session: making one costs more than a test."""

    kms: "KMSClient"
    dynamodb: "DynamoDBClient"


@dataclass(frozen=True, slots=True)
class Cloud:
    """A KMS key and the table of triggers, and the settings that name them."""

    clients: AwsClients
    key_arn: str

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings of a function in this cloud."""
        return {Setting.TENANT_KEY_ARN: self.key_arn, Setting.TRIGGER_TABLE: TRIGGER_TABLE}

    def client(self, service: str) -> Any:  # as ClientFactory
        """The client of KMS; functions ask for no other by name."""
        assert service == "kms"
        return self.clients.kms

    def create_trigger_table(self) -> None:
        """Makes the table as the CDK app does: keyed by trigger_id, on demand."""
        self.clients.dynamodb.create_table(
            TableName=TRIGGER_TABLE,
            KeySchema=[{"AttributeName": "trigger_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "trigger_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    def lose_trigger_table(self) -> None:
        """From now on DynamoDB refuses every call to the table."""
        self.clients.dynamodb.delete_table(TableName=TRIGGER_TABLE)


CallFunction = Callable[..., dict[str, Any]]
"""Calls a function through its wrapper: `call(handler, path=…, key=…, body=…, query=…, headers=…)`."""


@pytest.fixture(scope="session")
def aws_clients() -> AwsClients:
    """Clients with invented credentials; they reach nothing but moto."""
    invented = {"region_name": REGION, "aws_access_key_id": "tests", "aws_secret_access_key": "tests"}
    make = cast(Any, boto3).client
    return AwsClients(make("kms", **invented), make("dynamodb", **invented))


@pytest.fixture
def cloud(aws_clients: AwsClients, monkeypatch: pytest.MonkeyPatch) -> Generator[Cloud]:
    """A cloud with a key and a table."""
    # Where PynamoDB looks, as it does in a Lambda.
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        cloud = Cloud(aws_clients, aws_clients.kms.create_key()["KeyMetadata"].get("Arn", ""))
        cloud.create_trigger_table()
        yield cloud


@pytest.fixture
def call(platform_for: PlatformFor, cloud: Cloud, lambda_context: LambdaContext) -> CallFunction:
    """Calls functions with exactly the needs each declares; each keeps its platform for the whole test."""
    bound: dict[str, EndpointFunction[Any]] = {}

    def call_function(handler: EndpointFunction[Any], **sent: Any) -> dict[str, Any]:
        if handler.name not in bound:
            platform = platform_for(handler.declaration.needs, clients=cloud.client, settings=cloud.settings)
            bound[handler.name] = handler.bound_to(platform)
        return bound[handler.name](api_event(handler.declaration.route, **sent), lambda_context)

    return call_function


def refusal_of(response: Mapping[str, Any]) -> tuple[int, str]:
    """Status and code of an error in the API's format."""
    body = json.loads(response["body"])
    assert body["statusCode"] == response["statusCode"]
    return body["statusCode"], body["code"]
