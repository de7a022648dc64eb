"""A turn that ends while a call is under way, and failures that are ours and not the vendor's."""

import json
from datetime import timedelta

import pytest

from fastn.errors import InternalError, Unavailable
from fastn.executions.models import ExecutionStatus, Outcome, Yielded
from fastn.executions.running import GRACE_SECONDS, PerformedCall
from fastn.platform.database import DatabaseUnavailable
from tests.unit.executions.staging import Stage

ONE_CALL = "export default async function main() { return await fastn.connector.slack.postMessage({ n: 1 }); }"


def test_a_call_cut_off_by_the_turns_end_is_not_journaled_and_is_made_again(stage: Stage) -> None:
    reference = stage.execution(ONE_CALL)
    stage.host.takes_seconds = 6
    stage.host.answer = lambda _operation, _arguments: PerformedCall(error=Unavailable("timed out"))

    cut_off = stage.run(reference, yield_after_seconds=5)
    steps_then = stage.steps()
    stage.host.takes_seconds = 0
    stage.host.answer = lambda _operation, _arguments: PerformedCall('"sent"')
    end = stage.run(reference)

    assert isinstance(cut_off, Yielded)
    assert steps_then == []
    assert isinstance(end, Outcome)
    assert json.loads(end.output_json or "") == "sent"
    first, second = stage.host.performed
    assert first.idempotency_key == second.idempotency_key


def test_a_vendor_that_fails_within_the_turn_has_failed(stage: Stage) -> None:
    reference = stage.execution(ONE_CALL)
    stage.host.answer = lambda _operation, _arguments: PerformedCall(error=Unavailable("down"))

    end = stage.run(reference, yield_after_seconds=5)

    assert isinstance(end, Outcome)
    assert end.status is ExecutionStatus.FAILED
    assert len(stage.steps()) == 1


def test_a_failure_of_ours_ends_the_launch_and_is_not_told_to_the_program(stage: Stage) -> None:
    reference = stage.execution(ONE_CALL)

    def database_gone(_operation: str, _arguments: object) -> PerformedCall:
        raise DatabaseUnavailable("The database cannot be reached.")

    stage.host.answer = database_gone
    with pytest.raises(InternalError):
        stage.run(reference)
    stage.host.answer = lambda _operation, _arguments: PerformedCall('"sent"')
    end = stage.run(reference)

    assert isinstance(end, Outcome)
    assert end.status is ExecutionStatus.COMPLETED


def test_no_call_may_outlive_its_turn_or_the_run(stage: Stage) -> None:
    short, long = stage.execution(ONE_CALL, timeout_seconds=60), stage.execution(ONE_CALL, timeout_seconds=6)
    now = stage.clock.now()

    stage.run(short, yield_after_seconds=25)
    stage.run(long, yield_after_seconds=25)

    assert stage.untils == [now + timedelta(seconds=25 + GRACE_SECONDS), now + timedelta(seconds=6)]
