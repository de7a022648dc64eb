"""A failed run is attempted again after the policy's waits; what it wrote, it does not write twice."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from fastn.errors import Rejected
from fastn.executions.models import ExecutionStatus, Outcome, RecordedStep, RunReference, Yielded
from fastn.executions.rerunning import taken_over
from fastn.executions.running import PerformedCall
from fastn.executions.service import get_execution
from fastn.workflows.models import RetryPolicy
from tests.unit.executions.staging import Killed, Stage

FAILING = "export default async function main() { throw new Error('mine'); }"
READ_WRITE_WRITE = """export default async function main() {
  const read = await fastn.connector.slack.getChannel({});
  const id = crypto.randomUUID();
  const one = await fastn.connector.slack.postMessage({ n: 1, id });
  const two = await fastn.connector.slack.postMessage({ n: 2, id });
  return [read.told, one.told, two.told];
}"""
EXECUTION = "SELECT status, attempt, error, attempts, next_attempt_at FROM executions"


class Counting:
    """A vendor whose answers are numbered; it refuses the calls it was told to."""

    def __init__(self, *refused: int) -> None:
        self.calls = 0
        self.refused = set(refused)

    def __call__(self, _operation: str, _arguments: Any) -> PerformedCall:
        self.calls += 1
        if self.calls in self.refused:
            return PerformedCall(error=Rejected(f"no {self.calls}"))
        return PerformedCall(json.dumps({"told": self.calls}))


def waits(stage: Stage, reference: RunReference) -> list[float]:
    """The seconds the run asked to wait for, until it was over."""
    waited: list[float] = []
    while isinstance(end := stage.run(reference), Yielded):
        waited.append((end.resume_at - stage.clock.now()).total_seconds())
        stage.clock.advance(waited[-1])
    return waited


def output(end: object) -> Any:
    """What a completed run returned."""
    assert isinstance(end, Outcome)
    assert end.status is ExecutionStatus.COMPLETED, end.error_json
    return json.loads(end.output_json or "")


def _number(arguments: Any) -> int | None:
    return arguments.get("n")


def performed(stage: Stage) -> list[tuple[str, Any]]:
    """What reached the vendor."""
    return [(call.operation.rpartition(".")[2], _number(call.arguments)) for call in stage.host.performed]


def test_failed_run_is_tried_after_5_and_10_seconds_and_then_final(stage: Stage) -> None:
    reference = stage.execution(FAILING, retry=RetryPolicy())

    waited = waits(stage, reference)

    [row] = stage.rows(EXECUTION)
    assert waited == [5.0, 10.0]
    assert (row["status"], row["attempt"], row["error"]["message"]) == ("failed", 3, "mine")
    assert [(a["attempt"], a["status"], a["error"]["message"]) for a in row["attempts"]] == [
        (1, "failed", "mine"), (2, "failed", "mine"),
    ]  # fmt: skip


def test_run_without_a_policy_is_final_at_once(stage: Stage) -> None:
    assert waits(stage, stage.execution(FAILING)) == []


def test_attempt_is_not_begun_before_it_is_due_however_often_it_is_launched(stage: Stage) -> None:
    reference = stage.execution(FAILING, retry=RetryPolicy())
    first = stage.run(reference)
    stage.clock.advance(4.999)

    assert [stage.run(reference) for _ in range(3)] == [first] * 3
    assert stage.rows(EXECUTION)[0]["attempt"] == 2
    view = get_execution(stage.database, stage.scope, reference.execution_id)
    assert isinstance(first, Yielded)
    assert (view.status, view.attempt, view.next_attempt_at) == ("running", 2, first.resume_at)


def test_program_that_does_not_compile_is_not_tried_again(stage: Stage) -> None:
    assert waits(stage, stage.execution("export default async function main( {", retry=RetryPolicy())) == []


def test_each_attempt_has_the_whole_time_limit(stage: Stage) -> None:
    stage.host.takes_seconds = 31
    source = READ_WRITE_WRITE.replace("postMessage", "getMessage")
    reference = stage.execution(source, timeout_seconds=60, retry=RetryPolicy(max_attempts=2))

    waited = waits(stage, reference)

    [row] = stage.rows(EXECUTION)
    assert waited == [5.0]
    assert (row["status"], row["attempts"][0]["status"]) == ("timed_out", "timed_out")
    assert len(stage.host.performed) == 4


def test_second_attempt_reads_anew_and_is_given_the_receipt_of_what_the_first_wrote(stage: Stage) -> None:
    stage.host.answer = Counting(3)
    reference = stage.execution(READ_WRITE_WRITE, retry=RetryPolicy())
    stage.run(reference)
    stage.clock.advance(5)

    end = stage.run(reference)

    assert output(end) == [4, 2, 5]
    assert performed(stage) == [
        ("getChannel", None), ("postMessage", 1), ("postMessage", 2), ("getChannel", None), ("postMessage", 2),
    ]  # fmt: skip
    assert stage.host.performed[2].idempotency_key == stage.host.performed[4].idempotency_key
    view = get_execution(stage.database, stage.scope, reference.execution_id)
    assert [(s.attempt, s.sequence, s.status, s.receipt_of_attempt) for s in view.steps if "post" in s.operation] == [
        (1, 2, "succeeded", None), (1, 3, "failed", None), (2, 2, "succeeded", 1), (2, 3, "succeeded", None),
    ]  # fmt: skip


def test_third_attempt_is_given_each_receipt_once(stage: Stage) -> None:
    source = """export default async function main() {
      const told = [];
      for (let n = 0; n < 3; n++) told.push((await fastn.connector.slack.postMessage({ same: true })).told);
      return told;
    }"""
    stage.host.answer = Counting(2, 4)
    reference = stage.execution(source, retry=RetryPolicy())

    assert waits(stage, reference) == [5.0, 10.0]

    assert stage.host.answer.calls == 5
    assert stage.rows("SELECT output FROM executions")[0]["output"] == [1, 3, 5]


def test_write_the_program_made_again_by_itself_is_not_made_a_third_time(stage: Stage) -> None:
    source = """export default async function main() {
      const write = () => fastn.connector.slack.postMessage({});
      const one = await write().catch(write);
      await fastn.connector.slack.getChannel({});
      return one.told;
    }"""
    stage.host.answer = Counting(1, 3)
    reference = stage.execution(source, retry=RetryPolicy())
    stage.run(reference)
    stage.clock.advance(5)

    assert output(stage.run(reference)) == 2
    assert performed(stage) == [("postMessage", None)] * 2 + [("getChannel", None)] * 2


@pytest.mark.parametrize("kill_after", [1, 2, 3, 4, 5, 6])
def test_process_that_dies_in_any_attempt_writes_nothing_twice_but_the_call_it_was_in(
    stage: Stage, kill_after: int
) -> None:
    by_key: dict[str, int] = {}
    numbered = Counting()

    def vendor(_operation: str, arguments: Any) -> PerformedCall:
        # It honours its keys, as a vendor must for a call that was lost on the way back.
        key = stage.host.performed[-1].idempotency_key
        if _number(arguments) == 2 and key not in by_key and stage.clock.now() < due:
            return PerformedCall(error=Rejected("not yet"))
        if key not in by_key:
            by_key[key] = json.loads(numbered("", None).result_json)["told"]
        return PerformedCall(json.dumps({"told": by_key[key]}))

    due = stage.clock.now().replace(minute=1)
    stage.host.answer = vendor
    stage.host.kills_after_call = {kill_after}
    reference = stage.execution(READ_WRITE_WRITE, retry=RetryPolicy(initial_interval_ms=60_000))

    end: object = Yielded(stage.clock.now())
    while isinstance(end, Yielded):
        stage.clock.advance(max(0.0, (end.resume_at - stage.clock.now()).total_seconds()))
        try:
            end = stage.run(reference)
        except Killed:
            continue

    assert output(end)[1:] == [2, by_key[stage.host.performed[-1].idempotency_key]]
    writes = {(c.idempotency_key, _number(c.arguments)) for c in stage.host.performed if "post" in c.operation}
    assert sorted(n or 0 for _, n in writes) == [1, 2]


# ── What a re-run takes over ──────────────────────────────────────────────────────────────────────

BEGAN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def step(
    attempt: int, sequence: int, name: str, *, error: str | None = None, receipt: int | None = None
) -> RecordedStep:
    """A recorded call; equal names are equal calls."""
    return RecordedStep(
        sequence=sequence,
        operation="connector.slack.postMessage",
        arguments_sha256=name.encode(),
        arguments_json="{}",
        result_json=None if error else json.dumps(f"{name}{attempt}{sequence}"),
        error_json=json.dumps({"name": "Rejected", "message": error}) if error else None,
        exchange_json=None,
        started_at=BEGAN,
        duration_ms=1.0,
        attempt=attempt,
        receipt_of_attempt=receipt,
    )


def taken(steps: list[RecordedStep], attempt: int, error: str | None) -> list[tuple[int, int, str]]:
    """Attempt, sequence and call of each step taken over."""
    error_json = json.dumps({"name": "Rejected", "message": error}) if error else None
    return [(s.attempt, s.sequence, s.arguments_sha256.decode()) for s in taken_over(steps, attempt, error_json)]


def test_journal_ends_before_the_step_that_failed_the_run_and_not_before_one_the_program_caught() -> None:
    steps = [step(1, 1, "a", error="caught"), step(1, 2, "b"), step(1, 3, "c", error="fatal")]

    assert taken(steps, 1, "fatal") == [(1, 1, "a"), (1, 2, "b")]


def test_write_that_succeeded_beside_the_failed_one_is_taken_over_as_a_receipt() -> None:
    steps = [step(1, 1, "a"), step(1, 2, "b", error="fatal"), step(1, 3, "c")]

    assert taken(steps, 1, "fatal") == [(0, 1, "c"), (1, 1, "a")]


def test_run_that_no_step_failed_leaves_its_whole_journal() -> None:
    assert taken([step(1, 1, "a"), step(1, 2, "b")], 1, "thrown") == [(1, 1, "a"), (1, 2, "b")]


def test_receipts_the_last_attempt_had_not_reached_are_taken_over_and_those_it_used_are_not() -> None:
    first = [step(1, 1, "a"), step(1, 2, "b"), step(1, 3, "x", error="first")]
    second = [step(2, 1, "a", receipt=1), step(2, 2, "y", error="fatal")]

    assert taken([*first, *second], 2, "fatal") == [(0, 1, "b"), (1, 1, "a")]
