"""The step machine: host calls, settlements, clock, randomness, limits."""

# ruff: noqa: E501 (programs are quoted on one line, as they are given to the engine)

import json
import threading
import time
from dataclasses import replace

import pytest

from fastn.engine.artifacts import EngineArtifacts
from fastn.engine.guest import Guest, Sandbox
from fastn.engine.images import changed_blocks
from fastn.engine.languages import Language
from fastn.engine.models import (
    CallId,
    Completed,
    ConsoleLevel,
    EngineFault,
    Failed,
    HostCall,
    JsonText,
    Limits,
    MemoryImage,
    Settled,
    Waiting,
)
from fastn.engine.program import ENTRY_MODULE, ENTRY_SOURCE, ModuleGate
from fastn.engine.runs import JavaScriptEngine, Run
from fastn.engine.watchdog import Budget
from tests.unit.engine.driving import SEED, SHORT, STARTED_AT_MS, Driver, run_input


def begin(engine: JavaScriptEngine, body: str, limits: Limits | None = None) -> Run:
    source = f"export default async function (ctx) {{ {body} }}"
    return engine.start(engine.compile(source, Language.JAVASCRIPT), run_input(), limits)


def waiting_calls(run: Run) -> tuple[HostCall, ...]:
    state = run.advance()
    assert isinstance(state, Waiting)
    return state.calls


# -- host calls -------------------------------------------------------------------------------------
def test_calls_are_handed_out_once_in_the_order_they_were_made(engine: JavaScriptEngine) -> None:
    run = begin(engine, "return await Promise.all([fastn.sleep(5), fastn.connector.slack.postMessage({text: 'x'})])")

    first, again = waiting_calls(run), waiting_calls(run)

    assert first == (
        HostCall(CallId(1), "sleep", JsonText('{"ms":5}')),
        HostCall(CallId(2), "connector.slack.postMessage", JsonText('{"args":{"text":"x"}}')),
    )
    assert again == ()
    run.close()


def test_calls_may_be_settled_in_any_order(engine: JavaScriptEngine) -> None:
    run = begin(engine, "return await Promise.all([fastn.sleep(1), fastn.sleep(2), fastn.sleep(3)])")
    calls = waiting_calls(run)

    for call in reversed(calls):
        run.settle(call.call_id, Settled.ok(str(call.call_id)))

    assert run.advance() == Completed(JsonText("[1,2,3]"))


def test_a_failed_call_rejects_with_its_name_message_details_and_code(javascript: Driver) -> None:
    outcome = javascript.body(
        "try { await fastn.connector.x.y() } catch (e) { return [e.name, e.message, e.details, e.code, e instanceof Error] }",
        lambda _: Settled.error("RateLimited", "slow down", '{"code":"RATE","after":3}'),
    )

    assert json.loads(outcome.value) == ["RateLimited", "slow down", {"code": "RATE", "after": 3}, "RATE", True]


def test_an_uncaught_call_failure_points_at_the_line_of_the_call(javascript: Driver) -> None:
    source = "export default async () => {\n  const a = 1;\n  await fastn.connector.x.y();\n}"

    error = javascript.run(source, lambda _: Settled.error("Unavailable", "down")).error

    assert (error.fault, error.name, error.message, error.line) == (
        EngineFault.SCRIPT_ERROR, "Unavailable", "down", 3,
    )  # fmt: skip
    assert "fastn:" not in error.stack


def test_settling_a_call_twice_changes_nothing(engine: JavaScriptEngine) -> None:
    run = begin(engine, "return await fastn.sleep(1)")
    (call,) = waiting_calls(run)

    run.settle(call.call_id, Settled.ok("1"))
    run.settle(call.call_id, Settled.ok("2"))

    assert run.advance() == Completed(JsonText("1"))


def test_settling_with_text_that_is_not_json_is_refused_and_leaves_the_call_pending(engine: JavaScriptEngine) -> None:
    run = begin(engine, "return await fastn.sleep(1)")
    (call,) = waiting_calls(run)

    with pytest.raises(ValueError, match="JSON"):
        run.settle(call.call_id, Settled.ok("{nope"))

    run.settle(call.call_id, Settled.ok("7"))
    assert run.advance() == Completed(JsonText("7"))


