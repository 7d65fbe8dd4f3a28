"""When the screen of a session is looked at: only when something new can be on it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fleet.kinds.agent.sight import DOUBT_S, Sight


async def called(function: Any, *words: Any) -> Any:
    return function(*words)


def test_a_screen_is_read_once_for_what_was_drawn_and_never_for_nothing(tmp_path: Path) -> None:
    read: list[str] = []
    told: list[Any] = []
    tmux = SimpleNamespace(screen=lambda name: read.append(name) or "Password: ")
    work: Any = SimpleNamespace(
        folder=tmp_path, facts={}, attempt=1, run="plan", report=told.append, tell=told.append,
        step=SimpleNamespace(id="t/work"), task="t",
        params={"task": "t", "agent": {"harness": "shell"}},
        world=SimpleNamespace(tmux=tmux, in_thread=called),
    )  # fmt: skip
    (tmp_path / "claim").touch()
    sight, long_ago = Sight(work, interactive=False), time.time() - 2 * DOUBT_S

    def look(text: str) -> int:
        (tmp_path / "output.log").write_text(text)
        os.utime(tmp_path / "output.log", (long_ago, long_ago))
        assert asyncio.run(sight.is_the_end()) is False
        return len(read)

    assert look("") == 0, "nothing is on it"
    assert look("Password: ") == 1
    assert look("Password: ") == 1, "nothing new is on it"
    assert look("Password: \n? ") == 2
    assert told, "it waits for a person"
