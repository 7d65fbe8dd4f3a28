"""The plan in other programs' formats: Mermaid, SVG, Graphviz, iCalendar and CSV.

Each format has its own way of being attacked by a name; each function here neutralises names for
its own format, after `line` has put them on one line. Ids of nodes are numbers, never names.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from xml.sax.saxutils import escape

from fleet.errors import NotFound
from fleet.render.plan import days_text
from fleet.render.text import line
from fleet.views.plan import PlanView, TaskRow, number

DAY_WIDTH, ROW_HEIGHT, LEFT = 24, 24, 260
MERMAID_SIGNS = frozenset(" _-./()+&=")
MERMAID_WORDS = ("section", "title", "click", "gantt", "acc", "date", "axis", "tick", "excl",
                 "incl", "today", "week", "call", "href", "end")  # fmt: skip


def export_plan(view: PlanView, form: str) -> str:
    """Returns the plan in one of EXPORTS; raises NotFound for another."""
    if form not in EXPORTS:
        raise NotFound("format", form, list(EXPORTS))
    return EXPORTS[form](view)


def export_mermaid(view: PlanView) -> str:
    """Returns a Mermaid gantt chart; critical tasks are marked."""
    lines = ["gantt", f"    title {_mermaid(view.fleet) or 'plan'}", "    dateFormat YYYY-MM-DD"]
    numbers = {row.id: at for at, row in enumerate(view.tasks, 1)}
    phases = [(phase.name, phase.tasks) for phase in view.phases]
    rest = tuple(row.id for row in view.tasks if row.phase not in {p.id for p in view.phases})
    for name, members in [*phases, ("no phase" if phases else "tasks", rest)]:
        if not members:
            continue
        lines.append(f"    section {_mermaid(name)}")
        for task in members:
            row = view.tasks[numbers[task] - 1]
            crit = "crit, " if row.critical else ""
            point = "milestone, " if not row.days else ""
            end = row.ends if not row.days else _after(row.ends)
            about = f"{crit}{point}t{numbers[task]}, {row.starts}, {end}"
            lines.append(f"    {_mermaid(row.id + ' ' + row.name)} :{about}")
    return "\n".join(lines) + "\n"


def export_dot(view: PlanView) -> str:
    """Returns a Graphviz digraph of tasks and their dependencies, a cluster for each phase."""
    numbers = {row.id: at for at, row in enumerate(view.tasks, 1)}
    lines = [f"digraph {_dot(view.fleet or 'plan')} {{", "  rankdir=LR;", "  node [shape=box];"]
    for row in view.tasks:
        label = f"{_dot_text(row.id)}\\n{_dot_text(row.name)}\\n{days_text(row.days)}"
        colour = ", color=red" if row.critical else ""
        lines.append(f'  t{numbers[row.id]} [label="{label}"{colour}];')
    for at, phase in enumerate(view.phases, 1):
        members = " ".join(f"t{numbers[task]};" for task in phase.tasks)
        lines.append(f"  subgraph cluster_{at} {{ label={_dot(phase.name)}; {members} }}")
    for row in view.tasks:
        lines += [f"  t{numbers[need]} -> t{numbers[row.id]};" for need in row.dependencies]
    return "\n".join([*lines, "}"]) + "\n"


def export_svg(view: PlanView) -> str:
    """Returns an SVG picture of the bars, without script and without anything to load."""
    length = max((row.late_end_day for row in view.tasks), default=1)
    wide, high = LEFT + length * DAY_WIDTH + 10, (len(view.tasks) + 2) * ROW_HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}"',
        f' viewBox="0 0 {wide} {high}" font-family="sans-serif" font-size="12">',
        f"<title>{_xml(view.fleet or 'plan')}</title>",
    ]
    for day in range(1, length + 1):
        at = LEFT + (day - 1) * DAY_WIDTH
        lines.append(f'<text x="{at + 4}" y="16" fill="#666">{day}</text>')
    for at, row in enumerate(view.tasks, 1):
        lines += _svg_row(row, at * ROW_HEIGHT)
    return "\n".join([*lines, "</svg>"]) + "\n"


def export_ics(view: PlanView) -> str:
    """Returns an iCalendar file (RFC 5545) with an all-day event for each task."""
    stamp = view.start.replace("-", "") + "T000000Z"
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//fleet//plan//EN"]
    for row in view.tasks:
        lines += [
            "BEGIN:VEVENT",
            f"UID:{_ics(row.id)}@{_ics(view.fleet or 'fleet')}",
            f"DTSTAMP:{stamp}",
            f"DTSTART;VALUE=DATE:{row.starts.replace('-', '')}",
            f"DTEND;VALUE=DATE:{_after(row.ends).replace('-', '')}",
            f"SUMMARY:{_ics(row.id)} {_ics(row.name)}",
            f"DESCRIPTION:{_ics(row.agent)}\\, {days_text(row.days)}",
            "END:VEVENT",
        ]
    return "".join(_folded(one) + "\r\n" for one in [*lines, "END:VCALENDAR"])


def export_csv(view: PlanView) -> str:
    """Returns a row for each task; texts that a spreadsheet would compute get a leading quote."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(
        ["id", "name", "agent", "phase", "priority", "days", "start_day", "end_day", "starts",
         "ends", "slack_days", "critical", "dependencies"]
    )  # fmt: skip
    for row in view.tasks:
        texts = (row.id, row.name, row.agent, row.phase or "", row.priority)
        rows.writerow(
            [*map(_csv, texts), number(row.days), row.start_day, row.end_day, row.starts, row.ends,
             number(row.slack_days), str(row.critical).lower(), _csv(" ".join(row.dependencies))]
        )  # fmt: skip
    return out.getvalue()


