"""A cancelled run stops, wherever it is, and records nothing more."""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fastn.access.models import KeyMode, Principal
from fastn.errors import FastnError, Forbidden, NotFound
from fastn.executions.cancellation import CancelWatch
from fastn.executions.errors import ExecutionEnded
from fastn.executions.models import ExecutionStatus, Outcome, RunReference, Yielded
from fastn.executions.running import PerformedCall, RunEnd
from fastn.executions.service import CancelTools, cancel_execution
from fastn.executions.stopping import Couriers, RunStopped, StopSignal
from fastn.platform.egress import OutboundRequest, OutboundResponse
from fastn.platform.scope import Scope
from fastn.workflows.models import RetryPolicy
from tests.unit.executions.staging import Stage

TWO_CALLS = """export default async function main() {
  const one = await fastn.connector.slack.postMessage({ n: 1 });
  return [one, await fastn.connector.slack.postMessage({ n: 2 })];
}"""
ONE_CALL_THEN = "export default async function main() { await fastn.connector.slack.postMessage({}); %s }"
LOOK_SECONDS = 0.02


@dataclass(slots=True)
class Desk:
    """Cancels runs, and runs them in a process that looks for the flag every 20 ms."""

    stage: Stage
    up: list[RunReference] = field(default_factory=list[RunReference])
    looks: int = 0

    def cancel(self, reference: RunReference, mode: KeyMode = KeyMode.LIVE) -> ExecutionStatus:
        """What the canceller is told."""
        tools = CancelTools(self.stage.database, self.up.append, self.stage.clock)
        principal = Principal(uuid.uuid4(), mode, reference.scope, frozenset())
        return cancel_execution(tools, reference.scope, reference.execution_id, principal).status

    def is_up(self, reference: RunReference) -> bool:
        """Whether the flag of this run was put up."""
        self.looks += 1
        return reference in self.up

    def run(self, reference: RunReference, *, really_sleeps: bool = False) -> RunEnd | None:
        """One launch."""
        runner = self.stage.runner()
        runner.watch = CancelWatch(self.is_up, look_seconds=LOOK_SECONDS)
        if really_sleeps:
            runner.sleep = None
        return runner.run(reference)

    def during_call(self, reference: RunReference) -> None:
        """Cancels the run while the vendor answers its next call."""

        def answer(_operation: str, _arguments: Any) -> PerformedCall:
            assert self.cancel(reference) is ExecutionStatus.CANCELLED
            return PerformedCall()

        self.stage.host.answer = answer


@pytest.fixture
def desk(stage: Stage) -> Desk:
    """Nothing is cancelled."""
    return Desk(stage)


def states(stage: Stage) -> list[str]:
    """The status of each run."""
    return [row["status"] for row in stage.rows("SELECT status FROM executions ORDER BY id")]


def is_cancelled(end: object) -> bool:
    """Whether the executor let go of the run as of a cancelled one."""
    return isinstance(end, Outcome) and end.status is ExecutionStatus.CANCELLED


def test_pending_run_that_is_cancelled_never_begins(stage: Stage, desk: Desk) -> None:
    reference = stage.execution(TWO_CALLS)

    told = desk.cancel(reference)

    assert told is ExecutionStatus.CANCELLED
    assert is_cancelled(desk.run(reference))
    assert stage.host.performed == []
    [row] = stage.rows("SELECT status, error, finished_at FROM executions")
    assert (row["status"], row["error"]["name"], row["finished_at"]) == ("cancelled", "Cancelled", stage.clock.now())


def test_run_cancelled_during_a_call_records_no_further_step_even_if_nobody_looks_for_the_flag(
    stage: Stage, desk: Desk
) -> None:
    reference = stage.execution(TWO_CALLS)
    desk.during_call(reference)

    end = stage.run(reference)

    assert is_cancelled(end)
    assert (len(stage.host.performed), stage.steps(), states(stage)) == (1, [], ["cancelled"])


def test_run_cancelled_while_it_sleeps_stops_there(stage: Stage, desk: Desk) -> None:
    source = "export default async function main() { await fastn.sleep(10000); return 1; }"
    reference = stage.execution(source)

    def while_it_sleeps() -> None:
        desk.cancel(reference)

    stage.on_sleep = while_it_sleeps

    end = stage.run(reference)

    assert is_cancelled(end)
    assert (stage.steps(), states(stage)) == ([], ["cancelled"])


@pytest.mark.parametrize(
    ("rest", "really_sleeps"), [("while (true) {}", False), ("await fastn.sleep(25000);", True)], ids=["loop", "sleep"]
)
def test_flag_stops_the_run_within_two_seconds_wherever_it_is(
    stage: Stage, desk: Desk, rest: str, really_sleeps: bool
) -> None:
    reference = stage.execution(ONE_CALL_THEN % rest)
    # The step before is recorded, so that only the flag can tell: the cancellation itself comes from elsewhere.
    stage.host.answer = lambda _operation, _arguments: desk.up.append(reference) or PerformedCall()
    began = time.monotonic()

    end = desk.run(reference, really_sleeps=really_sleeps)

    assert is_cancelled(end)
    assert time.monotonic() - began < 2


