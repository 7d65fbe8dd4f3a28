"""Where a program lies: the folders without which it cannot be run.

Law: looks at links, interpreters and folders; runs nothing. What would show more than the program
(the home folder, a checkout) is never named: then it is the file alone.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

SYSTEM: Final = tuple(
    map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"))
)
STORES: Final = (Path("/nix/store"), Path("/gnu/store"))
HOPS: Final = 8  # links and interpreters that are followed


def places_of(program: str, search: str, cwd: Path, private: Iterable[Path]) -> set[Path]:
    """Returns what must be readable for `program` to run, as far as that can be told.

    `private` are folders that nothing named here may hold.
    """
    kept = frozenset(private)
    found: set[Path] = set()
    path = str(cwd / program) if "/" in program else shutil.which(program, path=search)
    for _ in range(HOPS):
        if path is None or not os.path.isfile(path):  # noqa: PTH113 - may be a dangling link
            break
        hops = list(_links(Path(path)))
        for hop in hops:
            found.add(_place(hop, kept, last=hop is hops[-1]))
        named = _interpreter(hops[-1])
        path = named if named is None or "/" in named else shutil.which(named, path=search)
    return {one for one in found if not is_system(one)}


def fleet_places() -> set[Path]:
    """Returns what must be readable for this very fleet to be run by its Python."""
    found = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve().parents[2]}
    return {one for one in found if not is_system(one) and one != Path("/")}


def is_system(path: Path) -> bool:
    """Returns whether every sandbox shows this path anyway."""
    return any(path.is_relative_to(top) for top in (*SYSTEM, *STORES))


def _links(path: Path) -> Iterator[Path]:
    """Yields a path and, where it is a link, what it leads to, one by one."""
    for _ in range(HOPS):
        yield path
        if not path.is_symlink():
            return
        path = Path(os.path.normpath(path.parent.resolve() / path.readlink()))


def _place(path: Path, private: frozenset[Path], *, last: bool) -> Path:
    folder = path.parent
    modules = [one for one in path.parents if one.name == "node_modules"]
    prefix = folder.parent
    if modules:
        wanted = modules[-1]
    elif folder.name == "bin" and (last or (prefix / "pyvenv.cfg").exists()):
        wanted = prefix
    else:
        wanted = folder
    for one in (wanted, folder):
        if one != Path("/") and not any(secret.is_relative_to(one) for secret in private):
            return one
    return path


def _interpreter(path: Path) -> str | None:
    """Returns what the first line of a script names; None for a binary."""
    try:
        with path.open("rb") as file:
            first = file.readline(256)
    except OSError:
        return None
    if not first.startswith(b"#!"):
        return None
    words = os.fsdecode(first[2:]).split()
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words else None
