"""What `init` made and what `doctor` found, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fleet.render.text import ascii_only, line, plain, wrapped

if TYPE_CHECKING:
    from fleet.app.starting import Scaffold

MARKS = {"ok": "✔", "warning": "!", "error": "✘", "absent": "·"}
ASCII_MARKS = {"ok": "+", "warning": "!", "error": "x", "absent": "."}
WIDTH = 100


def scaffold_text(made: Scaffold) -> str:
    """Returns what was found, each file made or kept, what to note, and what to do next."""
    found = [f"repository {made.root.name}", f"base branch {made.base}"]
    found.append(f"tests: {made.test or 'none found'}")
    found.append(f"agent programs: {', '.join(made.programs) or 'none'}")
    lines = [f"found   {line(', '.join(found))}", f"agents  run by {line(made.harness)}", ""]
    verb = "would make" if made.dry_run else "made"
    size = max(len(one.path) for one in made.files)
    for one in made.files:
        mark, word = ("=", "kept as it is") if one.kept else ("+", verb)
        lines.append(f"  {mark} {line(one.path).ljust(size)}  {word}")
    if not made.dry_run:
        lines += ["", ".fleet/ is excluded through .git/info/exclude"]
    for note in made.notes:
        lines += ["", *wrapped(f"note: {note}", WIDTH, "")]
    if made.problems:
        lines += ["", "the documents do not hold yet:"]
        lines += [f"  {plain(str(one))}" for one in made.problems]
        lines += ["", "next: mend them, then fleet check"]
    elif not made.dry_run:
        lines += ["", f"next: fleet plan   fleet doctor   fleet launch {line(made.first)}"]
    return "\n".join(lines)


def diagnosis_text(found: Mapping[str, Any], columns: int = WIDTH) -> str:
    """Returns each check as a line, its cure below it, and the count of each level."""
    marks = ASCII_MARKS if ascii_only() else MARKS
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
    lines += [
        "",
        f"{counts['ok']} ok, {counts['warning']} warnings, {counts['error']} errors"
        + (f", {counts['absent']} not there yet" if counts["absent"] else ""),
    ]
    return "\n".join(lines)
