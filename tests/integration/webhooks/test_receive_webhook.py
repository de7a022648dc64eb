"""Deliveries from vendors: verified, stored once, answered at once, never lost."""

import json
import socket
import time
import uuid
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fastn.events.receiving import EventKeeper, RawEventQueue
from fastn.events.rules import shard_of
from fastn.events.wiring import receiver_of
from fastn.platform.database import Database, Role
from fastn.platform.ids import TriggerId
from fastn.platform.resources import Setting
from fastn.platform.scope import Scope
from fastn.triggers.models import ProjectedTrigger, secret_purpose
from fastn.triggers.service import sealer_of, trigger_tools
from functions.events.store_raw_event import handler as store_raw_event
from functions.webhooks.receive_webhook import LARGEST_DELIVERY_BYTES
from functions.webhooks.receive_webhook import handler as receive_webhook
from tests.foundation.api_calls import body_of
from tests.integration.events.cloud import Cloud, Functioning, sqs_record
from tests.integration.events.scene import (
    TRIGGER_NEEDS,
    Scene,
    fastn_headers,
    github_headers,
    slack_headers,
)

BODY = b'{"action": "opened", "issue": {"number": 1}}'
EVENTS = "SELECT id, type, headers, payload::text AS payload, trace_id FROM events"
OUTBOX = "SELECT event_id, type, priority FROM outbox"


def send(
    scene: Scene, trigger_id: object, headers: dict[str, str], body: bytes = BODY, *, space: object = None
) -> dict[str, Any]:
    """What the receiver answers to a delivery."""
    path = {"space_id": space or scene.scope.space_id, "webhook_id": trigger_id}
    return scene.functions.endpoint(receive_webhook, path=path, headers=headers, body=body)


def assert_nothing_happened(scene: Scene, cloud: Cloud) -> None:
    """No row, no message, no marker."""
    assert scene.rows(EVENTS) == []
    assert scene.rows(OUTBOX) == []
    assert cloud.take(Setting.RELAY_QUEUE_URL) == []
    assert cloud.take(Setting.RAW_EVENT_QUEUE_URL) == []
    assert cloud.marked_shards() == {}


def code_of(response: dict[str, Any]) -> tuple[int, str]:
    """Status and code of a refusal."""
    body = body_of(response)
    assert body["statusCode"] == response["statusCode"]
    return body["statusCode"], body["code"]


@pytest.fixture
def trigger_id(scene: Scene) -> TriggerId:
    """A GitHub trigger of the customer's."""
    return scene.trigger(scene.live())


def test_signed_delivery_is_stored_with_its_outbox_row_announced_and_answered_202(
    scene: Scene, cloud: Cloud, trigger_id: TriggerId
) -> None:
    response = send(scene, trigger_id, github_headers(BODY))

    receipt = body_of(response)
    [event] = scene.rows(EVENTS)
    assert response["statusCode"] == 202
    assert receipt == {"eventId": str(event["id"]), "status": "accepted"}
    assert (event["type"], event["payload"]) == ("issues.opened", BODY.decode())
    assert scene.rows(OUTBOX) == [{"event_id": event["id"], "type": "issues.opened", "priority": 2}]
    assert len(cloud.take(Setting.RELAY_QUEUE_URL)) == 1
    assert list(cloud.marked_shards()) == [str(shard_of(str(scene.scope.space_id), 16))]


def test_same_delivery_again_is_the_same_event_and_says_so(scene: Scene, cloud: Cloud, trigger_id: TriggerId) -> None:
    first = body_of(send(scene, trigger_id, github_headers(BODY)))

    again = send(scene, trigger_id, github_headers(BODY))

    assert (again["statusCode"], body_of(again)) == (202, {"eventId": first["eventId"], "status": "duplicate"})
    assert len(scene.rows(EVENTS)) == len(scene.rows(OUTBOX)) == 1
    assert len(cloud.take(Setting.RELAY_QUEUE_URL)) == 1


def test_another_delivery_with_the_same_body_is_another_event(scene: Scene, trigger_id: TriggerId) -> None:
    send(scene, trigger_id, github_headers(BODY, delivery_id="d-1"))

    second = send(scene, trigger_id, github_headers(BODY, delivery_id="d-2"))

    assert body_of(second)["status"] == "accepted"
    assert len(scene.rows(EVENTS)) == 2


