"""Launches, merges, questions, events and metrics as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fleet.render.flows import WIDE, how_to, moment
from fleet.render.text import ascii_only, cut, line, plain, table, wrapped

TICKS = {True: "✔", False: "✘", None: "·"}
ASCII_TICKS = {True: "+", False: "x", None: "."}


def tick(met: bool | None) -> str:  # noqa: FBT001 - a mark of three values
    """Returns a mark for yes, no and unknown."""
    return (ASCII_TICKS if ascii_only() else TICKS)[met]


def launch_text(row: Any) -> str:
    """Returns one launched task as lines."""
    head = f"{line(row.task)}  {line(row.agent) or '-'}  {row.state}"
    if row.text:
        head += f": {line(row.text.splitlines()[0])}"
    lines = [head]
    if row.state not in ("waiting", "ready", "held"):
        lines.append(f"  worktree {line(row.worktree)}   branch {line(row.branch)}")
    if row.port:
        lines.append(f"  port     {row.port}")
    if row.session:
        lines.append(f"  session  {line(row.session)}")
    return "\n".join(lines)


def next_steps(rows: Sequence[Any]) -> str:
    """Returns what a person may want to type next."""
    live = [line(row.task) for row in rows if row.session]
    if any(row.state == "needs-you" for row in rows):
        return "next: fleet inbox"
    if live:
        return f"next: fleet status   fleet attach {live[0]}   fleet logs -f {live[0]}"
    return "next: fleet status"


def landing_text(row: Any, columns: int = 100, *, would: bool = False) -> str:
    """Returns what became of a phase's merge; in a dry run, what would be merged."""
    if would and not row.landed:
        lines = wrapped(f"{tick(None)} {line(row.phase)}: {line(row.text)}", columns)
        return "\n".join(lines + [f"    {line(t)}  {short(sha)}" for t, sha in row.tasks.items()])
    mark = tick(bool(row.done))
    if not row.landed:
        part = row.evidence.get("landed")
        told = "not landed, the base is untouched"
        if row.pull_request:
            told = f"pull request {row.pull_request['number']}"
        if part:
            told = f"landed in part, {short(part['before'])} -> {short(part['commit'])}"
        lines = [f"{mark} {line(row.phase)}: {told}"]
        lines += [f"    {published(row.pushed)}"] if row.pushed else []
        lines += wrapped(row.text, columns, "    ")
        for check in row.evidence.get("checks", ()):
            if not check.get("passed"):
                lines += wrapped(str(check.get("tail", "")), columns, "      ")
        return "\n".join([*lines, *_how_to_go_on(row)])
    lines = [f"{mark} {line(row.phase)}: {short(row.before)} -> {short(row.commit)}"]
    lines += [f"    {line(name)}  {short(sha)}" for name, sha in row.tasks.items()]
    if row.tag:
        lines.append(f"    tag {line(row.tag)}")
    if row.undo:
        lines.append(f"    undo ref {line(row.undo)}")
    if row.pushed:
        lines.append(f"    {published(row.pushed)}")
    if row.text:
        lines += wrapped(row.text, columns, "    ")
    return "\n".join(lines)


def _how_to_go_on(row: Any) -> list[str]:
    """Returns what a person may type about a phase that did not land, where there is a choice."""
    again = f"fleet merge {line(row.phase)}"
    if "conflict" in row.evidence and "resolved_by" not in row.evidence:
        return [f"next: {again} --resolve AGENT   fleet conflicts"]
    if "culprits" in row.evidence and "sent_back" in row.evidence and "landed" not in row.evidence:
        rest = f"   {again} --land-rest" if row.evidence.get("rest") else ""
        return [f"next: fleet inbox{rest}"]
    return []


def published(told: Mapping[str, Any]) -> str:
    """Returns in a line where something was pushed to, or which pull request it is."""
    if "url" in told:
        return line(f"pull request {told['number']}: {told['url']}")
    tag = f" and tag {told['tag']}" if told.get("tag") else ""
    return line(f"pushed to {told['remote']}: {told['ref']}{tag} at {short(told['commit'])}")


def short(commit: object) -> str:
    """Returns a commit in ten characters."""
    return line(str(commit)[:10])


