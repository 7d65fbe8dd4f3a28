"""Archives: all events of a run as a file of its own, and then its place in the journal given back.

Law: a run leaves the journal only after its file is whole and on disk, and no coordinator lives
meanwhile. Killed between the two, the next one writes the same file again.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from fleet.adapters.crash import crash_point
from fleet.adapters.journal.exchange import alone
from fleet.adapters.journal.place import sync
from fleet.adapters.journal.reader import Reader
from fleet.adapters.journal.writer import Journal
from fleet.errors import FleetError


def archive(folder: Path, lock: Path, runs: Sequence[tuple[str, Path]]) -> Iterator[None]:
    """Writes the file of each run and takes the run out of the journal, one after the other; one
    event a line, {run, seq, at_ms, event}.

    Raises Rejected when a coordinator holds `lock`, and FleetError where a file cannot be written.
    """
    with alone(lock), closing(Journal.open(folder)) as journal, closing(Reader(folder)) as reader:
        for run, path in runs:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(reader, run, path)
            crash_point("archive.written")
            journal.forget(run)
            yield
        journal.compact()


def _write(reader: Reader, run: str, path: Path) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with gzip.open(draft, "wt", encoding="utf-8") as file:
            for row in reader.events(run):
                told = {"run": run, "seq": row.seq, "at_ms": row.at_ms}
                file.write(json.dumps({**told, "event": json.loads(row.body)}) + "\n")
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise FleetError(f"{path} could not be written: {error.strerror}") from error
