"""The daily check-in as text: what needs you, the table, since yesterday, today, drift, next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fleet.render.flows import runs_text
from fleet.render.report import decisions
from fleet.render.running import inbox_text
from fleet.render.text import amount, ascii_only, cut, line, money, table, width, wrapped
from fleet.views.proofs import proof_in_words

GLYPHS = {
    "waiting": "·", "ready": "○", "held": "‖", "starting": "◔", "working": "●", "needs-you": "◆",
    "checking": "◑", "verified": "✔", "accepted": "✔", "merged": "✔", "failed": "✘",
    "stopped": "‖", "skipped": "↷", "unreached": "·", "lost": "?",
}  # fmt: skip
ASCII_GLYPHS = {
    "working": "*",
    "needs-you": "!",
    "failed": "x",
    "lost": "?",
    "merged": "+",
    "accepted": "+",
    "verified": "+",
}
WIDE = 110
CONFLICTS = 5  # pairs that are shown; `fleet conflicts` has them all
DAY_S = 86_400


def status_text(status: Mapping[str, Any], columns: int) -> str:
    """Returns the check-in in at most so many columns (80 at least)."""
    columns = max(columns, 80)
    parts = [*_head(status, columns), *_needs_you(status, columns), *_table(status, columns)]
    parts += _proofs(status, columns) + _runs(status, columns)
    parts += _denied(status, columns)
    parts += _phases(status, columns) + _since(status, columns) + _today(status, columns)
    parts += _conflicts(status, columns) + _drift(status, columns)
    parts += ["", f"Next: {'   '.join(next_commands(status))}"]
    return "\n".join(parts)


def _head(status: Mapping[str, Any], columns: int) -> list[str]:
    slip = status["slip_days"]
    late = f" ({slip:+g} d)" if slip else ""
    spend = status["spend"]
    planned = [
        f"day {status['day']} of {status['of_days']}",
        f"{status['done_pct']:g} % done (plan {status['planned_pct']:g} %)",
        f"finish {status['finish']}, forecast {status['forecast_finish']}{late}",
    ]
    told = [line(str(status["fleet"])), *(planned if status["tasks"] else ["no tasks"])]
    if status.get("run", {}).get("state") == "paused":
        told.append("PAUSED: fleet resume")
    if _unattended(status):
        told.append("NO COORDINATOR: fleet resume")
    if spend["tokens"]:
        told.append(f"{amount(spend['tokens'])} tokens")
    if spend["usd"]:
        told.append(money(spend["usd"]))
    dot = " - " if ascii_only() else " · "
    lines = [cut(told[0], columns)]
    for part in told[1:]:
        if width(lines[-1] + dot + part) <= columns:
            lines[-1] += dot + part
        else:
            lines.append(part)
    return lines


def _unattended(status: Mapping[str, Any]) -> bool:
    """Returns whether attempts are under way that nobody looks after: it was killed, or ended."""
    alive = status.get("coordinator", {"alive": True})["alive"]
    return not alive and any(one["state"] in UNDER_WAY for one in status["tasks"])


UNDER_WAY = ("starting", "working", "checking")
OVER = ("verified", "accepted", "merged", "skipped")
QUIET = ("ended", "idle", "failed")
"""Turns that are over while the program still runs."""


def _needs_you(status: Mapping[str, Any], columns: int) -> list[str]:
    """Returns the questions for people, and then those that agents answer."""
    lines: list[str] = []
    for head, answered in (("NEEDS YOU", False), ("BEING ANSWERED", True)):
        found = [one for one in status["questions"] if bool(one.get("answering")) is answered]
        if found:
            shown = inbox_text(found, columns - 2).splitlines()
            lines += ["", f"{head} ({len(found)})", *[f"  {one}" for one in shown]]
    return lines


def _proofs(status: Mapping[str, Any], columns: int) -> list[str]:
    """Returns what was to be proved and is found out, or found out next."""
    rows = [
        [one["id"], line(str(one["proof"]["text"])), proof_in_words(one["proof"])]
        for one in status["tasks"]
        if one.get("proof")
    ]
    heads = ["PROOF", "TAKEN FOR GRANTED", "FOUND"]
    return ["", *table(rows, heads, columns, 1)] if rows else []


def _runs(status: Mapping[str, Any], columns: int) -> list[str]:
    """Returns the runs of workflows that go on."""
    found = status.get("runs")
    return ["", "WORKFLOWS", *runs_text(found, columns).splitlines()] if found else []


def _table(status: Mapping[str, Any], columns: int) -> list[str]:
    if not status["tasks"]:
        return []
    now = _moment(status["now"])
    wide = columns >= WIDE
    used = wide and any(task.get("usage") for task in status["tasks"])
    rows = [_row(task, now, wide=wide, used=used) for task in status["tasks"]]
    heads = ["TASK", "STATE", "SINCE", "SLACK", "TRY", "DELIVERED", "COMMITS", "WAITS FOR"]
    if wide:
        more = ["PORT", "SIGNAL", *(["USED"] if used else [])]
        heads = ["TASK", "AGENT", *heads[1:-1], *more, heads[-1]]
    return ["", *table(rows, heads, columns, len(heads) - 1)]


def _row(task: Mapping[str, Any], now: datetime, *, wide: bool, used: bool) -> list[str]:
    met = sum(1 for one in task["deliverables"] if one.get("met"))
    passed = [one for one in task["checks"] if one.get("passed") is not None]
    delivered = f"{met}/{len(task['deliverables'])}"
    if passed:
        delivered += f" +{sum(1 for one in passed if one['passed'])}/{len(passed)}"
    commits = (
        "-"
        if task["ahead"] is None
        else f"+{task['ahead']}" + (f" -{task['behind']}" if task["behind"] else "")
    )
    if task["dirty"]:
        commits += f" ~{task['dirty']}"
    days = task["slack_days"]
    slack = "-" if days is None else "0 *" if days == 0 else f"{days:g}d"
    waits = ", ".join(task["waiting_for"]) or (task["why"].splitlines()[0] if task["why"] else "")
    if not waits and task["state"] == "working" and task["turn"] in QUIET:
        waits = f"its turn is {task['turn']}"
    waits = waits or task["evidence"]["doubt"] or ""
    if not waits and (task.get("proof") or {}).get("holds") is False:
        waits = "disproved"
    if task["state"] == "starting" and task["waiting_for"] and task["why"]:
        waits = f"{waits}: {task['why'].splitlines()[0]}"
    if not wide:
        waits = waits.removeprefix("account ")  # the hour behind it matters more
    evidence = task["evidence"]
    cells = [
        task["id"],
        f"{glyph(task['state'])} {task['state']}{'?' if evidence['doubt'] else ''}",
        age(task["since"], now),
        slack,
        str(task["attempt"] or "-"),
        delivered,
        commits,
    ]
    if wide:
        seen = evidence["source"] + (
            f" {span(evidence['age_s'])}" if evidence["age_s"] is not None else ""
        )
        port = (
            "-" if task["port"] is None else f"{task['port']}{' open' if task['port_open'] else ''}"
        )
        cells = [cells[0], str(task["agent"] or "-"), *cells[1:], port, seen]
        cells += [_used(task)] if used else []
    return [*cells, waits]


def _used(task: Mapping[str, Any]) -> str:
    """Returns a task's tokens and money, with the age of what is known of a running attempt."""
    usage, seen = task["usage"], task.get("usage_seen")
    told = [amount(usage["tokens"])] if usage.get("tokens") else []
    told += [money(usage["usd"])] if usage.get("usd") else []
    if told and seen and seen["age_s"] is not None:
        told.append(f"{span(seen['age_s'])} ago")
    return " ".join(told) or "-"


