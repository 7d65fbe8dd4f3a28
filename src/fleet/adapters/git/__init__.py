"""git: worktrees, the files of commits, merges in memory, landings. The one adapter that runs git.

Everything that is not the user's lives in `refs/fleet/`; the user's checkout, index,
configuration, hooks and stash are read only, but for a landing on a base that is checked out.
Every change is repeatable after a crash.
Each name is loaded when it is first asked for: a look at a fleet needs only a few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fleet.adapters.git.assembly import (
        Assembled,
        Conflict,
        Part,
        Step,
        assemble,
        remove_trial,
        trial_checkout,
    )
    from fleet.adapters.git.claims import Request, StartConflict, Worktree
    from fleet.adapters.git.clashes import Clash, Pair, forecast
    from fleet.adapters.git.command import Finished, Identity, Site
    from fleet.adapters.git.history import changed_together
    from fleet.adapters.git.landing import (
        BaseMoved,
        HookFailed,
        Landed,
        WouldOverwrite,
        land,
        recover_landings,
        tag,
    )
    from fleet.adapters.git.refs import branch_name_problem
    from fleet.adapters.git.removal import (
        Head,
        NotRemovable,
        Proof,
        contained,
        dirty,
        head,
        prove_removable,
        prove_rescued,
        remove,
        rescue,
    )
    from fleet.adapters.git.repository import Change, Repository, WorktreeInfo
    from fleet.adapters.git.tree import File, changed_since, find_files, fits, read_file
    from fleet.adapters.git.worktrees import create, create_many, find
else:
    _NAMES: Final = {
        "assembly": (
            "Assembled",
            "Conflict",
            "Part",
            "Step",
            "assemble",
            "remove_trial",
            "trial_checkout",
        ),
        "claims": ("Request", "StartConflict", "Worktree"),
        "clashes": ("Clash", "Pair", "forecast"),
        "command": ("Finished", "Identity", "Site"),
        "history": ("changed_together",),
        "landing": (
            "BaseMoved",
            "HookFailed",
            "Landed",
            "WouldOverwrite",
            "land",
            "recover_landings",
            "tag",
        ),
        "refs": ("branch_name_problem",),
        "removal": (
            "Head",
            "NotRemovable",
            "Proof",
            "contained",
            "dirty",
            "head",
            "prove_removable",
            "prove_rescued",
            "remove",
            "rescue",
        ),
        "repository": ("Change", "Repository", "WorktreeInfo"),
        "tree": ("File", "changed_since", "find_files", "fits", "read_file"),
        "worktrees": ("create", "create_many", "find"),
    }
    _HOMES: Final = {name: home for home, names in _NAMES.items() for name in names}

    def __getattr__(name: str) -> object:
        """Returns what a module of the package defines, loaded when first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = [
    "Assembled",
    "BaseMoved",
    "Change",
    "Clash",
    "Conflict",
    "File",
    "Finished",
    "Head",
    "HookFailed",
    "Identity",
    "Landed",
    "NotRemovable",
    "Pair",
    "Part",
    "Proof",
    "Repository",
    "Request",
    "Site",
    "StartConflict",
    "Step",
    "Worktree",
    "WorktreeInfo",
    "WouldOverwrite",
    "assemble",
    "branch_name_problem",
    "changed_since",
    "changed_together",
    "contained",
    "create",
    "create_many",
    "dirty",
    "find",
    "find_files",
    "fits",
    "forecast",
    "head",
    "land",
    "prove_removable",
    "prove_rescued",
    "read_file",
    "recover_landings",
    "remove",
    "remove_trial",
    "rescue",
    "tag",
    "trial_checkout",
]
