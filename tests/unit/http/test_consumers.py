"""What queue consumers, scheduled functions and tasks are given, and what Lambda gets back."""

import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from fastn.http.consumers import BackgroundFunction, Deadline, QueueMessage, queue_consumer, scheduled, task
from fastn.http.declarations import Sizing
from fastn.platform.capabilities import Platform
from fastn.platform.resources import Need, Queue
from tests.foundation.api_calls import LambdaContext
from tests.foundation.platforms import PlatformFor

RECORD = {
    "messageId": "m-1",
    "body": '{"a": 1}',
    "attributes": {"ApproximateReceiveCount": "3", "MessageGroupId": "tenant"},
    "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:events-p1-dlq",
}


def _run(function: BackgroundFunction[Any], platform_for: PlatformFor, event: object) -> object:
    return function.bound_to(platform_for(function.declaration.needs))(
        event, LambdaContext(remaining_milliseconds=1500)
    )


def test_a_consumer_sees_its_messages_and_reports_the_ones_that_failed(platform_for: PlatformFor) -> None:
    seen: list[QueueMessage] = []

    def consume(messages: Sequence[QueueMessage], _platform: Platform) -> list[str]:
        seen.extend(messages)
        return ["m-2"]

    answer = _run(
        queue_consumer(Queue.P1)(consume), platform_for, {"Records": [RECORD, {"messageId": "m-2", "body": "x"}]}
    )

    assert answer == {"batchItemFailures": [{"itemIdentifier": "m-2"}]}
    assert seen[0].json() == {"a": 1}
    assert (seen[0].receive_count, seen[0].source_queue) == (3, "events-p1-dlq")
    assert (seen[1].receive_count, seen[1].source_queue) == (1, "")


def test_a_consumer_that_returns_nothing_has_handled_everything(platform_for: PlatformFor) -> None:
    def consume(_messages: Sequence[QueueMessage], _platform: Platform) -> None:
        return None

    answer = _run(queue_consumer(Queue.P1)(consume), platform_for, {"Records": [RECORD]})

    assert answer == {"batchItemFailures": []}


def test_a_failure_reaches_lambda_so_that_the_batch_comes_again(
    platform_for: PlatformFor, capsys: pytest.CaptureFixture[str]
) -> None:
    def consume(_messages: Sequence[QueueMessage], _platform: Platform) -> None:
        raise ZeroDivisionError

    consume.__module__ = f"function_{uuid.uuid4().hex}"

    with pytest.raises(ZeroDivisionError):
        _run(queue_consumer(Queue.P1)(consume), platform_for, {"Records": [RECORD]})

    output = capsys.readouterr().out
    assert '"errorType":"ZeroDivisionError"' in output
    assert '"Failed":[1.0]' in output
    assert '"a": 1' not in output


def test_a_task_is_given_its_event_and_its_deadline(platform_for: PlatformFor) -> None:
    def work(event: dict[str, int], _platform: Platform, deadline: Deadline) -> dict[str, float]:
        return {"twice": event["n"] * 2, "seconds": deadline.remaining_seconds()}

    assert _run(task()(work), platform_for, {"n": 21}) == {"twice": 42, "seconds": 1.5}


def test_declarations_say_what_was_asked_for() -> None:
    def work(_event: object, _platform: Platform, _deadline: Deadline) -> None:
        return None

    timer = scheduled(every_minutes=5, needs={Need.RELAY_NUDGE})(work).declaration
    job = task(asynchronous=True, sizing=Sizing(memory_mb=1024, timeout_seconds=120))(work).declaration
    consumer = queue_consumer(Queue.P1, Queue.P2, batch_size=1, max_concurrency=2)(work).declaration

    assert (timer.every_minutes, timer.needs) == (5, frozenset({Need.RELAY_NUDGE}))
    assert (job.asynchronous, job.sizing.memory_mb, job.sizing.timeout_seconds) == (True, 1024, 120)
    assert (consumer.queues, consumer.batch_size, consumer.max_concurrency) == ((Queue.P1, Queue.P2), 1, 2)
    assert consumer.summary.startswith("What queue consumers")
