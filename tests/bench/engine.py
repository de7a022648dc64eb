"""What the JavaScript engine costs in CPU: a new context, a host call."""

import statistics
import time
from pathlib import Path

from fastn.engine.artifacts import EngineArtifacts
from fastn.engine.languages import Language
from fastn.engine.models import Completed, JsonText, Limits, RunInput, Settled, Waiting
from fastn.engine.runs import JavaScriptEngine
from tests.bench.figures import Figure, figure

CONTEXTS = 200
CALLS = 2_000
EMPTY = "export default async function (ctx) { return 1; }"
CALLING = """export default async function (ctx) {
  let total = 0;
  for (let i = 0; i < ctx.input.calls; i++) total += (await fastn.connector.slack.postMessage({ i })).value;
  return total;
}"""
ROW = '{"value": 1}'


def measure_engine(artifacts: Path) -> list[Figure]:
    """`new_context_cpu_ms` and `host_call_cpu_ms`, medians over many."""
    engine = JavaScriptEngine(EngineArtifacts.load(artifacts))
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


def _input(calls: int) -> RunInput:
    return RunInput(input=JsonText(f'{{"calls": {calls}}}'), headers={}, started_at_ms=0, random_seed=bytes(32))
