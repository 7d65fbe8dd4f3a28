"""A cache of normal forms by content: what was checked once is not parsed and checked again.

JSON files under `.fleet/cache/`, replaced atomically: one of all documents, keyed by each one's
path and digest, and one for each workflow file, keyed by all that it was made of; both by the code
that made them. They can be deleted at any moment; a cache that cannot be read or written costs
time, never an answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(".fleet/cache")
NAME = "documents.json"

Entries = dict[str, tuple[str, dict[str, Any]]]
"""Relative path -> (digest of the bytes, normal form)."""


def read(root: Path) -> Entries:
    """Returns the entries that this very code has written, else none."""
    try:
        with (root / FOLDER / NAME).open("rb") as file:
            found = json.loads(file.read())
        if found["made_by"] != _made_by():
            return {}
        return {path: (entry[0], entry[1]) for path, entry in found["entries"].items()}
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return {}


def write(root: Path, entries: Mapping[str, tuple[str, dict[str, Any]]]) -> None:
    """Replaces the cache; a disk that is full or read-only is no failure."""
    # Not `dump`: it never uses the encoder that is written in C.
    text = json.dumps({"made_by": _made_by(), "entries": entries}, separators=(",", ":"))
    _put(root / FOLDER, NAME, text)


def recall(root: Path, name: str, key: str) -> Any:
    """Returns what this very code has kept under a name for a key, None when it has nothing."""
    try:
        with (root / FOLDER / name).open("rb") as file:
            found = json.loads(file.read())
        return found["kept"] if (found["made_by"], found["key"]) == (_made_by(), key) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(root: Path, name: str, key: str, value: object) -> None:
    """Keeps plain JSON values under a name for a key, in the place of what was kept before."""
    told = {"made_by": _made_by(), "key": key, "kept": value}
    _put(root / FOLDER, name, json.dumps(told, ensure_ascii=False, separators=(",", ":")))


def _put(folder: Path, name: str, text: str) -> None:
    with contextlib.suppress(OSError):
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        if folder.parent.is_symlink() or folder.is_symlink():
            return
        folder.mkdir(mode=0o700, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
        handle, temporary = tempfile.mkstemp(dir=folder, prefix="documents.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(folder / name)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise


def _made_by() -> str:
    """The state of this package's files: after an upgrade or an edit nothing old is believed."""
    here = Path(__file__).parent
    stats = sorted(
        (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
        for folder in (here, here / "flows")
        for entry in os.scandir(folder)
        if entry.name.endswith(".py")
    )
    return repr(stats)
