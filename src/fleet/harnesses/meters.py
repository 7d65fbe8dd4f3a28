"""What a program has used so far, read from what it writes while it runs.

A meter names the file (the program's own transcript, or its standard output) and counts its lines
one by one, each once: a look costs what is new. A file that a program writes anew each time is read
when it has changed. What is read may have been put there by anybody in the session, so it is read
bounded, never through a link, and found only where the program keeps such files; of it, nothing but
figures is taken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from fleet.adapters import hooks
from fleet.adapters.attempts import Follower, tail
from fleet.harnesses import AgentFacts, chosen_session

CHUNK_BYTES: Final = 1 << 18
LOOK_BYTES: Final = 1 << 20
"""So much is read in one look at most; the rest of a file that is behind comes with the next."""

LINE_BYTES: Final = 8 << 20
"""A longer line is passed over."""

FILE_BYTES: Final = 32 << 20
"""Of a longer file that is written anew each time, nothing is read."""

ID_BYTES: Final = 256
ANSWERS: Final = 64
"""Of so many answers it is remembered what they used."""


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

    def add_once(self, name: str, told: Mapping[str, float]) -> None:
        """Adds what the answer `name` has used, in the place of what was told of it before."""
        before = self.marks.pop(name, {})
        self.add({one: count - before.get(one, 0) for one, count in told.items()})
        self.marks[name] = told
        while len(self.marks) > ANSWERS:
            del self.marks[next(iter(self.marks))]

    def is_earlier(self, event: Mapping[str, Any]) -> bool:
        """Returns whether an event was written before the attempt began, in the same session."""
        told = event.get("timestamp")
        try:
            return (
                bool(told) and datetime.fromisoformat(str(told)).timestamp() * 1000 < self.since_ms
            )
        except ValueError:
            return False


class Meter(Protocol):
    """One attempt's meter; `source` says before people what it reads.

    `exact` ones outrank what the program tells at its end, which is of its whole session.
    """

    source: str
    exact: bool
    is_behind: bool  # whether the last look left something for the next one

    def has_news(self) -> bool:
        """Returns whether there may be something to look at, at next to no cost."""
        ...

    def look(self) -> dict[str, float]:
        """Returns what is used so far, after all that is new was counted; blocks."""
        ...


def json_of(raw: bytes) -> Mapping[str, Any] | None:
    """Returns the JSON object that a line or a file is; None for anything else."""
    try:
        found = json.loads(raw) if raw.startswith(b"{") else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


@dataclass(slots=True)
class LineMeter:
    """Counts the lines of a file that grows; `find` says where it is, `parse` what a line tells."""

    source: str
    find: Callable[[], Path | None]
    count: Callable[[Tally, Mapping[str, Any]], None]
    tally: Tally = field(default_factory=Tally)
    exact: bool = False
    parse: Callable[[bytes], Mapping[str, Any] | None] = json_of
    is_behind: bool = False
    follower: Follower | None = None
    rest: bytes = b""
    size: int = -1

    def has_news(self) -> bool:
        """Returns whether the file has grown; a log in parts may always have."""
        if self.follower is None or self.follower.part > 1:
            return True
        size = size_of(self.follower.path)
        grown, self.size = size != self.size or self.follower.place < size, size
        return grown

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
                if (told := self.parse(line)) is not None:
                    self.count(self.tally, told)
        self.is_behind = read >= LOOK_BYTES
        return dict(self.tally.amounts)


@dataclass(slots=True)
class FileMeter:
    """Reads a file that its program writes anew each time: `read` takes the JSON object in it."""

    source: str
    path: Path
    read: Callable[[Mapping[str, Any]], Mapping[str, float]]
    exact: bool = False
    is_behind: bool = False
    amounts: dict[str, float] = field(default_factory=dict)
    state: tuple[int, ...] = ()

    def has_news(self) -> bool:
        """Returns whether the file has changed since it was looked at."""
        return self._state() != self.state

    def look(self) -> dict[str, float]:
        """Returns what is used so far; what is being written just now waits; blocks."""
        self.state = self._state()
        raw = Follower(self.path).read(FILE_BYTES + 1)
        told = json_of(raw) if len(raw) <= FILE_BYTES else None
        if told is not None:
            self.amounts = dict(self.read(told))
        return dict(self.amounts)

    def _state(self) -> tuple[int, ...]:
        try:
            found = self.path.lstat()
        except OSError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns


def home_of(agent: AgentFacts, variable: str, name: str) -> Path:
    """Returns the folder where a program keeps its own: as its variable says, else below HOME. For
    one that is shut in, that is where the folder lies outside.
    """
    told = agent.env.get(variable) or os.environ.get(variable)
    home = agent.env.get("HOME") or os.environ.get("HOME") or "/nonexistent"
    seen = Path(told) if told else Path(home, name)
    return lies_at(agent, seen)


def lies_at(agent: AgentFacts, seen: Path) -> Path:
    """Returns where a folder lies outside that an agent's program sees."""
    around = [one for one in agent.moved if seen.is_relative_to(one)]
    if not around:
        return seen
    nearest = max(around, key=lambda one: len(one.parts))
    return agent.moved[nearest] / seen.relative_to(nearest)


def session_of(folder: Path) -> str | None:
    """Returns the id of an attempt's session where fleet chooses it: as the hook told it last, else
    as it was begun or gone on with; None for what is no id.
    """
    begun = tail(folder / hooks.RESUMED, ID_BYTES).strip() or chosen_session(folder)
    return hooks.session_of(folder, begun)


def only_file(home: Path, pattern: str) -> Path | None:
    """Returns the one regular file below `home` that `pattern` names; None for none or several."""
    found = files_below(home, pattern)
    return found[0] if len(found) == 1 else None


def files_below(home: Path, pattern: str) -> list[Path]:
    """Returns the regular files that `pattern` names, however the way to them leads no further than
    `home`.
    """
    found = [path for path in home.glob(pattern) if path.is_file() and not path.is_symlink()]
    return [path for path in found if path.resolve().is_relative_to(home.resolve())]


def size_of(path: Path) -> int:
    """Returns the bytes of a file; 0 when it is gone."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def began_ms(folder: Path) -> int:
    """Returns when an attempt was launched, by its own folder; 0 when it was not."""
    try:
        return (folder / "spec").stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0
