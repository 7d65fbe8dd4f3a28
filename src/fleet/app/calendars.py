"""Clocks and dates of a fleet: its calendar from what the plan says, and now."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from fleet.files.calendar import Calendar, make_calendar
from fleet.views.status import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet.core.state import State

DAY_S = 86_400


def calendar_of(about: Mapping[str, Any], started_ms: int = 0) -> Calendar:
    """Returns the working days of a plan; the first is declared, else that of the first launch."""
    told = about.get("calendar") or {}
    start = about.get("start") or _local_date(started_ms or _now_ms()).isoformat()
    return make_calendar(
        str(start),
        weekend=told.get("weekend", ("sat", "sun")),
        holidays=told.get("holidays", ()),
        country=told.get("country"),
    )


def clock_of(state: State) -> Clock:
    """Returns now, and how a run's times become days and dates."""
    calendar = calendar_of(state.about, state.started_ms)
    now_ms = _now_ms()

    def day_of(at_ms: int) -> float:
        return working_day(calendar, at_ms)

    return Clock(
        now=time_of(now_ms),
        now_ms=now_ms,
        now_day=day_of(now_ms) if state.started_ms else 0.0,
        day_of=day_of,
        date_of=calendar.date_of,
        time_of=time_of,
        hour_of=hour_of,
    )


def working_day(calendar: Calendar, at_ms: int) -> float:
    """Returns how many working days, with their fraction, lie between the start and a moment."""
    moment = datetime.fromtimestamp(at_ms / 1000).astimezone()
    whole = calendar.day_of(moment.date().isoformat())
    if not calendar.works(moment.date()):
        return float(whole)
    passed = (moment.hour * 3600 + moment.minute * 60 + moment.second) / DAY_S
    return max(0.0, whole - 1 + passed)


def time_of(at_ms: int) -> str:
    """Returns a moment as RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def hour_of(at_ms: int) -> str:
    """Returns a moment on the local clock, with its date unless that is today's."""
    moment = datetime.fromtimestamp(at_ms / 1000).astimezone()
    today = moment.date() == _local_date(_now_ms())
    return moment.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")


def _local_date(at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000).astimezone().date()


def _now_ms() -> int:
    fixed = os.environ.get("FLEET_NOW_MS")
    return int(fixed) if fixed else time.time_ns() // 1_000_000
