"""One run, and every way it can be interrupted."""

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastn.errors import Rejected
from fastn.executions.errors import ReplayDiverged, RunSuperseded
from fastn.executions.models import ExecutionStatus, Outcome, Yielded
from fastn.executions.running import LONGEST_NAP_SECONDS, PerformedCall
from fastn.platform.database import Database, Role
from fastn.platform.ids import ExecutionId
from tests.unit.executions.programs import EXECUTION, ONE_CALL, SLEEPER, THREE_CALLS, completed
from tests.unit.executions.staging import Killed, Stage, TickingClock, ToldHost


def test_every_call_is_recorded_with_input_output_and_time(stage: Stage) -> None:
    stage.host.takes_seconds = 0.25
    reference = stage.execution(THREE_CALLS, run_input={"x": 1})
    began_at = stage.clock.now()

    output = completed(stage.run(reference))

    steps = stage.steps()
    assert output == [{"x": 1}, *(step["result"] for step in steps)]
    assert [(step["sequence"], step["operation"]) for step in steps] == [
        (1, "connector.slack.postMessage"), (2, "connector.slack.postMessage"), (3, "connector.github.createIssue"),
    ]  # fmt: skip
    assert [step["arguments"]["args"]["n"] for step in steps] == [1, 2, 3]
    assert [step["result"]["echo"]["n"] for step in steps] == [1, 2, 3]
    assert [step["duration_ms"] for step in steps] == [250.0] * 3
    assert [step["started_at"] - began_at for step in steps] == [timedelta(seconds=0.25 * n) for n in range(3)]
    [execution] = stage.rows(EXECUTION)
    assert (execution["status"], json.loads(execution["output"])) == ("completed", output)
    assert execution["finished_at"] - execution["started_at"] == timedelta(seconds=0.75)


# ── Interrupted ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_killed_run_goes_on_where_it_was_and_repeats_only_the_call_it_was_in(stage: Stage, killed_after: int) -> None:
    untouched = completed(stage.run(stage.execution(THREE_CALLS)))
    stage.host.performed.clear()
    stage.host.kills_after_call = {killed_after}
    reference = stage.execution(THREE_CALLS)

    with pytest.raises(Killed):
        stage.run(reference)
    resumed = completed(stage.run(reference))

    seen = [call.arguments["n"] for call in stage.host.performed]
    assert resumed == untouched
    assert seen == [1, 2, 3][:killed_after] + [1, 2, 3][killed_after - 1 :]
    repeated = [call.idempotency_key for call in stage.host.performed if call.arguments["n"] == killed_after]
    assert len(repeated) == 2
    assert len(set(repeated)) == 1
    assert len({call.idempotency_key for call in stage.host.performed}) == 3


def test_same_call_made_twice_has_two_keys_and_keeps_them_over_a_kill(stage: Stage) -> None:
    source = """export default async function main() {
      const call = () => fastn.connector.slack.postMessage({ text: "same" });
      await call(); await call(); return 1;
    }"""
    stage.host.kills_after_call = {2}
    reference = stage.execution(source)

    stage.run_until_over(reference)

    first, second, second_again = [call.idempotency_key for call in stage.host.performed]
    assert first != second == second_again


MIXED = """export default async function main(ctx) {
  const seen = [Date.now(), Math.random()];
  const call = (n) => fastn.connector.slack.postMessage({ n, at: Date.now(), id: crypto.randomUUID() });
  seen.push(await Promise.race([call(1), fastn.sleep(50).then(() => "slept")]));
  seen.push(Date.now());
  seen.push(...await Promise.all([call(2), fastn.sleep(20).then(() => call(3)), call(4).catch((error) => error.name)]));
  await fastn.sleep(10);
  seen.push(await call(5), Date.now(), performance.now());
  return seen;
}"""


def mixed_answer(_operation: str, arguments: Any) -> PerformedCall:
    if arguments["n"] == 4:
        return PerformedCall(error=Rejected("refused", step="postMessage"))
    return PerformedCall(json.dumps(arguments))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.sets(st.integers(1, 12), max_size=6))
def test_wherever_a_run_is_killed_it_ends_as_it_would_have(stage: Stage, kills: set[int]) -> None:
    # Each launch reads another clock, so that whatever the program saw of time must have come from the journal.
    stage.clock = clock = TickingClock()
    stage.host = host = ToldHost(clock, mixed_answer, takes_seconds=0.003, kills_after_call=kills)
    reference = stage.execution(MIXED)

    end = completed(stage.run_until_over(reference))

    told = {call.arguments["n"]: call.arguments for call in host.performed}
    assert all(call.arguments == told[call.arguments["n"]] for call in host.performed)
    assert (end[2], end[4], end[6]) == (told[1], told[2], "Rejected")
    assert len({call.idempotency_key for call in host.performed}) == 5
    assert len(host.performed) == 5 + len({kill for kill in kills if kill <= len(host.performed)})
    assert end[0] <= end[3] <= end[-2]


