"""`fastn run FILE`: one run of a workflow on the platform's engine, without a server, a database or a vendor."""

import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import click
from pydantic import ValidationError

from fastn.engine.artifacts import EngineArtifacts
from fastn.engine.languages import Language
from fastn.engine.models import Completed, Failed, HostCall, JsonText, Program, RunInput, ScriptError, Settled, Waiting
from fastn.engine.runs import JavaScriptEngine, Run
from fastn.errors import FastnError
from fastn.flows.compiler import compile_flow
from fastn.flows.models import CompiledFlow, FlowDefinition

TIMER_OPERATIONS = frozenset(("timer", "sleep"))
LANGUAGE_OF_SUFFIX = {".js": Language.JAVASCRIPT, ".mjs": Language.JAVASCRIPT, ".ts": Language.TYPESCRIPT}
FLOW_SUFFIX = ".json"

Say = Callable[[str], None]


class AnswerMissing(click.ClickException):
    """The program made a call that the answers do not foresee."""

    def __init__(self, call: HostCall, number: int) -> None:
        super().__init__(
            f"no answer for call {number} of {call.operation}, made with {call.arguments}\n"
            f'Give --answers a JSON file with {{"{call.operation}": [{{"result": …}}]}}, one element for each call.'
        )


@dataclass(slots=True)
class Answers:
    """What host calls are answered: for each operation a list, taken from the front."""

    by_operation: Mapping[str, list[Settled]]
    _made: Counter[str] = field(default_factory=Counter[str])

    @classmethod
    def parse(cls, text: str) -> "Answers":
        """Reads `{operation: [{"result": …} | {"error": {name?, message, details?}}]}`. Raises ClickException."""
        given: object = _parse_json(text, "--answers")
        if not isinstance(given, dict):
            raise click.ClickException("--answers: an object of operations is expected.")
        answers: dict[str, list[Settled]] = {}
        for operation, outcomes in cast("dict[str, object]", given).items():
            if not isinstance(outcomes, list):
                raise click.ClickException(f"--answers: {operation} needs a list, an element for each call.")
            answers[operation] = [_settled(each, operation) for each in cast("list[object]", outcomes)]
        return cls(answers)

    def settle(self, call: HostCall) -> Settled:
        """The next answer for this operation. Raises AnswerMissing."""
        self._made[call.operation] += 1
        number = self._made[call.operation]
        foreseen = self.by_operation.get(call.operation, [])
        if number > len(foreseen):
            raise AnswerMissing(call, number)
        return foreseen[number - 1]


@dataclass(slots=True)
class Drive:
    """One run: host calls are answered as told, and time passes at once when the program waits for it."""

    run: Run
    answers: Answers
    say: Say
    now_ms: int
    _timers: dict[HostCall, int] = field(default_factory=dict[HostCall, int])
    _said: int = 0

    def to_the_end(self) -> Completed | Failed:
        """How the program ended. Raises AnswerMissing."""
        try:
            while True:
                state = self.run.advance()
                self._say_console()
                if not isinstance(state, Waiting):
                    return state
                for call in state.calls:
                    if call.operation in TIMER_OPERATIONS:
                        self._timers[call] = self.now_ms + _milliseconds(call)
                    else:
                        self.run.settle(call.call_id, self.answers.settle(call))
                if not state.calls:
                    self._fire_next()
        finally:
            self.run.close()

    def _fire_next(self) -> None:
        wanted = {call: due for call, due in self._timers.items() if call.call_id in self.run.pending}
        call, due = min(wanted.items(), key=lambda timer: (timer[1], timer[0].call_id))
        del self._timers[call]
        self.now_ms = max(self.now_ms, due)
        self.run.set_now(self.now_ms)
        self.run.settle(call.call_id, Settled.ok("null"))

    def _say_console(self) -> None:
        for line in self.run.console[self._said :]:
            self.say(f"{line.level}: {line.text}")
        self._said = len(self.run.console)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--input", "input_given", default="{}", metavar="JSON|@FILE", help="What ctx.input holds.")
