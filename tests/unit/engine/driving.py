"""Drives programs to their end, answering their host calls from a function."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fastn.engine.languages import Language
from fastn.engine.models import (
    Completed,
    ConsoleLine,
    Failed,
    HostCall,
    JsonText,
    Limits,
    RunInput,
    ScriptError,
    Settled,
    Waiting,
)
from fastn.engine.runs import JavaScriptEngine

STARTED_AT_MS = 1_700_000_000_000
SEED = bytes(range(32))
SHORT = Limits(wall_ms=10_000, cpu_ms=250)

Answer = Callable[[HostCall], Settled]


def echo(call: HostCall) -> Settled:
    """Answers each call with its own arguments."""
    return Settled.ok(call.arguments)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a driven run ended, and what it did."""

    final: Completed | Failed
    calls: tuple[HostCall, ...]
    console: tuple[ConsoleLine, ...]

    @property
    def value(self) -> str:
        """The result; fails the test when the run failed."""
        assert isinstance(self.final, Completed), self.final
        return self.final.value

    @property
    def error(self) -> ScriptError:
        """The error; fails the test when the run completed."""
        assert isinstance(self.final, Failed), self.final
        return self.final.error

    @property
    def lines(self) -> list[str]:
        """The console's lines."""
        return [line.text for line in self.console]


def run_input(input_json: str = "{}", *, headers: dict[str, str] | None = None, seed: bytes = SEED) -> RunInput:
    """A run input with fixed time and randomness."""
    return RunInput(JsonText(input_json), headers or {}, STARTED_AT_MS, seed)


@dataclass(frozen=True, slots=True)
class Driver:
    """Runs sources on one engine."""

    engine: JavaScriptEngine
    language: Language = field(default=Language.JAVASCRIPT)

    def run(
        self,
        source: str,
        answer: Answer = echo,
        *,
        start: RunInput | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        """The outcome of a whole program."""
        run = self.engine.start(self.engine.compile(source, self.language), start or run_input(), limits)
        calls: list[HostCall] = []
        try:
            while isinstance(state := run.advance(), Waiting):
                calls.extend(state.calls)
                for call in state.calls:
                    run.settle(call.call_id, answer(call))
        finally:
            run.close()
        return Outcome(state, tuple(calls), run.console)

    def body(
        self,
        body: str,
        answer: Answer = echo,
        *,
        start: RunInput | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        """The outcome of a program of one function with this body."""
        return self.run(f"export default async function (ctx) {{ {body} }}", answer, start=start, limits=limits)
