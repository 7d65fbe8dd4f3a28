"""The report of a run as text or Markdown: sums, phases, accounts, agents, tasks, attempts.

Both forms show the same tables; Markdown is for a page that people keep. Names and last words come
from others: everything goes through `line`, and what Markdown would take for a sign is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.render.text import amount, ascii_only, escaped, line, money, row_of, table, width
from fleet.views.proofs import proof_in_words
from fleet.views.verdicts import found_in

WIDE = 110
"""From here on there is room for tokens read from a cache, turns and the context's share."""


Table = tuple[str, list[str], list[list[str]], int]
"""A table's title, its heads, its rows, and the column that gives way first."""


def report_text(report: Mapping[str, Any], columns: int) -> str:
    """Returns the report in at most so many columns (80 at least)."""
    columns = max(columns, 80)
    dot = " - " if ascii_only() else " · "
    lines = [""]
    for part in _headline(report):
        grown = lines[-1] + dot + part if lines[-1] else part
        lines = [*lines[:-1], grown] if width(grown) <= columns else [*lines, part]
    for title, heads, rows, grow in _tables(report, wide=columns >= WIDE):
        if rows:
            lines += ["", title, *table(rows, heads, columns, grow)]
    return "\n".join(lines)


def report_markdown(report: Mapping[str, Any]) -> str:
    """Returns the report as a page in Markdown."""
    first, *rest = map(escaped, _headline(report))
    lines = [f"# {first}", "", ", ".join(rest)]
    for title, heads, rows, _ in _tables(report, wide=True):
        if rows:
            lines += ["", f"## {title.capitalize()}", "", row_of([head.lower() for head in heads])]
            lines += [row_of(["---"] * len(heads)), *(row_of(map(escaped, row)) for row in rows)]
    return "\n".join(lines)


def _headline(report: Mapping[str, Any]) -> list[str]:
    attempts = [one for one in report["attempts"] if one["agent"]]
    failed = sum(one["ending"] == "failed" for one in attempts)
    told = [
        f"{line(str(report['fleet']))}: {report['run']['state']}",
        _days(report["planned_days"], report["actual_days"]),
        f"{len(attempts)} attempt{'' if len(attempts) == 1 else 's'}"
        + (f", {failed} failed" if failed else ""),
        f"agents ran {span(report['ran_s'])}",
    ]
    usage = report["usage"]
    if usage:
        told.append(f"{amount(usage.get('tokens'))} tokens")
    if usage.get("usd"):
        told.append(money(usage["usd"]))
    return told


def _shown(one: Mapping[str, Any]) -> str:
    """Returns what shows a piece of evidence, or why nothing does."""
    if not one["met"]:
        return f"nothing: {one['why']}"
    if one["how"] == "command":
        return f"a command (exit {one['code']})"
    return str(one["file"] or "its word")


def _followed(loop: Mapping[str, Any]) -> str:
    """Returns what followed a loop, and how that ended where it was a question."""
    ended = f": {line(str(loop['ended']))}" if loop["ended"] else ""
    change = f"adapt {line(str(loop['change']))}" if loop.get("change") else ""
    return f"{change or loop['follow'] or 'no more rework'}{ended}"


def _days(planned: float | None, actual: float | None) -> str:
    return f"{_number(planned)} days planned, {_number(actual)} taken"


def _tables(report: Mapping[str, Any], *, wide: bool) -> list[Table]:
    used = ["TRIES", "RAN", *_usage_heads(wide=wide)]
    days = ["PLAN", "DAYS"]
    phases = [
        [one["id"] or "-", "landed" if one["merged_as"] else "-", _number(one["planned_days"]),
         _number(one["actual_days"]), *_used(one, wide=wide)]
        for one in report["phases"]
    ]  # fmt: skip
    accounts = [
        [one["id"], str(len(one["agents"])), *_used(one, wide=wide)] for one in report["accounts"]
    ]
    agents = [
        [one["id"] or "-", str(len(one["tasks"])), *_used(one, wide=wide)]
        for one in report["agents"]
    ]
    tasks = [
        [one["id"], one["state"], _number(one["planned_days"]), _number(one["actual_days"]),
         *_used(one, wide=wide)]
        for one in report["tasks"]
    ]  # fmt: skip
    attempts = [
        [f"{one['step']} {one['attempt']}", _ending(one), span(one["ran_s"]),
         *_usage_cells(one["usage"], wide=wide), *([_share(one["usage"])] if wide else []),
         _last_word(one)]
        for one in report["attempts"]
        if one["agent"] or one["ending"] == "failed"
    ]  # fmt: skip
    decided = [
        [f"{one['step']} {one['attempt']}", *decisions(one["policy"])]
        for one in report["attempts"]
        if one.get("policy")
    ]
    tried = ["ATTEMPT", "ENDED", *used[1:], *(["CONTEXT"] if wide else []), "LAST WORD"]
    return [
        ("PHASES", ["PHASE", "MERGE", *days, *used], phases, 0),
        ("ACCOUNTS", ["ACCOUNT", "AGENTS", *used], accounts if len(accounts) > 1 else [], 0),
        ("AGENTS", ["AGENT", "TASKS", *used], agents, 0),
        ("TASKS", ["TASK", "STATE", *days, *used], tasks, 0),
        *_judged(report),
        ("ATTEMPTS", tried, attempts, len(tried) - 1),
        ("DECIDED BY PATTERN", ["ATTEMPT", "ALLOWED", "DENIED", "LAST"], decided, 3),
    ]


