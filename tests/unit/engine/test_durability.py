"""A run that is taken up in another instance at each of its waits is the run that never was."""

import json
import random
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastn.engine.images import RunImage
from fastn.engine.languages import Language
from fastn.engine.models import Completed, ConsoleLine, Failed, HostCall, Limits, Program, Settled, Waiting
from fastn.engine.runs import JavaScriptEngine, Run
from tests.unit.engine.driving import STARTED_AT_MS, run_input
from tests.unit.engine.generated_programs import STATEMENTS, programs

STEP_MS = 7
LIMITS = Limits(max_host_calls=300)


@dataclass(frozen=True, slots=True)
class Told:
    """All a run lets its driver see."""

    final: Completed | Failed
    handed_out: tuple[tuple[HostCall, ...], ...]
    console: tuple[ConsoleLine, ...]


def parked(engine: JavaScriptEngine, program: Program, run: Run) -> Run:
    """The run in a fresh instance, by way of the bytes it would be stored as."""
    stored = run.snapshot().to_bytes()
    run.close()
    return engine.resume(program, RunImage.from_bytes(stored))


def drive(engine: JavaScriptEngine, program: Program, schedule: int, *, parks: bool) -> Told:
    """Settles one pending call after the other, in an order that follows from `schedule` alone."""
    order = random.Random(schedule)
    run = engine.start(program, run_input(), LIMITS)
    handed_out: list[tuple[HostCall, ...]] = []
    now_ms = STARTED_AT_MS
    while isinstance(state := run.advance(), Waiting):
        handed_out.append(state.calls)
        run = parked(engine, program, run) if parks else run
        for _ in range(min(len(run.pending_calls), order.randint(1, 2))):
            now_ms += STEP_MS
            run.set_now(now_ms)
            call = order.choice(run.pending_calls)
            run.settle(call.call_id, answer(call))
            between = order.getrandbits(1)
            run = parked(engine, program, run) if parks and between else run
    run.close()
    return Told(state, tuple(handed_out), run.console)


def answer(call: HostCall) -> Settled:
    """What the host says to each call a generated program makes."""
    if call.operation == "connector.shop.ask":
        return Settled.ok(json.dumps({"n": json.loads(call.arguments)["args"]["n"] * 2 + 1}))
    if call.operation == "connector.shop.refuse":
        n = json.loads(call.arguments)["args"]["n"]
        return Settled.error("Refused", f"not {n}", json.dumps({"n": n, "code": "NO"}))
    assert call.operation in ("sleep", "timer")
    return Settled.ok("null")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=programs(), schedule=st.integers(0, 2**32))
def test_any_program_suspended_at_every_await_does_what_it_does_unsuspended(
    engine: JavaScriptEngine, source: str, schedule: int
) -> None:
    program = engine.compile(source, Language.JAVASCRIPT)

    assert drive(engine, program, schedule, parks=True) == drive(engine, program, schedule, parks=False)


@pytest.mark.parametrize("statement", STATEMENTS, ids=range(len(STATEMENTS)))
def test_each_construct_of_the_grammar_completes_suspended_at_every_await(
    engine: JavaScriptEngine, statement: str
) -> None:
    source = statement.replace("$i", "7").replace("<a>", "(await ask(1))").replace("<b>", "(await ask(2))")
    program = engine.compile(
        "const log = [], later = [], ask = async n => (await fastn.connector.shop.ask({ n })).n;\n"
        "const refuse = n => fastn.connector.shop.refuse({ n });\n"
        f"export default async () => {{ {source.replace('$body', '{}')} return [log, later.map(f => f())] }}",
        Language.JAVASCRIPT,
    )

    suspended, whole = (drive(engine, program, 1, parks=parks) for parks in (True, False))

    assert isinstance(whole.final, Completed), whole.final
    assert suspended == whole
