"""What the pipeline meets in the cloud: KMS, DynamoDB and SQS in this process, and recorders for the rest.

The fixtures at the end are imported by the conftest.py of each folder that wants them.
"""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import boto3
import pytest
from moto import mock_aws

from fastn.events.wiring import receiver_of
from fastn.http.consumers import BackgroundFunction
from fastn.http.endpoint import EndpointFunction
from fastn.platform.capabilities import Platform
from fastn.platform.clock import FrozenClock
from fastn.platform.egress import GuardedClient
from fastn.platform.resources import Need, Setting
from fastn.triggers.projection import TableName, TriggerProjection
from tests.foundation.api_calls import LambdaContext, api_event
from tests.foundation.platforms import SETTINGS, PlatformFor

REGION = "eu-west-1"
TABLES: Mapping[Setting, str] = {
    Setting.TRIGGER_TABLE: "trigger_id", Setting.MARKER_TABLE: "shard", Setting.STATE_TABLE: "state_key",
    Setting.CANCEL_FLAG_TABLE: "run",
}  # fmt: skip
QUEUES: Mapping[Setting, str] = {Setting.RELAY_QUEUE_URL: "relay", Setting.RAW_EVENT_QUEUE_URL: "raw-events"}
SERVICES = ("kms", "dynamodb", "sqs", "events")

Message = dict[str, Any]  # an SQS record, or a Lambda event


class ServiceDown(Exception):
    """What a recorder raises when it was told to fail."""


class _AlreadyExists(Exception):
    pass


class _StateMachineErrors:
    ExecutionAlreadyExists = _AlreadyExists


@dataclass(slots=True)
class StateMachines:
    """Step Functions: a name is taken once, as `StartExecution` promises for Standard workflows."""

    started: list[Message] = field(default_factory=list[Message])
    refused: list[str] = field(default_factory=list[str])
    is_down: bool = False
    exceptions: type[_StateMachineErrors] = _StateMachineErrors

    def start_execution(self, **call: Any) -> None:
        """Records the call, or refuses a name that is taken."""
        if self.is_down:
            raise ServiceDown
        assert call.keys() == {"stateMachineArn", "name", "input"}
        if call["name"] in {earlier["name"] for earlier in self.started}:
            self.refused.append(call["name"])
            raise _AlreadyExists
        self.started.append(call)


@dataclass(slots=True)
class Functions:
    """Lambda, asked to run a function without waiting for it."""

    invoked: list[Message] = field(default_factory=list[Message])

    def invoke(self, **call: Any) -> None:
        """Records the call."""
        assert call.keys() == {"FunctionName", "InvocationType", "Payload"}
        self.invoked.append(call)


@dataclass(slots=True)
class Bus:
    """EventBridge's PutEvents: remembers what it took, and refuses or fails as it is told."""

    taken: list[Message] = field(default_factory=list[Message])
    refuses: Callable[[Message], bool] = lambda _detail: False
    before_call: Callable[[], None] = lambda: None
    calls: int = 0

    def put_events(self, *, Entries: Sequence[Mapping[str, Any]]) -> Message:  # noqa: N803  # AWS's own name
        """One verdict an entry, in their order."""
        self.before_call()
        self.calls += 1
        assert 1 <= len(Entries) <= 10
        answers: list[Message] = []
        for entry in Entries:
            detail = json.loads(entry["Detail"])
            if self.refuses(detail):
                answers.append({"ErrorCode": "InternalFailure", "ErrorMessage": "try again"})
            else:
                self.taken.append({**entry, "Detail": detail})
                answers.append({"EventId": f"bus-{len(self.taken)}"})
        return {"FailedEntryCount": sum("ErrorCode" in answer for answer in answers), "Entries": answers}

    @property
    def event_ids(self) -> list[str]:
        """The events it took, in order."""
        return [entry["Detail"]["eventId"] for entry in self.taken]


@dataclass(slots=True)
class Cloud:
    """One installation's cloud."""

    clients: Mapping[str, Any]
    settings: Mapping[str, str]
    projection: TriggerProjection
    machines: StateMachines = field(default_factory=StateMachines)
    functions: Functions = field(default_factory=Functions)
    bus: Bus = field(default_factory=Bus)

    def client(self, service: str) -> Any:  # as ClientFactory
        """The client of this service."""
        recorders = {"stepfunctions": self.machines, "lambda": self.functions, "events": self.bus}
        return recorders.get(service) or self.clients[service]

    def take(self, queue: Setting) -> list[Message]:
        """Every message in this queue, as the records of a Lambda event; they are gone from it."""
        url = self.settings[queue]
        records: list[Message] = []
        while answer := self.clients["sqs"].receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in answer:
                self.clients["sqs"].delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                records.append(sqs_record(message["Body"], message_id=message["MessageId"], queue=QUEUES[queue]))
        return records

    def marked_shards(self) -> dict[str, str]:
        """The token of each marker that is set."""
        items = self.clients["dynamodb"].scan(TableName=self.settings[Setting.MARKER_TABLE])["Items"]
        return {item["shard"]["S"]: item["token"]["S"] for item in items}


