"""The exchange of a journal for another one: alone, and with the old one kept beside it.

Law: what lay under the journal's name is never overwritten, only linked to a free name first; and
at every moment that name bears the old file or the new one. Only repair and restore come here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

from fleet.adapters.journal.place import beside, sync
from fleet.errors import Rejected

LOCK: Final = "coordinator.lock"  # the lease's; a test holds the two together


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Holds the coordinator's lock meanwhile; raises Rejected when a coordinator has it."""
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Rejected(
                "a coordinator is using this journal", hint="`fleet down` first"
            ) from error
        yield
    finally:
        os.close(handle)


def clear(path: Path) -> None:
    """Removes a file of SQLite's with all that it keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        beside(path, suffix).unlink(missing_ok=True)


def free_number(path: Path, why: str) -> int:
    """Returns the lowest n for which nothing is called <name>.<why>-<n>, nor its log."""
    free = (n for n in count(1) if not _remains(beside(path, f".{why}-{n}")))
    return next(free)


def exchange(path: Path, new: Path, why: str, number: int) -> Path | None:
    """Puts the whole file `new` under the journal's name.

    Returns where the old one lies now, <name>.<why>-<number>, None when there was none.
    """
    aside = beside(path, f".{why}-{number}")
    for suffix in ("", "-wal"):
        old = beside(path, suffix)
        if old.exists():
            os.link(old, beside(aside, suffix))
    sync(path.parent)
    # The old log goes before the new file comes: SQLite would play it into whatever bears the name.
    for suffix in ("-wal", "-shm"):
        beside(path, suffix).unlink(missing_ok=True)
    new.replace(path)
    sync(path.parent)
    return aside if _remains(aside) else None


def _remains(aside: Path) -> bool:
    return aside.exists() or beside(aside, "-wal").exists()
