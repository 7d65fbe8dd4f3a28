"""How an agent program is pointed at `fleet hook`: one command, and what a session asks of it.

Nothing of it goes into the repository or into a person's own configuration: a harness hands it over
by flags and by files of the attempt's folder.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Final

WISHES: Final = "hooks.json"
ANSWER_S: Final = 3_600
"""How long a program waits for a person or a judgement; then it goes on as if nobody had come."""

LIMIT_S: Final = ANSWER_S + 60
"""The time limit of a hook that waits, for the program: later than the hook's own."""

BRIEF_LIMIT_S: Final = 30
"""The time limit of a hook that only tells."""

WAITING: Final = ("PermissionRequest", "Stop")
TELLING: Final = ("UserPromptSubmit", "PostToolUse", "SessionEnd")
"""What only a session in a terminal tells: headless, a program works for as long as it lives."""


def command() -> str:
    """Returns the shell command of every hook; always the same, so that trust in it lasts."""
    hook = Path(__file__).resolve().parent.parent / "hook.py"
    return shlex.join([sys.executable, "-I", "-S", str(hook)])


def wishes(folder: Path) -> dict[Path, str]:
    """Returns the file that says what a session asks of fleet: to judge its turns, and how long."""
    return {folder / WISHES: json.dumps({"stop": True, "wait_s": ANSWER_S})}


def events(*more: str, interactive: bool) -> tuple[str, ...]:
    """Returns the events that a session is hooked for, with `more` that its program has; few, for
    every one costs the agent the start of a process.
    """
    return ("SessionStart", *(TELLING if interactive else ()), *WAITING, *more)


def limit_of(event: str) -> int:
    """Returns the time limit of an event's hook in seconds."""
    return LIMIT_S if event in WAITING else BRIEF_LIMIT_S
