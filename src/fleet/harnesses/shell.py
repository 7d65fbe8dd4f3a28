"""shell: `args` is the argv that is run in the worktree; a string goes to `sh -c`. The brief's
path is in FLEET_BRIEF.

Exit 0 is "reported"; what it printed on standard output is its output. In mode `interactive` it
has the terminal.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from fleet.adapters.attempts import AttemptFolder, ExitRecord
from fleet.errors import Rejected
from fleet.harnesses import NOTHING, AgentFacts, Found, Preparation, Report, exit_report


def prepare(
    agent: AgentFacts,
    brief: Path,
    folder: Path,
    worktree: Path,
    resume: str | None,
) -> Preparation:
    """Returns the command as it was written; raises Rejected when there is none."""
    argv = ["/bin/sh", "-c", agent.args] if isinstance(agent.args, str) else list(agent.args)
    if not argv or not argv[-1]:
        raise Rejected(
            f"agent {agent.id} has no command", hint="give `args`: an argv list, or a string for sh"
        )
    env = {**agent.env, "FLEET_BRIEF": str(brief)}
    if agent.mode == "interactive":
        return Preparation(argv=argv, env=env, stdout="pane")
    return Preparation(argv=argv, env=env, stdin=NOTHING)


def outcome(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what the exit code says, with the standard output."""
    return exit_report(ended, folder)


def check(environ: Mapping[str, str]) -> Found | str:
    """Returns the shell, which has no version to tell."""
    path = shutil.which("sh", path=environ.get("PATH"))
    return Found("", path) if path else "sh is not on PATH: mend PATH"
