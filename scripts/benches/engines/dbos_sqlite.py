"""DBOS with its journal in SQLite, in one process."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from dbos import DBOS
from measure import CHAIN, MANY, STARTS, STEPS, report, spent

began: list[float] = []


def main(folder: Path) -> None:
    """Measures."""
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
                 "log_level": "ERROR"})  # fmt: skip

    @DBOS.step()
    def step(number: int) -> int:
        began.append(time.perf_counter())
        return number + 1

    @DBOS.workflow()
    def flow(count: int) -> int:
        number = 0
        for _ in range(count):
            number = step(number)
        return number

    DBOS.launch()
    flow(1)
    starts = []
    for _ in range(STARTS):
        began.clear()
        at = time.perf_counter()
        DBOS.start_workflow(flow, STEPS).get_result()
        starts.append((began[0] - at) * 1000)
    at = time.perf_counter()
    assert flow(CHAIN) == CHAIN
    chain_s = time.perf_counter() - at
    before, at = spent(), time.perf_counter()
    live = [DBOS.start_workflow(flow, STEPS) for _ in range(MANY)]
    for one in live:
        one.get_result()
    report(starts, chain_s, time.perf_counter() - at, spent() - before)
    DBOS.destroy()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