def test_time_in_a_replay_is_the_first_runs_although_the_machine_went_on(stage: Stage) -> None:
    source = """export default async function main() {
      const before = Date.now();
      const told = await fastn.connector.slack.postMessage({ before });
      const between = Date.now();
      await fastn.connector.slack.postMessage({ between });
      return [before, between];
    }"""
    stage.clock = clock = TickingClock()
    stage.host = ToldHost(clock, kills_after_call={2})
    reference = stage.execution(source)
    with pytest.raises(Killed):
        stage.run(reference)
    clock.advance(30)

    before, between = completed(stage.run(reference))

    assert [call.arguments for call in stage.host.performed] == [
        {"before": before}, {"between": between}, {"between": between},
    ]  # fmt: skip


def test_journal_of_another_program_is_not_replayed(stage: Stage) -> None:
    stage.host.kills_after_call = {2}
    reference = stage.execution(THREE_CALLS)
    with pytest.raises(Killed):
        stage.run(reference)
    _alter_journal(stage)

    with pytest.raises(ReplayDiverged):
        stage.run(reference)

    assert len(stage.host.performed) == 2
    assert {row["status"] for row in stage.rows(EXECUTION)} == {"running", "pending"}


def _alter_journal(stage: Stage) -> None:
    # The platform's own role cannot change a step: so the run is made to be one of another program.
    other = stage.execution(THREE_CALLS.replace("n: 1", "n: 9"))
    with stage.database.transaction(stage.scope) as session:
        session.execute(
            """UPDATE executions SET workflow_id = other.workflow_id, source_sha256 = other.source_sha256
               FROM (SELECT workflow_id, source_sha256 FROM executions WHERE id = %s) other WHERE status = 'running'""",
            (other.execution_id,),
        )


def test_second_launch_at_work_supersedes_the_first_which_then_changes_nothing(
    stage: Stage, databases: dict[Role, str]
) -> None:
    reference = stage.execution(THREE_CALLS)
    other_database = Database(databases[Role.APP])
    other_host = ToldHost(stage.clock, lambda _operation, _arguments: PerformedCall('"other"'))
    other_ends: list[object] = []

    def overtaken(_operation: str, _arguments: Any) -> PerformedCall:
        if not other_ends:
            other_ends.append(stage.runner(other_database, other_host).run(reference))
        return PerformedCall('"first"')

    stage.host.answer = overtaken

    with pytest.raises(RunSuperseded):
        stage.run(reference)

    other_database.close()
    [execution] = stage.rows(EXECUTION)
    assert completed(other_ends[0]) == json.loads(execution["output"]) == [None, "other", "other", "other"]
    assert [step["result"] for step in stage.steps()] == ["other"] * 3
    assert len(stage.host.performed) == 1


def test_run_that_has_ended_is_reported_and_not_touched(stage: Stage) -> None:
    reference = stage.execution(ONE_CALL)
    stage.run(reference)
    before = stage.rows(EXECUTION)

    again = stage.run(reference)

    assert isinstance(again, Outcome)
    assert again.status is ExecutionStatus.COMPLETED
    assert stage.rows(EXECUTION) == before
    assert len(stage.host.performed) == 1


def test_unknown_run_is_none(stage: Stage) -> None:
    reference = stage.execution(ONE_CALL)

    end = stage.run(replace(reference, execution_id=ExecutionId(uuid.UUID(int=0))))

    assert end is None


# ── Time ──────────────────────────────────────────────────────────────────────────────────────────


def test_sleep_takes_its_time_and_is_recorded(stage: Stage) -> None:
    reference = stage.execution(SLEEPER)
    began_at = stage.clock.now()

    woke_at_ms = completed(stage.run(reference))

    assert stage.slept == [10.0]
    assert woke_at_ms == int((began_at.timestamp() + 10) * 1000)
    assert [(step["operation"], step["duration_ms"]) for step in stage.steps()] == [("sleep", 10_000.0)]


