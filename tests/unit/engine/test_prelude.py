"""What the prelude offers programs, held against the standards' own examples and Node's output."""

# ruff: noqa: E501 (programs are quoted on one line, as they are given to the engine)

import json
from typing import cast

import pytest

from tests.unit.engine.driving import Driver, run_input


def value_of(javascript: Driver, body: str) -> object:
    return json.loads(javascript.body(body).value)


# -- URL (WHATWG URL Standard; examples checked against Node 20) -----------------------------------------
@pytest.mark.parametrize(
    ("url", "base", "href"),
    [
        ("http://EXAMPLE.com:80/a/../b?x=1 2#f g", None, "http://example.com/b?x=1%202#f%20g"),
        (
            "https://user:pa ss@host:8443/p%20q/ü?q=ä'#é",
            None,
            "https://user:pa%20ss@host:8443/p%20q/%C3%BC?q=%C3%A4%27#%C3%A9",
        ),
        ("//x/y", "https://a/b", "https://x/y"),
        ("../c?d", "https://a/b/e/f?g#h", "https://a/b/c?d"),
        ("?q", "http://a/b?c", "http://a/b?q"),
        ("#z", "http://a/b?c#d", "http://a/b?c#z"),
        ("", "http://a/b?c#d", "http://a/b?c"),
        ("http:x", "http://a/b/c", "http://a/b/x"),
        ("http:\\\\a\\b", None, "http://a/b"),
        ("  ht\ntp://a/ ", None, "http://a/"),
        ("http://[2001:db8:0:0:1:0:0:1]/", None, "http://[2001:db8::1:0:0:1]/"),
        ("http://[::ffff:1.2.3.4]/", None, "http://[::ffff:102:304]/"),
        ("http://0x7f.1/", None, "http://127.0.0.1/"),
        ("http://0300.168.0.1/", None, "http://192.168.0.1/"),
        ("http://münchen.de/", None, "http://xn--mnchen-3ya.de/"),
        ("http://日本語.jp/", None, "http://xn--wgv71a119e.jp/"),
        ("https://ex%41mple.com/", None, "https://example.com/"),
        ("mailto:a@b.c?x=1", None, "mailto:a@b.c?x=1"),
        ("file:///C:/x/../y", None, "file:///C:/y"),
        ("foo://bar/baz/../q", None, "foo://bar/q"),
        ("http://a/%2e%2e/b/%2E", None, "http://a/b/"),
        ("http://a@b@c/", None, "http://a%40b@c/"),
    ],
)
def test_urls_are_parsed_and_resolved(javascript: Driver, url: str, base: str | None, href: str) -> None:
    arguments = json.dumps(url) + (f", {json.dumps(base)}" if base else "")

    assert value_of(javascript, f"return new URL({arguments}).href") == href


@pytest.mark.parametrize(
    "url",
    [
        "nope",
        "http://",
        "http://a b/",
        "http://a:99999/",
        "http://256.1.1.1/",
        "http://1.2.3.4.5/",
        "http://[::1",
        "http://::1/",
        "http://%zz/",
        "",
    ],
)
def test_what_is_no_url_is_refused(javascript: Driver, url: str) -> None:
    body = f"const u = {json.dumps(url)}; try {{ new URL(u) }} catch (e) {{ return [e.name, e.code, URL.canParse(u), URL.parse(u)] }}"

    assert value_of(javascript, body) == ["TypeError", "ERR_INVALID_URL", False, None]


def test_the_parts_of_a_url_can_be_read_and_set(javascript: Driver) -> None:
    body = (
        "const u = new URL('http://a/b?x=1&y=2&x=3'); u.searchParams.append('z', 'ü &='); u.searchParams.delete('y'); u.pathname = 'q r?#';"
        "u.hash = 'h'; u.host = 'new.example:90'; u.protocol = 'https'; u.username = 'u@';"
        "return [u.href, u.origin, u.search, u.hostname, u.port, JSON.stringify({u}), `${u}`.length === u.href.length]"
    )

    href = "https://u%40@new.example:90/q%20r%3F%23?x=1&x=3&z=%C3%BC+%26%3D#h"
    assert value_of(javascript, body) == [
        href, "https://new.example:90", "?x=1&x=3&z=%C3%BC+%26%3D", "new.example", "90", json.dumps({"u": href}, separators=(",", ":")), True,
    ]  # fmt: skip


