"""The floor: asyncio and a journal in SQLite, each step on disk before the next; nothing besides.

No retries, no validation, no look at what was there. One writer commits what has come meanwhile
together (group commit), as every engine that is quick does.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from pathlib import Path

from measure import CHAIN, MANY, STARTS, STEPS, report, spent


class Journal:
    """Rows of one table; `put` returns once its row is on disk."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        for setting in ("journal_mode = wal", "synchronous = full"):
            self.db.execute(f"pragma {setting}")
        self.db.execute("create table e (id integer primary key, run text, body text)")
        self.waiting: list[tuple[str, str, asyncio.Future[None]]] = []

    async def put(self, run: str, body: str) -> None:
        """Appends a row."""
        done = asyncio.get_running_loop().create_future()
        self.waiting.append((run, body, done))
        if len(self.waiting) == 1:
            asyncio.get_running_loop().call_soon(self._commit)
        await done

    def _commit(self) -> None:
        some, self.waiting = self.waiting, []
        self.db.execute("begin immediate")
        self.db.executemany("insert into e (run, body) values (?, ?)", [one[:2] for one in some])
        self.db.execute("commit")
        for _, _, done in some:
            done.set_result(None)


async def flow(journal: Journal, run: str, count: int, began: list[float]) -> int:
    """Runs a workflow of steps that count."""
    await journal.put(run, "started")
    number = 0
    for step in range(count):
        if not step:
            began.append(time.perf_counter())
        number += 1
        await journal.put(run, f'{{"step": {step}, "n": {number}}}')
    await journal.put(run, "ended")
    return number


async def main(folder: Path) -> None:
    """Measures."""
    journal = Journal(folder / "journal.db")
    starts = []
    for number in range(STARTS):
        began: list[float] = []
        at = time.perf_counter()
        await flow(journal, f"start{number}", STEPS, began)
        starts.append((began[0] - at) * 1000)
    at = time.perf_counter()
    assert await flow(journal, "chain", CHAIN, []) == CHAIN
    chain_s = time.perf_counter() - at
    before, at = spent(), time.perf_counter()
    await asyncio.gather(*(flow(journal, f"many{n}", STEPS, []) for n in range(MANY)))
    report(starts, chain_s, time.perf_counter() - at, spent() - before)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