def test_twenty_copies_at_once_are_one_event(scene: Scene, databases: dict[Role, str]) -> None:
    class Announced:
        def __init__(self) -> None:
            self.before: list[Scope] = []
            self.after: list[bool] = []

        def before_commit(self, scope: Scope) -> None:
            self.before.append(scope)

        def after_commit(self) -> None:
            self.after.append(True)

    announced = Announced()
    event = scene.event()

    def keep(_copy: int) -> tuple[uuid.UUID, bool]:
        keeper = EventKeeper(Database(databases[Role.APP]), announced)  # type: ignore[arg-type]  # all a keeper asks of one
        try:
            return keeper.keep(event)
        finally:
            keeper.close()

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(keep, range(20)))

    assert {event_id for event_id, _ in answers} == {event.id}
    assert sum(is_new for _, is_new in answers) == 1
    assert len(scene.rows(EVENTS)) == len(scene.rows(OUTBOX)) == 1
    assert len(announced.before) == 20
    assert len(announced.after) == 1


def test_marker_stands_before_the_row_is_visible(scene: Scene, cloud: Cloud, databases: dict[Role, str]) -> None:
    rows_when_marked: list[int] = []
    tokens_when_nudged: list[int] = []

    class Watching:
        def before_commit(self, _scope: Scope) -> None:
            rows_when_marked.append(len(scene.rows(OUTBOX)))

        def after_commit(self) -> None:
            tokens_when_nudged.append(len(scene.rows(OUTBOX)))

    keeper = EventKeeper(Database(databases[Role.APP]), Watching())  # type: ignore[arg-type]  # all a keeper asks of one

    keeper.keep(scene.event())

    keeper.close()
    assert (rows_when_marked, tokens_when_nudged) == ([0], [1])


def test_delivery_is_not_stored_where_it_cannot_be_marked(scene: Scene, cloud: Cloud, trigger_id: TriggerId) -> None:
    cloud.clients["dynamodb"].delete_table(TableName=cloud.settings[Setting.MARKER_TABLE])

    response = send(scene, trigger_id, github_headers(BODY))

    assert code_of(response) == (500, "INTERNAL_ERROR")
    assert scene.rows(EVENTS) == scene.rows(OUTBOX) == []


def test_callers_credentials_are_not_stored(scene: Scene, trigger_id: TriggerId) -> None:
    secrets = {
        "authorization": "Bearer planted-1", "cookie": "session=planted-2", "x-fastn-api-key": "planted-3",
        "proxy-authorization": "planted-4",
    }  # fmt: skip

    send(scene, trigger_id, github_headers(BODY) | secrets | {"x-kept": "yes"})

    [event] = scene.rows(EVENTS)
    assert "planted" not in json.dumps(event["headers"])
    assert (event["headers"]["x-kept"], event["headers"]["x-github-event"]) == ("yes", "issues")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x-hub-signature-256": "sha256=" + "0" * 64}, "signature_wrong"),
        ({"x-hub-signature-256": "0" * 64}, "signature_wrong"),
        ({"x-hub-signature-256": ""}, "signature_wrong"),
        ({"x-hub-signature-256": None}, "signature_missing"),
    ],
)
def test_delivery_without_a_right_signature_is_refused(
    scene: Scene, cloud: Cloud, trigger_id: TriggerId, change: dict[str, str | None], reason: str
) -> None:
    headers = {name: value for name, value in (github_headers(BODY) | change).items() if value is not None}

    response = send(scene, trigger_id, headers)

    assert code_of(response) == (401, "UNAUTHORIZED")
    assert body_of(response)["details"] == {"reason": reason}
    assert_nothing_happened(scene, cloud)


def test_signature_of_another_body_is_refused(scene: Scene, cloud: Cloud, trigger_id: TriggerId) -> None:
    response = send(scene, trigger_id, github_headers(BODY), BODY + b" ")

    assert code_of(response) == (401, "UNAUTHORIZED")
    assert_nothing_happened(scene, cloud)


