"""One task in full: its state with what says so, the four facts, where it stands, its screen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fleet.render.running import inbox_text, tick
from fleet.render.status import age, glyph, span
from fleet.render.text import cut, line, wrapped
from fleet.views.proofs import proof_in_words
from fleet.views.verdicts import found_in


def task_text(task: Mapping[str, Any], columns: int) -> str:
    """Returns `fleet.task/1` in at most so many columns (80 at least)."""
    columns = max(columns, 80)
    now = datetime.fromisoformat(task["now"])
    evidence, facts = task["evidence"], task["facts"]
    doubt = "?" if evidence["doubt"] else ""
    head = f"{task['id']}  {task['agent'] or '-'}  {glyph(task['state'])} {task['state']}{doubt}"
    rows = [
        ("since", f"{age(task['since'], now)}, attempt {task['attempt'] or '-'}"),
        ("says", _evidence(evidence)),
        ("turn", task["turn"] or ""),
        ("doubt", evidence["doubt"] or ""),
        ("facts", "  ".join(f"{tick(bool(met))} {name}" for name, met in facts.items())),
        ("verdict", _verdict(task.get("verdict"))),
        ("proof", _proof(task.get("proof"))),
        ("waits for", ", ".join(task["waiting_for"])),
        ("why", task["why"]),
        ("branch", f"{task['branch']} at {str(task['head'] or '-')[:12]}"),
        ("worktree", str(task["worktree"])),
        ("session", f"{task['session']}, pid {task['pid']}" if task["session"] else ""),
    ]
    lines = [cut(line(head), columns)]
    for name, told in rows:
        if told:
            first, *rest = wrapped(line(str(told)), columns - 13) or [""]
            lines += [f"  {name:<9}  {first}", *(f"{'':13}{more}" for more in rest)]
    if task["questions"]:
        lines += ["", *inbox_text(task["questions"], columns).splitlines()]
    if task["screen"]:
        lines += ["", "SCREEN", *(cut(f"  {line(one)}", columns) for one in task["screen"])]
    return "\n".join(lines)


def _proof(proof: Mapping[str, Any] | None) -> str:
    """Returns what a proof of concept has found, nothing for other tasks."""
    return "" if proof is None else line(f"{proof['text']}: {proof_in_words(proof)}")


def _verdict(verdict: Mapping[str, Any] | None) -> str:
    """Returns a verifier's last verdict as one line, nothing for other tasks."""
    if verdict is None:
        return ""
    of = ", ".join(f"{task} {sha[:10]}" for task, sha in verdict["commits"].items())
    found = found_in(verdict)
    word = "passed" if verdict["passed"] else "not passed"
    return f"{word}, of {of}" + (f": {found}" if found else "")


def _evidence(evidence: Mapping[str, Any]) -> str:
    aged = evidence["age_s"]
    return str(evidence["source"]) + (f", {span(aged)} ago" if aged is not None else "")