def test_query_parameters_keep_their_order_and_follow_their_url(javascript: Driver) -> None:
    body = (
        "const u = new URL('http://a/'); const p = u.searchParams; u.search = '?a=1+2&b=%41%zz&c'; const seen = [...p];"
        "const q = new URLSearchParams({z: 1, a: 'x y'}); q.append('z', 2); q.sort(); q.set('z', 9);"
        "return [seen, `${q}`, q.size, q.getAll('z'), q.has('a', 'x y'), q.get('none'), new URLSearchParams([['k', 'v']]).get('k')]"
    )

    assert value_of(javascript, body) == [
        [["a", "1 2"], ["b", "A%zz"], ["c", ""]], "a=x+y&z=9", 2, ["9"], True, None, "v",
    ]  # fmt: skip


# -- encodings -----------------------------------------------------------------------------------------
def test_text_is_encoded_and_decoded_as_utf8(javascript: Driver) -> None:
    body = (
        "const d = new TextDecoder(); const split = d.decode(new Uint8Array([0xe2, 0x82]), {stream: true}) + d.decode(new Uint8Array([0xac]));"
        "const bad = new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 97, 0xff, 0xe2, 0x82, 97, 0xed, 0xa0, 0x80, 0xc0]));"
        "return [[...new TextEncoder().encode('aé€😀\\ud800')], split, bad, new TextEncoder().encodeInto('aé€', new Uint8Array(4)), btoa('hi') + atob('aGk=')]"
    )

    encoded = list("aé€😀\ufffd".encode())
    assert value_of(javascript, body) == [
        encoded,
        "€",
        "a\ufffd\ufffda" + "\ufffd" * 4,
        {"read": 2, "written": 3},
        "aGk=hi",
    ]


def test_long_texts_survive_encoding_and_decoding(javascript: Driver) -> None:
    assert value_of(
        javascript, "const s = 'aé€😀'.repeat(9000); return new TextDecoder().decode(new TextEncoder().encode(s)) === s"
    )


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("new TextDecoder('utf-8', {fatal: true}).decode(new Uint8Array([255]))", "TypeError"),
        ("new TextDecoder('latin1')", "RangeError"),
        ("new TextDecoder().decode('text')", "TypeError"),
        ("crypto.getRandomValues(new Float32Array(1))", "TypeMismatchError"),
        ("crypto.getRandomValues(new Uint8Array(65537))", "QuotaExceededError"),
        ("structuredClone(() => 1)", "DataCloneError"),
        ("structuredClone({s: Symbol()})", "DataCloneError"),
        ("setTimeout('code', 1)", "TypeError"),
        ("queueMicrotask(1)", "TypeError"),
    ],
)
def test_misuse_is_refused_with_the_standards_error(javascript: Driver, expression: str, name: str) -> None:
    assert value_of(javascript, f"try {{ {expression} }} catch (e) {{ return e.name }}") == name


def test_structured_clone_keeps_types_cycles_and_sharing(javascript: Driver) -> None:
    body = (
        "const b = new ArrayBuffer(4); const o = {d: new Date(5), m: new Map([[1, new Set([2])]]), r: /x/gi, u: new Uint8Array(b), v: new Uint8Array(b, 2),"
        " e: new RangeError('far'), a: [, 1]}; o.self = o; const c = structuredClone(o);"
        "return [c !== o, c.self === c, c.d.getTime(), [...c.m.get(1)], `${c.r}`, c.u.buffer === c.v.buffer, c.u.buffer !== b, c.v.byteOffset,"
        " c.e instanceof RangeError, c.e.message, 0 in c.a, c.a.length]"
    )

    assert value_of(javascript, body) == [True, True, 5, [2], "/x/gi", True, True, 2, True, "far", False, 2]


def test_the_key_stream_is_chacha20(javascript: Driver) -> None:
    # RFC 8439 appendix A.1, test vector 1; the stream's first 12 bytes seed Math.random.
    body = "return [crypto.randomUUID(), [...crypto.getRandomValues(new Uint8Array(4))]]"

    drawn = json.loads(javascript.body(body, start=run_input(seed=bytes(32))).value)

    assert drawn == ["5386bd28-bdd2-49b8-a08d-ed1aa836efcc", [0x8B, 0x77, 0x0D, 0xC7]]


