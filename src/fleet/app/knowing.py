"""What the documents were when they were last read: their digest, by the looks of their files.

A look at a fleet asks each time whether somebody has edited the documents. As long as every file
has the size, the time and the inode that it had when it was read, nobody has, and nothing is read.
The answer is kept in the state folder's cache, which may be deleted at any moment.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import fleet
from fleet import codec
from fleet.core import messages as m

if TYPE_CHECKING:
    from fleet.app.place import FleetPlace
    from fleet.core.plan import Plan

FOLDERS: Final = ("", "agents", "tasks", "harnesses")
ENDINGS: Final = (".md", ".yaml", ".yml")
SETTLED_NS: Final = 50_000_000
"""A file that was written so shortly before it was read may change without a change of its time."""


def digest_of(place: FleetPlace) -> str:
    """Returns the digest of the documents; raises InvalidPlan when they do not hold.

    They are read only where their files have changed since they were read last.
    """
    seen = _looks(place.root)
    kept = _kept(place)
    if kept.get("looks") == seen and "documents" not in place.__dict__:
        return str(kept["digest"])
    digest = place.documents.digest
    if all(time.time_ns() - one[2] > SETTLED_NS for one in seen[1:]):
        _keep(place, {"looks": seen, "digest": digest})
    return digest


def plan_of(place: FleetPlace) -> Plan | None:
    """Returns the plan of the documents when this very program has lowered them before, unread."""
    seen, kept = _looks(place.root), _kept(place)
    if kept.get("looks") != seen or not kept.get("lowered"):
        return None
    with suppress(OSError, ValueError, KeyError, TypeError):
        text = (place.state / "texts" / f"plan-{kept['digest']}").read_text(encoding="utf-8")
        started = codec.decode(json.loads(text))
        if isinstance(started, m.StartRun):
            return started.plan
    return None


def note_lowered(place: FleetPlace) -> None:
    """Notes that the plan which is kept under the documents' digest is what they lower to."""
    digest = digest_of(place)
    kept = _kept(place)
    if kept.get("digest") == digest and not kept.get("lowered"):
        _keep(place, {**kept, "lowered": True})


def _looks(root: Path) -> list[Any]:
    """Returns the program's own state and [path, size, time, inode] of every document."""
    found = []
    for folder in FOLDERS:
        with suppress(OSError), os.scandir(root / folder) as entries:
            for entry in entries:
                if entry.name.endswith(ENDINGS) and (folder or entry.name == "coordination.md"):
                    stat = entry.stat()
                    path = f"{folder}/{entry.name}"
                    found.append([path, stat.st_size, stat.st_mtime_ns, stat.st_ino])
    return [_program(), *sorted(found)]


def _program() -> list[Any]:
    """Returns what changes when the code that reads and lowers does."""
    top = Path(fleet.__file__).parent
    times = [
        entry.stat().st_mtime_ns
        for name in ("files", "files/changes", "core")
        for entry in os.scandir(top / name)
        if entry.name.endswith(".py")
    ]
    return [len(times), max(times)]


def _path(place: FleetPlace) -> Path:
    return place.state / "cache" / "looks.json"


def _kept(place: FleetPlace) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(_path(place).read_bytes())
        if isinstance(found, dict) and "digest" in found:
            return found
    return {}


def _keep(place: FleetPlace, found: dict[str, Any]) -> None:
    path = _path(place)
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".looks.{os.getpid()}")
        draft.write_text(json.dumps(found), encoding="utf-8")
        draft.replace(path)
