"""The journal: one SQLite file that holds everything a fleet's runs ever were.

Law: one process writes, in one transaction a batch, durable before `append` returns; anybody may
read, briefly, and starts nothing by it. Events are opaque texts, numbered from 1 in their run
without gaps; (run, seq) is the optimistic lock. Each event's checksum covers the one before it,
so an edit, a hole or a flipped byte shows. A damaged or newer file is refused, never written.
Asking for the reader loads the reader alone, because each look at a fleet waits for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from fleet.adapters.journal.place import REMOTE, Corrupt, DiskFull, filesystem
from fleet.adapters.journal.reader import EventRow, Reader, RunRow

if TYPE_CHECKING:
    from fleet.adapters.journal.backups import backup, restore
    from fleet.adapters.journal.proof import Damage, verify
    from fleet.adapters.journal.salvage import RepairReport, repair
    from fleet.adapters.journal.writer import Batch, Conflict, Journal
else:
    _HOMES: Final = {
        "backup": "backups",
        "restore": "backups",
        "Damage": "proof",
        "verify": "proof",
        "RepairReport": "salvage",
        "repair": "salvage",
        "Batch": "writer",
        "Conflict": "writer",
        "Journal": "writer",
    }

    def __getattr__(name: str) -> object:
        """Returns what another module than the reader's defines, loaded when first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = [
    "REMOTE",
    "Batch",
    "Conflict",
    "Corrupt",
    "Damage",
    "DiskFull",
    "EventRow",
    "Journal",
    "Reader",
    "RepairReport",
    "RunRow",
    "backup",
    "filesystem",
    "repair",
    "restore",
    "verify",
]
