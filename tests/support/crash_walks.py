"""Which tests die at which crash points: a point that is in no walk fails `test_landing_faults`.

A walk is the names that a test is parametrised with, in which a process is killed there, must have
been, and what it did is asked for again.
"""

from __future__ import annotations

from fleet.adapters.crash import CRASH_POINTS

OF_THE_FRONT_DOOR = ("mailbox.after_rename",)
OF_A_LANDING = (
    "kinds.merge.after_assembly",
    "kinds.merge.before_land",
    "git.land.after_undo",
    "git.land.after_record",
    "git.land.after_lock",
    "git.land.after_prepare",
    "git.land.after_files",
    "git.land.after_index",
    "git.land.after_ref",
    "git.land.after_unlock",
    "kinds.merge.after_land",
    "kinds.merge.after_tag",
)
"""In the order in which a merge passes them; those of its trials stand apart."""

OF_A_RENEWAL = tuple(point for point in OF_A_LANDING if point.startswith("git.land."))
OF_A_TRIAL = ("git.trial.after_admin", "git.trial.after_files", "git.trial.after_removal")
OF_A_PART = ("kinds.merge.after_rest",)
OF_AN_UNDO = (
    "kinds.undo.before_move",
    *("git.land.after_undo", "git.land.after_files", "git.land.after_ref"),
    "kinds.undo.after_move",
    "kinds.undo.after_tags",
)
OF_A_CLEAN = (
    *("clean.after_sessions", "git.remove.after_rescue", "git.remove.after_trash"),
    *("git.remove.after_check", "git.remove.after_admin", "clean.after_worktree"),
    *("git.branch.after_log", "git.branch.after_delete", "clean.after_branch"),
)
OF_AN_ARCHIVE = ("archive.written",)
OF_A_RESTORE = ("git.restore.after_files",)
OF_A_PUSH = ("publish.before_push", "publish.after_push")
OF_A_PULL_REQUEST = (*OF_A_PUSH, "publish.after_request")

OF_AN_ANSWER = ("kinds.answer.before_outcome",)
OF_A_WORKFLOW = ("journal.after_commit", "journal.before_commit", "kinds.shell.before_outcome")
"""Points at which every life of a coordinator may end, for each life gets further than the last."""

OF_A_RUN = tuple(
    point
    for point in CRASH_POINTS
    if point.split(".")[0] in ("mailbox", "journal", "coordinator")
    or point.rpartition(".")[0] in ("git.create", "kinds.worktree", "kinds.agent", "kinds.check")
    if point not in OF_THE_FRONT_DOOR
)
WALKS = {
    name: walk for name, walk in list(globals().items()) if name.startswith("OF_")
}  # by their names, for each must be walked by a test
