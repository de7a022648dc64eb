"""A waiting run as bytes: what of it lies in its guest's memory, and the little that does not.

The wasm module has one mutable global (the stack pointer) and a table nothing can change, so linear memory and
stack pointer are all of the guest; a test reads this off the module's own sections.
"""

import json
import zlib
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from fastn.engine.errors import RunImageUnusable
from fastn.engine.models import (
    BuildId,
    CallId,
    ConsoleLevel,
    ConsoleLine,
    HostCall,
    JsonText,
    Limits,
    MemoryImage,
    Program,
)

MAGIC = b"FNRI\x01"
PAGE_BYTES = 4096
# Small blocks, because a step touches few bytes of many pages (reference counts): parked, the same run takes
# 18 KB in blocks of 256 bytes, 86 KB in pages of 4 KiB and 182 KB in pages of 64 KiB.
BLOCK_BYTES = 256
COMPRESSION_LEVEL = 1
LENGTH_BYTES = 4
_ZEROS = bytes(PAGE_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """The host's end of a waiting run.

    `pending` are the calls the program waits for, `unseen` those that no `advance` has handed out yet. `drawn`
    counts the draws of randomness made from `random_seed`.
    """

    pending: tuple[HostCall, ...]
    unseen: tuple[HostCall, ...]
    calls_made: int
    console: tuple[ConsoleLine, ...]
    console_bytes: int
    result: JsonText | None
    thrown: dict[str, str] | None
    now_ms: int
    random_seed: bytes = field(repr=False)
    drawn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunImage:
    """A run that waits for its calls, to be resumed once in any process of the same engine build.

    It holds whatever the program held, in plain: seal it before it is stored. It is also trusted input, so open
    only what was sealed here. Time spent as an image counts towards neither `wall_left_ms` nor `cpu_left_ms`.
    """

    build_id: BuildId
    prelude_sha256: str
    program: str
    memory: MemoryImage
    channel: ChannelState
    limits: Limits
    wall_left_ms: float
    cpu_left_ms: float

    def to_bytes(self) -> bytes:
        """The image, compressed; equal images give equal bytes."""
        head = {
            "build": self.build_id,
            "prelude": self.prelude_sha256,
            "program": self.program,
            "size": self.memory.size_bytes,
            "stack": self.memory.stack_pointer,
            "chunks": [[offset, len(content)] for offset, content in self.memory.chunks],
            "channel": {**asdict(self.channel), "random_seed": self.channel.random_seed.hex()},
            "limits": asdict(self.limits),
            "wallLeftMs": self.wall_left_ms,
            "cpuLeftMs": self.cpu_left_ms,
        }
        text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
        body = b"".join(content for _, content in self.memory.chunks)
        return MAGIC + zlib.compress(len(text).to_bytes(LENGTH_BYTES, "big") + text + body, COMPRESSION_LEVEL)

    @classmethod
    def from_bytes(cls, content: bytes) -> "RunImage":
        """The inverse of `to_bytes`. Raises RunImageUnusable for anything else, or another version's."""
        if not content.startswith(MAGIC):
            raise RunImageUnusable("The image of the run was written by another version.")
        try:
            return _read(zlib.decompress(content[len(MAGIC) :]))
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            raise RunImageUnusable("The image of the run is damaged.") from error


def program_identity(program: Program) -> str:
    """What an image and the program given to resume it must agree in."""
    return f"{program.language}:{program.source_sha256}"


def changed_blocks(fresh: bytes, memory: bytes, *, first_offset: int = 0) -> tuple[tuple[int, bytes], ...]:
    """The runs of 256-byte blocks in which `memory` differs from `fresh` (zeros past its end).

    Offsets count from `first_offset`, where both begin. Both are whole pages of 4 KiB long.
    """
    chunks: list[tuple[int, bytes]] = []
    start: int | None = None
    for page in range(0, len(memory), PAGE_BYTES):
        before, after = fresh[page : page + PAGE_BYTES] or _ZEROS, memory[page : page + PAGE_BYTES]
        is_same_page = before == after
        for block in range(0, PAGE_BYTES, PAGE_BYTES if is_same_page else BLOCK_BYTES):
            if is_same_page or before[block : block + BLOCK_BYTES] == after[block : block + BLOCK_BYTES]:
                if start is not None:
                    chunks.append((first_offset + start, memory[start : page + block]))
                    start = None
            elif start is None:
                start = page + block
    if start is not None:
        chunks.append((first_offset + start, memory[start:]))
    return tuple(chunks)


def _read(content: bytes) -> RunImage:
    text_end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "big")
    head = cast("dict[str, Any]", json.loads(content[LENGTH_BYTES:text_end]))
    chunks: list[tuple[int, bytes]] = []
    position = text_end
    for offset, length in head["chunks"]:
        chunks.append((offset, content[position : position + length]))
        position += length
    if position != len(content):
        raise ValueError("the chunks are not as long as announced")
    return RunImage(
        build_id=BuildId(head["build"]),
        prelude_sha256=head["prelude"],
        program=head["program"],
        memory=MemoryImage(head["size"], head["stack"], tuple(chunks)),
        channel=_read_channel(head["channel"]),
        limits=Limits(**head["limits"]),
        wall_left_ms=head["wallLeftMs"],
        cpu_left_ms=head["cpuLeftMs"],
    )


def _read_channel(fields: dict[str, Any]) -> ChannelState:
    lines = (ConsoleLine(ConsoleLevel(line["level"]), line["text"], line["at_ms"]) for line in fields["console"])
    return ChannelState(
        pending=_read_calls(fields["pending"]),
        unseen=_read_calls(fields["unseen"]),
        calls_made=fields["calls_made"],
        console=tuple(lines),
        console_bytes=fields["console_bytes"],
        result=fields["result"],
        thrown=fields["thrown"],
        now_ms=fields["now_ms"],
        random_seed=bytes.fromhex(fields["random_seed"]),
        drawn=fields["drawn"],
    )


def _read_calls(calls: list[dict[str, Any]]) -> tuple[HostCall, ...]:
    return tuple(HostCall(CallId(call["call_id"]), call["operation"], JsonText(call["arguments"])) for call in calls)
