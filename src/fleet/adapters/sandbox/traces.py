"""What a sandbox has to tell once it has ended: what it refused, and what its limits had to do.

Both were written by its warden, outside, into a folder that is read-only inside. They are read
bounded all the same, and names of hosts are an agent's words: they are for JSON and for `plain`.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REFUSED: Final = "refused.jsonl"
HELD: Final = "held.json"
READ_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Traces:
    """`refused` are places of the network, each once, as `HOST:PORT: WHY`; `more` that there were
    others.
    """

    refused: tuple[str, ...] = ()
    more: bool = False
    oom_kills: int = 0
    forks_refused: int = 0
    memory_peak_bytes: int = 0


def traces(folder: Path) -> Traces:
    """Returns what an attempt's sandbox has told; nothing where it had nothing to tell."""
    refused, more = [], False
    for line in _text(folder / REFUSED).splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(line)
            more = more or bool(told.get("more"))
            refused.append(f"{told['host']}:{told['port']}: {told['why']}")
    held: dict[str, int] = {}
    with contextlib.suppress(ValueError):
        held = json.loads(_text(folder / HELD))
    return Traces(tuple(refused), more, **held)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(READ_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
