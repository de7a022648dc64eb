"""What was given up is kept once, for its owner, with why."""

import base64
import json
import uuid
import zlib
from typing import Any

from functions.events.keep_dead_letter import handler as keep_dead_letter
from tests.integration.events.cloud import sqs_record
from tests.integration.events.scene import Scene

LETTERS = "SELECT id, stage, event_id, execution_id, payload, error, created_at FROM dead_letters"
MESSAGE_ID = "0190a1b2-0000-7000-8000-000000000001"


def keep(scene: Scene, body: object, *, queue: str, message_id: str = MESSAGE_ID, times: int = 1) -> list[str]:
    """Hands over the same dead letter so many times; the ids that failed."""
    record = sqs_record(body, message_id=message_id, queue=queue)
    return [failed for _ in range(times) for failed in scene.functions.consume(keep_dead_letter, record)]


def execution_of(scene: Scene, status: str = "running") -> uuid.UUID:
    """A stored run in this status."""
    execution_id = uuid.uuid4()
    finished_at = scene.clock.now() if status not in ("pending", "running") else None
    with scene.database.transaction(scene.scope) as session:
        session.execute(
            """INSERT INTO executions (organization_id, space_id, tenant_id, id, environment, workflow_id,
                   source_sha256, tier, status, timeout_seconds, triggered_by, input, headers, random_seed, trace_id,
                   created_at, started_at, finished_at)
               VALUES (%s, %s, %s, %s, 'production', %s, '\\x00', 'instant', %s, 30, 'webhook', '{}', '{}', '\\x00',
                   't', %s, %s, %s)""",
            (
                scene.scope.organization_id, scene.scope.space_id, scene.scope.tenant_id, execution_id, uuid.uuid4(),
                status, scene.clock.now(), scene.clock.now(), finished_at,
            ),
        )  # fmt: skip
    return execution_id


def failed_invocation(scene: Scene, execution_id: uuid.UUID) -> dict[str, Any]:
    """What Lambda's on-failure destination sends.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    return {
        "version": "1.0",
        "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": {**scene.scope.as_text(), "executionId": str(execution_id), "launch": 1},
        "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "boom"},
    }


def test_event_that_could_not_be_routed_is_one_letter_however_often_it_is_seen(scene: Scene) -> None:
    event = scene.stored_event()

    failed = keep(scene, scene.bus_message(event), queue="events-p2-dlq", times=2)

    [letter] = scene.rows(LETTERS)
    assert failed == []
    assert (letter["stage"], letter["event_id"], str(letter["id"])) == ("route", event.id, MESSAGE_ID)
    assert letter["payload"]["detail"]["eventId"] == str(event.id)
    assert "events-p2-dlq" in letter["error"]["message"]


def test_parked_delivery_that_could_not_be_stored_is_kept_with_its_content(scene: Scene) -> None:
    parked = {"scope": scene.scope.as_text(), "id": str(uuid.uuid4()), "payload": '{"n": 1}'}
    body = base64.b64encode(zlib.compress(json.dumps(parked).encode())).decode()

    failed = keep(scene, body, queue="raw-events-dlq", times=2)

    [letter] = scene.rows(LETTERS)
    assert failed == []
    assert (letter["stage"], letter["payload"]["payload"]) == ("receive", '{"n": 1}')


def test_instant_run_whose_executor_died_is_failed_once_and_kept_once(scene: Scene) -> None:
    execution_id = execution_of(scene)

    failed = keep(scene, failed_invocation(scene, execution_id), queue="tasks-dlq", times=2)

    [letter] = scene.rows(LETTERS)
    [run] = scene.rows("SELECT status, error, finished_at FROM executions")
    assert failed == []
    assert (letter["stage"], letter["execution_id"]) == ("execute", execution_id)
    assert (run["status"], run["error"]["name"]) == ("failed", "ExecutorFailed")
    assert run["finished_at"] == scene.clock.now()


def test_run_that_had_ended_is_not_touched(scene: Scene) -> None:
    execution_id = execution_of(scene, "completed")

    keep(scene, failed_invocation(scene, execution_id), queue="tasks-dlq")

    assert scene.rows(LETTERS) == []
    assert scene.rows("SELECT status, error FROM executions") == [{"status": "completed", "error": None}]


def test_letter_about_a_strangers_run_changes_nothing(scene: Scene, stranger: Scene) -> None:
    execution_id = execution_of(stranger)

    keep(scene, failed_invocation(scene, execution_id), queue="tasks-dlq")

    assert scene.rows(LETTERS) == stranger.rows(LETTERS) == []
    assert stranger.rows("SELECT status FROM executions") == [{"status": "running"}]


def test_relays_nudge_is_let_go_because_its_rows_are_still_there(scene: Scene) -> None:
    failed = keep(scene, {"reason": "committed"}, queue="relay-dlq")

    assert (failed, scene.rows(LETTERS)) == ([], [])


def test_letter_that_nobody_can_read_does_not_hold_up_the_others(scene: Scene) -> None:
    event = scene.stored_event()
    bodies = {"m-1": "garbage", "m-2": "[]", "m-3": "eJw=", MESSAGE_ID: json.dumps(scene.bus_message(event))}

    failed = scene.functions.consume(
        keep_dead_letter,
        *(sqs_record(body, message_id=name, queue="events-p2-dlq") for name, body in bodies.items()),
    )

    assert failed == ["m-1", "m-2", "m-3"]
    assert len(scene.rows(LETTERS)) == 1
