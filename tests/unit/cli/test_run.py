"""`fastn run`: a workflow on the engine alone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastn.cli.main import main

CALLS = """
export default async function (ctx) {
  console.log('calling', ctx.input.channel);
  const first = await fastn.connector.slack.postMessage({ channel: ctx.input.channel });
  await fastn.sleep(3600000);
  try {
    await fastn.connector.slack.postMessage({ channel: 'other' });
  } catch (error) {
    return { first, failed: error.message, code: error.details.code, waited: Math.round(performance.now() / 3600000) };
  }
}
"""


@dataclass(frozen=True, slots=True)
class Shell:
    """Writes files and runs the command on them."""

    directory: Path
    engine_directory: Path

    def write(self, name: str, text: str) -> Path:
        """A file of this text."""
        file = self.directory / name
        file.write_text(text, encoding="utf-8")
        return file

    def run(self, file: Path, options: Sequence[str | Path] = ()) -> Result:
        """`fastn run file …`."""
        arguments = ["run", str(file), "--engine-directory", str(self.engine_directory), *map(str, options)]
        return CliRunner().invoke(main, arguments)


@pytest.fixture
def shell(tmp_path: Path, engine_directory: Path) -> Shell:
    """A shell in an empty directory."""
    return Shell(tmp_path, engine_directory)


def test_result_goes_to_standard_output_and_the_console_to_standard_error(shell: Shell) -> None:
    file = shell.write(
        "flow.js", "export default async (ctx) => { console.warn('hi'); return [ctx.input.x, ctx.headers]; }"
    )

    result = shell.run(file, ["--input", '{"x": "ü"}', "--headers", '{"a": "b"}'])

    assert result.exit_code == 0
    assert json.loads(result.stdout) == ["ü", {"a": "b"}]
    assert result.stderr == "warn: hi\n"


def test_typescript_runs_and_input_is_read_from_a_file(shell: Shell) -> None:
    given = shell.write("input.json", '{"n": 20}')
    file = shell.write("flow.ts", "export default (ctx: { input: { n: number } }): number => ctx.input.n + 1;")

    assert json.loads(shell.run(file, ["--input", f"@{given}"]).stdout) == 21


def test_calls_are_answered_in_order_and_waits_take_no_time(shell: Shell) -> None:
    answers = {
        "connector.slack.postMessage": [
            {"result": {"ok": True}},
            {"error": {"name": "Rejected", "message": "channel_not_found", "details": {"code": "X"}}},
        ]
    }
    told = shell.write("answers.json", json.dumps(answers))

    result = shell.run(shell.write("flow.js", CALLS), ["--input", '{"channel": "c"}', "--answers", told])

    assert json.loads(result.stdout) == {"first": {"ok": True}, "failed": "channel_not_found", "code": "X", "waited": 1}
    assert result.stderr == "log: calling c\n"


def test_a_call_without_an_answer_ends_the_run_and_says_how_to_give_one(shell: Shell) -> None:
    result = shell.run(shell.write("flow.js", CALLS), ["--input", '{"channel": "c"}'])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert 'no answer for call 1 of connector.slack.postMessage, made with {"args":{"channel":"c"}}' in result.stderr
    assert '{"connector.slack.postMessage": [{"result": …}]}' in result.stderr


def test_a_step_flow_runs(shell: Shell) -> None:
    flow = {
        "name": "sample",
        "steps": [
            {"name": "wait", "type": "wait", "durationMs": 86_400_000},
            {"name": "twice", "code": "return ctx.input.n * 2;"},
        ],
    }

    result = shell.run(shell.write("flow.json", json.dumps(flow)), ["--input", '{"n": 4}'])

    assert (result.exit_code, json.loads(result.stdout)) == (0, 8)


def test_timers_fire_by_their_time_and_cleared_ones_never(shell: Shell) -> None:
    source = """
    export default () => new Promise((done) => {
      const order = [];
      setTimeout(() => done(order), 300);
      const cleared = setTimeout(() => order.push('cleared'), 200);
      setTimeout(() => { order.push('first'); clearTimeout(cleared); }, 100);
    });
    """

    assert json.loads(shell.run(shell.write("flow.js", source)).stdout) == ["first"]


def test_a_failed_run_exits_with_1_and_tells_the_line(shell: Shell) -> None:
    result = shell.run(shell.write("flow.js", "export default () => {\n  throw new TypeError('no');\n};"))

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "failed: TypeError: no (line 2)" in result.stderr


def test_a_failed_step_flow_names_the_step(shell: Shell) -> None:
    flow = {"name": "sample", "steps": [{"name": "bad", "code": "throw new Error('no');"}]}

    result = shell.run(shell.write("flow.json", json.dumps(flow)))

    assert result.exit_code == 1
    assert "failed: Error: step bad: no" in result.stderr


STEP = '{"name": "f", "steps": [{"name": "s", %s}]}'


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("flow.js", "return 1 +", [], "SyntaxError"),
        ("flow.py", "", [], "ends in .js, .mjs or .ts, a step flow in .json"),
        ("flow.json", "{", [], "Invalid JSON"),
        ("flow.json", STEP % '"nope": 1', [], "steps.0.nope: Extra inputs are not permitted"),
        ("flow.json", STEP % '"type": "approval"', [], "step s: approval steps are not available"),
        ("flow.json", STEP % '"code": "1 +* 2"', [], "step s: SyntaxError"),
        ("flow.js", "export default () => 1", ["--input", "{"], "--input is not JSON"),
        ("flow.js", "export default () => 1", ["--input", "NaN"], "--input is not JSON"),
        ("flow.js", "export default () => 1", ["--input", "@/nowhere.json"], "/nowhere.json cannot be read"),
        ("flow.js", "export default () => 1", ["--headers", "[]"], "--headers: an object"),
    ],
)
def test_what_cannot_be_run_is_told(shell: Shell, name: str, text: str, options: list[str], message: str) -> None:
    result = shell.run(shell.write(name, text), options)

    assert result.exit_code == 1
    assert message in result.stderr


@pytest.mark.parametrize("answers", ["[]", '{"a": {}}', '{"a": [{}]}', '{"a": [{"error": "x"}]}'])
def test_answers_of_another_shape_are_refused(shell: Shell, answers: str) -> None:
    told = shell.write("answers.json", answers)

    result = shell.run(shell.write("flow.js", "export default () => 1"), ["--answers", told])

    assert result.exit_code == 1
    assert "--answers:" in result.stderr


def test_an_engine_that_is_not_compiled_is_told_with_the_command(shell: Shell, tmp_path: Path) -> None:
    other = Shell(shell.directory, tmp_path / "none")

    result = other.run(shell.write("flow.js", "export default () => 1"))

    assert result.exit_code == 1
    assert "fastn.engine.precompile" in result.stderr
