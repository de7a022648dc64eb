"""Queues, buses and schedules deliver what AWS delivers, and what fails ends up where it should."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.local.conftest import Laptop, wait_until

pytestmark = pytest.mark.e2e


def send(laptop: Laptop, body: object) -> None:
    laptop.client("sqs").send_message(QueueUrl=laptop.endpoints.outputs["WorkQueueUrl"], MessageBody=json.dumps(body))


def put_event(laptop: Laptop, source: str, detail: object) -> None:
    entry = {"Source": source, "DetailType": "Probe", "Detail": json.dumps(detail), "EventBusName": "probe"}
    assert laptop.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def test_message_reported_as_failed_is_retried_then_dead_lettered_and_its_neighbour_is_not(
    laptop: Laptop, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    url = laptop.endpoints.outputs["WorkQueueUrl"]
    bodies = [{"record_to": str(good)}, {"record_to": str(bad), "bad": True}]
    entries = [{"Id": str(number), "MessageBody": json.dumps(body)} for number, body in enumerate(bodies)]

    laptop.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
    dead = laptop.next_message("DeadQueueUrl")

    assert json.loads(dead["Body"])["record_to"] == str(bad)
    assert len(good.read_text().splitlines()) == 1
    assert len(bad.read_text().splitlines()) == 2


def test_function_starts_soon_after_its_message_is_sent(laptop: Laptop, tmp_path: Path) -> None:
    record = tmp_path / "record"
    delays: list[float] = []
    for number in range(1, 11):
        sent_at = time.time()
        send(laptop, {"record_to": str(record)})
        wait_until(lambda expected=number: record.exists() and len(record.read_text().splitlines()) == expected)
        delays.append(float(record.read_text().splitlines()[-1]) - sent_at)

    # The emulator's own pause between two batches is 50 ms; the quickest few are free of this machine's noise.
    assert sorted(delays)[2] < 0.03


def test_asynchronous_invocation_is_retried_twice_then_sent_to_its_destination(laptop: Laptop, tmp_path: Path) -> None:
    attempts = tmp_path / "attempts"
    event = {"attempts": str(attempts), "succeeds_at": 9}

    laptop.client("lambda").invoke(FunctionName="fail_until", InvocationType="Event", Payload=json.dumps(event))
    record = json.loads(laptop.next_message("FailureQueueUrl")["Body"])

    assert len(attempts.read_text()) == 3
    assert record["requestPayload"] == event
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["responsePayload"]["errorType"] == "CustomError"


def test_event_reaches_the_queue_its_rule_names(laptop: Laptop, tmp_path: Path) -> None:
    record = tmp_path / "record"

    put_event(laptop, "probe.queue", {"record_to": str(record)})

    wait_until(record.exists)


def test_message_group_of_a_rule_is_kept_on_a_standard_queue(laptop: Laptop) -> None:
    put_event(laptop, "probe.group", {"n": 1})

    message = laptop.next_message("GroupQueueUrl")

    assert message["Attributes"]["MessageGroupId"] == "tenant-a"


def test_function_behind_a_rule_is_retried(laptop: Laptop, tmp_path: Path) -> None:
    attempts = tmp_path / "attempts"

    put_event(laptop, "probe.function", {"attempts": str(attempts), "succeeds_at": 2})

    wait_until(lambda: attempts.exists() and len(attempts.read_text()) == 2)


def test_archive_of_the_template_exists(laptop: Laptop) -> None:
    name = laptop.endpoints.outputs["ArchiveArn"].rpartition("/")[2]

    archive = laptop.client("events").describe_archive(ArchiveName=name)

    assert archive["RetentionDays"] == 7


def test_one_time_schedule_fires_once_on_time_with_its_context_attributes(laptop: Laptop) -> None:
    due = (datetime.now(UTC) + timedelta(seconds=2)).replace(microsecond=0)
    schedules = laptop.client("scheduler")
    answer = schedules.create_schedule(
        Name="once",
        ScheduleExpression=f"at({due:%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        ActionAfterCompletion="DELETE",
        Target={
            "Arn": laptop.endpoints.outputs["ScheduleQueueArn"],
            "RoleArn": "arn:aws:iam::000000000000:role/probe",
            "Input": '{"at":"<aws.scheduler.scheduled-time>","arn":"<aws.scheduler.schedule-arn>",'
            '"attempt":"<aws.scheduler.attempt-number>","id":"<aws.scheduler.execution-id>"}',
        },
    )

    body = json.loads(laptop.next_message("ScheduleQueueUrl")["Body"])

    assert 0 <= (datetime.now(UTC) - due).total_seconds() < 2
    assert body["at"] == f"{due:%Y-%m-%dT%H:%M:%SZ}"
    assert body["arn"] == answer["ScheduleArn"]
    assert body["attempt"] == "1"
    assert "<" not in body["id"]
    with pytest.raises(schedules.exceptions.ResourceNotFoundException):
        schedules.get_schedule(Name="once")


def test_schedule_in_a_time_zone_is_due_when_its_clock_shows_the_time(laptop: Laptop) -> None:
    from zoneinfo import ZoneInfo

    there = datetime.now(ZoneInfo("Asia/Kolkata")) + timedelta(seconds=2)
    laptop.client("scheduler").create_schedule(
        Name="kolkata",
        ScheduleExpression=f"at({there:%Y-%m-%dT%H:%M:%S})",
        ScheduleExpressionTimezone="Asia/Kolkata",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": laptop.endpoints.outputs["ScheduleQueueArn"],
            "RoleArn": "arn:aws:iam::000000000000:role/probe",
            "Input": '{"zone":"kolkata"}',
        },
    )

    assert json.loads(laptop.next_message("ScheduleQueueUrl")["Body"]) == {"zone": "kolkata"}
