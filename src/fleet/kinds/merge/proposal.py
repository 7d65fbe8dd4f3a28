"""A phase that lands by a pull request: judged here as any other, proposed there, and landed once
the base holds it.

Law: the base is moved by whoever takes the pull request, never from here. What was judged is kept
as a fact of the step, {commit, before, commits, checks}; the front door brings it to the remote. It
counts as landed when a commit of the base's own line holds it, as an ancestor or by content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fleet.adapters import git
from fleet.core.messages import Outcome
from fleet.kinds import Work
from fleet.kinds.merge.refusals import Pinned, held

CANDIDATE: Final = "candidate"
LINE: Final = 200
"""So many commits of the base, since the trial, are looked through for one that holds it."""

Proposed = Mapping[str, Any]


def of(pinned: Pinned, before: str, commit: str, checks: Sequence[Mapping[str, Any]]) -> Proposed:
    """Returns what is to be proposed."""
    return {"commit": commit, "before": before, "commits": pinned.commits, "checks": list(checks)}


def known(work: Work, pinned: Pinned) -> Proposed | None:
    """Returns what an earlier attempt has proposed of these very commits."""
    told: Any = work.facts.get(CANDIDATE) if work.params.get("land") == "pr" else None
    return told if told and dict(told["commits"]) == pinned.commits else None


def taken(work: Work, proposed: Proposed) -> tuple[str, str, str] | None:
    """Returns (commit, before, no undo ref) once the base holds what was proposed."""
    repo, candidate = work.world.repository, str(proposed["commit"])
    base = repo.resolve(f"refs/heads/{work.params['base']}")
    before = str(proposed["before"])
    if base is None or repo.resolve(candidate) is None:
        return None
    if repo.is_ancestor(candidate, base):
        return candidate, before, ""
    line = repo.site.git(
        "rev-list", "--first-parent", "--reverse", f"{before}..{base}"
    ).lines  # the oldest that holds it is the one by which it landed
    held_by = (sha for sha in line[:LINE] if git.contained(repo, candidate, sha))
    found = next(held_by, None)
    return None if found is None else (found, before, "")


def stands(work: Work, proposed: Proposed) -> bool:
    """Returns whether the base is still where it was when this was judged."""
    repo = work.world.repository
    base = repo.resolve(f"refs/heads/{work.params['base']}")
    return base == proposed["before"] and repo.resolve(str(proposed["commit"])) is not None


def put(work: Work, proposed: Proposed) -> Outcome:
    """Returns the merge put back until its pull request was taken, with what was judged."""
    work.report({CANDIDATE: dict(proposed)})
    text = (
        f"judged as {str(proposed['commit'])[:12]}; "
        f"fleet merge {work.params['phase']} makes a pull request of it"
    )
    return held(text, {CANDIDATE: dict(proposed), "checks": proposed["checks"]})
