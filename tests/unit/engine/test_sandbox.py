"""Published escapes of JavaScript sandboxes, tried with a canary in the environment, in a file and on a port."""

# ruff: noqa: E501 (programs are quoted on one line, as they are given to the engine)

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastn.engine.models import Completed, EngineFault
from tests.unit.engine.driving import SHORT, Driver, Outcome, run_input

CANARY = "canary-7f3a9c"


@dataclass(frozen=True, slots=True)
class Trap:
    """What a payload would have to touch: a secret variable, a secret file, a port."""

    file: Path
    listener: socket.socket

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def assert_untouched(self, outcome: Outcome) -> None:
        shown = repr(outcome)
        assert CANARY not in shown
        assert str(os.getpid()) not in [call.arguments for call in outcome.calls]
        with pytest.raises(BlockingIOError):
            self.listener.accept()
        assert list(self.file.parent.iterdir()) == [self.file]


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    monkeypatch.setenv("ENGINE_CANARY", CANARY)
    file = tmp_path / "canary.txt"
    file.write_text(CANARY)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        yield Trap(file, listener)


# Each payload returns what it reached; LEAK lists everything a host would expose.
LEAK = (
    "const leak = (g) => { const found = []; for (const n of ['process', 'require', 'module', 'Deno', 'Bun', 'Buffer', 'fetch',"
    " 'XMLHttpRequest', 'WebSocket', 'std', 'os', 'bjson', 'scriptArgs', 'print', 'load', 'WebAssembly', 'Worker', '__filename', '$fastnHost'])"
    " if (g?.[n] !== undefined) found.push(n); return found };"
)
PAYLOADS = {
    "this of a plain function": "return leak((function () { return this })())",
    "this of a sloppy function": "return leak(new Function('return this')())",
    "indirect eval": "return leak((0, eval)('this'))",
    "template literal key": "return leak((() => {})[`constructor`]('return this')())",
    "array-wrapped key": "return leak((() => {})[['constructor']]('return this')())",
    "concatenated key": "return leak((() => {})['const' + 'ructor']('return this')())",
    "destructured constructor": "const {constructor: c} = () => {}; return leak(c('return this')())",
    "with in sloppy code": "return leak(new Function('with (function () {}) { return constructor(\"return this\")() }')())",
    "class extends Function": "class F extends (0, Function) {} return leak(new F('return this')())",
    "generator constructor": "return leak((function* () {}).constructor('yield this')().next().value)",
    "async constructor": "return leak(await (async () => {}).constructor('return this')())",
    "async generator constructor": "return leak((await (async function* () {}).constructor('yield this')().next()).value)",
    "arrow globalThis": "return leak((() => globalThis)())",
    "spread of process": "return typeof process === 'undefined' ? [] : {...process.env}",
    "prepareStackTrace": (
        "Error.prepareStackTrace = (e, frames) => frames; const frames = new Error().stack;"
        "return Array.isArray(frames) ? frames.map(f => String(f.getFunction?.()) + leak(f.getThis?.())) : []"
    ),
    "captureStackTrace": "const o = {}; Error.captureStackTrace(o); return leak(o.stack?.[0]?.getThis?.())",
    "host function through an error": (
        "let e; try { fastn.connector.a['b c']() } catch (x) { e = x } return leak(e.constructor.constructor('return this')())"
    ),
    "host promise constructor": "return leak(fastn.sleep(1).constructor.constructor('return this')())",
    "settled value's constructor": "const v = await fastn.sleep(1); return leak(v.constructor.constructor('return this')())",
    "caller of an api": "try { return leak(fastn.sleep.caller) } catch { return [] }",
    "then of the api": "Object.prototype.then = function (f) { delete Object.prototype.then; f(this) }; return leak(await ctx)",
    "file import": "try { return await import('file:///FILE') } catch { return [] }",
    "json import": "try { return await import('FILE', {with: {type: 'json'}}) } catch { return [] }",
    "network import": "try { return await import('http://127.0.0.1:PORT/') } catch { return [] }",
    "symbol hunting": "return leak(Object.fromEntries(Reflect.ownKeys(globalThis).map(k => [String(k), globalThis[k]])))",
}  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_an_escape_reaches_nothing(javascript: Driver, trap: Trap, payload: str) -> None:
    body = LEAK + payload.replace("FILE", str(trap.file)).replace("PORT", str(trap.port))

    outcome = javascript.body(body, limits=SHORT)

    trap.assert_untouched(outcome)
    assert isinstance(outcome.final, Completed), outcome.final
    assert outcome.value == "[]"