EXPORTS: Mapping[str, Callable[[PlanView], str]] = {
    "mermaid": export_mermaid,
    "svg": export_svg,
    "dot": export_dot,
    "ics": export_ics,
    "csv": export_csv,
}
"""The names that `fleet plan --format` takes, beside table and json."""


def _svg_row(row: TaskRow, top: int) -> list[str]:
    x = LEFT + (row.start_day - 1) * DAY_WIDTH
    wide = (row.end_day - row.start_day + 1) * DAY_WIDTH
    late = (row.late_end_day - row.end_day) * DAY_WIDTH
    fill = "#c0392b" if row.critical else "#5b8def"
    name = row.name if row.name == row.id else f"{row.id} {row.name}"
    label = name if len(name) <= LEFT // 8 else name[: LEFT // 8 - 1] + "…"
    told = f"{name}: days {row.start_day} to {row.end_day}, {row.starts} to {row.ends}"
    found = [
        f'<text x="4" y="{top + 16}">{_xml(label)}</text>',
        f'<rect x="{x}" y="{top + 4}" width="{wide}" height="{ROW_HEIGHT - 8}" fill="{fill}">',
        f"<title>{_xml(told)}</title></rect>",
    ]
    if late:
        found.append(f'<rect x="{x + wide}" y="{top + 10}" width="{late}" height="4" fill="#bbb"/>')
    return found


def _after(day: str) -> str:
    """Returns the calendar day after an ISO date: both formats want ends that are not included."""
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def _mermaid(text: str) -> str:
    kept = "".join(s if s.isalnum() or s in MERMAID_SIGNS else " " for s in line(text))
    kept = " ".join(kept.split())
    return f"Task {kept}" if kept.lower().startswith(MERMAID_WORDS) else kept


def _dot(text: str) -> str:
    return f'"{_dot_text(text)}"'


def _dot_text(text: str) -> str:
    return line(text).replace("\\", "\\\\").replace('"', '\\"')


def _xml(text: str) -> str:
    return escape(line(text), {'"': "&quot;", "'": "&#39;"})


def _ics(text: str) -> str:
    found = line(text).replace("\\", "\\\\")
    return found.replace(";", "\\;").replace(",", "\\,")


def _folded(text: str) -> str:
    """Returns a line folded at 75 bytes, never within a sign."""
    found, used = "", 0
    for sign in text:
        size = len(sign.encode())
        if used + size > 75:
            found, used = found + "\r\n ", 1
        found, used = found + sign, used + size
    return found


def _csv(text: str) -> str:
    text = line(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