def test_short_run_never_looks_for_its_flag(stage: Stage, desk: Desk) -> None:
    runner = stage.runner()
    runner.watch = CancelWatch(desk.is_up)

    for _ in range(3):
        runner.run(stage.execution(TWO_CALLS))

    assert desk.looks == 0


def test_run_that_has_ended_is_not_cancelled(stage: Stage, desk: Desk) -> None:
    reference = stage.execution(TWO_CALLS)
    stage.run(reference)
    before = stage.rows("SELECT * FROM executions")

    with pytest.raises(ExecutionEnded):
        desk.cancel(reference)

    assert stage.rows("SELECT * FROM executions") == before
    assert desk.up == []


def test_cancelling_twice_is_a_conflict_that_puts_the_flag_up_again(stage: Stage, desk: Desk) -> None:
    reference = stage.execution(TWO_CALLS)
    desk.cancel(reference)

    with pytest.raises(ExecutionEnded):
        desk.cancel(reference)

    assert desk.up == [reference, reference]
    assert states(stage) == ["cancelled"]


def test_run_of_another_customer_is_not_found_and_goes_on(stage: Stage, desk: Desk, sibling: Scope) -> None:
    reference = stage.execution(TWO_CALLS)

    with pytest.raises(NotFound):
        desk.cancel(replace(reference, scope=sibling))

    assert (states(stage), desk.up) == (["pending"], [])


def test_test_key_does_not_cancel_a_run_of_production(stage: Stage, desk: Desk) -> None:
    reference = stage.execution(TWO_CALLS)
    with stage.database.transaction(stage.scope) as session:
        session.execute("UPDATE executions SET environment = 'production'")

    with pytest.raises(Forbidden):
        desk.cancel(reference, KeyMode.TEST)

    assert states(stage) == ["pending"]


def test_run_cancelled_between_two_attempts_is_not_tried_again(stage: Stage, desk: Desk) -> None:
    reference = stage.execution("export default async function main() { throw new Error(); }", retry=RetryPolicy())
    assert isinstance(stage.run(reference), Yielded)

    desk.cancel(reference)
    stage.clock.advance(5)

    assert is_cancelled(stage.run(reference))
    assert states(stage) == ["cancelled"]


# ── The thread that looks ─────────────────────────────────────────────────────────────────────────


def until(holds: Callable[[], bool]) -> None:
    """Waits for another thread; fails after 2 s."""
    limit = time.monotonic() + 2
    while not holds():
        assert time.monotonic() < limit
        threading.Event().wait(0.005)


def test_flag_that_cannot_be_read_is_read_again(stage: Stage) -> None:
    answers = iter([OSError(), OSError(), None])

    def ask(_reference: RunReference) -> bool:
        answer = next(answers)
        if answer is not None:
            raise answer
        return True

    with CancelWatch(ask, look_seconds=0.01)(stage.execution(TWO_CALLS)) as signal:
        until(lambda: signal.is_stopped)


def test_one_watch_serves_one_run_after_the_other(stage: Stage, desk: Desk) -> None:
    watch = CancelWatch(desk.is_up, look_seconds=0.01)
    first, second = stage.execution(TWO_CALLS), stage.execution(TWO_CALLS)
    desk.up.append(second)

    with watch(first) as untouched:
        until(lambda: desk.looks > 2)
    with watch(second) as stopped:
        until(lambda: stopped.is_stopped)

    assert not untouched.is_stopped


# ── Calls under way ───────────────────────────────────────────────────────────────────────────────

REQUEST = OutboundRequest("GET", "https://slack.com/")


class Vendor:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answers = threading.Event()

    def send(self, request: OutboundRequest) -> OutboundResponse:
        """The answer."""
        self.asked.set()
        assert self.answers.wait(10)
        if request.method == "DELETE":
            raise FastnError("refused")
        return OutboundResponse(200, (), b"", request.url)


def test_call_under_way_is_left_when_its_run_is_stopped_and_the_next_run_calls_on() -> None:
    vendor, stop = Vendor(), StopSignal()
    couriers = Couriers(vendor)
    threading.Thread(target=lambda: vendor.asked.wait() and stop.stop()).start()

    with pytest.raises(RunStopped):
        couriers.for_run(stop).send(REQUEST)

    vendor.answers.set()
    assert couriers.for_run(StopSignal()).send(REQUEST).status == 200


def test_error_of_a_call_is_its_callers() -> None:
    vendor = Vendor()
    vendor.answers.set()
    http = Couriers(vendor).for_run(StopSignal())

    with pytest.raises(FastnError, match="refused"):
        http.send(replace(REQUEST, method="DELETE"))

    assert http.send(REQUEST).status == 200


def test_stopped_run_sends_nothing() -> None:
    vendor, stop = Vendor(), StopSignal()
    stop.stop()

    with pytest.raises(RunStopped):
        Couriers(vendor).for_run(stop).send(REQUEST)

    assert not vendor.asked.is_set()
