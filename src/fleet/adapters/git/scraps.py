"""Scraps: what a merge or an undo that was killed leaves and no later one takes up, which is
checkouts of its trials, half-made or half-dropped registrations, and candidates.

Law: what may still be in use is for the caller to know; here only what is the very thing that was
listed goes, under the repository's lock, so that one that was made since is never taken for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.adapters.git import locks, refs, registration
from fleet.adapters.git.assembly import TRIAL
from fleet.adapters.git.registration import PREFIX
from fleet.adapters.git.repository import Repository
from fleet.errors import ToolFailed

HALVES: Final = ("admin-*", "gone-*")
"""Registrations that were never renamed into place, or were renamed out of it."""


@dataclass(frozen=True, slots=True)
class TrialCheckout:
    """A checkout of a trial: where it is, and which registration (inode, time of change) is its."""

    path: Path
    admin: Path
    mark: tuple[int, int]


def trial_checkouts(repo: Repository) -> tuple[TrialCheckout, ...]:
    """Returns every checkout that a trial has made and not removed."""
    return tuple(
        TrialCheckout(one.path, one.admin, _mark(one.admin))
        for one in registration.scan(repo.common)
        if one.path is not None and (one.reason or "").startswith(PREFIX + TRIAL)
    )


def remove_trial_checkout(repo: Repository, listed: TrialCheckout) -> bool:
    """Removes a trial's checkout; returns whether it was still the one that was listed, with no
    process in it.
    """
    with locks.repository_lock(repo.common):
        try:
            if _mark(listed.admin) != listed.mark or locks.inhabitants(listed.path):
                return False
        except FileNotFoundError:
            return False
        shutil.rmtree(listed.path, ignore_errors=True)
        registration.drop(registration.read(listed.admin))
    return True


def remove_halves(repo: Repository) -> None:
    """Removes what killed processes have left of registrations."""
    with locks.repository_lock(repo.common):  # nobody else makes or drops one now
        for pattern in HALVES:
            for folder in (repo.common / "fleet").glob(pattern):
                shutil.rmtree(folder, ignore_errors=True)


def candidates(repo: Repository) -> dict[str, str]:
    """Returns the commit of each candidate, by its name as it was given (`run/phase`)."""
    listed = refs.snapshot(repo.site, refs.CANDIDATE)
    return {
        "/".join(refs.plain(part) for part in ref.removeprefix(refs.CANDIDATE).split("/")): sha
        for ref, sha in listed.items()
    }


def drop_candidates(repo: Repository, names: Collection[str]) -> None:
    """Drops candidates that are where they were when this looks; others stay."""
    known = candidates(repo)
    for name in names:
        ref = refs.CANDIDATE + "/".join(map(refs.component, name.split("/")))
        try:
            refs.transact(repo.site, [refs.delete(ref, known[name])], why="fleet: clean")
        except ToolFailed:
            continue  # it has moved since


def _mark(admin: Path) -> tuple[int, int]:
    seen = admin.stat()
    return seen.st_ino, seen.st_ctime_ns