def test_input_that_is_not_json_is_refused(engine: JavaScriptEngine) -> None:
    program = engine.compile("export default () => 1", Language.JAVASCRIPT)

    with pytest.raises(ValueError, match="JSON"):
        engine.start(program, run_input("{nope"))


def test_a_call_made_without_await_is_handed_out_before_the_result(javascript: Driver) -> None:
    outcome = javascript.body("fastn.connector.slack.postMessage({}); return 'done'")

    assert outcome.value == '"done"'
    assert [call.operation for call in outcome.calls] == ["connector.slack.postMessage"]


def test_connector_options_travel_with_the_call(javascript: Driver) -> None:
    outcome = javascript.run(
        "import { Fastn } from '@fastn/sdk';\n"
        "export default async () => { const own = new Fastn({connectors: {slack: {connectionId: 'c1'}}});"
        "await own.connector.slack.post({a: 1}); await own.connector.other.post({a: 2}); await fastn.connector.slack.post() }"
    )

    assert [json.loads(call.arguments) for call in outcome.calls] == [
        {"args": {"a": 1}, "options": {"connectionId": "c1"}},
        {"args": {"a": 2}},
        {},
    ]


@pytest.mark.parametrize(
    ("expression", "operation", "arguments"),
    [
        ("fastn.db.query('select $1', [1])", "db.query", {"sql": "select $1", "params": [1]}),
        ("fastn.state.get('k')", "state.get", {"key": "k"}),
        ("fastn.state.set('k', {a: 1}, {ttlSeconds: 5})", "state.set", {"key": "k", "value": {"a": 1}, "options": {"ttlSeconds": 5}}),
        ("fastn.state.delete('k')", "state.delete", {"key": "k"}),
        ("fastn.secrets.get('s')", "secrets.get", {"name": "s"}),
        ("fastn.sleep(12.7)", "sleep", {"ms": 12}),
        ("fastn.sleep(-1)", "sleep", {"ms": 0}),
    ],
)  # fmt: skip
def test_each_api_is_one_host_call(javascript: Driver, expression: str, operation: str, arguments: object) -> None:
    outcome = javascript.body(f"await {expression}")

    (call,) = outcome.calls
    assert (call.operation, json.loads(call.arguments)) == (operation, arguments)


def test_arguments_that_cannot_be_serialized_reject_the_call(javascript: Driver) -> None:
    outcome = javascript.body("try { await fastn.state.set('k', 1n) } catch (e) { return e.name }")

    assert (outcome.value, outcome.calls) == ('"TypeError"', ())


@pytest.mark.parametrize("access", ["['a.b'].c()", "a['b c']()", "a['b\\nC2 x']()", "['../x'].y()"])
def test_a_connector_name_that_is_no_name_is_refused(javascript: Driver, access: str) -> None:
    outcome = javascript.body(f"await fastn.connector{access if access[0] == '[' else '.' + access}")

    assert outcome.error.name == "TypeError"
    assert outcome.calls == ()


def test_the_connector_api_is_not_thenable(javascript: Driver) -> None:
    assert javascript.body("const c = await fastn.connector.slack; return typeof c.post").value == '"function"'


# -- timers and time ----------------------------------------------------------------------------------
def test_a_timer_is_a_host_call_and_fires_when_settled(engine: JavaScriptEngine) -> None:
    run = begin(engine, "return await new Promise(done => setTimeout(done, 30, 'fired'))")

    (call,) = waiting_calls(run)
    run.settle(call.call_id, Settled.ok("null"))

    assert (call.operation, call.arguments) == ("timer", '{"ms":30}')
    assert run.advance() == Completed(JsonText('"fired"'))


def test_a_cleared_timer_is_no_longer_pending_and_never_fires(engine: JavaScriptEngine) -> None:
    run = begin(
        engine,
        "let fired = 0; const t = setTimeout(() => fired++, 9); await fastn.sleep(1); clearTimeout(t);"
        "await fastn.sleep(1); return fired",
    )
    timer, sleep = waiting_calls(run)
    run.settle(sleep.call_id, Settled.ok("null"))
    (second_sleep,) = waiting_calls(run)

    run.settle(timer.call_id, Settled.ok("null"))
    run.settle(second_sleep.call_id, Settled.ok("null"))

    assert timer.call_id not in run.pending
    assert run.advance() == Completed(JsonText("0"))


