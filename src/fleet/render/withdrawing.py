"""What is taken back, cleaned up and rescued, as text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from fleet.render.running import tick
from fleet.render.text import cut, line, plain, table, wrapped


def undoing_text(found: Any, columns: int = 100) -> str:
    """Returns what would be taken back, before anybody agrees to it."""
    name = found.target.split("/", 2)[-1]
    whose = "" if found.name == name else f"{line(found.name)}: "
    lines = [f"{whose}{line(name)} {_short(found.new)} -> {_short(found.old)}"]
    if found.reverts:
        lines = [f"{whose}a commit on {line(name)} reverts {_short(found.new)}"]
        lines += wrapped(found.why, columns, "    ")
    verb = "comes back" if found.redo else "reverts" if found.reverts else "leaves"
    lines += [
        cut(f"    {verb}: {_short(sha)} {line(subject)}", columns) for sha, subject in found.commits
    ]
    if found.count > len(found.commits):
        lines.append(f"    and {found.count - len(found.commits)} more")
    rows = [
        ("lands no longer", found.tasks),
        ("tags", [one.split("/", 2)[-1] for one in found.tags]),
        ("waits until it lands again", found.waits),
        ("has started and goes on", found.goes_on),
        ("follows", [found.checkout] if found.checkout else []),
        ("would overwrite", found.overwrites),
    ]
    for told, names in rows:
        if names:
            lines += wrapped(f"{told}: {', '.join(map(line, names))}", columns, "    ")
    if found.rollback:
        how = "then runs" if found.runs_rollback else "does not run, without --rollback"
        lines += wrapped(f"{how}: {'; '.join(map(line, found.rollback))}", columns, "    ")
    return "\n".join(lines)


def undone_text(row: Any, columns: int = 100) -> str:
    """Returns what became of taking something back."""
    said = row.text or f"{row.undoing.name} was taken back"
    first, *rest = wrapped(plain(said), columns - 2) or [""]
    lines = [f"{tick(bool(row.done))} {first}", *(f"  {more}" for more in rest)]
    for check in row.evidence.get("checks", ()):
        lines += wrapped(str(check.get("tail", "")), columns, "      ")
    for told in row.left:
        lines += wrapped(plain(told), columns, "    ")
    for one in row.rollback:
        code = "ran out of time" if one["code"] is None else f"exit {one['code']}"
        lines.append(f"  {tick(one['code'] == 0)} rollback {line(one['text'])}: {code}")
        if one["code"] != 0:
            lines += wrapped(str(one["tail"]), columns, "      ")
    if row.undo:
        lines.append(f"    undo ref {line(row.undo)}")
    return "\n".join(lines)


def cleaned_text(row: Any, *, would: bool = False) -> str:
    """Returns one task that was cleaned up, or why it was not, and how to get back what was
    rescued.
    """
    task = line(row.task)
    if row.reasons:
        return f"{tick(None)} {task}: kept: {line('; '.join(row.reasons))}"
    told = f"{'would be removed' if would else 'removed'}, {line(row.how or 'by force')}"
    lines = [f"{tick(met=True)} {task}: {told}"]
    if row.port is not None or row.sessions:
        freed = [f"port {row.port}"] if row.port is not None else []
        freed += [f"session {line(name)}" for name in row.sessions]
        lines.append(f"    {', '.join(freed)}")
    lines += [f"    {line(note)}" for note in row.notes]
    for ref in row.rescued:
        name = ref.removeprefix("refs/fleet/rescue/")
        lines.append(f"    rescued: fleet rescue restore {line(name)} --branch NAME")
    if row.undo and row.branch:
        lines.append(f"    its branch again: fleet undo {line(row.branch)}")
    return "\n".join(lines)


def swept_text(left: Sequence[str], *, would: bool = False) -> str:
    """Returns what merges had left that were killed."""
    told = "would be removed" if would else "removed"
    return "\n".join(f"{tick(met=True)} left by a merge: {line(one)}: {told}" for one in left)


def archived_text(rows: Sequence[Any], *, would: bool = False) -> str:
    """Returns which runs were archived, and why others stay."""
    gone = [row for row in rows if not row.kept]
    lines = [f"{tick(None)} {line(row.run)}: kept: {line(row.kept)}" for row in rows if row.kept]
    if gone:
        runs = f"{len(gone)} run{'s' * (len(gone) != 1)}"
        told = f"{runs} would be archived" if would else f"{runs} archived"
        lines.append(f"{tick(met=True)} {told}: {line(gone[0].run)}" + _and_last(gone))
    if gone and not would:
        size = _size(sum(row.size_bytes for row in gone))
        lines.append(f"    {size} in {line(os.path.dirname(gone[0].file))}")  # noqa: PTH120 - text
    return "\n".join(lines)


def _and_last(rows: Sequence[Any]) -> str:
    return f" to {line(rows[-1].run)}" if len(rows) > 1 else ""


def rescues_text(rows: Sequence[Mapping[str, Any]], columns: int = 100) -> str:
    """Returns the list of what was rescued."""
    if not rows:
        return "nothing was rescued"
    cells = [
        [
            str(one["name"]),
            str(one["at"])[:16].replace("T", " "),
            str(one["kind"]),
            str(one["branch"] or "-"),
            str(one["files"]),
            _size(int(one["size_bytes"])),
            str(one["worktree"] or "-"),
        ]
        for one in rows
    ]
    heads = ["NAME", "WHEN", "KIND", "BRANCH", "FILES", "SIZE", "WORKTREE"]
    return "\n".join(table(cells, heads, columns, 6))


def restored_text(row: Any, *, would: bool = False) -> str:
    """Returns where a rescue was written."""
    word = "would be restored" if would else "restored"
    files = f"{row.files} file{'s' * (row.files != 1)} that differed"
    lines = [f"{line(row.name)}: {word} to {line(row.folder)}, {files}"]
    if row.branch:
        lines.append(f"    on branch {line(row.branch)}; {row.staged} staged")
    if row.text:
        lines.append(f"    {line(row.text)}")
    return "\n".join(lines)


def _size(size_bytes: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1024:
            return f"{size_bytes} {unit}"
        size_bytes //= 1024
    return f"{size_bytes} GB"


def _short(commit: object) -> str:
    return line(str(commit)[:10]) if commit else "nothing"