def sqs_record(body: object, *, message_id: str = "m-1", queue: str = "events-p2") -> Message:
    """A record of the event that SQS hands to a function."""
    return {
        "messageId": message_id,
        "body": body if isinstance(body, str) else json.dumps(body),
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSourceARN": f"arn:aws:sqs:{REGION}:123456789012:{queue}",
    }


@dataclass(slots=True)
class Functioning:
    """Calls functions through their wrappers, each with exactly the capabilities it declares, as Lambda would."""

    cloud: Cloud
    platform_for: PlatformFor
    clock: FrozenClock
    settings: Mapping[str, str]
    routes: dict[str, int] = field(default_factory=dict[str, int])
    platforms: dict[str, Platform] = field(default_factory=dict[str, Platform])
    shared: dict[type[Any], object] = field(default_factory=dict[type[Any], object])
    """What every platform keeps from the start, because making it anew costs more than a test."""

    def platform(self, name: str, needs: frozenset[Need]) -> Platform:
        """The platform this function keeps for the whole test."""
        if name not in self.platforms:
            self.platforms[name] = self.platform_for(
                needs,
                clients=self.cloud.client,
                settings={**self.cloud.settings, **self.settings},
                loopback_routes=self.routes,
            )
            for kind, kept in {TriggerProjection: self.cloud.projection, **self.shared}.items():
                self.platforms[name].keep(kind, partial(_itself, kept))
        return self.platforms[name]

    def endpoint(self, handler: EndpointFunction[Any], **sent: Any) -> Message:
        """What the endpoint answers; `sent` as for `api_event`."""
        platform = self.platform(handler.name, handler.declaration.needs)
        return handler.bound_to(platform)(api_event(handler.declaration.route, **sent), LambdaContext())

    def consume(self, handler: BackgroundFunction[Any], *records: Message) -> list[str]:
        """The ids of the messages that the consumer failed."""
        answer = cast("Message", self.call(handler, {"Records": list(records)}))
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def call(self, handler: BackgroundFunction[Any], event: object, *, remaining_ms: int = 900_000) -> object:
        """What the function returns for this event."""
        platform = self.platform(handler.name, handler.declaration.needs)
        return handler.bound_to(platform)(event, LambdaContext(remaining_milliseconds=remaining_ms))

    def close(self) -> None:
        """Ends the receiver's own connection, and those to vendors."""
        if "receive_webhook" in self.platforms:
            receiver_of(self.platforms["receive_webhook"]).close()
        for platform in self.platforms.values():
            if Need.EGRESS in platform.needs:
                platform.keep(GuardedClient, _never_used).close()


def _itself(kept: Any) -> Any:  # whatever kind of thing it is
    return kept


def _never_used() -> GuardedClient:
    return GuardedClient(FrozenClock())


@pytest.fixture(scope="session")
def pipeline_clients() -> Mapping[str, Any]:
    """Clients with invented credentials, made once: making one costs more than a test. They reach nothing but moto."""
    invented = {"region_name": REGION, "aws_access_key_id": "tests", "aws_secret_access_key": "tests"}
    return {service: cast(Any, boto3).client(service, **invented) for service in SERVICES}


@pytest.fixture(scope="session")
def projection() -> TriggerProjection:
    """The one projection of this process: PynamoDB makes a client for each, which costs more than a test."""
    return TriggerProjection(TableName(SETTINGS[Setting.TRIGGER_TABLE]))


@pytest.fixture
def cloud(
    pipeline_clients: Mapping[str, Any], projection: TriggerProjection, monkeypatch: pytest.MonkeyPatch
) -> Generator[Cloud]:
    """A cloud with a key, the two tables and the two queues."""
    # Where PynamoDB looks, as it does in a Lambda.
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        for setting, key in TABLES.items():
            pipeline_clients["dynamodb"].create_table(
                TableName=SETTINGS[setting],
                KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        urls = {
            setting: pipeline_clients["sqs"].create_queue(QueueName=name)["QueueUrl"]
            for setting, name in QUEUES.items()
        }
        key_arn = pipeline_clients["kms"].create_key()["KeyMetadata"]["Arn"]
        tables = {setting: SETTINGS[setting] for setting in TABLES}
        yield Cloud(pipeline_clients, {Setting.TENANT_KEY_ARN: key_arn, **urls, **tables}, projection)


@pytest.fixture
def functions(cloud: Cloud, platform_for: PlatformFor, clock: FrozenClock) -> Generator[Functioning]:
    """Calls functions in this cloud."""
    functioning = Functioning(cloud, platform_for, clock, {})
    yield functioning
    functioning.close()
