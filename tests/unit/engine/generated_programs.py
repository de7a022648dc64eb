"""Programs of every construct that can hold state across an await, nested into each other at random."""

# ruff: noqa: E501 (each construct is one line of the program it goes into)

from collections.abc import Callable
from itertools import count

from hypothesis import strategies as st

# An expression that gives a number, most often after waiting for the host.
EXPRESSIONS = (
    "{n}",
    "(await ask({n}))",
    "(await ask({n}))",
    "(await ask(log.length))",
    "(await Promise.all([ask({n}), ask({n} + 1)])).reduce((a, b) => a + b)",
    "(await Promise.race([ask({n}), fastn.sleep({n}).then(() => -1)]))",
    "(await Promise.allSettled([ask({n}), refuse({n})])).filter(r => r.status === 'rejected').length",
    "(await Promise.any([refuse({n}), ask({n})]))",
    "(await new Promise(done => setTimeout(done, {n}, {n})))",
    "(await refuse({n}).catch(e => e.details.n))",
    "(await (async () => {{ const x = await ask({n}); return x + (await ask(x)) }})())",
)

# Statements: $i is a number of their own, <a> and <b> are expressions, $body a block of statements.
STATEMENTS = (
    "const make$i = held => () => (held += $i); const add$i = make$i(<a>); add$i(); log.push(<b>, add$i());",
    "const adder$i = (k => () => (k += 2))(<a>); adder$i(); log.push(<b>, adder$i());",
    "class Box$i { #v = 1; static made = 0; static { Box$i.made = 5 } get v() { return this.#v } set v(x) { this.#v += x } #twice() { return this.#v * 2 } has(o) { return #v in o } twice() { return this.#twice() } } const box$i = new Box$i(); box$i.v = <a>; log.push(box$i.v); box$i.v = <b>; log.push(box$i.twice(), box$i.has(box$i), box$i.has({}), Box$i.made);",
    "class Up$i extends Array { sum() { return this.reduce((a, b) => a + b, 0) } } const up$i = Up$i.from([1, 2]); up$i.push(<a>); log.push(<b>, up$i.sum(), up$i.map(x => x * 2) instanceof Up$i);",
    "const map$i = new Map([['a', 1], [{}, 2]]); for (const [key, value] of map$i) { if (map$i.size < 5) map$i.set(map$i.size, <a>); log.push(typeof key, value) }",
    "const set$i = new Set([3, 1, 2]); const walk$i = set$i.values(); log.push(walk$i.next()); set$i.delete(1); set$i.add(<a>); log.push(...walk$i);",
    "const weak$i = new WeakMap(), key$i = {}; weak$i.set(key$i, <a>); log.push(<b>, weak$i.get(key$i), weak$i.has({}));",
    "function* gen$i() { let x = yield 1; try { while (x < 9) x += yield x * 2 } finally { log.push('left') } return x } const it$i = gen$i(); log.push(it$i.next()); <a>; log.push(it$i.next(3)); <b>; log.push(it$i.return(7), it$i.next());",
    "async function* feed$i() { for (let k = 0; k < 3; k++) { const x = <a>; yield [k, x] } } for await (const [k, x] of feed$i()) { log.push(k, x); if (k === 1) break }",
    "const own$i = { async *[Symbol.asyncIterator]() { yield* [1, 2]; yield <a> } }; for await (const x of own$i) log.push(x + <b>);",
    "outer$i: for (let a = 0; a < 3; a++) { for (const b of [1, 2, 3]) { if (b === 2) continue outer$i; if (a === 2) break outer$i; log.push(a, b, <a>) } }",
    "for (let k = 0; k < 2; k++) { later.push(() => k); $body }",
    "try { $body; throw new RangeError('no $i', { cause: <a> }) } catch (e) { log.push(e.name, e.message, e.cause, e instanceof RangeError) } finally { log.push(<b>) }",
    "try { await refuse($i) } catch ({ name, message, details: { n = 5, ...rest } }) { log.push(name, message, n, rest) }",
    "const big$i = 2n ** 70n + BigInt(<a>); log.push(<b>, big$i.toString(), BigInt.asUintN(64, -big$i).toString(36));",
    "const bytes$i = new Uint8Array([1, 2, 3, 250]); const view$i = new DataView(bytes$i.buffer); view$i.setFloat32(0, <a>); log.push(<b>, [...bytes$i], view$i.getInt16(1, true), new Float64Array([NaN, 1 / 3])[1]);",
    "const at$i = new Date(Date.now() + $i); log.push(<a>, at$i.toISOString(), new Date(2024, 1, 29).getDay(), Date.now(), performance.now());",
    "const { a: a$i, b: { c: [d$i = 4, ...e$i] } = { c: [] }, ...f$i } = { a: <a>, g: 1, h: <b> }; log.push(a$i, d$i, e$i, f$i);",
    "log.push(Math.random(), crypto.randomUUID()); <a>; log.push(Math.random(), [...crypto.getRandomValues(new Uint8Array(3))]);",
    "console.log('at $i', { deep: [<a>, new Map([[1, { x: <b> }]])] }); console.warn('%d%%', log.length);",
    "const rx$i = /(?<y>\\d)(\\w)/gy; const text$i = '1a2b3c'; log.push(rx$i.exec(text$i).groups.y); <a>; log.push(rx$i.lastIndex, rx$i.exec(text$i)[2], [...text$i.matchAll(/\\d/g)].length);",
    "const seen$i = []; const proxy$i = new Proxy({}, { get: (_, k) => (seen$i.push(k), k.length) }); log.push(proxy$i.abc); <a>; log.push(proxy$i.de, seen$i);",
    "const tag$i = (parts, ...values) => parts.raw.join('|') + values; log.push(tag$i`x${<a>}y${<b>}z`);",
    "const symbol$i = Symbol('s'); const holder$i = { [symbol$i]: <a>, get lazy() { return this[symbol$i] * 2 } }; log.push(<b>, holder$i.lazy, symbol$i.description);",
    "const bound$i = function (a, b) { return [this.k, a, b, new.target === undefined] }.bind({ k: $i }, <a>); log.push(bound$i(<b>));",
    "let rope$i = 'é\\u{1F600}'; for (let k = 0; k < 3; k++) rope$i += <a> + rope$i; log.push(rope$i.length, rope$i.codePointAt(1));",
    "const { fastn: again$i } = await import('@fastn/sdk'); log.push(again$i === fastn, <a>); await import('fs').catch(e => log.push(e.name));",
    "const early$i = ask($i), other$i = ask(1); log.push(<a>); log.push(await other$i, await early$i);",
    "const tick$i = setInterval(() => { log.push('tick'); if (log.length % 3 === 0) clearInterval(tick$i) }, 5); <a>; <b>; clearInterval(tick$i);",
    "const off$i = setTimeout(() => log.push('never'), 1e6); <a>; clearTimeout(off$i);",
    "queueMicrotask(() => log.push('micro')); <a>; switch (log.length % 3) { case 0: log.push('zero'); case 1: { $body; break } default: log.push('rest') }",
    "const copy$i = structuredClone({ d: new Date(<a>), m: new Map([[1, new Set([<b>])]]), e: new TypeError('t') }); log.push(copy$i.d.getTime(), [...copy$i.m.get(1)], copy$i.e.message);",
    "let self$i = { n: <a> }; self$i.self = self$i; for (let k = 0; k < 50; k++) ({ k, self$i }); log.push(<b>, self$i.self.self.n);",
    "log.push(eval('((hidden) => () => hidden + 1)($i)')()); if (<a> > 15) throw new TypeError('late $i');",
    "const then$i = { then(done) { ask($i).then(x => done(x * 2)) } }; log.push(await then$i);",
    "const chain$i = ask($i).then(x => ask(x)).finally(() => log.push('done')); <a>; log.push(await chain$i);",
    "await (async function retry(left) { try { if (left > 0) await refuse(left); return log.push('ok') } catch { $body; return retry(left - 1) } })(1 + $i % 2);",
    "const url$i = new URL('https://a.example/x?y=1'); url$i.searchParams.append('z', <a>); log.push(<b>, url$i.href);",
)
MAX_DEPTH = 2


