"""The use cases around what was rescued: the list, and bringing one back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fleet.app.place import FleetPlace
from fleet.app.telling import confined
from fleet.errors import Rejected


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a rescue was written; `branch` is the one made for it, `staged` how many files were
    staged otherwise than on disk.
    """

    name: str
    folder: str
    branch: str | None
    files: int
    staged: int
    text: str


def rescues(place: FleetPlace) -> list[dict[str, Any]]:
    """Returns every rescue as a plain object, latest first."""
    from fleet.adapters.git import Repository, all_rescues
    from fleet.app.calendars import time_of

    rows = []
    for one in all_rescues(Repository.at(place.root)):
        row = asdict(one)
        row["at"] = time_of(row.pop("at_s") * 1000)
        rows.append(row)
    return rows


def restore(
    place: FleetPlace,
    name: str,
    *,
    to: Path | None = None,
    branch: str | None = None,
    dry_run: bool = False,
) -> Restored:
    """Brings a rescue back into a new folder, or with `branch` into a worktree on a new branch.

    Raises NotFound for an unknown name, Rejected when anything would be written over.
    """
    from fleet.adapters import git

    if confined():
        raise Rejected("nothing is restored from inside a sandbox")
    repo = git.Repository.at(place.root)
    found = git.find_rescue(repo, name)
    folder = to or place.root.parent / f"{place.root.name}.worktrees" / f"rescued-{_plain(found)}"
    folder = Path.cwd() / folder
    text = ""
    if found.kind == "commits" and branch is None:
        text = f"only history was rescued there: --branch B gives {found.commit[:12]} a branch"
        if to is None:
            raise Rejected(text)
    if dry_run:
        pass
    elif branch is None:
        folder = git.restore(repo, found, folder)
    else:
        folder = git.restore_worktree(repo, found, branch, folder)
    if found.staged and branch is None:
        text = f"what was staged: git read-tree, git show {found.commit[:12]}^2:PATH, or --branch B"
    return Restored(found.name, str(folder), branch, found.files, found.staged, text)


def _plain(found: Any) -> str:
    return str(found.name).replace("/", "-").replace("%", "-")