# -- console (each expected text is what Node 20 prints) --------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("'a', 1, -0, 10n, null, undefined, true, Symbol('q')", "a 1 -0 10n null undefined true Symbol(q)"),
        ("['s', [1, [2, [3]]]]", "[ 's', [ 1, [ 2, [Array] ] ] ]"),
        ("{a: {b: {c: {d: 1}, e: {}}}}", "{ a: { b: { c: [Object], e: {} } } }"),
        ("{'a-b': 1, \"it's\": \"it's\", 3: 4, f() {}, g: class X extends Map {}}", "{\n  '3': 4,\n  'a-b': 1,\n  \"it's\": \"it's\",\n  f: [Function: f],\n  g: [class X extends Map]\n}"),
        ("new Map([['a', {x: 1}]]), new Set([1, 'b'])", "Map(1) { 'a' => { x: 1 } } Set(2) { 1, 'b' }"),
        ("new Date(0), /re/g, async () => 1, Object.create(null)", "1970-01-01T00:00:00.000Z /re/g [AsyncFunction (anonymous)] [Object: null prototype] {}"),
        ("[, 1, , , 2], new Uint8Array([1, 2]), new (class Foo { a = 1 })", "[ <1 empty item>, 1, <2 empty items>, 2 ] Uint8Array(2) [ 1, 2 ] Foo { a: 1 }"),
        ("{get x() { return 1 }, set y(v) {}, [Symbol('k')]: 1}", "{ x: [Getter], y: [Setter], [Symbol(k)]: 1 }"),
        ("'%s is %d and %i, %f, %j %o %% %c|', 'Bob', 42.5, 42.9, '1.5', {a: 1}, {b: 2}, 'css', 'more', {z: 1}", "Bob is 42.5 and 42, 1.5, {\"a\":1} { b: 2 } % | more { z: 1 }"),
        ("'%s', {a: {b: {}}}", "{ a: [Object] }"),
        ("'100%', 5", "100% 5"),
        ("(() => { const c = {n: 1}; c.me = c; return c })()", "<ref *1> { n: 1, me: [Circular *1] }"),
        ("'x\\ud800y'", "x\ufffdy"),
        ("new Array(200).fill(7).length, {long1: 'a'.repeat(36), long2: 'b'.repeat(44)}", "200 {\n  long1: '" + "a" * 36 + "',\n  long2: '" + "b" * 44 + "'\n}"),
    ],
)  # fmt: skip
def test_the_console_prints_as_node_does(javascript: Driver, arguments: str, text: str) -> None:
    assert javascript.body(f"console.log({arguments})").lines == [text]


def test_long_lists_and_strings_are_cut(javascript: Driver) -> None:
    (shown,) = javascript.body("console.log(new Array(300).fill(1), {s: 'x'.repeat(20000)})").lines

    assert "... 200 more items" in shown
    assert "... 10000 more characters" in shown


def test_a_logged_error_shows_its_stack_without_the_platforms_frames(javascript: Driver) -> None:
    (shown,) = javascript.body("console.error(new TypeError('bad'))").lines

    assert shown.startswith("TypeError: bad\n    at default (workflow.js:1:")
    assert "fastn:" not in shown


def test_a_value_that_cannot_be_shown_does_not_stop_the_program(javascript: Driver) -> None:
    outcome = javascript.body("console.log(new Proxy({}, {ownKeys() { throw new Error('no') }})); return 1")

    assert (outcome.value, outcome.lines) == ("1", ["[could not be shown: no]"])


def test_groups_indent_and_levels_are_kept(javascript: Driver) -> None:
    outcome = javascript.body(
        "console.group('g'); console.info('in\\nside'); console.groupEnd(); console.debug('out'); console.assert(false, 'x')"
    )

    shown = [(str(line.level), line.text) for line in outcome.console]

    assert shown == [("log", "g"), ("info", "  in\n  side"), ("debug", "out"), ("error", "Assertion failed x")]


def test_what_the_prelude_adds_is_not_enumerable(javascript: Driver) -> None:
    assert cast("list[str]", value_of(javascript, "return Object.keys(globalThis)")) == []
