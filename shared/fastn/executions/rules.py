"""Pure decisions about runs: what a call's identity is, how errors are told, when time is up."""

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

from fastn.access.models import KeyMode
from fastn.errors import DatasourceError, FastnError, Forbidden, TimedOut
from fastn.executions.errors import ExecutionCancelled, FlowFailed, ReplayDiverged
from fastn.executions.models import ExecutionStatus, RecordedStep
from fastn.tenants.models import PRODUCTION
from fastn.workflows.models import RetryPolicy
from fastn.workflows.rules import retry_delay_ms

if TYPE_CHECKING:
    from fastn.engine.models import ScriptError, Settled

ERROR_TEXT_LIMIT = 8_000
TIMER_OPERATIONS = frozenset(("timer", "sleep"))


def hash_arguments(arguments_json: str) -> bytes:
    """SHA-256 of a host call's arguments as the program wrote them."""
    return hashlib.sha256(arguments_json.encode()).digest()


def idempotency_key(execution_id: str, operation: str, arguments_sha256: bytes, occurrence: int) -> str:
    """What a vendor that takes a key is given: the same for a repeat of one call, another for every other."""
    text = f"{execution_id}\n{operation}\n{arguments_sha256.hex()}\n{occurrence}"
    return hashlib.sha256(text.encode()).hexdigest()


def replayed(step: RecordedStep, operation: str, arguments_sha256: bytes) -> "Settled":
    """What the recorded step answered. Raises ReplayDiverged if the program asks for something else."""
    from fastn.engine.models import Settled

    if step.operation != operation or step.arguments_sha256 != arguments_sha256:
        raise ReplayDiverged(f"step {step.sequence} was {step.operation}, and is now {operation}")
    if step.error_json is None:
        return Settled.ok(step.result_json or "null")
    error = json.loads(step.error_json)
    return Settled.error(error["name"], error["message"], json.dumps(error.get("details")))


Receipts = dict[tuple[str, bytes], deque[RecordedStep]]
"""The results of calls that earlier attempts completed, by operation and argument hash, in their order."""


def receipts_of(earlier: Iterable[RecordedStep]) -> Receipts:
    """What the steps of earlier attempts, in order, leave for a later one: the n-th equal call takes the n-th of them.

    Calls are counted among those that succeeded: of a call that failed and was made again in the same
    attempt, the second one's result is the receipt, and it is not carried out a third time. A step that
    was itself a receipt is not counted again.
    """
    receipts: Receipts = {}
    for step in earlier:
        if step.error_json is None and step.receipt_of_attempt is None and step.operation not in TIMER_OPERATIONS:
            receipts.setdefault((step.operation, step.arguments_sha256), deque()).append(step)
    return receipts


def retry_delay(policy: RetryPolicy | None, failed_attempts: int, error: "ScriptError | None") -> timedelta | None:
    """How long to wait before a failed run is attempted again; None if it is not.

    A program that does not compile fails the same way each time.
    """
    from fastn.engine.models import EngineFault

    if policy is None or error is None or error.fault is EngineFault.PROGRAM_INVALID:
        return None
    milliseconds = retry_delay_ms(policy, failed_attempts)
    return None if milliseconds is None else timedelta(milliseconds=milliseconds)


def failed_step(steps: Sequence[RecordedStep], error_json: str | None) -> RecordedStep | None:
    """The last of these steps that failed with the error the run failed with; None if it failed by itself."""
    error = cast("dict[str, Any]", json.loads(error_json or "{}"))
    for step in reversed(steps):
        if step.error_json is not None:
            failure = json.loads(step.error_json)
            if (failure["name"], failure["message"][:ERROR_TEXT_LIMIT]) == (error.get("name"), error.get("message")):
                return step
    return None


def check_reachable(environment: str, mode: KeyMode) -> None:
    """Raises Forbidden for a Test key and a run of production."""
    if environment == PRODUCTION and mode is KeyMode.TEST:
        raise Forbidden("A Test key cannot reach production.")


def parsed(json_text: str) -> JsonValue:
    """The value of this JSON text."""
    return cast("JsonValue", json.loads(json_text))


def recorded_error(error: FastnError | None) -> str | None:
    """A failed call's error as the journal keeps it (JSON text); None for None."""
    if error is None:
        return None
    return json.dumps({"name": type(error).__name__, "message": error.message, "details": error_details(error)})


def error_details(error: FastnError) -> dict[str, object]:
    """What a program may read of a failed call, and what the caller of the API is told of it."""
    details: dict[str, object] = {"code": error.code, "retryable": error.retryable}
    if isinstance(error, DatasourceError):
        details["step"] = error.step
        details["datasourceDebug"] = error.datasource_debug
    if error.details is not None:
        details["problems"] = error.details
    return details


def describe_script_error(error: "ScriptError", details: object = None) -> dict[str, object]:
    """The error as it is recorded with the execution; `details` are those of the host call that failed so."""
    described: dict[str, object] = {
        "fault": str(error.fault),
        "name": error.name,
        "message": error.message[:ERROR_TEXT_LIMIT],
    }
    if error.stack:
        described["stack"] = error.stack[:ERROR_TEXT_LIMIT]
    if error.line is not None:
        described["line"] = error.line
    if error.code is not None:
        described["code"] = error.code
    if details is not None:
        described["details"] = details
    return described


def final_status(error: "ScriptError | None") -> ExecutionStatus:
    """How a run that ended with this error (or none) ended."""
    from fastn.engine.models import EngineFault

    if error is None:
        return ExecutionStatus.COMPLETED
    return ExecutionStatus.TIMED_OUT if error.fault is EngineFault.TIME_LIMIT else ExecutionStatus.FAILED


def error_for_caller(execution_id: str, status: ExecutionStatus, error_json: str | None) -> FastnError:
    """What the caller of an inline run is told: the vendor's refusal as such, everything else as a failed flow."""
    error = cast("dict[str, Any]", json.loads(error_json or "{}"))
    if status is ExecutionStatus.TIMED_OUT:
        return TimedOut("The run exceeded its maximum time.", details={"executionId": execution_id})
    if status is ExecutionStatus.CANCELLED:
        return ExecutionCancelled("The run was cancelled.", details={"executionId": execution_id})
    details = error.get("details")
    if isinstance(details, dict) and cast("dict[str, Any]", details).get("code") == DatasourceError.code:
        told = cast("dict[str, Any]", details)
        return DatasourceError(
            str(error.get("message", "")), step=told.get("step"), datasource_debug=told.get("datasourceDebug")
        )
    message = f"The flow failed: {error.get('name', 'Error')}: {error.get('message', '')}"
    return FlowFailed(message[:ERROR_TEXT_LIMIT], details={"executionId": execution_id, "error": error})
