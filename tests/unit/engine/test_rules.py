"""The engine's pure rules."""

# ruff: noqa: E501 (programs are quoted on one line, as they are given to the engine)

from fastn.engine.rules import align_lines, own_frames, program_line, renumber_frames, source_line, strip_auth_headers


def test_headers_that_carry_credentials_are_stripped_in_any_case() -> None:
    headers = {
        "Authorization": "a", "cookie": "b", "Proxy-Authorization": "c", "X-Fastn-Api-Key": "d",
        "x-fastn-access-key": "e", "x-fastn-keyring": "f", "x-fastn-space-id": "keep", "accept": "keep", "x-key": "keep",
    }  # fmt: skip

    assert strip_auth_headers(headers) == {"x-fastn-space-id": "keep", "accept": "keep", "x-key": "keep"}


def test_the_innermost_frame_of_the_program_gives_the_line() -> None:
    stack = "    at post (fastn:prelude/runtime.js:9:1)\n    at map (native)\n    at f (workflow.js:12:3)\n    at workflow.js:40:1"

    assert program_line(stack) == 12
    assert program_line("    at map (native)") is None
    assert own_frames(stack) == "    at map (native)\n    at f (workflow.js:12:3)\n    at workflow.js:40:1"


def test_compiled_lines_are_placed_in_the_source() -> None:
    source = (
        "interface A {\n  first: string\n}\n\nconst first = 1\n\nfunction second(a: A): string {\n  return third\n}\n"
    )
    compiled = "const first = 1;\nfunction second(a) {\n\treturn third;\n}\n"

    lines = align_lines(source, compiled)

    assert [source_line(lines, line) for line in (1, 2, 3)] == [5, 7, 8]
    assert renumber_frames("at f (workflow.js:3:9)", lines) == "at f (workflow.js:8)"


def test_words_the_compiler_invents_do_not_derail_the_placing() -> None:
    source = "enum X { A }\n\nconst kept = X.A\nconst later = kept\n"
    compiled = (
        "var X = function(X) {\n\tX[X['A'] = 0] = 'A';\n\treturn X;\n}({});\nconst kept = X.A;\nconst later = kept;\n"
    )

    lines = align_lines(source, compiled)

    assert [source_line(lines, line) for line in (5, 6)] == [3, 4]


def test_a_source_too_large_to_place_keeps_no_map() -> None:
    assert align_lines("a\n" * 20_001, "a\n") == ()
    assert source_line((), 7) == 7
