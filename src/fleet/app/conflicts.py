"""The use case that foresees conflicts: which live branches clash with each other and with base.

Answers are kept by their two commits, so only pairs of which a head has moved are looked at again.
Nothing is touched: no worktree, no branch, no index.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet.app.place import FleetPlace, resolve_task
from fleet.app.revising import planned_state
from fleet.views.tasks import phases_of, state_of, tasks_of

if TYPE_CHECKING:
    from fleet.adapters.git import Pair, Repository
    from fleet.core.state import State
    from fleet.errors import Place

BASE: Final = ""
"""The base's name among tasks: no task has it."""

TOGETHER: Final = 3
TOGETHER_SHARE: Final = 0.25
"""So many commits, and such a share of those that touched the files of either, are worth a word."""

KEPT_PAIRS: Final = 50_000

Answers = dict[str, list[Any]]
"""`ours theirs` -> [[path, kind, [[ours first, last], [theirs first, last]] ...] ...]."""

Held = dict[str, bool]
"""`commit tip` -> whether the tip contains the commit."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is foreseen for pairs of tasks (a second one that is BASE is the base): only those that
    clash. `fresh` pairs were looked at now, `left` ones not at all.
    """

    clashes: Mapping[tuple[str, str], Sequence[Any]] = field(default_factory=dict)
    pairs: int = 0
    fresh: int = 0
    left: int = 0


def conflicts(place: FleetPlace, names: Sequence[str] = ()) -> dict[str, Any]:
    """Returns `fleet.conflicts/1`: every clash among the live branches and with base, by task; with
    `names` those of these tasks only, and beside them what tasks side by side are to write both.
    """
    from fleet.adapters.git import Repository
    from fleet.files.ownership import clashes

    state = place.run_state()
    repository = Repository.at(place.root)
    base = str((state or planned_state(place)).about.get("base", ""))
    branches = live_branches(state) if state is not None else {}
    wanted = {resolve_task(place, name, state) for name in names}
    found = repository.heads([base, *branches.values()])
    heads = {task: found[branch] for task, branch in branches.items() if branch in found}
    outlook = foresee(place, repository, heads, found.get(base), wanted=wanted)
    owned = [one for one in clashes(place.documents) if not wanted or {*one[:2]} & wanted]
    return {
        "schema": "fleet.conflicts/1",
        "base": {"branch": base, "commit": found.get(base)},
        "branches": [
            {"task": task, "branch": branches[task], "head": head} for task, head in heads.items()
        ],
        "pairs": outlook.pairs,
        "looked_at": outlook.fresh,
        "conflicts": [
            {
                "tasks": [name for name in pair if name != BASE],
                "with_base": BASE in pair,
                "branches": [branches.get(name, base) for name in pair],
                "heads": [heads.get(name, found.get(base)) for name in pair],
                "paths": [_path(*one) for one in told],
            }
            for pair, told in outlook.clashes.items()
        ],
        "owned_by_both": [
            {"tasks": [one, other], "globs": [mine, theirs]} for one, other, mine, theirs in owned
        ],
    }


def changed_together(place: FleetPlace) -> list[tuple[Place, str]]:
    """Returns, in words and with their place, the tasks that may run side by side although what
    their agents own was often changed in one commit; nothing where agents own nothing.
    """
    from fleet.adapters.git import Repository, changed_together, fits
    from fleet.files.ownership import apart, owned

    fleet = place.documents
    pairs = list(apart(fleet))
    if not pairs:
        return []
    repository = Repository.at(place.root)
    tip = repository.resolve(f"refs/heads/{fleet.settings.base}")
    commits = changed_together(repository, tip) if tip is not None else ()
    touched: dict[str, list[frozenset[str]]] = {}
    for task in dict.fromkeys(name for pair in pairs for name in pair):
        globs = owned(fleet, task)
        touched[task] = [
            frozenset(path for path in paths if any(fits(path, glob) for glob in globs))
            for paths in commits
        ]
    found = []
    for one, other in pairs:
        both = [(a, b) for a, b in zip(touched[one], touched[other], strict=True) if a and b]
        least = min(sum(map(bool, touched[name])) for name in (one, other))
        if len(both) >= TOGETHER and len(both) >= least * TOGETHER_SHARE:
            mine, theirs = min(both[0][0]), min(both[0][1])
            text = (
                f"{one} and {other} may run side by side, but {len(both)} of the last "
                f"{len(commits)} commits changed files of both, such as {mine} with {theirs}"
            )
            found.append((fleet.place("agent", fleet.tasks[one].agent, "owns"), text))
    return found


