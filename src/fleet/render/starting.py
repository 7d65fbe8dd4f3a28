"""What `init` made and what `doctor` found, as text."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fleet.render.text import ascii_only, line, plain, table, wrapped

if TYPE_CHECKING:
    from fleet.app.starting import Scaffold

MARKS = {"ok": "✔", "warning": "!", "error": "✘", "absent": "·"}
ASCII_MARKS = {"ok": "+", "warning": "!", "error": "x", "absent": "."}
WIDTH = 100


def _width(columns: int) -> int:
    """Returns how wide to write: as asked, else as the terminal is, and never too wide to read."""
    return min(columns or shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH)


def scaffold_text(made: Scaffold, columns: int = 0) -> str:
    """Returns what was found, each file made or kept, what to note, and what to do next."""
    width = _width(columns)
    found = [f"repository {made.root.name}", f"base branch {made.base}"]
    found.append(f"tests: {made.test or 'none found'}")
    found.append(f"agent programs: {', '.join(made.programs) or 'none'}")
    lines = wrapped(line(", ".join(found)), width, " " * len("found   "))
    lines[0] = "found   " + lines[0].lstrip()
    lines += [f"agents  run by {line(made.harness)}", ""]
    verb = "would make" if made.dry_run else "made"
    size = max(len(one.path) for one in made.files)
    for one in made.files:
        mark, word = ("=", "kept as it is") if one.kept else ("+", verb)
        lines.append(f"  {mark} {line(one.path).ljust(size)}  {word}")
    if not made.dry_run:
        lines += ["", ".fleet/ is excluded through .git/info/exclude"]
    for note in made.notes:
        lines += ["", *wrapped(f"note: {note}", width, "")]
    if made.problems:
        lines += ["", "the documents do not hold yet:"]
        lines += [f"  {plain(str(one))}" for one in made.problems]
        lines += ["", "next: mend them, then fleet check"]
    elif not made.dry_run:
        lines += ["", f"next: fleet plan   fleet doctor   fleet launch {line(made.first)}"]
    return "\n".join(lines)


def diagnosis_text(found: Mapping[str, Any], columns: int = 0) -> str:
    """Returns each check as a line, its cure below it, and the count of each level."""
    marks = ASCII_MARKS if ascii_only() else MARKS
    columns = _width(columns)
    checks = found["checks"]
    size = max(len(one["name"]) for one in checks)
    lines = []
    for one in checks:
        head = f"{marks[one['level']]} {line(one['name']).ljust(size)}  "
        told = wrapped(one["text"], columns, " " * len(head))
        lines.append(head + told[0].lstrip())
        lines += told[1:]
        if one["cure"]:
            lines += wrapped(f"cure: {one['cure']}", columns, " " * len(head))
    counts = {level: sum(1 for one in checks if one["level"] == level) for level in MARKS}
    told = [
        f"{counts['ok']} ok",
        _many(counts["warning"], "warning"),
        _many(counts["error"], "error"),
    ]
    if counts["absent"]:
        told.append(f"{counts['absent']} not there yet")
    return "\n".join([*lines, "", ", ".join(told)])


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def agents_text(found: Mapping[str, Any], columns: int = 0) -> str:
    """Returns a line for each program and one for each agent of the fleet."""
    width = _width(columns)
    marks = ASCII_MARKS if ascii_only() else MARKS
    rows = []
    for one in found["programs"]:
        level = "absent" if one["version"] is None else "warning" if one["problem"] else "ok"
        told = [marks[level], one["name"], one["version"] or "-", one["tested"]]
        users = len(one["agents"])
        used = f"{users} agent{'s' * (users != 1)}" if users else "-"
        rows.append([*told, used, one["cure"] or one["problem"]])
    lines = table(rows, ["", "PROGRAM", "FOUND", "TESTED", "USED BY", "NOTE"], width, 5)
    if found["agents"]:
        rows = [
            [
                one["id"],
                one["harness"] if isinstance(one["harness"], str) else one["harness"][0],
                one["model"] or "-",
                one["mode"],
                one["permissions"],
                one["sandbox"],
            ]
            for one in found["agents"]
        ]
        heads = ["AGENT", "HARNESS", "MODEL", "MODE", "PERMISSIONS", "SANDBOX"]
        lines += ["", *table(rows, heads, width, 0)]
    return "\n".join(lines)