@click.option("--headers", "headers_given", default="{}", metavar="JSON|@FILE", help="What ctx.headers holds.")
@click.option(
    "--answers",
    "answers_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='What connectors and other host calls answer: {"connector.slack.postMessage": [{"result": {"ok": true}}]}.',
)
@click.option(
    "--engine-directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="The compiled engine; build/engine in the checkout unless given.",
)
def run(
    file: Path, input_given: str, headers_given: str, answers_file: Path | None, engine_directory: Path | None
) -> None:
    """Run a workflow (.js, .ts) or step flow (.json) on this machine's engine alone.

    Prints the result as JSON; what the program writes to its console goes to standard error. Waits take no
    time. The exit code is 1 if the run fails.
    """
    answers = Answers.parse(_read(answers_file) if answers_file else "{}")
    now_ms = time.time_ns() // 1_000_000
    start = RunInput(
        input=JsonText(json.dumps(_parse_json(_text_of(input_given), "--input"))),
        headers=_headers(_text_of(headers_given)),
        started_at_ms=now_ms,
        random_seed=secrets.token_bytes(32),
    )
    try:
        engine = JavaScriptEngine(EngineArtifacts.load(engine_directory or _checkout_engine()))
        program, flow = _program(file, engine)
    except FastnError as error:
        raise click.ClickException(error.message) from error
    drive = Drive(engine.start(program, start), answers, lambda line: click.echo(line, err=True), now_ms)
    drive.run.set_now(now_ms)
    end = drive.to_the_end()
    if isinstance(end, Failed):
        click.echo(_told(end.error, flow), err=True)
        sys.exit(1)
    click.echo(json.dumps(json.loads(end.value), indent=2, ensure_ascii=False))


def _program(file: Path, engine: JavaScriptEngine) -> tuple[Program, CompiledFlow | None]:
    text = _read(file)
    if file.suffix != FLOW_SUFFIX:
        language = LANGUAGE_OF_SUFFIX.get(file.suffix)
        if language is None:
            raise click.ClickException(f"{file}: a workflow ends in .js, .mjs or .ts, a step flow in .json.")
        return engine.compile(text, language), None
    try:
        definition = FlowDefinition.model_validate_json(text)
    except ValidationError as error:
        raise click.ClickException(f"{file}: {_first_problem(error)}") from error
    flow = compile_flow(definition)
    return flow.checked(lambda source: engine.compile(source, Language.JAVASCRIPT)), flow


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"


def _told(error: ScriptError, flow: CompiledFlow | None) -> str:
    place = f" (line {error.line})" if error.line is not None and flow is None else ""
    frames = f"\n{error.stack}" if error.stack else ""
    return f"failed: {error.name}: {error.message}{place}{frames}"


def _settled(outcome: object, operation: str) -> Settled:
    members = cast("dict[str, object]", outcome) if isinstance(outcome, dict) else {}
    if set(members) == {"result"}:
        return Settled.ok(json.dumps(members["result"]))
    error = members.get("error")
    if set(members) == {"error"} and isinstance(error, dict):
        told = cast("dict[str, object]", error)
        details = {"retryable": False, **cast("dict[str, object]", told.get("details") or {})}
        return Settled.error(str(told.get("name") or "Rejected"), str(told.get("message") or ""), json.dumps(details))
    raise click.ClickException(
        f'--answers: each answer of {operation} is {{"result": …}} or {{"error": {{"name", "message", "details"}}}}.'
    )


def _milliseconds(call: HostCall) -> int:
    asked = cast("dict[str, object]", json.loads(call.arguments)).get("ms")
    return max(0, int(asked)) if isinstance(asked, int | float) else 0


def _headers(text: str) -> dict[str, str]:
    given = _parse_json(text, "--headers")
    if not isinstance(given, dict):
        raise click.ClickException("--headers: an object of names and values is expected.")
    return {name: str(value) for name, value in cast("dict[str, object]", given).items()}


def _text_of(given: str) -> str:
    return _read(Path(given[1:])) if given.startswith("@") else given


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}") from error


def _parse_json(text: str, option: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise click.ClickException(f"{option} is not JSON: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _checkout_engine() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "cdk.json").is_file():
            return folder / "build" / "engine"
    raise click.ClickException("no checkout found here: give --engine-directory")