def test_trigger_without_a_secret_takes_nothing(scene: Scene, cloud: Cloud, trigger_id: TriggerId) -> None:
    platform = scene.functions.platform("make_trigger", TRIGGER_NEEDS)
    empty = sealer_of(platform).seal(scene.scope, b"", purpose=secret_purpose(trigger_id))
    trigger_tools(platform).projection.put(ProjectedTrigger(trigger_id, scene.scope, "production", "github", empty))

    response = send(scene, trigger_id, github_headers(BODY, secret=""))

    assert code_of(response) == (401, "UNAUTHORIZED")
    assert body_of(response)["details"] == {"reason": "secret_missing"}
    assert_nothing_happened(scene, cloud)


def test_secret_sealed_for_another_trigger_opens_nothing(scene: Scene, cloud: Cloud, trigger_id: TriggerId) -> None:
    platform = scene.functions.platform("make_trigger", TRIGGER_NEEDS)
    foreign = sealer_of(platform).seal(scene.scope, b"another-secret", purpose=secret_purpose(TriggerId(uuid.uuid4())))
    trigger_tools(platform).projection.put(ProjectedTrigger(trigger_id, scene.scope, "production", "github", foreign))

    response = send(scene, trigger_id, github_headers(BODY, secret="another-secret"))

    assert code_of(response) == (500, "INTERNAL_ERROR")
    assert_nothing_happened(scene, cloud)


@pytest.mark.parametrize("scheme", ["slack", "fastn"])
@pytest.mark.parametrize(("age_seconds", "status"), [(300, 202), (301, 401), (-300, 202), (-301, 401)])
def test_signed_time_may_be_off_by_five_minutes_and_no_more(
    scene: Scene, cloud: Cloud, scheme: str, age_seconds: int, status: int
) -> None:
    trigger_id = scene.trigger(scene.live(), scheme=scheme)
    signed_at = int(scene.clock.now().timestamp()) - age_seconds
    headers = slack_headers(BODY, signed_at) if scheme == "slack" else fastn_headers(BODY, signed_at)

    response = send(scene, trigger_id, headers)

    assert response["statusCode"] == status
    if status == 401:
        assert body_of(response)["details"] == {"reason": "timestamp_stale"}
        assert_nothing_happened(scene, cloud)


@pytest.mark.parametrize("scheme", ["slack", "fastn"])
def test_missing_timestamp_is_refused(scene: Scene, cloud: Cloud, scheme: str) -> None:
    trigger_id = scene.trigger(scene.live(), scheme=scheme)
    signed_at = int(scene.clock.now().timestamp())
    headers = slack_headers(BODY, signed_at) if scheme == "slack" else fastn_headers(BODY, signed_at)

    response = send(scene, trigger_id, {name: value for name, value in headers.items() if "timestamp" not in name})

    assert body_of(response)["details"] == {"reason": "timestamp_missing"}
    assert_nothing_happened(scene, cloud)


def test_own_scheme_tells_deliveries_apart_by_id_or_by_body_and_signed_time(scene: Scene) -> None:
    trigger_id = scene.trigger(scene.live(), scheme="fastn")
    now = int(scene.clock.now().timestamp())
    sent = [
        fastn_headers(BODY, now),
        fastn_headers(BODY, now),
        fastn_headers(BODY, now + 1),
        fastn_headers(BODY, now, delivery_id="a"),
        fastn_headers(BODY, now + 1, delivery_id="a"),
    ]

    answers = [body_of(send(scene, trigger_id, headers))["status"] for headers in sent]

    assert answers == ["accepted", "duplicate", "accepted", "accepted", "duplicate"]


def test_large_garbage_is_refused_as_not_json(scene: Scene, cloud: Cloud, trigger_id: TriggerId) -> None:
    garbage = b"{" * 1024 * 1024

    response = send(scene, trigger_id, github_headers(garbage), garbage)

    assert code_of(response) == (400, "VALIDATION_FAILED")
    assert_nothing_happened(scene, cloud)


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"{'a': 1}", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a":1}x', b"\xef\xbb\xbf{}"]
)
def test_signed_body_that_is_not_json_is_refused(
    scene: Scene, cloud: Cloud, trigger_id: TriggerId, body: bytes
) -> None:
    response = send(scene, trigger_id, github_headers(body), body)

    assert code_of(response) == (400, "VALIDATION_FAILED")
    assert_nothing_happened(scene, cloud)


