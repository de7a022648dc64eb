"""How a run may end, and what is kept of it."""

import json
from typing import Any

import pytest

from fastn.errors import Rejected, ValidationFailed
from fastn.executions.models import ExecutionStatus, Outcome
from fastn.executions.running import PerformedCall
from tests.unit.executions.programs import EXECUTION, ONE_CALL, SLEEPER, THREE_CALLS, completed, failed
from tests.unit.executions.staging import Killed, Stage


def test_run_over_its_timeout_is_timed_out(stage: Stage) -> None:
    stage.host.takes_seconds = 31
    reference = stage.execution(THREE_CALLS, timeout_seconds=60)

    error = failed(stage.run(reference), ExecutionStatus.TIMED_OUT)

    assert (error["fault"], error["name"]) == ("TIME_LIMIT", "TimedOut")
    assert len(stage.steps()) == len(stage.host.performed) == 2
    assert stage.rows(EXECUTION)[0]["status"] == "timed_out"


def test_sleep_beyond_the_timeout_ends_at_the_timeout(stage: Stage) -> None:
    reference = stage.execution(SLEEPER, timeout_seconds=4)

    failed(stage.run(reference), ExecutionStatus.TIMED_OUT)

    assert stage.slept == [4.0]


def test_relaunch_after_the_timeout_calls_nobody(stage: Stage) -> None:
    stage.host.kills_after_call = {1}
    reference = stage.execution(THREE_CALLS, timeout_seconds=60)
    with pytest.raises(Killed):
        stage.run(reference)
    stage.clock.advance(61)

    end = stage.run(reference)

    failed(end, ExecutionStatus.TIMED_OUT)
    assert len(stage.host.performed) == 1


def test_code_that_never_stops_is_stopped(stage: Stage) -> None:
    source = "export default async function main() { while (true) {} }"

    error = failed(stage.run(stage.execution(source, timeout_seconds=1)), ExecutionStatus.TIMED_OUT)

    assert error["fault"] == "TIME_LIMIT"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("const hog = []; while (true) hog.push(new Array(100000).fill(7));", "MEMORY_LIMIT"),
        ("const down = () => down() + 1; return down();", "STACK_OVERFLOW"),
        ("await new Promise(() => {});", "DEADLOCK"),
        ("throw new TypeError('mine');", "SCRIPT_ERROR"),
    ],
)
def test_failed_code_is_recorded_with_its_fault(stage: Stage, body: str, fault: str) -> None:
    error = failed(stage.run(stage.execution(f"export default async function main() {{ {body} }}")))

    assert error["fault"] == fault
    [execution] = stage.rows(EXECUTION)
    assert (execution["status"], execution["error"]) == ("failed", error)


def test_program_that_no_longer_compiles_fails_and_is_not_retried_for_ever(stage: Stage) -> None:
    error = failed(stage.run(stage.execution("export default async function main( {")))

    assert error["fault"] == "PROGRAM_INVALID"


def test_typescript_runs(stage: Stage) -> None:
    source = "export default async function main(ctx: { input: number }): Promise<number> { return ctx.input + 1; }"

    assert completed(stage.run(stage.execution(source, run_input=1, language="typescript"))) == 2


def test_console_is_kept_with_the_programs_time(stage: Stage) -> None:
    source = """export default async function main() {
      console.log("one", { n: 1 }); await fastn.sleep(1000); console.error("two");
    }"""
    reference = stage.execution(source)
    began_ms = int(stage.clock.now().timestamp() * 1000)

    stage.run(reference)

    assert stage.rows(EXECUTION)[0]["console"] == [
        {"level": "log", "text": "one { n: 1 }", "atMs": began_ms},
        {"level": "error", "text": "two", "atMs": began_ms + 1000},
    ]


@pytest.mark.parametrize("text", [r"\ud800", r"\u0000", "ä", r"\u2028"])
def test_odd_text_is_kept_wherever_it_goes(stage: Stage, text: str) -> None:
    source = f"""export default async function main() {{
      console.log("{text}");
      const told = await fastn.connector.slack.postMessage({{ text: "{text}" }});
      return [told, "{text}"];
    }}"""

    output = completed(stage.run(stage.execution(source)))

    assert output == [{"echo": {"text": json.loads(f'"{text}"')}}, json.loads(f'"{text}"')]
    assert stage.rows("SELECT status FROM executions") == [{"status": "completed"}]


# ── Failed calls ──────────────────────────────────────────────────────────────────────────────────

