"""Where things lie in the state folder; paths only, nothing is read or made here."""

from __future__ import annotations

from pathlib import Path


def attempt_path(state: Path, run: str, step: str, attempt: int) -> Path:
    """Returns the folder of one attempt; a step's id is one component, whatever it holds."""
    component = step.replace("%", "%25").replace("/", "%2F")
    return state.joinpath("attempts", run, component, str(attempt))


def scratch_path(state: Path, run: str, step: str) -> Path:
    """Returns the folder of a workflow's step: where it works without a worktree, and what it is
    given; all its attempts share it.
    """
    return state.joinpath("scratch", run, step.replace("%", "%25").replace("/", "%2F"))
