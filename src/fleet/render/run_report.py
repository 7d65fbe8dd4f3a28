"""The report of workflow runs as text or Markdown: totals, percentiles, critical path, steps.

Both forms show the same tables. Names and errors come from others: everything goes through `line`,
and what Markdown would take for a sign is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fleet.render.flows import WIDE, moment, seconds, tree
from fleet.render.text import amount, ascii_only, escaped, line, money, row_of, table, width

Table = tuple[str, list[str], list[list[str]], int]
"""A table's title, its heads, its rows, and the column that gives way first."""

SPANS: Final = ("queued_s", "ran_s", "waited_s")


def run_report_text(report: Mapping[str, Any], columns: int) -> str:
    """Returns the report in at most so many columns (80 at least)."""
    columns = max(columns, 80)
    parts = []
    for run in report["runs"]:
        lines = _flowing(_headline(run), columns)
        for title, heads, rows, grow in _tables(run, wide=columns >= WIDE):
            if rows:
                lines += ["", title, *table(rows, heads, columns, grow)]
        parts.append("\n".join(lines))
    if len(parts) > 1:
        title, heads, rows, grow = _of_all(report)
        head = _flowing(_totals(report), columns)
        parts.append("\n".join([*head, "", title, *table(rows, heads, columns, grow)]))
    return "\n\n\n".join(parts)


def run_report_markdown(report: Mapping[str, Any]) -> str:
    """Returns the report as a page in Markdown."""
    several = len(report["runs"]) > 1
    lines: list[str] = []
    if several:
        first, *rest = map(escaped, _totals(report))
        lines += [f"# {first}", "", ", ".join(rest), *_section(_of_all(report), "##"), ""]
    deep = "##" if several else "#"
    for run in report["runs"]:
        first, *rest = map(escaped, _headline(run))
        lines += [f"{deep} {first}", "", ", ".join(rest)]
        for one in _tables(run, wide=True):
            lines += _section(one, f"{deep}#")
        lines.append("")
    return "\n".join(lines[:-1])


def _section(told: Table, deep: str) -> list[str]:
    title, heads, rows, _ = told
    if not rows:
        return []
    lines = ["", f"{deep} {title.capitalize()}", "", row_of([head.lower() for head in heads])]
    return [*lines, row_of(["---"] * len(heads)), *(row_of(map(escaped, row)) for row in rows)]


def _flowing(parts: Sequence[str], columns: int) -> list[str]:
    """Returns parts of a headline in as many lines as they take."""
    dot = " - " if ascii_only() else " · "
    lines = [""]
    for part in map(line, parts):
        grown = lines[-1] + dot + part if lines[-1] else part
        lines = [*lines[:-1], grown] if width(grown) <= columns else [*lines, part]
    return lines


def _headline(run: Mapping[str, Any]) -> list[str]:
    thread = f", thread {run['thread']}" if run["thread"] else ""
    return [
        f"{run['run']}: {run['workflow']}{thread}: {run['state']}",
        f"began {moment(run['started_at'])}",
        f"took {seconds(run['took_s'])}",
        *_counts(run),
    ]


def _totals(report: Mapping[str, Any]) -> list[str]:
    totals = report["totals"]
    ended = f"{totals['succeeded']} succeeded, {totals['failed']} failed"
    return [
        f"{report['name']}: {totals['runs']} runs, {ended}",
        f"took {seconds(totals['took_s'])} together",
        *_counts(totals),
    ]


def _counts(one: Mapping[str, Any]) -> list[str]:
    counts, usage = one["counts"], one["usage"]
    told = [
        _count(counts["steps"], "step"),
        f"{counts['succeeded']} succeeded{_share(one['success_rate'])}",
        f"{counts['failed']} failed{_share(one['failure_rate'])}",
        _count(counts["attempts"], "attempt"),
        "1 retry" if counts["retries"] == 1 else f"{counts['retries']} retries",
    ]
    if usage.get("tokens"):
        told.append(f"{amount(usage['tokens'])} tokens")
    if usage.get("usd"):
        told.append(money(usage["usd"]))
    return told


def _count(number: int, of: str) -> str:
    return f"{number} {of}{'' if number == 1 else 's'}"


def _share(rate: float | None) -> str:
    return "" if rate is None else f" ({100 * rate:.0f} %)"


def _tables(run: Mapping[str, Any], *, wide: bool) -> list[Table]:
    whole = run["took_s"]
    path = [
        [
            one["id"],
            *(seconds(one[key]) for key in SPANS),
            _of(sum(one[key] for key in SPANS), whole),
            ", ".join(one["waits_for"]),
        ]
        for one in run["critical_path"]
    ]
    sums = [sum(one[key] for one in run["critical_path"]) for key in SPANS]
    if path:
        path.append(["together", *map(seconds, sums), _of(sum(sums), whole), ""])
    steps = []
    for name, one in tree(run["steps"]):
        cells = [name, one["state"], *(seconds(one[key]) for key in SPANS), _retries(one)]
        if wide:
            began = moment(one["started_at"])[11:] if one["started_at"] else "-"
            cells[2:2] = [str(one["agent"] or "-"), began]
        steps.append(cells)
    heads = ["STEP", "STATE", "QUEUED", "RAN", "WAITED", "RETRIES"]
    if wide:
        heads[2:2] = ["AGENT", "BEGAN"]
    return [
        ("PERCENTILES", ["", "P50", "P95", "P99", "MAX"], _percentiles(run), 0),
        ("CRITICAL PATH", ["STEP", "QUEUED", "RAN", "WAITED", "SHARE", "KEPT BY"], path, 5),
        ("STEPS", heads, steps, 0),
        ("FAILED", ["STEP", "WHY"], [
            [one["id"], one["error"]] for one in run["steps"] if one["error"]
        ], 1),
    ]  # fmt: skip


def _retries(one: Mapping[str, Any]) -> str:
    return str(one["retries"]) if one["attempts"] else "-"


def _of(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def _percentiles(one: Mapping[str, Any]) -> list[list[str]]:
    names = {"queued": one["queued_s"], "ran": one["ran_s"]}
    return [
        [name, *(seconds(found[key]) for key in ("p50", "p95", "p99", "max"))]
        for name, found in names.items()
        if found
    ]


def _of_all(report: Mapping[str, Any]) -> Table:
    rows = [
        [
            one["run"],
            one["state"],
            moment(one["started_at"]),
            seconds(one["took_s"]),
            *(
                seconds(one[key][share]) if one[key] else "-"
                for key in ("queued_s", "ran_s")
                for share in ("p50", "p95")
            ),
        ]
        for one in report["runs"]
    ]
    both = ["QUEUED P50", "P95", "RAN P50", "P95"]
    return "ALL RUNS", ["RUN", "STATE", "STARTED", "TOOK", *both], rows, 0