def test_run_killed_in_its_sleep_sleeps_only_for_what_is_left(stage: Stage) -> None:
    reference = stage.execution(SLEEPER)

    def die_after_three_seconds() -> None:
        if len(stage.slept) == 1:
            stage.clock.advance(3)
            raise Killed

    stage.on_sleep = die_after_three_seconds

    stage.run_until_over(reference)

    assert stage.slept == [10.0, 7.0]


def test_sleep_after_a_call_counts_from_the_calls_end_also_in_a_replay(stage: Stage) -> None:
    source = """export default async function main() {
      await fastn.connector.slack.postMessage({});
      await fastn.sleep(10000);
    }"""
    stage.host.takes_seconds = 2.0
    stage.on_sleep = lambda: stage.clock.advance(4) if len(stage.slept) == 1 else None
    reference = stage.execution(source)
    _kill_in_first_sleep(stage, 4)

    stage.run_until_over(reference)

    assert stage.slept == [10.0, 6.0]
    assert len(stage.host.performed) == 1


def _kill_in_first_sleep(stage: Stage, after_seconds: float) -> None:
    def die() -> None:
        if len(stage.slept) == 1:
            stage.clock.advance(after_seconds)
            raise Killed

    stage.on_sleep = die


def test_long_sleep_gives_the_process_back_and_resumes_when_it_is_over(stage: Stage) -> None:
    reference = stage.execution(SLEEPER.replace("10000", "40000"), timeout_seconds=120)
    began_at = stage.clock.now()

    first = stage.run(reference, yield_after_seconds=600)
    stage.clock.advance(15)
    too_early = stage.run(reference, yield_after_seconds=600)
    woken = stage.run(reference, yield_after_seconds=600)

    resume_at = began_at + timedelta(seconds=40)
    assert LONGEST_NAP_SECONDS == 30
    assert first == Yielded(resume_at)
    # 25 s are left: short enough to wait for them here.
    assert completed(too_early) == int(resume_at.timestamp() * 1000)
    assert stage.slept == [25.0]
    assert isinstance(woken, Outcome)


def test_sleep_beyond_the_segments_end_yields(stage: Stage) -> None:
    reference = stage.execution(SLEEPER)

    end = stage.run(reference, yield_after_seconds=5)

    assert end == Yielded(stage.clock.now() + timedelta(seconds=10))
    assert stage.slept == []
    assert stage.steps() == []


def test_segment_without_time_left_makes_one_step_of_progress(stage: Stage) -> None:
    reference = stage.execution(THREE_CALLS)

    ends = [stage.run(reference, yield_after_seconds=0) for _ in range(4)]

    assert [type(end) for end in ends] == [Yielded, Yielded, Yielded, Outcome]
    assert [call.arguments["n"] for call in stage.host.performed] == [1, 2, 3]


def test_timers_fire_by_their_time_and_not_by_their_order(stage: Stage) -> None:
    source = """export default async function main() {
      const order = [];
      setTimeout(() => order.push("c"), 30);
      setTimeout(() => order.push("a"), 10);
      setTimeout(() => order.push("b"), 10);
      await fastn.sleep(40);
      return order;
    }"""

    assert completed(stage.run(stage.execution(source))) == ["a", "b", "c"]


def test_timer_that_nobody_awaits_does_not_hold_the_result(stage: Stage) -> None:
    source = "export default async function main() { setTimeout(() => {}, 50000); return 1; }"

    assert completed(stage.run(stage.execution(source))) == 1
    assert stage.slept == []


def test_cleared_timer_is_not_waited_for(stage: Stage) -> None:
    source = """export default async function main() {
      const guard = setTimeout(() => {}, 1000);
      await fastn.connector.slack.postMessage({});
      clearTimeout(guard);
      await fastn.sleep(5000);
    }"""

    completed(stage.run(stage.execution(source)))

    assert stage.slept == [5.0]
    assert [step["operation"] for step in stage.steps()] == ["connector.slack.postMessage", "sleep"]


def test_replayed_timer_is_reacted_to_before_the_next_is_waited_for(stage: Stage) -> None:
    source = """export default async function main() {
      const quick = fastn.sleep(1000).then(() => fastn.connector.slack.postMessage({ n: 1 }));
      const slow = fastn.sleep(20000);
      await quick;
      await fastn.connector.slack.postMessage({ n: 2 });
      await slow;
    }"""
    stage.host.kills_after_call = {2}
    reference = stage.execution(source)

    stage.run_until_over(reference)

    assert stage.slept == [1.0, 19.0]
    assert [call.arguments["n"] for call in stage.host.performed] == [1, 2, 2]


# ── Ends ──────────────────────────────────────────────────────────────────────────────────────────
