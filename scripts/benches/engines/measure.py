"""What the programs that drive the engines share: how much is done, and how it is told.

Each prints one JSON object and is run by an interpreter of its own engine; nothing of fleet is
imported here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

STEPS, CHAIN, MANY, STARTS = 5, 100, 1_000, 40


def spent(*pids: int) -> float:
    """Returns the processor seconds that processes have taken so far; this one's for none."""
    total = 0
    for pid in pids or (os.getpid(),):
        told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        fields = told.rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def report(starts_ms: Sequence[float], chain_s: float, many_s: float, many_cpu_s: float) -> None:
    """Prints the result."""
    high = sorted(starts_ms)[max(0, round(len(starts_ms) * 0.95) - 1)]
    told = {"start_ms": high, "chain_s": chain_s, "many_s": many_s, "many_cpu_s": many_cpu_s}
    print(json.dumps(told), flush=True)
