"""The plan as text: a table with bars, then critical path, float, load, risk and warnings.

No line is wider than `columns`. What does not fit goes in this order: agent and dates (under 100
columns), then names. Names come from files that anybody may have written: everything goes through
`line` or `wrapped` before it reaches a terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.render.text import cut, line, pad, width, wrapped
from fleet.views.plan import PlanView, TaskRow, number

WIDE = 100
"""From here on there is room for agents and dates."""
LISTED = 40
"""The most names that a list below the table spells out."""
NAME_CELLS = 34
ID_CELLS = (12, 20)
BAR_CELLS = 12
LABEL = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The signs of a plan, so that a terminal without Unicode gets plain ones."""

    critical: str = "█"
    planned: str = "▒"
    float_: str = "┄"
    point: str = "◆"
    cut: str = "…"
    arrow: str = " → "
    tick: str = "╷"


UNICODE = Marks()
ASCII = Marks(critical="#", planned="=", float_=".", point="+", cut="~", arrow=" -> ", tick="|")


def render_plan(
    view: PlanView, *, columns: int = 80, plain_ascii: bool = False, colour: bool = False
) -> str:
    """Returns the plan as lines of at most `columns` cells (60 at the least),
    newline at the end.
    """
    columns = max(columns, 60)
    marks = ASCII if plain_ascii else UNICODE
    lines = [*_headline(view, columns), ""]
    lines += _table(view, columns, marks, colour=colour)
    lines += ["", *_facts(view, columns, marks)]
    text = "\n".join(one.rstrip() for one in lines) + "\n"
    return text.encode("ascii", "replace").decode("ascii") if plain_ascii else text


def days_text(days: float) -> str:
    """Returns `1 day` or `2.5 days`."""
    return f"{number(days)} day{'' if days == 1 else 's'}"


def _headline(view: PlanView, columns: int) -> list[str]:
    kinds = {"task": 0, **Counter(row.kind for row in view.tasks)}
    counts = [f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in kinds.items()]
    parts = [
        f"{line(view.fleet) or 'plan'}: {counts[0]}",
        *counts[1:],
        f"{view.start} to {view.finish}",
        f"{days_text(view.duration_days)} for {days_text(view.work_days)} of work",
    ]
    told = wrapped(", ".join(parts), columns)
    if view.revision is not None:
        one = view.revision
        by = f" by {one.by}" if one.by else ""
        told = [*wrapped(f"revision {one.number}{by}, {one.at}: {one.reason}", columns), *told]
    return told


