"""`Fleet`: a repository's settings, agents, tasks and phases, checked, with their places.

What the rest of fleet gets from the documents. Standard library only, so that a warm cache needs no
parser; places are found by reading a file's text again, only when somebody asks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.errors import Place, Problem
from fleet.files.documents import AgentDocument, HarnessDocument, Phase, Settings, TaskDocument

SETTINGS_FILE = "coordination.md"
MAX_BYTES = 1 << 20
"""Size of a document at most."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A document's file: path from the root, bytes, digest and normal form, before defaults.

    `at` finds the places of one that stands in no file of its own, or not as it does there.
    """

    kind: str
    path: str
    raw: bytes
    digest: str
    values: Mapping[str, Any]
    at: Callable[[tuple[str | int, ...]], Place] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All documents of one fleet; tasks and agents in the order of their ids, phases in theirs.

    `digest` is that of the files, `changes` are what a run has taken up beside them (see `kept`),
    and `basis` stands for both.
    """

    root: Path
    settings: Settings
    agents: Mapping[str, AgentDocument]
    tasks: Mapping[str, TaskDocument]
    phases: tuple[Phase, ...]
    harnesses: Mapping[str, HarnessDocument] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    digest: str = ""
    basis: str = ""
    changes: tuple[Mapping[str, Any], ...] = ()
    raws: Mapping[tuple[str, str], Raw] = field(default_factory=dict, repr=False)
    # Where a task stands that has no file of its own: kind and id of a document, and a path in it.
    origins: Mapping[str, tuple[str, str, tuple[str | int, ...]]] = field(default_factory=dict)
    # (kind, id) of files that did not hold; while checking
    broken: frozenset[tuple[str, str]] = frozenset()

    def is_known(self, kind: str, name: str) -> bool:
        """True for an agent or task whose file is there, even if it is broken."""
        there = self.agents if kind == "agent" else self.tasks
        return name in there or (kind, name) in self.broken

    def place(self, kind: str, name: str = "", *path: str | int) -> Place:
        """Returns where a key of a document stands: kind is fleet, agent, task or harness; name is
        its id.
        """
        if kind == "task" and name in self.origins:
            kind, name, inside = self.origins[name]
            if path:
                path = (ELSEWHERE.get(str(path[0]), path[0]), *path[1:])
            path = (*inside, *path)
        raw = self.raws.get((kind, name if kind != "fleet" else ""))
        if raw is None:
            return Place(SETTINGS_FILE)
        return place_in(raw, path)

    def worktree(self, task: str) -> Path:
        """Returns the folder of a task's worktree, absolute, not resolved."""
        return Path(self.worktree_text(self.tasks[task]))

    def worktree_text(self, task: TaskDocument) -> str:
        """Returns the same as text: a thousand paths as objects cost more than all other checks."""
        if not task.worktree:
            return f"{self.root}.worktrees/{task.id}"
        return os.path.normpath(f"{self.root}/{self.settings.worktrees or ''}/{task.worktree}")


def place_in(raw: Raw, path: tuple[str | int, ...], *, key: bool = False) -> Place:
    """Returns where `path` (keys as in normal form) stands in a file, or the nearest around it."""
    from fleet.files import source

    if raw.at is not None:
        return raw.at(path)
    try:
        text = source.decode(raw.raw, raw.path)
        read = source.read_markdown if raw.path.endswith(".md") else source.read_yaml
        found = read(text, raw.path, positions=True)
    except source.Unreadable:
        return Place(raw.path)
    return found.place(raw.path, as_written(path, found.marks), key=key)


def as_written(path: tuple[str | int, ...], marks: Mapping[Any, Any]) -> tuple[str | int, ...]:
    """Returns the path at which a part stands in a text with `marks`: keys may be spelled in more
    ways than one, and one of a list may stand alone.
    """
    found: tuple[str | int, ...] = ()
    for number, part in enumerate(path):
        head = str(part).removesuffix("_ms")
        names = SPELLINGS.get(head, (head,)) if isinstance(part, str) else (part,)
        known = next((name for name in names if (*found, name) in marks), None)
        if known is not None:
            found = (*found, known)
        elif isinstance(part, str):
            return (*found, *path[number:])
    return found


ELSEWHERE = {"dependencies": "needs", "verifies": "needs"}
"""Keys of a task that has no file of its own, as they are called where it stands."""

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "dependencies": ("dependencies", "depends_on", "deps", "needs"),
    "roles": ("roles", "role"),
}
