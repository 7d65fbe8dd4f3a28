"""Repositories that fleet makes in temporary folders, for the demo and for rehearsals: a history of
its own, and nothing of the user's git configuration, hooks or surroundings in it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from fleet.errors import FleetError

TIMEOUT_S = 60.0


def neutral(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns an environment without what the user's own fleet, git or tmux session has set."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(("FLEET_", "GIT_")) and name not in ("TMUX", "TMUX_PANE")
    }
    return {**kept, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}


def begin_repository(root: Path, message: str, environ: Mapping[str, str]) -> None:
    """Makes a folder a repository whose first commit holds all of it; raises FleetError."""
    for argv in (
        ["git", "init", "-q", "-b", "main"],
        ["git", "config", "user.name", "Demo"],
        ["git", "config", "user.email", "demo@fleet.invalid"],
        ["git", "config", "core.hooksPath", ".git/hooks"],
        ["git", "config", "commit.gpgSign", "false"],
        ["git", "add", "."],
        ["git", "commit", "-q", "-m", message],
    ):
        done = subprocess.run(
            argv, cwd=root, env=dict(environ), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode:
            said = done.stdout.decode("utf-8", "replace").strip()
            raise FleetError(f"{shlex.join(argv)} failed: {said}", hint="see: fleet doctor")