def test_a_timer_cleared_at_once_is_never_handed_out(javascript: Driver) -> None:
    assert javascript.body("clearTimeout(setTimeout(() => 1, 5)); return 1").calls == ()


def test_an_interval_asks_for_a_new_timer_each_time_it_fires(javascript: Driver) -> None:
    outcome = javascript.body(
        "let n = 0; return await new Promise(done => { const t = setInterval(() => { if (++n === 3) { clearInterval(t); done(n) } }, 7) })"
    )

    assert outcome.value == "3"
    assert [call.arguments for call in outcome.calls] == ['{"ms":7}'] * 3


def test_an_exception_in_a_timer_or_microtask_fails_the_run(javascript: Driver) -> None:
    in_timer = javascript.body(
        "setTimeout(() => { throw new Error('t') }, 1); await fastn.sleep(1); await fastn.sleep(1)"
    )
    in_microtask = javascript.body("queueMicrotask(() => { throw new Error('m') }); await fastn.sleep(1)")

    assert (in_timer.error.message, in_microtask.error.message) == ("t", "m")


def test_the_clock_is_the_drivers_and_never_goes_back(engine: JavaScriptEngine) -> None:
    run = begin(
        engine,
        "const seen = []; for (let i = 0; i < 3; i++) { seen.push([Date.now(), new Date().getTime(), performance.now()]); await fastn.sleep(1) } return seen",
    )
    for now_ms in (STARTED_AT_MS + 40, STARTED_AT_MS + 10, STARTED_AT_MS + 90):
        (call,) = waiting_calls(run)
        run.set_now(now_ms)
        run.settle(call.call_id, Settled.ok("null"))

    final = run.advance()

    assert isinstance(final, Completed)
    assert json.loads(final.value) == [[STARTED_AT_MS + d, STARTED_AT_MS + d, d] for d in (0, 40, 40)]


# -- randomness ---------------------------------------------------------------------------------------
DRAW = "return [Math.random(), Math.random(), crypto.randomUUID(), [...crypto.getRandomValues(new Uint8Array(5))]]"


def test_the_same_seed_draws_the_same_and_another_seed_another(javascript: Driver) -> None:
    first, second = javascript.body(DRAW).value, javascript.body(DRAW).value
    other = javascript.body(DRAW, start=run_input(seed=bytes(32))).value

    assert first == second
    assert not set(map(str, json.loads(first))) & set(map(str, json.loads(other)))


def test_randomness_is_spread_and_uuids_are_version_4(javascript: Driver) -> None:
    drawn = json.loads(
        javascript.body(
            "let sum = 0, low = 1, high = 0; for (let i = 0; i < 4000; i++) { const x = Math.random(); sum += x; low = Math.min(low, x); high = Math.max(high, x) }"
            "return {mean: sum / 4000, low, high, id: crypto.randomUUID()}"
        ).value
    )

    assert 0.47 < drawn["mean"] < 0.53
    assert 0 <= drawn["low"] < 0.01
    assert 0.99 < drawn["high"] < 1
    assert (drawn["id"][14], drawn["id"][19] in "89ab") == ("4", True)


def test_a_seed_must_be_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        run_input(seed=SEED[:31])


# -- context, console, errors --------------------------------------------------------------------------
def test_the_context_holds_input_and_headers_without_credentials(javascript: Driver) -> None:
    start = run_input(
        '{"n":[1,{"__proto__":{"x":1}}]}', headers={"Authorization": "s3cret", "x-fastn-api-key": "k", "accept": "*/*"}
    )

    value = json.loads(javascript.body("return {...ctx, polluted: ({}).x === 1}", start=start).value)

    assert value == {"input": {"n": [1, {"__proto__": {"x": 1}}]}, "headers": {"accept": "*/*"}, "polluted": False}


