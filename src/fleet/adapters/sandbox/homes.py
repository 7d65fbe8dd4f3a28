"""The home folder that a sandboxed program finds: its own, on disk, kept from attempt to attempt.

Law: what lies in a home that an agent has used is the agent's: nothing outside follows a link that
it has left there, and nothing but the copies of declared files is ever written into it. A fresh
home is empty but for those, so that a program finds its settings and may change them, and nobody
else's are changed. It lies beside the attempts of its step, and goes when none of them is gone on
with.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from fleet.errors import Rejected

COPIED_BYTES: Final = 256 << 20
COPIED_FILES: Final = 20_000


def make_home(path: Path, home: Path, copy: Sequence[Path], *, kept: bool) -> None:
    """Puts a home in place with copies of what lies in the user's `home`; one that is `kept` stays
    as it was left. Raises Rejected for what is not there, not in it, or too much.
    """
    if kept and path.is_dir() and not path.is_symlink():
        return
    remove_home(path)
    path.mkdir(mode=0o700, parents=True)
    files = size = 0
    for named in copy:
        inner = _inner(named, home)
        for source in _files(named):
            found = source.stat()
            files, size = files + 1, size + found.st_size
            if files > COPIED_FILES or size > COPIED_BYTES:
                raise Rejected(
                    f"sandbox: {named} is too much to be copied (at most {COPIED_FILES} files, "
                    f"{COPIED_BYTES >> 20} MiB)",
                    hint="name what is needed of it, or declare it under `read`",
                )
            target = path / inner / source.relative_to(named)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(stat.S_IMODE(found.st_mode) & 0o700 | 0o600)


def clear_way(path: Path, points: Iterable[Path]) -> None:
    """Removes links that an agent has left where something is to be mounted in its home."""
    for point in points:
        step = path
        for part in point.parts:
            step /= part
            if step.is_symlink():
                step.unlink()
                break


def remove_home(path: Path) -> None:
    """Removes a home with all that is in it; raises Rejected when that fails."""
    if not os.path.lexists(path):
        return
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):  # folders that were closed by whoever worked there
        subprocess.run(["chmod", "-R", "u+rwx", "--", path], capture_output=True, check=False)
        shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        raise Rejected(f"sandbox: {path} cannot be removed", hint="remove it by hand")


def _inner(named: Path, home: Path) -> Path:
    if not named.exists():
        raise Rejected(
            f"sandbox: {named} is declared but not there", hint="make it, or take it out"
        )
    if not named.is_relative_to(home) or named == home:
        raise Rejected(
            f"sandbox: {named} does not lie in the home folder, so it cannot be copied there",
            hint="declare it under `read`",
        )
    return named.relative_to(home)


def _files(named: Path) -> Iterator[Path]:
    """Yields a file, or the files of a folder; what is neither is passed over."""
    if named.is_file():
        yield named
    for folder, _, names in os.walk(named):
        for name in names:
            path = Path(folder, name)
            if path.is_file():
                yield path
