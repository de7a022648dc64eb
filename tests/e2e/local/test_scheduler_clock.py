"""Schedules are due when the clock of their time zone shows their time, through every change of the clocks."""

import json
import subprocess
from datetime import datetime

import pytest

from tests.e2e.local.conftest import REPOSITORY

pytestmark = pytest.mark.e2e

# The cron arithmetic is the emulator's, so the question is asked in its interpreter.
QUESTION = """
import json, sys
from datetime import datetime, UTC
from ministack.services import eventbridge, scheduler
from fastn.local.ministack_scheduler import ScheduleTicker, _Clockwork

ticker = ScheduleTicker(scheduler, eventbridge)
expression, zone, after = sys.argv[1:]
at = datetime.fromisoformat(after).timestamp()
clockwork = _Clockwork(expression, zone, None, at)
due = [ticker._first_due(clockwork, at)]
while due[-1] is not None and len(due) < 3:
    due.append(ticker._next_due(clockwork, due[-1]))
print(json.dumps([d and datetime.fromtimestamp(d, UTC).strftime("%Y-%m-%dT%H:%MZ") for d in due]))
"""


@pytest.mark.parametrize(
    ("expression", "zone", "after", "due"),
    [
        (
            "cron(0 9 * * ? *)",
            "Europe/Berlin",
            "2026-03-27T12:00:00+00:00",
            ["2026-03-28T08:00Z", "2026-03-29T07:00Z", "2026-03-30T07:00Z"],
        ),
        (  # 02:30 does not exist on the day the clocks go forward: that day is skipped
            "cron(30 2 * * ? *)",
            "Europe/Berlin",
            "2026-03-27T12:00:00+00:00",
            ["2026-03-28T01:30Z", "2026-03-30T00:30Z", "2026-03-31T00:30Z"],
        ),
        (  # 02:30 happens twice on the day the clocks go back: it fires once
            "cron(30 2 * * ? *)",
            "Europe/Berlin",
            "2026-10-24T12:00:00+00:00",
            ["2026-10-25T00:30Z", "2026-10-26T01:30Z", "2026-10-27T01:30Z"],
        ),
        (
            "cron(0 0 1 * ? *)",
            "Asia/Kolkata",
            "2026-01-15T00:00:00+00:00",
            ["2026-01-31T18:30Z", "2026-02-28T18:30Z", "2026-03-31T18:30Z"],
        ),
        (
            "rate(5 minutes)",
            "UTC",
            "2026-01-01T00:00:00+00:00",
            ["2026-01-01T00:05Z", "2026-01-01T00:10Z", "2026-01-01T00:15Z"],
        ),
        ("at(2026-07-01T09:00:00)", "America/New_York", "2026-01-01T00:00:00+00:00", ["2026-07-01T13:00Z", None]),
        ("cron(nonsense)", "UTC", "2026-01-01T00:00:00+00:00", [None]),
    ],
)
def test_schedule_is_due_by_the_clock_of_its_zone(
    expression: str, zone: str, after: str, due: list[str | None]
) -> None:
    assert datetime.fromisoformat(after).tzinfo is not None

    answer = subprocess.run(
        [REPOSITORY / ".venv-ministack" / "bin" / "python", "-c", QUESTION, expression, zone, after],
        env={"PYTHONPATH": str(REPOSITORY / "shared")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(answer.stdout) == due