def glyph(state: str) -> str:
    """Returns the mark of a state; the word always stands beside it."""
    return ASCII_GLYPHS.get(state, ".") if ascii_only() else GLYPHS.get(state, "?")


def _phases(status: Mapping[str, Any], columns: int) -> list[str]:
    lines = [""] if status["phases"] else []
    for phase in status["phases"]:
        if phase["merged_as"]:
            told = f"landed as {phase['merged_as'][:10]}"
        else:
            told = f"gate {phase['gate']}"
            if phase.get("undone"):
                told = f"{phase['undone']}; {told}"
            if phase["missing"]:
                shown = ", ".join(phase["missing"][:3])
                told += f": {shown}" + (" ..." if len(phase["missing"]) > 3 else "")
        lines.append(cut(line(f"phase {phase['id']}: {told}"), columns))
    return lines


def _since(status: Mapping[str, Any], columns: int) -> list[str]:
    """Returns what came to an end or was reported within a day."""
    now = _moment(status["now"])

    def recent(at: str | None) -> bool:
        return at is not None and (now - _moment(at)).total_seconds() <= DAY_S

    told = []
    for task in status["tasks"]:
        ended = task["state"] in ("verified", "accepted", "merged", "skipped", "failed")
        if ended and recent(task["since"]):
            told.append(f"{task['id']} {task['state']}")
        checkin = task["last_checkin"]
        if checkin and checkin["done"] and recent(checkin["at"]):
            told.append(f"{task['id']}: {checkin['done']}")
    return _told("SINCE YESTERDAY", told, columns)