@pytest.mark.parametrize(
    "body",
    [
        b'{"action": "\\ud800"}', b'{"action": "\\u0000"}', b'{"a": 1e400}', b"[]", b"null", b'"text"',
        b'{"action": "' + b"x" * 300_000 + b'"}', b'{"a": "\\u0000 \\udfff"}', b"[" * 500 + b"]" * 500,
    ],
    ids=["surrogate", "nul", "huge number", "array", "null", "text", "long action", "odd text", "deep"],
)  # fmt: skip
def test_odd_json_is_an_event_like_any_other(scene: Scene, trigger_id: TriggerId, body: bytes) -> None:
    response = send(scene, trigger_id, github_headers(body), body)

    [event] = scene.rows(EVENTS)
    assert response["statusCode"] == 202
    assert event["payload"] == body.decode()
    assert len(event["type"]) <= 200


def test_body_over_the_limit_is_refused_before_it_is_read(scene: Scene, cloud: Cloud, trigger_id: TriggerId) -> None:
    body = b'"' + b"x" * LARGEST_DELIVERY_BYTES + b'"'

    response = send(scene, trigger_id, github_headers(body), body)

    assert code_of(response) == (413, "PAYLOAD_TOO_LARGE")
    assert_nothing_happened(scene, cloud)


@pytest.mark.parametrize("reference", ["0192f0c1-7a3b-7c4d-8e5f-a6b7c8d9e0f1", "not-a-uuid", "..%2f", "0"])
def test_unknown_trigger_is_not_found(scene: Scene, cloud: Cloud, reference: str) -> None:
    response = send(scene, reference, github_headers(BODY))

    assert code_of(response) == (404, "NOT_FOUND")
    assert_nothing_happened(scene, cloud)


def test_trigger_under_the_path_of_another_space_looks_missing(
    scene: Scene, stranger: Scene, cloud: Cloud, trigger_id: TriggerId
) -> None:
    missing = send(scene, uuid.uuid4(), github_headers(BODY))

    foreign = send(scene, trigger_id, github_headers(BODY), space=stranger.scope.space_id)

    assert foreign == missing
    assert code_of(foreign) == (404, "NOT_FOUND")
    assert_nothing_happened(scene, cloud)


def test_slack_handshake_is_answered_with_its_challenge_and_not_stored(scene: Scene, cloud: Cloud) -> None:
    trigger_id = scene.trigger(scene.live(), scheme="slack")
    body = b'{"type": "url_verification", "challenge": "c-1", "token": "x"}'

    response = send(scene, trigger_id, slack_headers(body, int(scene.clock.now().timestamp())), body)

    assert (response["statusCode"], body_of(response)) == (200, {"challenge": "c-1"})
    assert_nothing_happened(scene, cloud)


def test_unsigned_handshake_is_refused(scene: Scene, cloud: Cloud) -> None:
    trigger_id = scene.trigger(scene.live(), scheme="slack")

    response = send(scene, trigger_id, {}, b'{"type": "url_verification", "challenge": "c-1"}')

    assert code_of(response) == (401, "UNAUTHORIZED")
    assert_nothing_happened(scene, cloud)


# ── While PostgreSQL does not answer ──────────────────────────────────────────────────────────────


