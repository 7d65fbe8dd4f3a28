"""Taking folders out of the way at once, and deleting them when nobody waits any more.

A folder is renamed into a slot of git's own folder (or, from another disk, beside where it was),
looked at once more where nobody can write into it by its name, marked `checked`, and deleted by a
detached process. What a killed one leaves is found by the next: a tree without the mark goes back
to where it was, one with it is deleted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.crash import crash_point
from fleet.adapters.git import locks, registration
from fleet.errors import FleetError, Rejected

PREFIX: Final = "trash-"
BESIDE: Final = ".fleet-trash-"
FROM, ELSEWHERE, CHECKED, TREE = "from", "elsewhere", "checked", "tree"

_DELETE: Final = """
import os, shutil, sys
def open_up(call, path, error):
    try:
        for place in (os.path.dirname(path), path):
            if not os.path.islink(place):
                os.chmod(place, 0o700)
        call(path)
    except OSError:
        pass
for slot in sys.argv[1:]:
    shutil.rmtree(slot, onerror=open_up)
    shutil.rmtree(slot, ignore_errors=True)
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """A folder that was thrown away: its slot, where the tree lies, where it came from."""

    folder: Path
    tree: Path
    origin: Path | None
    checked: bool

    @property
    def folders(self) -> tuple[Path, ...]:
        """All that is to be deleted, in this order: the tree before the mark that it may go, lest
        another clean take what is left of it for unchecked; the slot last, for it names the rest.
        """
        beside = self.tree.parent
        return (self.tree, *(() if beside == self.folder else (beside,)), self.folder)


def throw(common: Path, path: Path, unchanged: Callable[[Path], bool]) -> Slot:
    """Takes the folder at `path` out of the way and returns where it is, checked.

    Raises Rejected, and puts it back, when `unchanged` does not hold of it there. Must be called
    under the repository's lock; the slot is the caller's to delete.
    """
    scratch = common / "fleet"
    scratch.mkdir(mode=0o700, exist_ok=True)
    slot = Path(tempfile.mkdtemp(prefix=PREFIX, dir=scratch))
    home, mode = slot, path.lstat().st_mode
    if path.lstat().st_dev != slot.lstat().st_dev:
        home = Path(tempfile.mkdtemp(prefix=BESIDE, dir=path.parent))
        _write(slot / ELSEWHERE, home)
    _write(slot / FROM, path)
    path.chmod(mode | 0o700)  # a folder that cannot be written cannot be moved
    path.rename(home / TREE)
    crash_point("git.remove.after_trash")
    found = Slot(slot, home / TREE, path, checked=True)
    if not _holds(unchanged, found.tree):
        found.tree.rename(path)
        path.chmod(mode)
        _forget(found)
        raise Rejected(f"{path} changed while it was being removed", hint="try again")
    (slot / CHECKED).touch()
    return found


def _holds(unchanged: Callable[[Path], bool], tree: Path) -> bool:
    try:
        return unchanged(tree)
    except FleetError:
        return False


def leftovers(common: Path) -> tuple[Slot, ...]:
    """Returns every slot that is still there."""
    return tuple(_read(slot) for slot in sorted((common / "fleet").glob(f"{PREFIX}*")))


def taken(common: Path) -> frozenset[Path]:
    """Returns where the folders were that a killed removal has taken, and not deleted yet."""
    return frozenset(one.origin for one in leftovers(common) if one.checked and one.origin)


def put_back(common: Path) -> frozenset[Path]:
    """Puts back what a killed removal had taken away and not checked; returns where the folders
    were that it had, and that are still to be deleted.
    """
    with locks.repository_lock(common):  # then whoever was at it is gone
        for slot in leftovers(common):
            if slot.checked:
                continue
            if slot.tree.exists():
                if slot.origin is None or os.path.lexists(slot.origin):
                    continue
                slot.tree.rename(slot.origin)
            _forget(slot)
        return taken(common)


def delete(slots: Iterable[Slot], *, wait: bool = False) -> None:
    """Deletes checked slots in a process of its own that outlives this one."""
    folders = [os.fspath(one) for slot in slots if slot.checked for one in slot.folders]
    if not folders:
        return
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _DELETE, *folders],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if wait:
        child.wait()
    else:
        child.returncode = 0  # nobody waits for it; its end is looked for by the next clean


def _read(slot: Path) -> Slot:
    beside = _path(slot / ELSEWHERE)
    tree = (beside or slot) / TREE
    return Slot(slot, tree, _path(slot / FROM), (slot / CHECKED).exists())


def _forget(slot: Slot) -> None:
    if slot.tree.parent != slot.folder and slot.tree.parent.name.startswith(BESIDE):
        slot.tree.parent.rmdir()
    shutil.rmtree(slot.folder, ignore_errors=True)


def _path(file: Path) -> Path | None:
    try:
        return Path(os.fsdecode(file.read_bytes()))
    except OSError:
        return None


def _write(file: Path, path: Path) -> None:
    with file.open("wb") as opened:
        opened.write(os.fsencode(path))
        opened.flush()
        os.fsync(opened.fileno())


def clear(common: Path, *, wait: bool = False) -> int:
    """Deletes what a killed removal has left; returns how many folders.

    One whose worktree is still registered stays: it says that the folder went by fleet's hand.
    """
    with locks.repository_lock(common):
        known = {one.path for one in registration.scan(common)}
        left = [one for one in leftovers(common) if one.checked and one.origin not in known]
    delete(left, wait=wait)
    return len(left)