def test_console_lines_carry_level_and_the_runs_own_time(engine: JavaScriptEngine) -> None:
    run = begin(engine, "console.warn('a', {b: 1}); await fastn.sleep(1); console.error(new Map([[1, 2]]))")
    (call,) = waiting_calls(run)
    run.set_now(STARTED_AT_MS + 5)
    run.settle(call.call_id, Settled.ok("null"))
    run.advance()

    shown = [(line.level, line.text, line.at_ms) for line in run.console]

    assert shown == [
        (ConsoleLevel.WARN, "a { b: 1 }", STARTED_AT_MS),
        (ConsoleLevel.ERROR, "Map(1) { 1 => 2 }", STARTED_AT_MS + 5),
    ]


@pytest.mark.parametrize(
    ("thrown", "name", "message"),
    [
        ("1", "Error", "1"),
        ("'text'", "Error", "text"),
        ("null", "Error", "null"),
        ("undefined", "Error", "undefined"),
        ("Symbol('q')", "Error", "Symbol(q)"),
        ("{a: 1}", "Error", "{ a: 1 }"),
        ("{get message() { throw 1 }, get name() { throw 2 }}", "Error", "{ message: [Getter], name: [Getter] }"),
        ("new Proxy({}, {get() { throw 1 }, ownKeys() { throw 2 }})", "Error", "[could not be shown: ]"),
        ("new RangeError('far')", "RangeError", "far"),
    ],
)
def test_whatever_is_thrown_is_reported_as_text(javascript: Driver, thrown: str, name: str, message: str) -> None:
    error = javascript.body(f"throw {thrown}").error

    assert (error.fault, error.name, error.message) == (EngineFault.SCRIPT_ERROR, name, message)


def test_results_follow_json(javascript: Driver) -> None:
    assert javascript.body("return undefined").value == "null"
    assert javascript.body("return {a: undefined, d: new Date(0), s: '\\ud800'}").value == (
        '{"d":"1970-01-01T00:00:00.000Z","s":"\\ud800"}'
    )
    assert javascript.body("const o = {}; o.o = o; return o").error.name == "TypeError"


def test_top_level_code_may_await_and_its_failure_is_the_runs(javascript: Driver) -> None:
    awaited = javascript.run("const key = await fastn.secrets.get('k');\nexport default () => key.name")
    thrown = javascript.run("const a = 1;\nthrow new Error('top');\nexport default () => 1")

    assert awaited.value == '"k"'
    assert (thrown.error.message, thrown.error.line) == ("top", 2)


def test_a_default_export_that_is_no_function_is_named(javascript: Driver) -> None:
    assert "must be a function" in javascript.run("export default 42").error.message


@pytest.mark.parametrize(
    "source", ["export default () => new Promise(() => {})", "await new Promise(() => {});\nexport default () => 1"]
)
def test_awaiting_what_never_comes_is_a_deadlock(javascript: Driver, source: str) -> None:
    assert javascript.run(source).error.fault is EngineFault.DEADLOCK


def test_a_run_that_is_over_stays_over(engine: JavaScriptEngine) -> None:
    run = begin(engine, "return 1")
    final = run.advance()

    run.settle(CallId(1), Settled.ok("1"))
    run.close()
    run.close()

    assert run.advance() == final == Completed(JsonText("1"))


def test_a_closed_run_can_no_longer_be_advanced(engine: JavaScriptEngine) -> None:
    run = begin(engine, "return 1")

    run.close()

    state = run.advance()
    assert isinstance(state, Failed)
    assert state.error.name == "Closed"