POLLUTION = """
Object.prototype.polluted = 'yes'; Array.prototype.push = () => 'no'; Map.prototype.get = () => 'no';
Function.prototype.call = () => 'no'; String.prototype.includes = () => true; globalThis.left = 'behind';
Promise.prototype.then = () => { throw 1 }; JSON.parse = JSON.stringify = () => 'no'; Date.now = () => 0;
fastn.connector.polluted; console.log = () => {}; Math.random = () => 4;
try { fastn.sleep = 1 } catch {} try { Object.setPrototypeOf(fastn, {x: 1}) } catch {}
"""


def test_what_a_run_changes_is_not_there_in_the_next(javascript: Driver) -> None:
    javascript.body(POLLUTION)

    outcome = javascript.body(
        "const a = []; a.push(1); console.log('seen'); return [({}).polluted, typeof left, a, new Map([[1, 2]]).get(1), JSON.stringify({a: 1}),"
        "'x'.includes('y'), Date.now() > 0, Math.random() < 1, typeof fastn.sleep, Object.getPrototypeOf(fastn)]"
    )

    assert json.loads(outcome.value) == [None, "undefined", [1], 2, '{"a":1}', False, True, True, "function", None]
    assert outcome.lines == ["seen"]


def test_a_run_that_overwrites_builtins_still_reaches_its_host(javascript: Driver) -> None:
    outcome = javascript.body(POLLUTION + "return await fastn.connector.slack.post({text: 1})")

    assert [call.operation for call in outcome.calls] == ["connector.slack.post"]
    assert outcome.value == '{"args":{"text":1}}'


def test_setters_on_the_object_prototype_see_nothing_of_the_host(javascript: Driver) -> None:
    outcome = javascript.body(
        "const seen = []; for (const k of ['onOk', 'onError', 'madeAt', '0', '1', '2'])"
        " Object.defineProperty(Object.prototype, k, {set(v) { seen.push(k) }, get() { return undefined }, configurable: true});"
        "await fastn.sleep(1); return seen.length"
    )

    assert outcome.value == "0"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("const {a, ...rest} = {a: 1, process: 2}; return [a, rest.process]", [1, 2]),
        ("const walk = (n) => n.kids.reduce((s, k) => s + walk(k), n.v); return walk({v: 1, kids: [{v: 2, kids: []}]})", 3),
        ("class Stack extends Array { top() { return this[this.length - 1] } } return Stack.from([1, 2]).top()", 2),
        ("return ctx.input.process.env.constructor", "data"),
        ("return [...'héé'].length + [1, [2, [3]]].flat(9).length", 6),
        ("class A { #x = 1; static { this.y = 2 } get x() { return this.#x } } return [new A().x, A.y]", [1, 2]),
        ("function* g() { yield* [1, 2] } const out = []; for await (const x of g()) out.push(x); return out", [1, 2]),
        ("return Object.groupBy([1, 2, 3], n => n % 2 ? 'odd' : 'even')", {"odd": [1, 3], "even": [2]}),
        ("return 'a-b'.replace(/(?<x>a)-(?<y>b)/u, '$<y>-$<x>') + (2n ** 64n)", "b-a18446744073709551616"),
        ("return await Promise.any([Promise.reject(1), 5]).finally(() => 9)", 5),
    ],
)  # fmt: skip
def test_ordinary_code_still_works(javascript: Driver, body: str, value: object) -> None:
    start = run_input('{"process":{"env":{"constructor":"data"}}}')

    assert json.loads(javascript.body(body, start=start).value) == value


def test_collection_observers_and_shared_memory_are_gone(javascript: Driver) -> None:
    body = "return [typeof WeakRef, typeof FinalizationRegistry, typeof SharedArrayBuffer, typeof Intl, typeof WeakMap]"

    assert json.loads(javascript.body(body).value) == ["undefined"] * 4 + ["function"]


def test_an_error_in_native_code_tells_nothing_of_the_host(javascript: Driver, trap: Trap) -> None:
    outcome = javascript.body("null.x")

    trap.assert_untouched(outcome)
    assert outcome.error.fault is EngineFault.SCRIPT_ERROR
    assert "/" not in outcome.error.stack
