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
    from fleet.adapters.git.arrivals import (
        brought,
    )
    from fleet.adapters.git.assembly import (
        Assembled,
        Conflict,
        Part,
        Step,
        assemble,
        remove_trial,
        trial_checkout,
    )
    from fleet.adapters.git.attributes import (
        declarations,
    )
    from fleet.adapters.git.branches import (
        delete_branch,
        drop_vanished,
        owned,
        restore_branch,
        started,
    )
    from fleet.adapters.git.claims import (
        Request,
        StartConflict,
        Worktree,
    )
    from fleet.adapters.git.clashes import (
        Pair,
        forecast,
    )
    from fleet.adapters.git.command import (
        Finished,
        Identity,
        Site,
    )
    from fleet.adapters.git.containment import (
        contained,
        how_merged,
    )
    from fleet.adapters.git.history import (
        changed_together,
    )
    from fleet.adapters.git.landing import (
        BaseMoved,
        HookFailed,
        Landed,
        WouldOverwrite,
        land,
        recover_landings,
        take_back,
        what_blocks,
    )
    from fleet.adapters.git.merging import (
        Clash,
        signs,
    )
    from fleet.adapters.git.moves import (
        Move,
        last_move,
        recorded_moves,
        stands,
    )
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
    from fleet.adapters.git.refs import (
        Start,
        branch_name_problem,
    )
    from fleet.adapters.git.removal import (
        NotRemovable,
        Proof,
        dirty,
        in_use,
        prove_removable,
        prove_rescued,
        remove,
    )
    from fleet.adapters.git.renewal import (
        bring_in,
        renew,
    )
    from fleet.adapters.git.repository import (
        Change,
        Repository,
        WorktreeInfo,
    )
    from fleet.adapters.git.rescues import (
        Rescue,
        all_rescues,
        find_rescue,
        restore,
        restore_worktree,
    )
    from fleet.adapters.git.reverting import (
        Reverted,
        Way,
        followers,
        revert,
        way_back,
    )
    from fleet.adapters.git.snapshot import (
        Head,
        head,
        rescue,
        tip,
    )
    from fleet.adapters.git.squashing import (
        Gathered,
        gather,
    )
    from fleet.adapters.git.staging import (
        Stage,
        changed_on,
        find_hooks,
        put_message,
        set_stage,
        take_message,
    )
    from fleet.adapters.git.tags import (
        tag,
        untag,
    )
    from fleet.adapters.git.tree import (
        File,
        changed_since,
        find_files,
        fits,
        read_file,
    )
    from fleet.adapters.git.worktrees import (
        create,
        create_many,
        find,
    )
else:
    _NAMES: Final = {
        "arrivals": ("brought",),
        "assembly": (
            "Assembled",
            "Conflict",
            "Part",
            "Step",
            "assemble",
            "remove_trial",
            "trial_checkout",
        ),
        "attributes": ("declarations",),
        "branches": (
            "delete_branch",
            "drop_vanished",
            "owned",
            "restore_branch",
            "started",
        ),
        "claims": (
            "Request",
            "StartConflict",
            "Worktree",
        ),
        "clashes": (
            "Pair",
            "forecast",
        ),
        "command": (
            "Finished",
            "Identity",
            "Site",
        ),
        "containment": (
            "contained",
            "how_merged",
        ),
        "history": ("changed_together",),
        "landing": (
            "BaseMoved",
            "HookFailed",
            "Landed",
            "WouldOverwrite",
            "land",
            "recover_landings",
            "take_back",
            "what_blocks",
        ),
        "merging": (
            "Clash",
            "signs",
        ),
        "moves": (
            "Move",
            "last_move",
            "recorded_moves",
            "stands",
        ),
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
        "refs": (
            "Start",
            "branch_name_problem",
        ),
        "removal": (
            "NotRemovable",
            "Proof",
            "dirty",
            "in_use",
            "prove_removable",
            "prove_rescued",
            "remove",
        ),
        "renewal": ("bring_in", "renew"),
        "repository": (
            "Change",
            "Repository",
            "WorktreeInfo",
        ),
        "rescues": (
            "Rescue",
            "all_rescues",
            "find_rescue",
            "restore",
            "restore_worktree",
        ),
        "reverting": (
            "Reverted",
            "Way",
            "followers",
            "revert",
            "way_back",
        ),
        "snapshot": (
            "Head",
            "head",
            "rescue",
            "tip",
        ),
        "squashing": (
            "Gathered",
            "gather",
        ),
        "staging": (
            "Stage",
            "changed_on",
            "find_hooks",
            "put_message",
            "set_stage",
            "take_message",
        ),
        "tags": (
            "tag",
            "untag",
        ),
        "tree": (
            "File",
            "changed_since",
            "find_files",
            "fits",
            "read_file",
        ),
        "worktrees": (
            "create",
            "create_many",
            "find",
        ),
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
    "Move",
    "NotPushed",
    "NotRemovable",
    "Pair",
    "Part",
    "Proof",
    "Repository",
    "Request",
    "Rescue",
    "Reverted",
    "Site",
    "Stage",
    "Start",
    "StartConflict",
    "Step",
    "Update",
    "Way",
    "Worktree",
    "WorktreeInfo",
    "WouldOverwrite",
    "all_rescues",
    "assemble",
    "branch_name_problem",
    "bring_in",
    "brought",
    "changed_on",
    "changed_since",
    "changed_together",
    "choose_remote",
    "contained",
    "create",
    "create_many",
    "declarations",
    "delete_branch",
    "dirty",
    "drop_vanished",
    "find",
    "find_files",
    "find_hooks",
    "find_rescue",
    "fits",
    "followers",
    "forecast",
    "gather",
    "head",
    "holds",
    "how_merged",
    "in_use",
    "is_forward",
    "land",
    "last_move",
    "look",
    "owned",
    "prove_removable",
    "prove_rescued",
    "push",
    "put_message",
    "read_file",
    "recorded_moves",
    "recover_landings",
    "remove",
    "remove_trial",
    "renew",
    "rescue",
    "restore",
    "restore_branch",
    "restore_worktree",
    "revert",
    "set_stage",
    "signs",
    "stands",
    "started",
    "tag",
    "tag_object",
    "take_back",
    "take_message",
    "tip",
    "trial_checkout",
    "untag",
    "way_back",
    "what_blocks",
]