REFUSED = Rejected("Slack refused", step="postMessage", datasource_debug={"name": "p", "jsonObject": {"ok": False}})


def refuse(_operation: str, _arguments: Any) -> PerformedCall:
    return PerformedCall(error=REFUSED, exchange_json='{"request": {}, "response": null}')


def test_program_may_catch_a_vendors_refusal_and_go_on(stage: Stage) -> None:
    source = """export default async function main() {
      try { await fastn.connector.slack.postMessage({}); }
      catch (error) { return [error instanceof Error, error.name, error.message, error.code, error.details]; }
    }"""
    stage.host.answer = refuse

    told = completed(stage.run(stage.execution(source)))

    assert told == [
        True, "Rejected", "Slack refused", "DATASOURCE_CONNECTION_ERROR",
        {
            "code": "DATASOURCE_CONNECTION_ERROR", "retryable": False, "step": "postMessage",
            "datasourceDebug": {"name": "p", "jsonObject": {"ok": False}},
        },
    ]  # fmt: skip
    [step] = stage.steps()
    assert (step["result"], step["error"]["name"], step["exchange"]) == (
        None, "Rejected", {"request": {}, "response": None},
    )  # fmt: skip


def test_refusal_that_nobody_catches_is_the_runs_error_with_the_vendors_words(stage: Stage) -> None:
    stage.host.answer = refuse

    error = failed(stage.run(stage.execution(ONE_CALL)))

    assert (error["name"], error["message"], error["line"]) == ("Rejected", "Slack refused", 1)
    assert error["details"]["datasourceDebug"] == {"name": "p", "jsonObject": {"ok": False}}


def test_refusal_has_the_vendors_words_also_when_it_is_replayed(stage: Stage) -> None:
    source = """export default async function main() {
      let refusal;
      try { await fastn.connector.slack.postMessage({}); } catch (error) { refusal = error; }
      await fastn.connector.github.createIssue({}).catch(() => {});
      throw refusal;
    }"""
    stage.host.answer = refuse
    stage.host.kills_after_call = {2}

    error = failed(stage.run_until_over(stage.execution(source)))

    assert error["details"]["step"] == "postMessage"
    assert len(stage.host.performed) == 3


def test_error_of_the_programs_own_has_no_vendors_words(stage: Stage) -> None:
    source = """export default async function main() {
      try { await fastn.connector.slack.postMessage({}); } catch { throw new Error("my own"); }
    }"""
    stage.host.answer = refuse

    assert "details" not in failed(stage.run(stage.execution(source)))


def test_call_that_could_not_be_made_rejects_and_is_recorded(stage: Stage) -> None:
    def cannot(_operation: str, _arguments: Any) -> PerformedCall:
        raise ValidationFailed("channel is required", details={"field": "channel"})

    source = """export default async function main() {
      return await fastn.connector.slack.postMessage({}).catch((error) => [error.name, error.message, error.details]);
    }"""
    stage.host.answer = cannot

    told = completed(stage.run(stage.execution(source)))

    details = {"code": "VALIDATION_FAILED", "retryable": False, "problems": {"field": "channel"}}
    assert told == ["ValidationFailed", "channel is required", details]
    assert [step["error"]["name"] for step in stage.steps()] == ["ValidationFailed"]


def test_used_secret_is_masked_in_everything_that_is_kept_and_before_the_program_sees_it(stage: Stage) -> None:
    secret = "planted-token-1"
    source = """export default async function main() {
      const told = await fastn.connector.slack.postMessage({ n: 1 });
      console.log(told);
      const failed = await fastn.connector.github.createIssue({ said: told.said }).catch((error) => error);
      await fastn.connector.slack.postMessage({ said: failed.message });
      throw new Error(`${told.said} ${failed.message}`);
    }"""

    def echo(operation: str, _arguments: Any) -> PerformedCall:
        if "github" in operation:
            return PerformedCall(error=Rejected(f"bad {secret}", datasource_debug={"jsonObject": {"t": secret}}))
        return PerformedCall(json.dumps({"said": f"<{secret}>"}))

    stage.host.answer = echo
    stage.host.secret = secret

    end = stage.run(stage.execution(source))

    assert isinstance(end, Outcome)
    everything = json.dumps([stage.steps(), stage.rows(EXECUTION)], default=str)
    assert secret not in everything + (end.error_json or "") + end.console_json
    assert [call.arguments for call in stage.host.performed] == [
        {"n": 1}, {"said": "<••••>"}, {"said": "bad ••••"},
    ]  # fmt: skip
