"""Results that the journal only refers to: restored for the program, each time it is told them."""

import json
from typing import Any

import pytest

from fastn.executions.errors import RunCannotResume
from fastn.executions.hosting import AnsweredByJournal, OperationUnknown, RunHost
from fastn.executions.masking import UsedSecrets
from fastn.executions.models import ExecutionStatus, Outcome, Yielded
from fastn.executions.running import PerformedCall
from tests.unit.executions.staging import Stage

REFERENCE = json.dumps({"secret": "TOKEN", "version": 1})
READ_SLEEP_SEND = """export default async function main() {
  const token = await fastn.secrets.get("TOKEN");
  await fastn.sleep(40000);
  await fastn.connector.slack.postMessage({ token });
  return "sent";
}"""


def refer(operation: str, _arguments: Any) -> PerformedCall:
    """A reference for a secret, nothing for the rest."""
    return PerformedCall(REFERENCE, is_reference=True) if operation == "secrets.get" else PerformedCall()


def restore(operation: str, recorded_json: str) -> str:
    """The value behind the reference."""
    return '"planted-value"' if operation == "secrets.get" else recorded_json


def test_program_is_told_the_value_and_the_journal_the_reference(stage: Stage) -> None:
    reference = stage.execution(READ_SLEEP_SEND)
    stage.host.answer, stage.host.restore, stage.host.secret = refer, restore, "planted-value"

    yielded = stage.run(reference, yield_after_seconds=5)
    stage.clock.advance(40)
    end = stage.run(reference)

    assert isinstance(yielded, Yielded)
    assert isinstance(end, Outcome)
    assert end.status is ExecutionStatus.COMPLETED
    assert [call.arguments for call in stage.host.performed] == [None, {"token": "planted-value"}]
    assert stage.steps()[0]["result"] == json.loads(REFERENCE)
    assert "planted-value" not in json.dumps(stage.steps(), default=str)


def test_reference_is_recorded_as_it_is_though_a_secret_looks_like_a_part_of_it(stage: Stage) -> None:
    reference = stage.execution(READ_SLEEP_SEND)
    stage.host.answer, stage.host.restore, stage.host.secret = refer, restore, "version"

    stage.run(reference, yield_after_seconds=5)

    assert stage.steps()[0]["result"] == json.loads(REFERENCE)


def test_run_whose_reference_cannot_be_restored_fails_and_makes_no_further_call(stage: Stage) -> None:
    reference = stage.execution(READ_SLEEP_SEND)
    stage.host.answer, stage.host.restore = refer, restore
    stage.run(reference, yield_after_seconds=5)
    stage.clock.advance(40)

    def gone(operation: str, recorded_json: str) -> str:
        if operation == "secrets.get":
            raise RunCannotResume("Version 1 of the secret TOKEN does not exist any more.")
        return recorded_json

    stage.host.restore = gone
    end = stage.run(reference)

    assert isinstance(end, Outcome)
    assert end.status is ExecutionStatus.FAILED
    assert json.loads(end.error_json or "")["name"] == "RunCannotResume"
    assert [call.operation for call in stage.host.performed] == ["secrets.get"]


class Echo(AnsweredByJournal):
    """Operations that answer with what they were asked."""

    def perform(self, operation: str, arguments_json: str, idempotency_key: str, /) -> PerformedCall:
        """Everything, as one text."""
        return PerformedCall(json.dumps([operation, arguments_json, idempotency_key]))


class Reading(Echo):
    """Operations that change nothing, and keep their results elsewhere."""

    def restored(self, _operation: str, recorded_json: str, /) -> str:
        """Something else than was recorded."""
        return f"[{recorded_json}]"

    def is_write(self, _operation: str, _arguments_json: str, /) -> bool:
        """False."""
        return False


def test_each_kind_of_call_goes_to_its_operations() -> None:
    host = RunHost({"one": Echo(), "two": Reading()}, UsedSecrets())

    assert json.loads(host.perform("one.a.b", "{}", "key").result_json) == ["one.a.b", "{}", "key"]
    assert (host.restored("one.a", "1"), host.restored("two.a", "1"), host.restored("timer", "1")) == ("1", "[1]", "1")
    assert (host.is_write("one.a", "{}"), host.is_write("two.a", "{}"), host.is_write("three.a", "{}")) == (
        True, False, True,
    )  # fmt: skip


def test_kind_that_nobody_offers_is_unknown() -> None:
    host = RunHost({"one": Echo()}, UsedSecrets())

    for operation in ("two.a", "", ".one", "onetwo.a"):
        with pytest.raises(OperationUnknown):
            host.perform(operation, "{}", "key")


def test_what_one_kind_of_call_used_is_masked_for_all() -> None:
    used = UsedSecrets()
    host = RunHost({}, used)
    used.add(["planted-one"])
    used.add(["planted-two"])

    assert host.masked("planted-one planted-two") == "•••• ••••"
    assert host.masked_json('{"planted-one": ["planted-two", 1]}') == json.dumps({"••••": ["••••", 1]})
    assert used.are_in_json('{"a": "planted-one"}')
    assert not used.are_in_json('{"a": "planted"}')
    assert "planted" not in repr(used)
