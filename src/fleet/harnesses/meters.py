"""What a program has used so far, read from what it writes while it runs.

A meter names the file (the program's own transcript, or its standard output) and counts its lines
one by one, each once: a look costs what is new. The file may have been put there by anybody in the
session, so it is read in bounded pieces, never through a link, and found only where the program
keeps such files; of it, nothing but figures is taken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fleet.adapters.attempts import Follower

CHUNK_BYTES: Final = 1 << 18
LOOK_BYTES: Final = 1 << 20
"""So much is read in one look at most; the rest of a file that is behind comes with the next."""

LINE_BYTES: Final = 8 << 20
"""A longer line is passed over."""


@dataclass(slots=True)
class Tally:
    """What was counted: `amounts` by name since `since_ms`; `marks` are a harness's own notes."""

    since_ms: int = 0
    amounts: dict[str, float] = field(default_factory=dict)
    marks: dict[str, Any] = field(default_factory=dict)

    def add(self, more: Mapping[str, object]) -> None:
        """Adds what is an amount."""
        for name, count in more.items():
            if isinstance(count, int | float) and not isinstance(count, bool):
                self.amounts[name] = self.amounts.get(name, 0) + count

    def is_earlier(self, event: Mapping[str, Any]) -> bool:
        """Returns whether an event was written before the attempt began, in the same session."""
        told = event.get("timestamp")
        try:
            return (
                bool(told) and datetime.fromisoformat(str(told)).timestamp() * 1000 < self.since_ms
            )
        except ValueError:
            return False


Count = Callable[[Tally, Mapping[str, Any]], None]


@dataclass(slots=True)
class Meter:
    """One attempt's meter; `source` says before people what it reads, `find` where that is.

    `exact` ones outrank what the program tells at its end, which is of its whole session.
    """

    source: str
    find: Callable[[], Path | None]
    count: Count
    tally: Tally = field(default_factory=Tally)
    exact: bool = False
    follower: Follower | None = None
    rest: bytes = b""

    def look(self) -> dict[str, float]:
        """Returns what is used so far, after all that is new was counted; blocks."""
        if self.follower is None:
            found = self.find()
            if found is None:
                return {}
            self.follower = Follower(found)
        read = 0
        while read < LOOK_BYTES and (chunk := self.follower.read(CHUNK_BYTES)):
            read += len(chunk)
            *lines, self.rest = (self.rest + chunk).split(b"\n")
            if len(self.rest) > LINE_BYTES:
                self.rest = b""
            for line in lines:
                self._take(line)
        return dict(self.tally.amounts)

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line) if line.startswith(b"{") else None
        except (ValueError, RecursionError):
            return
        if isinstance(event, dict):
            self.count(self.tally, event)


def home_of(env: Mapping[str, str], variable: str, folder: str) -> Path:
    """Returns the folder where a program keeps its own: as its variable says, else below HOME."""
    told = env.get(variable) or os.environ.get(variable)
    if told:
        return Path(told)
    return Path(env.get("HOME") or os.environ.get("HOME") or "/nonexistent", folder)


def only_file(home: Path, pattern: str) -> Path | None:
    """Returns the one regular file below `home` that `pattern` names, however the way to it leads
    no further than `home`; else None.
    """
    found = [path for path in home.glob(pattern) if path.is_file() and not path.is_symlink()]
    inside = [path for path in found if path.resolve().is_relative_to(home.resolve())]
    return inside[0] if len(inside) == 1 else None


def began_ms(folder: Path) -> int:
    """Returns when an attempt was launched, by its own folder; 0 when it was not."""
    try:
        return (folder / "spec").stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0