# -- limits -------------------------------------------------------------------------------------------
SMALL = replace(SHORT, console_bytes=4096, result_bytes=4096, call_argument_bytes=4096, max_host_calls=20)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("while (true) {}", EngineFault.TIME_LIMIT),
        ("for (;;) { try { for (;;) {} } finally { continue } }", EngineFault.TIME_LIMIT),
        ("new Array(2 ** 32 - 1).join()", EngineFault.TIME_LIMIT),
        ("Array.prototype.includes.call({length: 2 ** 53 - 1}, 1)", EngineFault.TIME_LIMIT),
        ("(2n ** 1000000n).toString()", EngineFault.TIME_LIMIT),
        ("/^(a+)+$/.test('a'.repeat(40) + '!')", EngineFault.TIME_LIMIT),
        ("for (;;) await null", EngineFault.TIME_LIMIT),
        ("const again = () => queueMicrotask(again); again(); await fastn.sleep(1)", EngineFault.TIME_LIMIT),
        ("for (;;) { try { new Array(1e9).fill(0) } catch {} }", EngineFault.TIME_LIMIT),
        ("new Array(1e9).fill(0)", EngineFault.MEMORY_LIMIT),
        ("const all = []; for (;;) all.push(new Uint8Array(1e6))", EngineFault.MEMORY_LIMIT),
        ("globalThis.a = []; try { for (;;) a.push(new Uint8Array(1000)) } catch {} for (let i = 0; i < 2; i++) try { for (;;) a.push({}) } catch {} throw new Error('x'.repeat(99))", EngineFault.MEMORY_LIMIT),
        ("(function again() { again() })()", EngineFault.STACK_OVERFLOW),
        ("JSON.parse('['.repeat(1e6))", EngineFault.STACK_OVERFLOW),
        ("eval('('.repeat(1e5))", EngineFault.STACK_OVERFLOW),
        ("new Function('['.repeat(1e5))", EngineFault.STACK_OVERFLOW),
        ("let o = {}; for (let i = 0; i < 1e5; i++) o = {o}; return o", EngineFault.STACK_OVERFLOW),
        ("let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); return p.x", EngineFault.STACK_OVERFLOW),
        ("for (;;) console.log('x'.repeat(100))", EngineFault.OUTPUT_LIMIT),
        ("for (;;) console.log('')", EngineFault.OUTPUT_LIMIT),
        ("console.log('x'.repeat(1e7))", EngineFault.OUTPUT_LIMIT),
        ("return 'x'.repeat(5000)", EngineFault.OUTPUT_LIMIT),
        ("return 'x'.repeat(1e7)", EngineFault.OUTPUT_LIMIT),
        ("await fastn.state.set('k', 'x'.repeat(5000))", EngineFault.OUTPUT_LIMIT),
        ("await fastn.state.set('k', 'x'.repeat(1e7))", EngineFault.OUTPUT_LIMIT),
        ("for (;;) fastn.sleep(1)", EngineFault.CALL_LIMIT),
        ("for (;;) await fastn.sleep(1)", EngineFault.CALL_LIMIT),
        ("setInterval(() => {}, 1); await new Promise(() => {})", EngineFault.CALL_LIMIT),
    ],
)  # fmt: skip
def test_a_bomb_ends_its_own_run_within_its_limits(javascript: Driver, body: str, fault: EngineFault) -> None:
    cpu_ms = 250 if fault is EngineFault.TIME_LIMIT else 3_000
    began = time.thread_time()

    error = javascript.body(body, limits=replace(SMALL, cpu_ms=cpu_ms)).error

    assert error.fault is fault
    assert time.thread_time() - began < (cpu_ms + 500) / 1000
    assert javascript.body("return 'the next run works'").value == '"the next run works"'


def test_wall_time_runs_while_the_program_waits(engine: JavaScriptEngine) -> None:
    run = begin(engine, "await fastn.sleep(1)", Limits(wall_ms=1))
    run.advance()

    while not isinstance(state := run.advance(), Failed):
        assert isinstance(state, Waiting)

    assert state.error.fault is EngineFault.TIME_LIMIT


def test_a_memory_limit_is_the_runs_own(javascript: Driver) -> None:
    body = "return new Uint8Array(30 * 1024 * 1024).length"

    small, large = (javascript.body(body, limits=Limits(memory_bytes=size << 20)) for size in (16, 48))

    assert small.error.fault is EngineFault.MEMORY_LIMIT
    assert large.value == str(30 << 20)


def test_a_stop_inside_a_host_call_stays_with_its_run(javascript: Driver) -> None:
    # The text is being handed over (a nested call into the guest) when time runs out, at various points.
    faults = {
        javascript.body("const s = 'é'.repeat(3e6); for (;;) console.log(s)", limits=Limits(cpu_ms=cpu_ms)).error.fault
        for cpu_ms in range(5, 100, 10)
    }

    assert faults <= {EngineFault.TIME_LIMIT, EngineFault.OUTPUT_LIMIT}
    assert javascript.body("return 1").value == "1"


