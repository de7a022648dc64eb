"""Fires EventBridge Scheduler's schedules: in their time zone, on time, with their context attributes."""

import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_AT = re.compile(r"^\s*at\((.+)\)\s*$")


class _Clockwork(NamedTuple):
    """What a schedule's next time depends on; when it changes, the schedule starts afresh."""

    expression: str
    time_zone: str
    starts_at: float | None
    created_at: float


@dataclass(slots=True)
class _Pending:
    clockwork: _Clockwork
    due_at: float | None


class ScheduleTicker:
    """Keeps, per schedule, when it is due next (epoch seconds) and sends what is due to its target."""

    def __init__(self, scheduler: Any, events: Any) -> None:
        self._scheduler = scheduler
        self._events = events
        self._pending: dict[object, _Pending] = {}

    def tick(self) -> None:
        """Fire every enabled schedule that is due."""
        schedules = dict(self._scheduler._schedules._data)
        for gone in self._pending.keys() - schedules.keys():
            del self._pending[gone]
        for key, schedule in schedules.items():
            if schedule.get("State") == "ENABLED":
                self._look_at(key, schedule)

    def _look_at(self, key: tuple[str, str, str], schedule: Mapping[str, Any]) -> None:
        now = time.time()
        clockwork = self._clockwork_of(schedule)
        pending = self._pending.get(key)
        if pending is None or pending.clockwork != clockwork:
            pending = _Pending(clockwork, self._first_due(clockwork, now))
            self._pending[key] = pending
        ends_at = self._scheduler._to_epoch(schedule.get("EndDate"))
        if pending.due_at is None or (ends_at is not None and pending.due_at > ends_at):
            self._complete(key, schedule, has_ended=ends_at is not None and now > ends_at)
            return
        if pending.due_at > now:
            return
        due_at, pending.due_at = pending.due_at, self._next_due(clockwork, max(pending.due_at, now))
        self._fire(key, schedule, due_at)
        self._complete(key, schedule, has_ended=pending.due_at is None)

    def _complete(self, key: object, schedule: Mapping[str, Any], *, has_ended: bool) -> None:
        if has_ended and schedule.get("ActionAfterCompletion") == "DELETE":
            self._scheduler._schedules._data.pop(key, None)

    def _clockwork_of(self, schedule: Mapping[str, Any]) -> _Clockwork:
        return _Clockwork(
            expression=schedule.get("ScheduleExpression", ""),
            time_zone=schedule.get("ScheduleExpressionTimezone") or "UTC",
            starts_at=self._scheduler._to_epoch(schedule.get("StartDate")),
            created_at=float(schedule.get("CreationDate") or time.time()),
        )

    def _first_due(self, clockwork: _Clockwork, now: float) -> float | None:
        at = _AT.match(clockwork.expression)
        if at is not None:
            return _epoch_of(datetime.fromisoformat(at.group(1).strip()), clockwork.time_zone)
        interval = self._events._parse_rate_seconds(clockwork.expression)
        if interval is None:
            return self._next_due(clockwork, max(now, clockwork.starts_at or now))
        # The first run is one interval after the creation, or at the start date if there is one.
        return clockwork.starts_at or clockwork.created_at + interval

    def _next_due(self, clockwork: _Clockwork, after: float) -> float | None:
        interval = self._events._parse_rate_seconds(clockwork.expression)
        if interval is not None:
            return after + interval
        fields = self._events._parse_cron_fields(clockwork.expression)
        if fields is None:
            return None
        zone = _zone(clockwork.time_zone)
        # The wall clock of the zone, labelled UTC: the expression is about what that clock shows.
        wall = datetime.fromtimestamp(after, zone).replace(tzinfo=UTC)
        while (wall := self._events._cron_next_fire(fields, wall)) is not None:
            due_at = _epoch_of(wall.replace(tzinfo=None), clockwork.time_zone)
            if due_at is not None and due_at > after:
                return due_at
        return None

    def _fire(self, key: tuple[str, str, str], schedule: Mapping[str, Any], due_at: float) -> None:
        account_id, region, _ = key
        scheduled = datetime.fromtimestamp(due_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        target = dict(schedule.get("Target") or {})
        target["Input"] = _with_context(str(target.get("Input") or "{}"), str(schedule.get("Arn")), scheduled)
        event = {
            "EventId": str(uuid.uuid4()),
            "Source": "aws.scheduler",
            "DetailType": "Scheduled Event",
            "Detail": "{}",
            "Time": due_at,
            "Resources": [schedule.get("Arn", "")],
            "Account": account_id,
            "Region": region,
        }
        self._scheduler.set_request_account_id(account_id)
        self._scheduler.set_request_region(region)
        self._events._invoke_target(target, event, schedule)


def _with_context(text: str, schedule_arn: str, scheduled: str) -> str:
    """Fill in the context attributes.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
    """
    attributes = {
        "schedule-arn": schedule_arn,
        "scheduled-time": scheduled,
        "execution-id": str(uuid.uuid4()),
        "attempt-number": "1",
    }
    for name, value in attributes.items():
        text = text.replace(f"<aws.scheduler.{name}>", value)
    return text


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _epoch_of(wall: datetime, time_zone: str) -> float | None:
    """The instant a wall clock shows this time; None if it never does, because the clocks go forward.

    A time shown twice counts once, the first time: Scheduler runs once when the clocks go back.
    """
    zone = _zone(time_zone)
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    shown = instant.astimezone(zone).replace(tzinfo=None)
    return instant.timestamp() if shown == wall else None