def _judged(report: Mapping[str, Any]) -> list[Table]:
    """Returns the tables of what was proved, shown, judged, and seen to go in circles."""
    verdicts = [
        [one["step"], "passed" if one["passed"] else "not passed",
         ", ".join(f"{task} {sha[:10]}" for task, sha in one["commits"].items()),
         found_in(one) or "-"]
        for one in report.get("verdicts") or ()
    ]  # fmt: skip
    proofs = [
        [one["id"], one["of"], line(str(one["text"])), proof_in_words(one)]
        for one in report.get("proofs") or ()
    ]
    shown = [
        [one["task"], line(str(one["text"])), _shown(one), (one["commit"] or "-")[:10]]
        for one in report.get("evidence") or ()
    ]
    loops = [
        [one["kind"], ", ".join(one["tasks"]) or "-",
         ", ".join(str(told["id"]) for told in one["rounds"]) or "-",
         line(str(one["why"])).rstrip(":"), _followed(one)]
        for one in report.get("loops") or ()
    ]  # fmt: skip
    return [
        ("PROOFS", ["PROOF", "OF", "TAKEN FOR GRANTED", "FOUND"], proofs, 2),
        ("EVIDENCE", ["TASK", "WHAT", "SHOWN BY", "COMMIT"], shown, 1),
        ("VERDICTS", ["CHECK", "ENDED", "OF", "FOUND"], verdicts, 3),
        ("LOOPS", ["LOOP", "OF", "ROUNDS", "WHY", "THEN"], loops, 3),
    ]


def _share(usage: Mapping[str, float]) -> str:
    share = usage.get("context_share")
    return "-" if share is None else f"{100 * share:.0f} %"


def _usage_heads(*, wide: bool) -> list[str]:
    return ["IN", "CACHED", "OUT", "TURNS", "COST"] if wide else ["IN", "OUT", "COST"]


def _used(one: Mapping[str, Any], *, wide: bool) -> list[str]:
    tries = str(one["attempts"]) + (f" ({one['failed']} failed)" if one["failed"] else "")
    return [tries, span(one["ran_s"]), *_usage_cells(one["usage"], wide=wide)]


def _usage_cells(usage: Mapping[str, float], *, wide: bool) -> list[str]:
    cells = [amount(usage.get("input_tokens")), amount(usage.get("output_tokens"))]
    if wide:
        cells.insert(1, amount(usage.get("cached_tokens")))
        cells.append(amount(usage.get("turns")))
    return [*cells, money(usage.get("usd"))]


def _ending(one: Mapping[str, Any]) -> str:
    return f"{one['ending']}: {one['failure']}" if one["failure"] else str(one["ending"])


def decisions(policy: Mapping[str, Any]) -> list[str]:
    """Returns what patterns decided: how often they allowed, how often denied, and the last."""
    last = policy["last"][-1]
    by = f" by `{last['why']}`" if last["why"] else ""
    word = "denied" if last["decision"] == "deny" else "allowed"
    told = f"{word}{by}: {last['tool']} {last['about']}".strip()
    return [str(policy["allowed"]), str(policy["denied"]), " ".join(told.split())]


def _last_word(one: Mapping[str, Any]) -> str:
    return one["text"].splitlines()[0] if one["text"].strip() else ""


def span(seconds: float) -> str:
    """Returns a duration in its two largest units: `12 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _number(days: float | None) -> str:
    return "-" if days is None else f"{days:g}"