def test_recursion_of_a_thousand_levels_works(javascript: Driver) -> None:
    assert javascript.body("const f = n => n ? 1 + f(n - 1) : 0; return f(1000)").value == "1000"


def test_a_runaway_on_one_thread_leaves_runs_on_others_alone(javascript: Driver) -> None:
    faults: list[EngineFault] = []
    runaways = [
        threading.Thread(target=lambda: faults.append(javascript.body("while (true) {}", limits=SHORT).error.fault))
        for _ in range(2)
    ]
    for runaway in runaways:
        runaway.start()

    values = [javascript.body(f"await fastn.sleep(1); return {n}").value for n in range(30)]

    for runaway in runaways:
        runaway.join()
    assert values == [str(n) for n in range(30)]
    assert faults == [EngineFault.TIME_LIMIT] * 2


def test_a_host_call_costs_far_less_than_half_a_millisecond(engine: JavaScriptEngine) -> None:
    run = begin(engine, "for (let i = 0; i < 300; i++) await fastn.connector.x.y({i})")
    calls = waiting_calls(run)
    began = time.thread_time()

    while calls:
        run.settle(calls[0].call_id, Settled.ok('{"v":1}'))
        state = run.advance()
        calls = state.calls if isinstance(state, Waiting) else ()

    # The budget is 0.5 ms on a quiet machine; a shared one gets three times that before it means anything.
    assert (time.thread_time() - began) / 300 < 0.0015


# -- durability ----------------------------------------------------------------------------------------
class RecordingHost(ModuleGate):
    """A host that keeps the messages it gets."""

    max_message_bytes = 65536

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.messages: list[str] = []

    def take_message(self, message: str) -> bool:
        self.messages.append(message)
        return True

    def refuse_message(self, length_bytes: int) -> None:
        raise AssertionError(length_bytes)

    def now_ms(self) -> int:
        return STARTED_AT_MS

    def draw_random(self, length: int) -> bytes:
        return bytes(length)


def test_a_run_waiting_at_an_await_goes_on_from_its_memory_in_another_instance(artifacts: EngineArtifacts) -> None:
    sandbox = Sandbox(artifacts.engine)
    host = RecordingHost(
        "class Sum { #n = 0; add(x) { this.#n += x; return this } get n() { return this.#n } }\n"
        "const sum = new Sum(), seen = new Map();\n"
        "export default async () => { for (let i = 1; i < 4; i++) { const x = await fastn.sleep(i); sum.add(x); seen.set(i, () => x) }\n"
        "  return [sum.n, [...seen].map(([k, f]) => k * f())] }"
    )

    def fresh() -> Guest:
        budget = Budget(wall_ms=10_000, cpu_ms=5_000)
        return Guest(sandbox, artifacts.guest, host, budget=budget, memory_bytes=64 << 20)

    guest = fresh()
    with guest.entered():
        guest.restore(artifacts.prelude.memory)
        options = json.dumps({"input": None, "headers": {}, "startedAtMs": 0, "seed": list(SEED)})
        guest.call_function(artifacts.prelude.configure, guest.parse_json(options))
        guest.call_function(artifacts.prelude.watch, guest.evaluate_module(ENTRY_MODULE, ENTRY_SOURCE))
        guest.run_jobs()

    for call_id in (1, 2, 3):
        blank = fresh()
        memory = guest.memory_bytes()
        chunks = changed_blocks(blank.memory_bytes(), memory)
        blank.restore(MemoryImage(len(memory), guest.stack_pointer(), chunks))
        guest.close()
        guest = blank
        with guest.entered():
            guest.call_function(artifacts.prelude.settle, guest.parse_json(f"[{call_id},true,{call_id * 10}]"))
            guest.run_jobs()

    assert host.messages[-1] == "R[60,[10,40,90]]"
    guest.close()


def test_a_promise_that_no_memory_was_left_to_settle_is_told_as_such_and_not_as_a_deadlock(javascript: Driver) -> None:
    limits = Limits(memory_bytes=16 * 1024 * 1024)

    chained = javascript.body("const again = () => Promise.resolve().then(again); await again();", limits=limits)

    assert chained.error.fault is EngineFault.MEMORY_LIMIT
