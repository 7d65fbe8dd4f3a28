"""`Fleet`: a repository's settings, agents, tasks and phases, checked, with their places.

What the rest of fleet gets from the documents. Standard library only, so that a warm cache needs no
parser; places are found by reading a file's text again, only when somebody asks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
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
    """A document's file: path from the root, bytes, digest and normal form, before defaults."""

    kind: str
    path: str
    raw: bytes
    digest: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All documents of one fleet; tasks and agents in the order of their ids, phases in theirs."""

    root: Path
    settings: Settings
    agents: Mapping[str, AgentDocument]
    tasks: Mapping[str, TaskDocument]
    phases: tuple[Phase, ...]
    harnesses: Mapping[str, HarnessDocument] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    digest: str = ""
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

    try:
        text = source.decode(raw.raw, raw.path)
        read = source.read_markdown if raw.path.endswith(".md") else source.read_yaml
        found = read(text, raw.path, positions=True)
    except source.Unreadable:
        return Place(raw.path)
    if path:
        head = str(path[0]).removesuffix("_ms")
        for name in SPELLINGS.get(head, (head,)):
            if (name,) in found.marks:
                return found.place(raw.path, (name, *path[1:]), key=key)
    return found.place(raw.path, path, key=key)


ELSEWHERE = {"dependencies": "needs", "verifies": "needs"}
"""Keys of a task that has no file of its own, as they are called where it stands."""

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "dependencies": ("dependencies", "depends_on", "deps", "needs"),
    "roles": ("roles", "role"),
}