def _denied(status: Mapping[str, Any], columns: int) -> list[str]:
    """Returns what patterns have denied in sessions that are not over."""
    told = []
    for task in status["tasks"]:
        policy = task.get("policy")
        if policy and policy["denied"] and task["state"] not in OVER:
            allowed, denied, last = decisions(policy)
            told.append(f"{task['id']}: {denied} denied, {allowed} allowed; last {last}")
    return _told("BY PATTERN", told, columns)


def _today(status: Mapping[str, Any], columns: int) -> list[str]:
    told = []
    for task in status["tasks"]:
        checkin = task["last_checkin"]
        if checkin is None or task["state"] in ("verified", "accepted", "merged", "skipped"):
            continue
        if checkin["next"]:
            told.append(f"{task['id']}: {checkin['next']}")
        told += [f"{task['id']} is blocked: {one}" for one in checkin["blockers"]]
    return _told("TODAY", told, columns)


def _told(head: str, told: Sequence[str], columns: int) -> list[str]:
    """Returns a section: a blank line, its head, and below it one line or more for each text."""
    if not told:
        return []
    lines = []
    for one in told:
        first, *rest = wrapped(line(one), columns - 4) or [""]
        lines += [f"  {first}", *(f"    {more}" for more in rest)]
    return ["", head, *lines]


def _conflicts(status: Mapping[str, Any], columns: int) -> list[str]:
    """Returns the first pairs of branches that would conflict; the base is called so."""
    told = []
    for one in status["conflicts"][:CONFLICTS]:
        names = [*one["tasks"], *(["the base"] if one["with_base"] else [])]
        paths = ", ".join(one["paths"][:3]) + (" ..." if len(one["paths"]) > 3 else "")
        told.append(f"{' and '.join(names)}: {paths}")
    more = len(status["conflicts"]) - CONFLICTS
    return _told("WOULD CONFLICT", [*told, *([f"{more} more"] if more > 0 else [])], columns)


def _drift(status: Mapping[str, Any], columns: int) -> list[str]:
    told = [f"{one['task']} {one['days']:+g} d" for one in status["slip_causes"][:4]]
    lines = _told("DRIFT", [", ".join(told)] if told else [], columns)
    lines += [""] if status["warnings"] else []
    for one in status["warnings"]:
        lines += wrapped(one, columns, "    " if one.startswith(" ") else "! ")
    return lines


def next_commands(status: Mapping[str, Any]) -> list[str]:
    """Returns the one to three commands that a person would most likely type next."""
    found = []
    if status.get("inbox", len(status["questions"])):
        found.append("fleet inbox")
    for phase in status["phases"]:
        if phase["gate"] == "open" and not phase["merged_as"]:
            found.append(f"fleet merge {line(phase['id'])}")
            break
    for phase in status["phases"]:
        words = [one["state"] for one in status["tasks"] if one.get("phase") == phase["id"]]
        through = words and all(word in ("verified", "accepted", "skipped") for word in words)
        if phase["gate"] == "closed" and through and not phase["merged_as"]:
            found.append(f"fleet gate {line(phase['id'])}")
            break
    ready = [
        one["id"]
        for one in status["tasks"]
        if one["state"] == "ready" and "launch" in one["waiting_for"]
    ]
    if ready:
        found.append(f"fleet launch {line(ready[0])}")
    live = [one["id"] for one in status["tasks"] if one["session"]]
    if live and len(found) < 3:
        found.append(f"fleet attach {line(live[0])}")
    if status["conflicts"]:
        found.append("fleet conflicts")
    over = all(one["state"] in ("merged", "skipped") for one in status["tasks"])
    return found[:3] or ["fleet report" if over and status["tasks"] else "fleet plan"]


def age(since: str | None, now: datetime) -> str:
    """Returns how long ago a moment was, roughly."""
    return "-" if since is None else span((now - _moment(since)).total_seconds())


def span(seconds: float) -> str:
    """Returns a length of time, roughly."""
    seconds = max(0, int(seconds))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
