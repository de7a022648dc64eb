"""What goes into a run of a program and what comes out of it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from fastn.engine.languages import Language

CallId = NewType("CallId", int)
BuildId = NewType("BuildId", str)
JsonText = NewType("JsonText", str)


class EngineFault(StrEnum):
    """Why a program did not complete: a stable code."""

    TIME_LIMIT = "TIME_LIMIT"
    MEMORY_LIMIT = "MEMORY_LIMIT"
    STACK_OVERFLOW = "STACK_OVERFLOW"
    OUTPUT_LIMIT = "OUTPUT_LIMIT"
    CALL_LIMIT = "CALL_LIMIT"
    DEADLOCK = "DEADLOCK"
    SCRIPT_ERROR = "SCRIPT_ERROR"
    PROGRAM_INVALID = "PROGRAM_INVALID"
    ENGINE_CRASH = "ENGINE_CRASH"


class ConsoleLevel(StrEnum):
    """The console method a line was written with (`trace` counts as debug, `dir` and `table` as log)."""

    LOG = "log"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    DEBUG = "debug"


@dataclass(frozen=True, slots=True)
class Program:
    """A checked program: it parses, links and has a default export. Nothing of it has run yet.

    `javascript` is what runs: the source itself, or the source with its types stripped.
    `source_sha256` (hex) is what an execution pins.
    """

    source: str
    language: Language
    javascript: str
    source_sha256: str


@dataclass(frozen=True, slots=True)
class RunInput:
    """What one run starts from. The same RunInput, settlements and clock give the same run, byte for byte.

    `random_seed` is 32 bytes of secret randomness: `crypto.randomUUID` and `Math.random` are drawn from it.
    """

    input: JsonText
    headers: dict[str, str]
    started_at_ms: int
    random_seed: bytes

    def __post_init__(self) -> None:
        if len(self.random_seed) != 32:
            raise ValueError("random_seed must be 32 bytes")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use; crossing any of them ends that run alone.

    `wall_ms` counts from `start`, waiting for host calls included; `cpu_ms` is processor time inside the
    guest. The depth of recursion is not among them: the guest's own stack ends at about 2,000 calls.
    """

    wall_ms: int = 60_000
    cpu_ms: int = 10_000
    memory_bytes: int = 64 * 1024 * 1024
    result_bytes: int = 6 * 1024 * 1024
    console_bytes: int = 256 * 1024
    call_argument_bytes: int = 6 * 1024 * 1024
    max_host_calls: int = 10_000


@dataclass(frozen=True, slots=True)
class HostCall:
    """One call the program makes on its host; ids count from 1 in the order the program made them."""

    call_id: CallId
    operation: str
    arguments: JsonText


@dataclass(frozen=True, slots=True)
class SettledError:
    """The Error a host call rejects with; `details` (JSON) becomes its `details` property."""

    name: str
    message: str
    details: JsonText | None


@dataclass(frozen=True, slots=True)
class Settled:
    """The outcome of a host call: a JSON value, or an error."""

    value: JsonText | None
    failure: SettledError | None

    @classmethod
    def ok(cls, value: str) -> "Settled":
        """The call succeeded with this JSON text."""
        return cls(JsonText(value), None)

    @classmethod
    def error(cls, name: str, message: str, details: str | None = None) -> "Settled":
        """The call failed; the program sees an Error of this name, message and details (JSON text)."""
        return cls(None, SettledError(name, message, None if details is None else JsonText(details)))


@dataclass(frozen=True, slots=True)
class ScriptError:
    """Why a run failed; `line` counts from 1 in the program's source, None where it is not known."""

    fault: EngineFault
    name: str
    message: str
    stack: str = ""
    line: int | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The program cannot move before a pending call settles; `calls` are those made since the last advance."""

    calls: tuple[HostCall, ...]


@dataclass(frozen=True, slots=True)
class Completed:
    """The program returned; `value` is JSON text (`null` for undefined)."""

    value: JsonText


@dataclass(frozen=True, slots=True)
class Failed:
    """The program threw, or was stopped; this run is over."""

    error: ScriptError


RunState = Waiting | Completed | Failed


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """One console call, formatted as Node would print it; `at_ms` is the run's own clock."""

    level: ConsoleLevel
    text: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class MemoryImage:
    """A guest's linear memory as the runs of bytes that differ from a fresh instance, and its stack pointer."""

    size_bytes: int
    stack_pointer: int
    chunks: tuple[tuple[int, bytes], ...] = field(repr=False)
