"""Documents with changes of the plan applied: those that a run has taken up, and one that is asked
about.

The plan of a run is its documents and the changes that were accepted while it ran, in order. An
entry of that list, as `about["changes"]` keeps it, is {id, name, change, free, tasks, days}: `id`
is by what the change is known again, `name` that of a named patch, `free` whether nobody had to
approve it, and `tasks` and `days` what it added then. A problem that only a change brings names the
change, for the files by themselves hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from fleet.errors import Problem
from fleet.files import cache
from fleet.files.changes.proposals import Change, changed, is_empty
from fleet.files.fleet import Raw, place_in

if TYPE_CHECKING:
    from fleet.files.fleet import Fleet

Raws = Mapping[tuple[str, str], Raw]
Build = Callable[[Raws], tuple["Fleet", list[Problem], list[Problem]]]
"""Makes a fleet of documents; returns it with its problems and its warnings."""

HELD: Final = "patches.json"
"""Where the cache keeps of which documents all named patches were found to hold."""


def basis_with(digest: str, changes: Sequence[Mapping[str, Any]]) -> str:
    """Returns the digest of what a plan is made of: documents with that digest, and changes."""
    if not changes:
        return digest
    told = json.dumps([digest, *changes], sort_keys=True, ensure_ascii=True)
    return sha256(told.encode()).hexdigest()


def taken_up(entry: Mapping[str, Any]) -> Change:
    """Returns a change that a run has taken up; a problem with it is one of the files, which came
    later.
    """
    change = entry["change"]
    named = f"patch {entry['name']!r}" if entry.get("name") else change.get("reason") or "no reason"
    return Change(change, name=f"with the change that was taken up already ({named})")


def apply_all(
    raws: Raws, changes: Sequence[Change], build: Build
) -> tuple[Fleet, list[Problem], list[Problem]]:
    """Returns what the documents make with all the changes; where that does not hold, the problems
    of the files, else those of the first change with which they do not.
    """
    found: list[Problem] = []
    after = dict(raws)
    for change in changes:
        after = changed(after, change, found)
    fleet, problems, warnings = build(after)
    if not (found or problems):
        return fleet, [], warnings
    problems = build(raws)[1]
    after = dict(raws)
    for change in changes if not problems else ():
        after = changed(after, change, problems)
        problems = named(change, [*problems, *build(after)[1]])
        if problems:
            break
    return fleet, problems, warnings


def named(change: Change, problems: Sequence[Problem]) -> list[Problem]:
    """Returns problems that say which change they come with."""
    told = f"{change.name}: " if change.name else ""
    return [replace(one, text=f"{told}{one.text}") for one in dict.fromkeys(problems)]


def named_patch(fleet: Fleet, name: str) -> Change:
    """Returns a patch of coordination.md; there has to be one of that name."""
    top = fleet.raws["fleet", ""]
    return Change(
        fleet.settings.patches[name],
        at=lambda path: place_in(top, ("patches", name, *path)),
        name=f"with the patch {name!r}",
    )


def patches_hold(fleet: Fleet, build: Build) -> list[Problem]:
    """Returns what is wrong with the named patches, each applied to the documents as they are."""
    patches = fleet.settings.patches
    if not patches or cache.recall(fleet.root, HELD, fleet.digest) is True:
        return []
    from fleet.files.unsupported import not_carried_out

    if not_carried_out(fleet):
        return []  # a fault of the files themselves, which is told once, when they are lowered
    problems: list[Problem] = []
    for name in patches:
        change = named_patch(fleet, name)
        found: list[Problem] = []
        if is_empty(change.told):
            found.append(Problem("the patch changes nothing", change.at(())))
        after, more, _ = build(changed(fleet.raws, change, found))
        found += more
        found = found or not_carried_out(after)
        problems += named(change, found)
    if not problems:
        cache.keep(fleet.root, HELD, fleet.digest, value=True)
    return problems