@pytest.fixture(params=["refusing", "hanging"])
def silent_port(request: pytest.FixtureRequest) -> Generator[int]:
    """A port where PostgreSQL is not: nobody listens there, or somebody who never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "hanging":
            listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def asleep(functions: Functioning, databases: dict[Role, str], silent_port: int) -> None:
    """The receiver's database URL leads to the silent port; every other function's to the real one."""
    url = databases[Role.APP]
    parts = conninfo_to_dict(url)
    silent = f"postgresql://{Role.APP}:x@127.0.0.1:{silent_port}/{parts['dbname']}"
    assert make_conninfo(silent)
    functions.platforms["receive_webhook"] = functions.platform_for(
        receive_webhook.declaration.needs,
        clients=functions.cloud.client,
        settings={**functions.cloud.settings, Setting.DATABASE_URL: silent},
    )


@pytest.mark.usefixtures("asleep")
def test_delivery_is_parked_while_postgresql_does_not_answer_and_stored_once_later(scene: Scene, cloud: Cloud) -> None:
    trigger_id = scene.trigger(scene.live())
    started = time.monotonic()

    response = send(scene, trigger_id, github_headers(BODY))

    took_seconds = time.monotonic() - started
    receipt = body_of(response)
    assert (response["statusCode"], receipt["status"]) == (202, "parked")
    assert took_seconds < 3
    assert scene.rows(EVENTS) == []
    [parked] = cloud.take(Setting.RAW_EVENT_QUEUE_URL)
    assert scene.functions.consume(store_raw_event, parked) == []
    assert scene.functions.consume(store_raw_event, parked) == []
    [event] = scene.rows(EVENTS)
    assert (str(event["id"]), event["payload"]) == (receipt["eventId"], BODY.decode())
    assert scene.rows(OUTBOX) == [{"event_id": event["id"], "type": "issues.opened", "priority": 2}]
    assert len(cloud.take(Setting.RELAY_QUEUE_URL)) == 1
    assert len(cloud.marked_shards()) == 1


@pytest.mark.usefixtures("asleep")
@pytest.mark.parametrize("silent_port", ["refusing"], indirect=True)
def test_delivery_that_was_parked_and_sent_again_is_one_event(
    scene: Scene, cloud: Cloud, functions: Functioning
) -> None:
    trigger_id = scene.trigger(scene.live())
    send(scene, trigger_id, github_headers(BODY))
    [parked] = cloud.take(Setting.RAW_EVENT_QUEUE_URL)
    del functions.platforms["receive_webhook"]

    awake = send(scene, trigger_id, github_headers(BODY))
    failed = scene.functions.consume(store_raw_event, parked)

    assert failed == []
    assert body_of(awake)["status"] == "accepted"
    assert [str(event["id"]) for event in scene.rows(EVENTS)] == [body_of(awake)["eventId"]]
    assert len(scene.rows(OUTBOX)) == 1


@pytest.mark.usefixtures("asleep")
@pytest.mark.parametrize("silent_port", ["refusing"], indirect=True)
def test_receiver_stores_again_once_postgresql_answers(
    scene: Scene, functions: Functioning, database: Database
) -> None:
    trigger_id = scene.trigger(scene.live())
    parked = send(scene, trigger_id, github_headers(BODY))
    receiver = receiver_of(functions.platforms["receive_webhook"])
    receiver._make_keeper = lambda: EventKeeper(database, _Quiet())  # type: ignore[arg-type, method-assign]  # as if the same URL led to a database again

    stored = send(scene, trigger_id, github_headers(BODY, delivery_id="d-2"))

    assert [body_of(parked)["status"], body_of(stored)["status"]] == ["parked", "accepted"]


class _Quiet:
    def before_commit(self, scope: Scope) -> None:
        pass

    def after_commit(self) -> None:
        pass


@dataclass(slots=True)
class Queue:
    """SQS, as far as parking goes."""

    sent: list[str] = field(default_factory=list[str])

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:  # noqa: N803  # AWS's own names
        """Remembers the message."""
        assert QueueUrl == "url"
        self.sent.append(MessageBody)


def test_parked_event_comes_back_as_it_went(scene: Scene, cloud: Cloud) -> None:
    queue = Queue()
    event = scene.event(TriggerId(uuid.uuid4()), payload={"text": "ä" * 1_000_000}, headers={"x": "ü"})

    RawEventQueue(queue, "url").park(event)  # type: ignore[arg-type]  # all it asks of SQS

    assert RawEventQueue.unpark(queue.sent[0]) == event
    assert len(queue.sent[0]) < 1024 * 1024


def test_garbage_in_the_parking_queue_does_not_hold_up_its_batch(scene: Scene, cloud: Cloud) -> None:
    queue = Queue()
    RawEventQueue(queue, "url").park(scene.event(TriggerId(uuid.uuid4())))  # type: ignore[arg-type]  # all it asks of SQS
    bodies = {"m-1": "garbage", "m-2": queue.sent[0]}

    records = [sqs_record(body, message_id=name, queue="raw-events") for name, body in bodies.items()]

    failed = scene.functions.consume(store_raw_event, *records)

    assert failed == ["m-1"]
    assert len(scene.rows(EVENTS)) == 1