def live_branches(state: State) -> dict[str, str]:
    """Returns the branches, by task, that exist for a task and have not landed."""
    phases, found = phases_of(state), {}
    for name, task in tasks_of(state).items():
        begun = task.worktree is not None and task.worktree.attempt > 0
        phase = phases.get(str(task.facts.get("phase") or ""))
        if begun and state_of(task, phase, frozenset()) not in ("merged", "skipped"):
            found[name] = str(task.facts["branch"])
    return found


def foresee(
    place: FleetPlace,
    repository: Repository,
    heads: Mapping[str, str],
    base: str | None,
    *,
    wanted: frozenset[str] | set[str] = frozenset(),
    most: int | None = None,
) -> Outlook:
    """Returns what clashes among `heads` (by task) and with the base's head, for pairs with one of
    `wanted` where any are. At most `most` pairs are looked at that were not before.
    """
    from fleet.adapters.git import forecast

    named = {**heads, **({BASE: base} if base else {})}
    pairs = {
        (one, other): (named[one], named[other])
        for one, other in combinations(named, 2)
        if named[one] != named[other] and (not wanted or {one, other} & wanted)
    }
    path = place.state / "cache" / "conflicts.json"
    kept, held = _read(path)
    fresh: list[Pair] = [pair for pair in dict.fromkeys(pairs.values()) if _key(pair) not in kept]
    looked = fresh[:most]
    if looked:
        told = forecast(repository, looked)
        kept |= {_key(pair): [_row(one) for one in clashes] for pair, clashes in told.items()}
    clashes = {names: kept[_key(pair)] for names, pair in pairs.items() if kept.get(_key(pair))}
    live = set(named.values())
    news = _held(repository, {sha for names in clashes for sha in pairs[names]}, live, held)
    if looked or news:
        held |= news
        _write(path, kept, held, live)
    clashes = {n: told for n, told in clashes.items() if not _joined(pairs[n], live, held)}
    return Outlook(clashes, len(pairs), len(looked), len(fresh) - len(looked))


def _joined(pair: Pair, live: set[str], held: Held) -> bool:
    """Returns whether a live branch holds both of two commits: there they are resolved, and they
    meet no other way.
    """
    return any(all(held[_key((sha, tip))] for sha in pair) for tip in live)


def _held(repository: Repository, commits: set[str], live: set[str], known: Held) -> Held:
    """Returns which tips contain which commits, of those pairs that are not known yet. Costs one
    look at the branches for each commit or tip that has come since.
    """
    unknown = {(sha, tip) for sha in commits for tip in live if _key((sha, tip)) not in known}
    tips = {tip for _, tip in unknown}
    # What has moved is new both as a commit and as a tip; of the rest only the moved are unknown.
    new = {sha for sha in commits if all((sha, tip) in unknown for tip in live)}
    found: Held = {}
    for sha in new:
        holders = repository.tips_that_hold(sha)
        found |= {_key((sha, tip)): tip in holders for tip in live}
    for tip in tips:
        left = [sha for sha in commits - new if (sha, tip) in unknown]
        holds = repository.tips_held_by(tip) if left else set()
        found |= {_key((sha, tip)): sha in holds for sha in left}
    return found


def _key(pair: Pair) -> str:
    return " ".join(pair)


def _row(clash: Any) -> list[Any]:
    return [clash.path, clash.kind, [[list(ours), list(theirs)] for ours, theirs in clash.lines]]


def _path(path: str, kind: str, lines: Sequence[Sequence[Sequence[int]]]) -> dict[str, Any]:
    spots = [{"ours": list(ours), "theirs": list(theirs)} for ours, theirs in lines]
    return {"path": path, "kind": kind, "lines": spots}


def _read(path: Path) -> tuple[Answers, Held]:
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(kept, dict) and all(isinstance(kept.get(k), dict) for k in ("pairs", "held")):
            return kept["pairs"], kept["held"]
    return {}, {}


def _write(path: Path, kept: Answers, held: Held, live: set[str]) -> None:
    """Keeps answers, those of commits that are heads no more only while there is room."""
    if len(kept) > KEPT_PAIRS:
        kept = {key: told for key, told in kept.items() if set(key.split()) <= live}
    held = {key: told for key, told in held.items() if set(key.split()) <= live}
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".conflicts.{os.getpid()}")
        draft.write_text(json.dumps({"pairs": kept, "held": held}), encoding="utf-8")
        draft.replace(path)
