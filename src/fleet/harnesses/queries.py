"""Programs that can be asked how a session of theirs stands.

Asked only where hooks are silent: a query costs the start of a program. Claude Code lists its
sessions in terminals, those that wait for a permission or were interrupted too, which no hook
tells; a dialog before the session begins is in no list. `codex agents` is a screen for people and
has no form for programs; of the others none has such a query.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

CLAUDE_TURNS: Final = {"busy": "working", "waiting": "blocked", "idle": "idle"}


@dataclass(frozen=True, slots=True)
class Query:
    """What is run, and what a session's turn is by its answer: (turn, what it waits for).

    Those whose environment is alike in `told_apart_by` are told the same.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    told_apart_by: Sequence[str]
    read: Callable[[str, str], tuple[str, str]]


def _claude(answer: str, session: str) -> tuple[str, str]:
    try:
        listed = json.loads(answer)
    except ValueError:
        return "", ""
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and one.get("sessionId") == session:
            turn = CLAUDE_TURNS.get(str(one.get("status")), "")
            return turn, str(one.get("waitingFor") or "")
    return "", ""


QUERIES: Final[Mapping[str, Query]] = {
    "claude": Query(
        argv=("claude", "agents", "--json"),
        env={"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
        told_apart_by=("HOME", "PATH", "CLAUDE_CONFIG_DIR"),
        read=_claude,
    ),
}
"""By harness."""
