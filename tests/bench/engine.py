"""What the JavaScript engine costs: a new context, a host call, parking a run and taking it up again."""

import json
import statistics
import time
from pathlib import Path

from fastn.engine.artifacts import EngineArtifacts
from fastn.engine.images import RunImage
from fastn.engine.languages import Language
from fastn.engine.models import Completed, JsonText, Limits, Program, RunInput, Settled, Waiting
from fastn.engine.runs import JavaScriptEngine, Run
from tests.bench.figures import Figure, figure

CONTEXTS = 200
CALLS = 2_000
EMPTY = "export default async function (ctx) { return 1; }"
CALLING = """export default async function (ctx) {
  let total = 0;
  for (let i = 0; i < ctx.input.calls; i++) total += (await fastn.connector.slack.postMessage({ i })).value;
  return total;
}"""
KEEPING = """class Totals { items = []; add(x) { this.items.push(x) } }
export default async function (ctx) {
  let total = 0;
  const seen = new Map(), totals = new Totals();
  for (let i = 0; i < ctx.input.calls; i++) {
    const order = await fastn.connector.shopify.getOrder({ id: i });
    total += order.value;
    seen.set(i, order);
    totals.add(() => order.value * 2);
  }
  return { total, seen: seen.size, doubled: totals.items.reduce((sum, f) => sum + f(), 0) };
}"""
HOLDING = """export default async function (ctx) {
  const page = await fastn.connector.shopify.listOrders({});
  await fastn.sleep(60000);
  return page.items.length;
}"""
PARKINGS = 100
HELD_ITEMS = 3_000
ROW = '{"value": 1}'


def measure_engine(artifacts: Path) -> list[Figure]:
    """What contexts, host calls and parked runs cost; CPU figures are medians over many."""
    engine = JavaScriptEngine(EngineArtifacts.load(artifacts))
    return [*_measure_calls(engine), *_measure_parking(engine)]


def _measure_calls(engine: JavaScriptEngine) -> list[Figure]:
    empty = engine.compile(EMPTY, Language.JAVASCRIPT)
    contexts: list[float] = []
    for _ in range(CONTEXTS):
        started = time.process_time()
        run = engine.start(empty, _input(0))
        run.close()
        contexts.append((time.process_time() - started) * 1000)
    calling = engine.compile(CALLING, Language.JAVASCRIPT)
    run = engine.start(calling, _input(CALLS), Limits(max_host_calls=CALLS + 1))
    started = time.process_time()
    state = run.advance()
    while isinstance(state, Waiting):
        for call in state.calls:
            run.settle(call.call_id, Settled.ok(ROW))
        state = run.advance()
    spent = (time.process_time() - started) * 1000
    run.close()
    if not isinstance(state, Completed):
        raise TypeError(f"the measured workflow failed: {state}")
    return [
        figure("new_context_cpu_ms", statistics.median(contexts), "ms"),
        figure("host_call_cpu_ms", spent / CALLS, "ms"),
    ]


def _measure_parking(engine: JavaScriptEngine) -> list[Figure]:
    keeping = engine.compile(KEEPING, Language.JAVASCRIPT)
    holding = engine.compile(HOLDING, Language.JAVASCRIPT)
    few, many = _waiting(engine, keeping, 5, ROW), _waiting(engine, holding, 2, _order_page())
    snapshot_ms, restore_ms, parked_kb = _park_often(engine, keeping, few)
    many_snapshot_ms, many_restore_ms, many_parked_kb = _park_often(engine, holding, many)
    return [
        figure("snapshot_cpu_ms", snapshot_ms, "ms"),
        figure("restore_cpu_ms", restore_ms, "ms"),
        figure("parked_run_kb", parked_kb, "KB"),
        figure("snapshot_cpu_ms_3000_items", many_snapshot_ms, "ms"),
        figure("restore_cpu_ms_3000_items", many_restore_ms, "ms"),
        figure("parked_run_kb_3000_items", many_parked_kb, "KB"),
    ]


def _waiting(engine: JavaScriptEngine, program: Program, calls: int, answer: str) -> Run:
    """A run at its call of this number (from 1), the earlier ones answered."""
    run = engine.start(program, _input(calls))
    while isinstance(state := run.advance(), Waiting) and state.calls[0].call_id < calls:
        run.settle(state.calls[0].call_id, Settled.ok(answer))
    return run


def _park_often(engine: JavaScriptEngine, program: Program, run: Run) -> tuple[float, float, float]:
    """CPU milliseconds of run → bytes and of bytes → run in a fresh instance, and the bytes' size in KB."""
    snapshots: list[float] = []
    restores: list[float] = []
    stored = b""
    for _ in range(PARKINGS):
        started = time.process_time()
        stored = run.snapshot().to_bytes()
        parked = time.process_time()
        resumed = engine.resume(program, RunImage.from_bytes(stored))
        restores.append((time.process_time() - parked) * 1000)
        snapshots.append((parked - started) * 1000)
        resumed.close()
    run.close()
    return statistics.median(snapshots), statistics.median(restores), len(stored) / 1024


def _order_page() -> str:
    orders = [
        {
            "id": number,
            "email": f"user{number}@example.com",
            "name": f"Name {number}",
            "total": number * 1.5,
            "tags": ["new", "web"],
            "address": {"city": f"City {number % 50}", "zip": str(10_000 + number)},
        }
        for number in range(HELD_ITEMS)
    ]
    return json.dumps({"items": orders})


def _input(calls: int) -> RunInput:
    return RunInput(input=JsonText(f'{{"calls": {calls}}}'), headers={}, started_at_ms=0, random_seed=bytes(32))
