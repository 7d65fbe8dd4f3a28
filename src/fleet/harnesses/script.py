"""script: a scripted agent for demos and tests. `args: [FILE]` names the YAML file that the player
plays.

A relative FILE is looked for in the root of the fleet (FLEET_ROOT), then in the worktree: by the
player itself.
"""

from __future__ import annotations

import sys
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
    """Returns the player with the file; raises Rejected unless `args` names exactly one."""
    names = [agent.args] if isinstance(agent.args, str) else list(agent.args)
    if len(names) != 1 or not names[0]:
        raise Rejected(f"agent {agent.id} names no script", hint="give `args: [FILE]`")
    # The player must find fleet where this process has it, installed or not, and nothing of the
    # worktree before it; what it runs must find the worktree's own as it would anywhere.
    argv = [sys.executable, "-P", "-m", "fleet.harnesses.player", names[0]]
    source = str(Path(__file__).resolve().parents[2])
    env = {
        "PYTHONPATH": source,
        **agent.env,
        "FLEET_BRIEF": str(brief),
        "PYTHONUNBUFFERED": "1",
    }
    return Preparation(argv=argv, env=env, stdin=NOTHING)


def outcome(ended: ExitRecord | None, folder: AttemptFolder) -> Report:
    """Returns what the player's exit code says, with what it said."""
    return exit_report(ended, folder)


def check(environ: Mapping[str, str]) -> Found | str:
    """Returns the Python that plays."""
    return Found(sys.version.split()[0], sys.executable)
