"""What a program's JSON lines mean, as its profile says. Pure but for the attempt's files.

An event is a line that holds a JSON object; what else is printed is passed over. A key is dotted
(`usage.input_tokens`). The program's own word `done` is believed only with exit code 0 and without
an error after it; who says no such word is believed by the exit code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.core.plan import Failure
from fleet.harnesses import (
    AgentFacts,
    Heard,
    Report,
    ending,
    json_lines,
    judge,
    last_words,
    span_ms,
)
from fleet.harnesses.meters import LineMeter, Tally, session_of
from fleet.harnesses.profile import Find, Profile, Reading, Usage, Where
from fleet.harnesses.profile.filling import is_chosen

TAIL_BYTES: Final = 8 << 20  # all events of usage may count, not only the last
SAID_BYTES: Final = 4_096

Event = Mapping[str, Any]


def outcome(profile: Profile, ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what the program's events and its exit code say."""
    reads = profile.reads
    assert isinstance(reads, Reading)
    events = json_lines(folder.stdout_tail(TAIL_BYTES))
    heard = hear(reads, events)
    if heard.session is None and events and reads.session is None and is_chosen(profile):
        heard = replace(heard, session=session_of(folder.path))
    report = judge(ended, folder, heard)
    if ended is None or report.ok or ending(ended, folder) is not None:
        return report
    said = heard.complaint or last_words(folder.output_tail(SAID_BYTES))
    if any(re.search(one, said, re.IGNORECASE) for one in reads.limited):
        report = replace(report, failure=Failure.ACCOUNT)
    at_ms = reset_ms(reads.resets, said, ended.ended_at_ms)
    if report.failure is Failure.ACCOUNT and at_ms is not None:
        report = replace(report, resume_at_ms=at_ms)
    return report


def hear(reads: Reading, events: Sequence[Event]) -> Heard:
    """Returns what the events say."""
    errors = _found(reads.error, events)
    complaint = errors[-1] if errors else (-1, "")
    ends = [number for number, event in enumerate(events) if reads.done and _has(event, reads.done)]
    went_well = ends[-1] > complaint[0] if ends else not reads.done and not errors
    outputs, sessions = _found(reads.output, events), _found(reads.session, events)
    statuses = [status for _, status in _found(reads.status, events) if isinstance(status, int)]
    usage = _usage(reads.usage, events)
    return Heard(
        done=went_well,
        worked=bool(ends or outputs or usage),
        complaint="" if went_well else str(complaint[1]),
        status=statuses[-1] if statuses and not went_well else None,
        output=str(outputs[-1][1]) if outputs else None,
        session=str(sessions[0][1]) if sessions else None,
        usage=usage,
    )


def meter(usage: Usage, _: AgentFacts, folder: Path) -> LineMeter:
    """Returns what counts the events that tell of usage as they come."""

    def count(tally: Tally, event: Event) -> None:
        told = _usage(usage, [event])
        if usage.add:
            tally.add(told)
        else:
            tally.amounts.update(told)

    return LineMeter("standard output", lambda: AttemptFolder(folder).stdout, count)


def reset_ms(resets: Sequence[str], said: str, ended_at_ms: int) -> int | None:
    """Returns when an account opens again, in ms since 1970, by the first expression that fits.

    `wait` is a time such as `1h 5m`, or seconds; `epoch` seconds since 1970; `at` an ISO time, in
    the local zone unless it names one.
    """
    for expression in resets:
        found = re.search(expression, said, re.IGNORECASE)
        told = {name: text for name, text in (found.groupdict() if found else {}).items() if text}
        if "epoch" in told:
            return int(float(told["epoch"]) * 1000)
        if "wait" in told:
            wait = span_ms(f"{told['wait']}s" if told["wait"].isdigit() else told["wait"])
            if wait is not None:
                return ended_at_ms + wait
        if "at" in told:
            try:
                return int(datetime.fromisoformat(told["at"]).astimezone().timestamp()) * 1000
            except (ValueError, OverflowError):
                continue
    return None


def _found(find: Find | None, events: Sequence[Event]) -> list[tuple[int, Any]]:
    """Returns the values that are meant, each with the number of its event."""
    if find is None:
        return []
    told = (
        (number, value_at(event, find.key))
        for number, event in enumerate(events)
        if _has(event, find.where)
    )
    return [(number, value) for number, value in told if value not in (None, "")]


def _usage(usage: Usage | None, events: Sequence[Event]) -> dict[str, float]:
    total: dict[str, float] = {}
    if usage is None:
        return total
    for event in events:
        if _has(event, usage.where):
            for name, key in usage.keys.items():
                value = value_at(event, key)
                if isinstance(value, int | float) and not isinstance(value, bool):
                    total[name] = value + (total.get(name, 0) if usage.add else 0)
    return total


def _has(event: Event, where: Where) -> bool:
    return all(value_at(event, key) == value for key, value in where.items())


def value_at(event: Event, key: str) -> Any:
    """Returns the value at a dotted key; None where there is none."""
    value: Any = event
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
