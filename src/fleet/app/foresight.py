"""Which commits would clash, foreseen for a fleet's live branches and kept.

Answers are kept by their two commits, so only pairs of which a head has moved are looked at again,
or all of them once the base declares other merge drivers. Nothing of the repository is touched: no
worktree, no branch, no index.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet.app.place import FleetPlace

if TYPE_CHECKING:
    from fleet.adapters.git import Pair, Repository

BASE: Final = ""
"""The base's name among tasks: no task has it."""

KEPT_PAIRS: Final = 50_000


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is foreseen for pairs of tasks (a second one that is BASE is the base): only those that
    clash. `fresh` pairs were looked at now, `left` ones not at all.
    """

    clashes: Mapping[tuple[str, str], Sequence[Any]] = field(default_factory=dict)
    pairs: int = 0
    fresh: int = 0
    left: int = 0


@dataclass(slots=True)
class _Kept:
    """What is known: `pairs` is `ours theirs` -> [[path, kind, [[ours first, last], [theirs first,
    last]] ...] ...], `held` is `commit tip` -> whether the tip contains the commit; `declared` are
    the merge drivers' declarations at the commit `base`.
    """

    base: str | None = None
    declared: dict[str, str] = field(default_factory=dict)
    pairs: dict[str, list[Any]] = field(default_factory=dict)
    held: dict[str, bool] = field(default_factory=dict)


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
    kept = _read(path)
    changed = _declared(repository, kept, base)
    fresh = [pair for pair in dict.fromkeys(pairs.values()) if _key(pair) not in kept.pairs]
    looked = fresh[:most]
    if looked:
        told = forecast(repository, looked, base)
        kept.pairs |= {_key(pair): [_row(one) for one in clashes] for pair, clashes in told.items()}
    clashes = {n: kept.pairs[_key(pair)] for n, pair in pairs.items() if kept.pairs.get(_key(pair))}
    live = set(named.values())
    news = _held(repository, {sha for names in clashes for sha in pairs[names]}, live, kept.held)
    kept.held |= news
    if changed or looked or news:
        _write(path, kept, live)
    clashes = {n: told for n, told in clashes.items() if not _joined(pairs[n], live, kept.held)}
    return Outlook(clashes, len(pairs), len(looked), len(fresh) - len(looked))


def _declared(repository: Repository, kept: _Kept, base: str | None) -> bool:
    """Forgets what was foreseen with other merge drivers than the base declares now; returns
    whether there was anything to look up: the base has moved.
    """
    from fleet.adapters.git import declarations

    if base is None or base == kept.base:
        return False
    declared = declarations(repository, base)
    if declared != kept.declared:
        kept.pairs.clear()
    kept.base, kept.declared = base, declared
    return True


def _joined(pair: Pair, live: set[str], held: Mapping[str, bool]) -> bool:
    """Returns whether a live branch holds both of two commits: there they are resolved, and they
    meet no other way.
    """
    return any(all(held[_key((sha, tip))] for sha in pair) for tip in live)


def _held(
    repository: Repository, commits: set[str], live: set[str], known: Mapping[str, bool]
) -> dict[str, bool]:
    """Returns which tips contain which commits, of those pairs that are not known yet. Costs one
    look at the branches for each commit or tip that has come since.
    """
    unknown = {(sha, tip) for sha in commits for tip in live if _key((sha, tip)) not in known}
    tips = {tip for _, tip in unknown}
    # What has moved is new both as a commit and as a tip; of the rest only the moved are unknown.
    new = {sha for sha in commits if all((sha, tip) in unknown for tip in live)}
    found: dict[str, bool] = {}
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


def _read(path: Path) -> _Kept:
    with suppress(OSError, ValueError, TypeError):
        kept = _Kept(**json.loads(path.read_text(encoding="utf-8")))
        if all(isinstance(one, dict) for one in (kept.declared, kept.pairs, kept.held)):
            return kept
    return _Kept()


def _write(path: Path, kept: _Kept, live: set[str]) -> None:
    """Keeps answers, those of commits that are heads no more only while there is room."""
    if len(kept.pairs) > KEPT_PAIRS:
        kept.pairs = {key: told for key, told in kept.pairs.items() if set(key.split()) <= live}
    kept.held = {key: told for key, told in kept.held.items() if set(key.split()) <= live}
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".conflicts.{os.getpid()}")
        draft.write_text(json.dumps(asdict(kept)), encoding="utf-8")
        draft.replace(path)