def inbox_text(questions: Sequence[Mapping[str, Any]], columns: int = 100) -> str:
    """Returns open questions, each with how to answer it."""
    if not questions:
        return "nothing needs you"
    lines = []
    for one in questions:
        cells = [one["id"], one["task"] or one["step"], one["kind"], _ride(one["slack_days"])]
        whom = str(one.get("whom") or "person").removeprefix("@")
        cells += [f"for {whom}" if whom != "person" else ""]
        cells += [f"about {one['topic']}" if one.get("topic") else ""]
        lines.append(cut("  ".join(line(str(cell)) for cell in cells if cell), columns))
        lines += wrapped(str(one["message"]), columns, "    ")
        choices = one["choices"]
        if one.get("why"):
            came = ", ".join(str(whom).removeprefix("@") for whom in one.get("passed") or ())
            lines += wrapped(f"from {came}: {one['why'].splitlines()[0]}", columns, "    ")
        if one.get("answering"):
            limit = f" until {moment(one['climbs_at'])[5:16]}" if one.get("climbs_at") else ""
            lines += wrapped(f"{one['answering']} works at the answer{limit}", columns, "    ")
        if one.get("expires_at"):
            default = one.get("default")
            then = f": then {default}" if default else ""
            lines += wrapped(f"expires {one['expires_at'][:16]}{then}", columns, "    ")
        if "always" in choices and one.get("pattern"):
            lines += wrapped(f"--always allows `{one['pattern']}` for this run", columns, "    ")
        lines += [f"    {how}" for how in how_to(one, columns - 4)]
    return "\n".join(lines)


def findings_text(findings: Sequence[Mapping[str, Any]], columns: int = 100) -> str:
    """Returns what agents have found, each with its task and where it is."""
    if not findings:
        return "nothing was found"
    lines = []
    for one in findings:
        cells = [one["at"], one["severity"], one["task"], one["by"], one["where"] or ""]
        lines.append(cut(line("  ".join(str(cell) for cell in cells if cell)), columns))
        lines += wrapped(str(one["text"]), columns, "    ")
    return "\n".join(lines)


def question_line(name: str, message: str) -> str:
    """Returns a question as one line: its id and how it begins."""
    return cut(line(f"{name}: {message}"), 100)


def _ride(slack_days: float | None) -> str:
    """Returns what an answer that comes late costs."""
    if slack_days is None:
        return ""
    return "on the critical path" if slack_days == 0 else f"slack {slack_days:g} d"


def event_text(event: Mapping[str, Any], columns: int = 100) -> str:
    """Returns one event as a line: when, what, of which step, and the rest in words where there
    are any.
    """
    told = {k: v for k, v in event.items() if k not in ("schema", "run", "seq", "at", "event")}
    step = str(told.pop("step", ""))
    number = f" {told.pop('attempt')}" if "attempt" in told else ""
    rest = _said(event["event"], told) if told else ""
    head = f"{event['seq']:>4} {moment(event['at'])[5:]} {event['event']:<18} {step}{number}"
    head = head.ljust(64) if columns >= WIDE else head
    return cut(line(f"{head} {rest}"), columns)


def _said(kind: str, told: Mapping[str, Any]) -> str:
    """Returns what an event says beside its step, a person's part of it in words."""
    by = f" by {told['by']}" if told.get("by") else ""
    if kind == "run-started":
        what = f"{told['workflow']} of {told['file']}" if told.get("workflow") else "the plan"
        return f"{what}{by}: {told['steps']} steps"
    if kind == "attempt-ended":
        outcome = told["outcome"]
        said = outcome.get("text") or _json(outcome.get("output"))
        return f"{outcome['ending']}{by} {said}"
    if kind == "question-raised":
        asked = told["question"]
        return f"{told['id']} {asked.get('kind', 'text')}: {asked['message']}"
    if kind == "question-routed":
        why = f": {told['reason']}" if told.get("reason") else ""
        return f"{told['id']} to {told['whom'].removeprefix('@')}{why}"
    if kind == "question-answered":
        note = f" ({told['note']})" if told.get("note") else ""
        return f"{told['id']} {told['value']!r}{by}{note}"
    if kind == "plan-revised":
        patch = told["patch"]
        put = [f"+{step['id']}" for step in patch.get("put", ())]
        drop = [f"-{name}" for name in patch.get("drop", ())]
        reason = f": {patch['reason']}" if patch.get("reason") else ""
        return f"revision {told['revision']}{by}{reason} {' '.join([*put, *drop])}"
    return _json(told)


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)[:400]


def metrics_text(found: Mapping[str, Any], columns: int = 100) -> str:
    """Returns every metric with baseline, target and measured value."""
    rows = [
        [
            tick(one["met"]),
            str(one["task"] or "(fleet)"),
            str(one["name"]),
            _value(one["baseline"], one["unit"]),
            str(one["target"] or "-"),
            _value(one["measured"], one["unit"]),
        ]
        for one in found["metrics"]
    ]
    if not rows:
        return "no metrics are declared"
    return "\n".join(
        table(rows, ["", "TASK", "METRIC", "BASELINE", "TARGET", "MEASURED"], columns, 2)
    )


def _value(value: float | None, unit: str) -> str:
    return "-" if value is None else plain(f"{value:g}{unit}")