def _expression(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(EXPRESSIONS)).format(n=draw(st.integers(0, 9)))


def _statement(draw: st.DrawFn, next_number: Callable[[], int], depth: int) -> str:
    usable = STATEMENTS if depth < MAX_DEPTH else [text for text in STATEMENTS if "$body" not in text]
    text = draw(st.sampled_from(usable)).replace("$i", str(next_number()))
    for hole in ("<a>", "<b>"):
        if hole in text:
            text = text.replace(hole, _expression(draw))
    if "$body" in text:
        inner = [_statement(draw, next_number, depth + 1) for _ in range(draw(st.integers(1, 2)))]
        text = text.replace("$body", "{ " + " ".join(inner) + " }")
    return text


@st.composite
def programs(draw: st.DrawFn) -> str:
    """The source of a program that returns what it saw on the way, or throws."""
    numbers = count()
    statements = [_statement(draw, lambda: next(numbers), 0) for _ in range(draw(st.integers(1, 5)))]
    body = "\n  ".join(statements)
    return (
        "const log = [], later = [];\n"
        "const ask = async n => (await fastn.connector.shop.ask({ n })).n;\n"
        "const refuse = n => fastn.connector.shop.refuse({ n });\n"
        f"export default async function (ctx) {{\n  {body}\n  return [log, later.map(f => f())];\n}}\n"
    )
