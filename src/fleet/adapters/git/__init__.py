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
    from fleet.adapters.git.merging import signs
    from fleet.adapters.git.pushing import (
        NotPushed,
        Update,
        choose_remote,
        holds,
        is_forward,
        look,
        push,
        tag_object,
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
    from fleet.adapters.git.squashing import Gathered, gather
    from fleet.adapters.git.staging import (
        Stage,
        changed_on,
        find_hooks,
        put_message,
        set_stage,
        take_message,
    )
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
        "merging": ("signs",),
        "pushing": (
            "NotPushed",
            "Update",
            "choose_remote",
            "holds",
            "is_forward",
            "look",
            "push",
            "tag_object",
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
        "squashing": ("Gathered", "gather"),
        "staging": (
            "Stage",
            "changed_on",
            "find_hooks",
            "put_message",
            "set_stage",
            "take_message",
        ),
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
    "Gathered",
    "Head",
    "HookFailed",
    "Identity",
    "Landed",
    "NotPushed",
    "NotRemovable",
    "Pair",
    "Part",
    "Proof",
    "Repository",
    "Request",
    "Site",
    "Stage",
    "StartConflict",
    "Step",
    "Update",
    "Worktree",
    "WorktreeInfo",
    "WouldOverwrite",
    "assemble",
    "branch_name_problem",
    "changed_on",
    "changed_since",
    "changed_together",
    "choose_remote",
    "contained",
    "create",
    "create_many",
    "dirty",
    "find",
    "find_files",
    "find_hooks",
    "fits",
    "forecast",
    "gather",
    "head",
    "holds",
    "is_forward",
    "land",
    "look",
    "prove_removable",
    "prove_rescued",
    "push",
    "put_message",
    "read_file",
    "recover_landings",
    "remove",
    "remove_trial",
    "rescue",
    "set_stage",
    "signs",
    "tag",
    "tag_object",
    "take_message",
    "trial_checkout",
]
