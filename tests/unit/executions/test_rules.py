"""Identity of calls, and how errors are told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastn.engine.models import EngineFault, ScriptError
from fastn.errors import (
    AuthExpired,
    DatasourceError,
    FastnError,
    NotFound,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
    ValidationFailed,
)
from fastn.executions import rules
from fastn.executions.errors import FlowFailed, ReplayDiverged
from fastn.executions.models import ExecutionStatus, RecordedStep
from fastn.platform.clock import FrozenClock

OPERATION = "connector.slack.postMessage"
calls = st.tuples(st.uuids().map(str), st.text(max_size=30), st.binary(min_size=32, max_size=32), st.integers(0, 99))


def recorded(
    *, operation: str = OPERATION, arguments: str = "{}", result: str | None = "1", error: str | None = None
) -> RecordedStep:
    """A journal entry."""
    return RecordedStep(
        sequence=1,
        operation=operation,
        arguments_sha256=rules.hash_arguments(arguments),
        arguments_json=arguments,
        result_json=result,
        error_json=error,
        exchange_json=None,
        started_at=FrozenClock().now(),
        duration_ms=1.5,
    )


@given(calls)
def test_repeat_of_a_call_has_its_key_and_the_next_occurrence_another(call: tuple[str, str, bytes, int]) -> None:
    execution_id, operation, arguments, occurrence = call

    key = rules.idempotency_key(execution_id, operation, arguments, occurrence)

    assert key == rules.idempotency_key(execution_id, operation, arguments, occurrence)
    assert key != rules.idempotency_key(execution_id, operation, arguments, occurrence + 1)
    assert key != rules.idempotency_key(execution_id, operation + "x", arguments, occurrence)
    assert key != rules.idempotency_key(execution_id, operation, arguments + b"x", occurrence)


@given(st.text(), st.text())
def test_only_the_same_call_is_replayed(ours: str, theirs: str) -> None:
    step = recorded(arguments=ours)

    if ours == theirs:
        assert rules.replayed(step, OPERATION, rules.hash_arguments(theirs)).value == "1"
    else:
        with pytest.raises(ReplayDiverged):
            rules.replayed(step, OPERATION, rules.hash_arguments(theirs))


def test_other_operation_at_the_same_place_diverges() -> None:
    with pytest.raises(ReplayDiverged):
        rules.replayed(recorded(), "connector.slack.authTest", rules.hash_arguments("{}"))


@pytest.mark.parametrize(
    "error",
    [
        Rejected("no", step="postMessage", datasource_debug={"name": "postMessage", "jsonObject": {"ok": False}}),
        ValidationFailed("bad", details={"field": "x"}),
        NotFound(),
    ],
)
def test_failed_call_is_replayed_as_it_failed(error: FastnError) -> None:
    step = recorded(result=None, error=rules.recorded_error(error))

    settled = rules.replayed(step, OPERATION, step.arguments_sha256)

    assert settled.value is None
    assert settled.failure is not None
    assert (settled.failure.name, settled.failure.message) == (type(error).__name__, error.message)
    assert json.loads(settled.failure.details or "null") == rules.error_details(error)


@pytest.mark.parametrize("kind", [AuthExpired, RateLimited, Rejected, Unavailable])
def test_program_reads_the_vendors_words_and_whether_repeating_helps(kind: type[DatasourceError]) -> None:
    error = kind("no", step="postMessage", datasource_debug={"name": "postMessage", "jsonObject": {"ok": False}})

    details = rules.error_details(error)

    assert details == {
        "code": "DATASOURCE_CONNECTION_ERROR",
        "retryable": kind in (RateLimited, Unavailable),
        "step": "postMessage",
        "datasourceDebug": {"name": "postMessage", "jsonObject": {"ok": False}},
    }


@pytest.mark.parametrize("fault", list(EngineFault))
def test_only_the_time_limit_is_timed_out(fault: EngineFault) -> None:
    status = rules.final_status(ScriptError(fault, "X", "x"))

    expected = ExecutionStatus.TIMED_OUT if fault is EngineFault.TIME_LIMIT else ExecutionStatus.FAILED
    assert status is expected


def test_run_without_an_error_is_completed() -> None:
    assert rules.final_status(None) is ExecutionStatus.COMPLETED


def test_endless_message_and_stack_are_cut() -> None:
    described = rules.describe_script_error(
        ScriptError(EngineFault.SCRIPT_ERROR, "Error", "m" * 100_000, "s" * 100_000, 3, "E1"), {"code": "C"}
    )

    assert (len(str(described["message"])), len(str(described["stack"]))) == (8_000, 8_000)
    assert (described["line"], described["code"], described["details"]) == (3, "E1", {"code": "C"})


def test_caller_is_told_of_a_vendors_refusal_as_such() -> None:
    details = {"code": "DATASOURCE_CONNECTION_ERROR", "step": "postMessage", "datasourceDebug": {"name": "n"}}
    error = json.dumps({"name": "Rejected", "message": "Slack refused", "details": details})

    told = rules.error_for_caller("e-1", ExecutionStatus.FAILED, error)

    assert isinstance(told, DatasourceError)
    assert (told.message, told.step, told.datasource_debug) == ("Slack refused", "postMessage", {"name": "n"})


def test_caller_is_told_of_a_timeout_with_the_executions_id() -> None:
    told = rules.error_for_caller("e-1", ExecutionStatus.TIMED_OUT, None)

    assert isinstance(told, TimedOut)
    assert told.details == {"executionId": "e-1"}


@pytest.mark.parametrize(
    "error", [None, "{}", '{"name": "TypeError", "message": "x"}', '{"details": 7}', '{"details": {"code": "OTHER"}}']
)
def test_everything_else_is_a_failed_flow(error: str | None) -> None:
    told = rules.error_for_caller("e-1", ExecutionStatus.FAILED, error)

    assert isinstance(told, FlowFailed)
    assert (told.status, told.code) == (500, "INTERNAL_ERROR")
    assert told.details is not None
    assert told.details["executionId"] == "e-1"
