"""What a sandbox's file system is made of, as words for bwrap.

Law: paths to mounts, nothing else. A folder is mounted before what lies in it, whatever the order
in which they were named; of two for one path the later counts. A path that leads over a link is
mounted where it really lies, and where it was named too unless the link itself is visible there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

NOWHERE: Final = Path("/dev/null")


@dataclass(slots=True)
class Mounts:
    """The mounts of one sandbox, by where they are seen inside."""

    _told: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    _linked: dict[Path, Path] = field(default_factory=dict)
    _writable: set[Path] = field(default_factory=set)

    def read(self, *paths: Path) -> None:
        """Shows files and folders as they are, not to be written; they must be there."""
        for path in paths:
            self._bind("--ro-bind", path)

    def write(self, *paths: Path) -> None:
        """Shows files and folders and lets them be written; they must be there."""
        for path in paths:
            self._bind("--bind", path)

    def replace(self, path: Path, real: Path) -> None:
        """Shows a folder in the place of another, and lets it be written."""
        self._told[path] = ("--bind", str(real), str(path))

    def hide(self, *paths: Path) -> None:
        """Leaves an empty folder or file in the place of each."""
        for path in paths:
            if path.is_dir():
                self._told[path] = ("--tmpfs", str(path))
                self._writable.discard(path)
            else:
                self._told[path] = ("--ro-bind", str(NOWHERE), str(path))

    def empty(self, path: Path, mode: str) -> None:
        """Gives a folder in memory, to be written and gone afterwards."""
        self._told[path] = ("--perms", mode, "--tmpfs", str(path))
        self._writable.add(path)

    def special(self, how: str, path: Path) -> None:
        """Mounts one of bwrap's own: a `--proc`, a `--dev`."""
        self._told[path] = (how, str(path))

    def link(self, path: Path, target: str) -> None:
        """Makes a link."""
        self._told[path] = ("--symlink", target, str(path))

    def below(self, path: Path) -> list[Path]:
        """Returns where something is mounted below a path, from there."""
        told = {*self._told, *self._linked} - {path}
        return [one.relative_to(path) for one in told if one.is_relative_to(path)]

    def words(self, memory_bytes: int | None = None) -> list[str]:
        """Returns the words for bwrap; folders in memory hold at most `memory_bytes` each."""
        told = dict(self._told)
        for named, real in self._linked.items():
            around = next((told[one] for one in named.parents if one in told), ("", "", ""))
            if named not in told and not ("bind" in around[0] and around[1] == around[2]):
                told[named] = (*told[real][:-1], str(named))
        found: list[str] = []
        for path in sorted(told, key=lambda one: len(one.parts)):
            if path in self._writable and memory_bytes is not None:
                found += ["--size", str(memory_bytes)]
            found += told[path]
        return found

    def _bind(self, how: str, path: Path) -> None:
        real = Path(os.path.realpath(path))
        self._told[real] = (how, str(real), str(real))
        self._writable.discard(real)
        named = Path(os.path.abspath(path))  # noqa: PTH100 - links are not followed
        if named != real:
            self._linked[named] = real
