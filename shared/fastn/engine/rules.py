"""What the engine decides without running anything."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping

PROGRAM_MODULE = "workflow.js"
INNER_MODULE_PREFIX = "fastn:"
SDK_PREFIX = "@fastn/"
OPERATION = re.compile(r"[A-Za-z_$][\w$-]*(\.[A-Za-z_$][\w$-]*)*", re.ASCII)
_CREDENTIAL_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
_KEY_HEADER = re.compile(r"x-fastn-.*key.*")
_PROGRAM_POSITION = re.compile(rf"\b{re.escape(PROGRAM_MODULE)}:(\d+)(?::(\d+))?")
_WORD = re.compile(r"[A-Za-z_$][\w$]*|\d+")
MAX_ALIGNED_WORDS = 6_000


def strip_auth_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without those that carry the caller's credentials; names are compared without case."""
    return {name: value for name, value in headers.items() if not _carries_credentials(name.lower())}


def _carries_credentials(name: str) -> bool:
    return name in _CREDENTIAL_HEADERS or _KEY_HEADER.fullmatch(name) is not None


def program_line(stack: str) -> int | None:
    """The line of the innermost frame that lies in the program's own module; None when there is none."""
    found = _PROGRAM_POSITION.search(stack)
    return None if found is None else int(found[1])


def own_frames(stack: str) -> str:
    """The stack without the platform's own frames, which would mean nothing to the program's author."""
    lines = (line.rstrip() for line in stack.splitlines())
    return "\n".join(line for line in lines if line and INNER_MODULE_PREFIX not in line)


def renumber_frames(stack: str, line_map: tuple[int, ...]) -> str:
    """The stack with the program's positions replaced by source lines; columns, which are lost, left out."""

    def replace(found: re.Match[str]) -> str:
        return f"{PROGRAM_MODULE}:{source_line(line_map, int(found[1]))}"

    return _PROGRAM_POSITION.sub(replace, stack)


def source_line(line_map: tuple[int, ...], line: int) -> int:
    """The source line (from 1) a compiled line came from."""
    return line_map[min(max(line, 1), len(line_map)) - 1] if line_map else line


def align_lines(source: str, compiled: str) -> tuple[int, ...]:
    """For each line of `compiled`, the line of `source` it came from, both from 1; () for a huge program.

    Stripping types mostly takes words away, so the longest runs of words both texts share are matched; a
    line lies where most of its words do, and a line without any steps on from the one above it.
    """
    from difflib import SequenceMatcher

    source_words, compiled_words = _words(source), _words(compiled)
    if max(len(source_words), len(compiled_words)) > MAX_ALIGNED_WORDS:
        return ()
    matcher = SequenceMatcher(None, [word for word, _ in source_words], [word for word, _ in compiled_words])
    votes: dict[int, Counter[int]] = {}
    for block in matcher.get_matching_blocks():
        for step in range(block.size):
            line = compiled_words[block.b + step][1]
            votes.setdefault(line, Counter())[source_words[block.a + step][1]] += 1
    placed = {line: counted.most_common(1)[0][0] for line, counted in votes.items()}
    return _fill(placed, compiled.count("\n") + 1, source.count("\n") + 1)


def _words(text: str) -> list[tuple[str, int]]:
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    return [(found[0], bisect_right(starts, found.start())) for found in _WORD.finditer(text)]


def _fill(placed: dict[int, int], compiled_lines: int, source_lines: int) -> tuple[int, ...]:
    lines: list[int] = []
    current = 0
    for line in range(1, compiled_lines + 1):
        current = placed.get(line, min(current + 1, source_lines))
        lines.append(current)
    return tuple(lines)