def _table(view: PlanView, columns: int, marks: Marks, *, colour: bool) -> list[str]:
    wide = columns >= WIDE
    rows = view.tasks
    id_cells = _column((row.id for row in rows), 2, ID_CELLS[wide])
    sizes = [id_cells, 0]
    heads = ["ID", "TASK"]
    if wide:
        sizes.append(_column((row.agent for row in rows), 5, 12))
        heads.append("AGENT")
    sizes += [_column((number(row.days) for row in rows), 4, 7)]
    heads.append("DAYS")
    if wide:
        sizes += [10, 10]
        heads += ["STARTS", "ENDS"]
    sizes.append(_column((_span(row) for row in rows), 2, 11))
    heads.append("ON")
    sizes.append(_column((_float(row) for row in rows), 5, 8))
    heads.append("FLOAT")
    length = max((row.late_end_day for row in rows), default=1)
    left = columns - sum(sizes) - 2 * len(sizes)
    names = _column((row.name for row in rows), 4, max(4, min(NAME_CELLS, left // 2)))
    sizes[1] = names
    bar_cells = max(BAR_CELLS, left - names - 1)
    scale = bar_cells // length or bar_cells / length
    bar_cells = min(bar_cells, int(scale * length + 0.999))
    lines = [_line(heads, sizes, marks) + _axis(length, scale, bar_cells, marks)]
    for title, members in _groups(view):
        if title:
            lines.append(cut(line(title), columns, marks.cut))
        for row in members:
            bar = _bar(row, scale, bar_cells, marks)
            if colour and row.critical:
                bar = f"\x1b[31m{bar}\x1b[0m"
            lines.append(_line(_texts(row, wide=wide), sizes, marks) + bar)
    return lines


def _groups(view: PlanView) -> Iterable[tuple[str, Sequence[TaskRow]]]:
    known = {phase.id for phase in view.phases}
    by_phase: dict[str | None, list[TaskRow]] = {}
    for row in view.tasks:
        by_phase.setdefault(row.phase if row.phase in known else None, []).append(row)
    for phase in view.phases:
        name = phase.name if phase.name != phase.id else ""
        days = f", days {phase.start_day} to {phase.end_day}" if phase.tasks else ", no tasks"
        yield f"{phase.id} {name}".strip() + days, by_phase.get(phase.id, [])
    yield ("no phase" if view.phases and None in by_phase else ""), by_phase.get(None, [])


def _texts(row: TaskRow, *, wide: bool) -> list[str]:
    who, when = ([row.agent or "-"], [row.starts, row.ends]) if wide else ([], [])
    return [row.id, row.name, *who, number(row.days), *when, _span(row), _float(row)]


def _line(texts: Sequence[str], sizes: Sequence[int], marks: Marks) -> str:
    return "".join(
        pad(cut(line(text), size, marks.cut), size) + "  "
        for text, size in zip(texts, sizes, strict=True)
    )


def _column(texts: Iterable[str], least: int, most: int) -> int:
    return min(most, max([least, *(width(line(text)) for text in texts)]))


def _span(row: TaskRow) -> str:
    return str(row.start_day) if row.start_day == row.end_day else f"{row.start_day}-{row.end_day}"


def _float(row: TaskRow) -> str:
    return "0 *" if row.critical else number(row.slack_days)


def _bar(row: TaskRow, scale: float, room: int, marks: Marks) -> str:
    first = min(room - 1, int((row.start_day - 1) * scale))
    last = min(room, max(first + 1, int(row.end_day * scale)))
    late = min(room, max(last, int(row.late_end_day * scale)))
    body = marks.critical if row.critical else marks.planned
    if not row.days:
        return " " * (last - 1) + marks.point + marks.float_ * (late - last)
    return " " * first + body * (last - first) + marks.float_ * (late - last)


def _axis(length: int, scale: float, room: int, marks: Marks) -> str:
    """Returns day numbers over the first cell of their day, as many as fit."""
    step = next(s for s in _steps() if s * scale >= len(str(length)) + 2 or s >= length)
    axis = ""
    for day in [1, *range(step, length + 1, step)]:
        at = int((day - 1) * scale)
        text = f"{marks.tick}{day}"
        if (at > len(axis) or not axis) and at + len(text) <= room:
            axis += " " * (at - len(axis)) + text
    return axis


def _steps() -> Iterable[int]:
    size = 1
    while True:
        yield from (size, 2 * size, 5 * size)
        size *= 10


def _facts(view: PlanView, columns: int, marks: Marks) -> list[str]:
    chain = _some(view.critical_path, marks.arrow, "")
    slack = sorted((row for row in view.tasks if not row.critical), key=lambda row: row.slack_days)
    floats = _some([f"{row.id} {number(row.slack_days)}" for row in slack], ", ", "none")
    loads = [
        f"{one.id or 'nobody'} {days_text(one.days)}"
        + (f" ({number(one.critical_days)} critical)" if one.critical_days else "")
        for one in view.agents
    ]
    facts = [
        ("Critical path", f"{chain}: {days_text(view.duration_days)} (* no float)"),
        ("Float", floats),
        ("Load", _some(loads, ", ", "none")),
        ("At once", f"{view.width} at most, {number(view.speedup)} times as fast as one by one"),
    ]
    for proof in view.proofs:
        rides = _some(proof.rides, ", ", "nothing")
        facts.append(("Proof", f"{proof.id}: {line(proof.text)}; rides on it: {rides}"))
    if view.limits:
        limits = ", ".join(f"{name} {units}" for name, units in view.limits.items())
        without = days_text(view.unlimited_days)
        facts.append(("Limits", f"{limits} (without them {without})"))
    if view.risk:
        shares = (("50 %", view.risk.p50), ("80 %", view.risk.p80), ("95 %", view.risk.p95))
        told = [f"{share} sure within {days_text(round(days, 1))}" for share, days in shares]
        facts.append(("Risk", ", ".join(told)))
    for one in view.warnings:
        place = f"{one.place}: " if one.place else ""
        facts.append(("Warning", place + one.text))
    return [told for label, text in facts for told in _fact(label, text, columns)]


def _fact(label: str, text: str, columns: int) -> list[str]:
    """Returns a text on lines that hang from its label."""
    first, *rest = wrapped(text, columns, " " * LABEL)
    return [f"{label:<{LABEL}}{first.lstrip()}", *rest]


def _some(names: Sequence[str], between: str, none: str) -> str:
    if not names:
        return none
    more = len(names) - LISTED
    return between.join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
