"""Programs that tests of runs share, and how such a run is read when it has ended."""

import json
from typing import Any

from fastn.executions.models import ExecutionStatus, Outcome

THREE_CALLS = """export default async function main(ctx) {
  const a = await fastn.connector.slack.postMessage({ n: 1 });
  const b = await fastn.connector.slack.postMessage({ n: 2, before: a });
  const c = await fastn.connector.github.createIssue({ n: 3 });
  return [ctx.input, a, b, c];
}"""
ONE_CALL = "export default async function main() { return await fastn.connector.slack.postMessage({ n: 1 }); }"
SLEEPER = "export default async function main() { await fastn.sleep(10000); return Date.now(); }"
EXECUTION = "SELECT status, output::text AS output, error, console, started_at, finished_at FROM executions"


def completed(end: object) -> Any:
    """The output of a run that completed."""
    assert isinstance(end, Outcome)
    assert (end.status, end.error_json) == (ExecutionStatus.COMPLETED, None)
    return json.loads(end.output_json or "")


def failed(end: object, status: ExecutionStatus = ExecutionStatus.FAILED) -> dict[str, Any]:
    """The error of a run that failed."""
    assert isinstance(end, Outcome)
    assert (end.status, end.output_json) == (status, None)
    return json.loads(end.error_json or "")
