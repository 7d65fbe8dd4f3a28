"""mcp: who works is a client of `fleet mcp`, which pulls the step and hands in what it came to.

No program of an agent is started: the session only keeps the attempt open until something is handed
in, so that its time limit, its stop, its loss and its record are those of every attempt. What was
handed in counts, however the session ended since.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.adapters.offers import handed
from fleet.core.plan import Failure
from fleet.harnesses import NOTHING, AgentFacts, Found, Preparation, Report, exit_report

WAITER = Path(__file__).with_name("offer.sh")


def prepare(
    agent: AgentFacts,
    brief: Path,
    folder: Path,
    worktree: Path,
    resume: str | None,
) -> Preparation:
    """Returns what waits for a client."""
    return Preparation(argv=["/bin/sh", str(WAITER), str(folder)], stdin=NOTHING)


def outcome(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what a client handed in; without that, why nobody waits for one any more."""
    told = handed(folder.path)
    if told is None:
        return exit_report(ended, folder)
    who = str(told.get("client") or "a client")
    if "failed" in told:
        why = str(told["failed"])
        return Report(ok=False, failure=Failure.TASK, text=f"{who} could not do it: {why}")
    return Report(ok=True, text=f"{who} handed it in", output=str(told.get("output") or ""))


def check(environ: Mapping[str, str]) -> Found | str:
    """Returns the shell that waits, which has no version to tell."""
    path = shutil.which("sh", path=environ.get("PATH"))
    return Found("", path) if path else "sh is not on PATH: mend PATH"
