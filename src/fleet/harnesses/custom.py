"""custom: a harness that is given as an argv list. `{brief}` (path), `{worktree}` (path) and
`{prompt}` (the brief's text) each stand for a whole or a part of one argument, and never become
more than one; `args` follow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.harnesses import NOTHING, AgentFacts, Found, Preparation, Report, exit_report

_PLACES = re.compile(r"\{(brief|worktree|prompt)\}")


def prepare(
    agent: AgentFacts,
    brief: Path,
    folder: Path,
    worktree: Path,
    resume: str | None,
) -> Preparation:
    """Returns the argv with its places filled;
    a filled-in text is not searched for places again.
    """
    assert not isinstance(agent.harness, str)
    words = [*agent.harness, *agent.words]
    texts = {"brief": str(brief), "worktree": str(worktree)}
    if any("{prompt}" in word for word in words):
        texts["prompt"] = brief.read_text(encoding="utf-8")
    argv = [_PLACES.sub(lambda place: texts[place[1]], word) for word in words]
    env = {**agent.env, "FLEET_BRIEF": str(brief)}
    if agent.mode == "interactive":
        return Preparation(argv=argv, env=env, stdout="pane")
    return Preparation(argv=argv, env=env, stdin=NOTHING)


def outcome(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what the exit code says, with the standard output."""
    return exit_report(ended, folder)


def check(environ: Mapping[str, str]) -> Found | str:
    """Returns nothing found: what a custom command needs is known to whoever wrote it."""
    return Found("", "")
