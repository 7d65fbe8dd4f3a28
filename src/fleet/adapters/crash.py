"""Crash points: named places in product code where a crash matters.

`crash_point(name)` does nothing unless the environment says `FLEET_CRASH_AT=name[:n]`: then the
process kills itself with SIGKILL at the n-th passing (the first by default), as a power cut or the
OOM killer would. Every name stands in `CRASH_POINTS`, so that a test can die at each one and prove
that the next call converges.
"""

from __future__ import annotations

import os
import signal
from typing import Final

CRASH_POINTS: Final = (
    "archive.written",
    "mailbox.before_delete",
    "mailbox.after_rename",
    "journal.after_commit",
    "journal.before_commit",
    "coordinator.after_commit",
    "git.create.after_refs",
    "git.create.after_admin",
    "git.create.after_link",
    "git.create.after_files",
    "git.create.after_copies",
    "git.create.after_ready",
    "git.trial.after_admin",
    "git.trial.after_files",
    "git.trial.after_removal",
    "git.land.after_undo",
    "git.land.after_record",
    "git.land.after_lock",
    "git.land.after_prepare",
    "git.land.after_files",
    "git.land.after_index",
    "git.land.after_ref",
    "git.land.after_unlock",
    "git.remove.after_rescue",
    "git.remove.after_trash",
    "git.remove.after_check",
    "git.remove.after_admin",
    "git.branch.after_log",
    "git.branch.after_delete",
    "git.restore.after_files",
    "clean.after_sessions",
    "clean.after_worktree",
    "clean.after_branch",
    "kinds.worktree.before_setup",
    "kinds.worktree.after_setup",
    "kinds.agent.before_launch",
    "kinds.agent.after_launch",
    "kinds.agent.before_outcome",
    "kinds.check.before_outcome",
    "kinds.answer.before_outcome",
    "kinds.shell.before_outcome",
    "kinds.merge.after_assembly",
    "kinds.merge.before_land",
    "kinds.merge.after_land",
    "kinds.merge.after_rest",
    "kinds.merge.after_tag",
    "publish.before_push",
    "publish.after_push",
    "publish.after_request",
    "kinds.undo.before_move",
    "kinds.undo.after_move",
    "kinds.undo.after_tags",
)

_passings: dict[str, int] = {}


def crash_point(name: str) -> None:
    """Kills this process here if `FLEET_CRASH_AT` names this point and passing."""
    wanted = os.environ.get("FLEET_CRASH_AT")
    if not wanted:
        return
    assert name in CRASH_POINTS, f"crash point {name!r} is not in CRASH_POINTS"
    point, _, count = wanted.partition(":")
    if point != name:
        return
    _passings[name] = _passings.get(name, 0) + 1
    if _passings[name] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
