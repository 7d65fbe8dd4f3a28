"""Backups: one consistent file with all that was committed, written and put back.

Law: a backup is taken from a journal in use and never overwrites anything. It is put back only
where no coordinator lives and only when it is proven whole; the journal it replaces stays beside.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from fleet.adapters.journal.exchange import alone, clear, exchange, free_number
from fleet.adapters.journal.place import NAME, beside, connect, sync
from fleet.adapters.journal.proof import verify
from fleet.errors import FleetError, Rejected


def backup(journal: Path, target: Path) -> None:
    """Writes all that is committed into one file, while the coordinator may go on.

    Raises Rejected when the target exists, FleetError when the journal cannot be read.
    """
    if target.exists():
        raise Rejected(f"{target} exists already", hint="name a new file")
    draft = beside(target, f".{os.getpid()}")
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(connect(journal, "ro")) as source, closing(connect(draft, "rw")) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        sync(draft)
        draft.rename(target)
        sync(target.parent)
    except sqlite3.Error as error:
        raise FleetError(f"the journal {journal} could not be backed up: {error}") from error
    finally:
        clear(draft)


def restore(source: Path, folder: Path, lock: Path) -> Path | None:
    """Puts a backup in the journal's place; returns where the old one lies now, if there was one.

    Raises Rejected when a coordinator holds `lock`, or when the backup itself is not whole.
    """
    path = folder / NAME
    with alone(lock):
        damage = verify(source)
        if damage:
            raise Rejected(f"{source} is no whole backup: {damage[0].text}")
        new = beside(path, ".restoring")
        clear(new)
        shutil.copyfile(source, new)
        new.chmod(0o600)
        sync(new)
        return exchange(path, new, "replaced", free_number(path, "replaced"))
