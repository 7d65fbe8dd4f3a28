"""Which folder is the fleet: -C, FLEET_ROOT, the repository's main worktree, or the nearest parent.

Reads git's own small files instead of starting git, because each command asks this first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fleet.errors import InvalidPlan, Place, Problem
from fleet.files.fleet import SETTINGS_FILE


def find_root(start: Path, explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """Returns the fleet's root, absolute; raises InvalidPlan when there is none."""
    named = explicit if explicit is not None else environ.get("FLEET_ROOT")
    if named:
        root = (start / named).resolve()
        if not (root / SETTINGS_FILE).exists():
            asked = "-C" if explicit is not None else "FLEET_ROOT"
            raise _missing(root, f"{asked} names a folder without a fleet")
        return root
    here = start.resolve()
    main = main_worktree(here)
    if main is not None and (main / SETTINGS_FILE).exists():
        return main
    for folder in (here, *here.parents):
        if (folder / SETTINGS_FILE).exists():
            return folder
    raise _missing(here, "no fleet here, nor in a folder above")


def main_worktree(start: Path) -> Path | None:
    """Returns the main worktree of the repository around `start`; None outside or when bare."""
    for folder in (start, *start.parents):
        git = folder / ".git"
        if git.is_dir():
            return folder
        if git.is_file():
            common = common_folder(folder)
            if common is None:
                return None
            if not (git_folder(folder) / "commondir").is_file():
                return folder
            return common.parent if common.name == ".git" else None
    return None


def git_folder(worktree: Path) -> Path:
    """Returns the git directory of a worktree: `.git`, or the folder that the file `.git` names."""
    git = worktree / ".git"
    try:
        named = git.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return git
    return (worktree / named.removeprefix("gitdir:").strip()).resolve()


def common_folder(worktree: Path) -> Path | None:
    """Returns the git directory that all worktrees share; None when what `.git` names is gone."""
    private = git_folder(worktree)
    if not private.is_dir():
        return None
    try:
        shared = (private / "commondir").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return private
    return (private / shared.strip()).resolve()


def current_branch(root: Path) -> str:
    """Returns the branch that HEAD names; `main` when it names none."""
    try:
        head = (git_folder(root) / "HEAD").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "main"
    lead = "ref: refs/heads/"
    return head.removeprefix(lead) if head.startswith(lead) else "main"


def _missing(folder: Path, text: str) -> InvalidPlan:
    hint = "run 'fleet init' in a repository"
    return InvalidPlan([Problem(text, Place(str(folder / SETTINGS_FILE)), hint)])
