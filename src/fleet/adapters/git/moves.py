"""What fleet has moved: a record for each move of a branch or tag, so that it can be taken back.

A record is a tag object under `refs/fleet/undo/`, whose name leads to the commit that the target
was at before (or, where there was none, to the one that it got), and whose text holds the facts.
Records are numbered through the whole repository and never overwritten. One is written before its
move, so after a crash it may tell of a move that never was: `stands` looks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet.adapters.git import refs
from fleet.adapters.git.command import encode
from fleet.adapters.git.repository import Repository

_HEADER: Final = """\
object {oid}
type commit
tag fleet-undo-{number}
tagger fleet <fleet@localhost> {at_s} +0000"""


@dataclass(frozen=True, slots=True)
class Move:
    """One move: `target` went from `old` to `new` (None: it was not there) in the act `act`.

    `undo_ref` is where it is recorded; `at_s` are seconds since 1970 (UTC); `key` is what a branch
    of fleet's was taken for, and `start` where it began, when the move deleted it.
    """

    number: int
    undo_ref: str
    target: str
    old: str | None
    new: str | None
    act: str
    why: str
    at_s: int
    key: str = ""
    start: str = ""


def recorded_moves(repo: Repository) -> tuple[Move, ...]:
    """Returns every recorded move, oldest first; one process, whatever their number."""
    form = "%(refname)%00%(contents:subject)%00%(taggerdate:unix)"
    listed = repo.site.git("for-each-ref", f"--format={form}", refs.UNDO).lines
    found = []
    for row in listed:
        ref, subject, at = row.split("\0")
        try:
            facts = json.loads(subject)
            found.append(Move(undo_ref=ref, at_s=int(at or 0), **facts))
        except (ValueError, TypeError):
            continue  # a bare commit, as the first versions left it: still there to go back to
    return tuple(sorted(found, key=lambda move: move.number))


def note(
    repo: Repository,
    *,
    path: str,
    target: str,
    old: str | None,
    new: str | None,
    act: str,
    why: str,
    key: str = "",
    start: str = "",
    with_lines: Sequence[bytes] = (),
    keep: Sequence[int] = (),
) -> str:
    """Records a move that is about to be made, in one transaction with `with_lines`; returns its
    ref, under `path`.

    The very move that was recorded last for this target is not recorded twice, so a call that is
    repeated after a crash finds its own record. Must be called under the repository's lock.
    """
    known = recorded_moves(repo)
    last = next((one for one in reversed(known) if one.target == target), None)
    same = last is not None and (last.old, last.new, last.act) == (old, new, act)
    if last is not None and same and not with_lines:
        return last.undo_ref
    number = max((one.number for one in known), default=0) + 1
    facts = {
        "number": number,
        "target": target,
        "old": old,
        "new": new,
        "act": act,
        "why": why,
        "key": key,
        "start": start,
    }
    anchor = old or new
    assert anchor is not None, "a move has an end"
    header = _HEADER.format(oid=anchor, number=number, at_s=int(time.time()))
    made = repo.site.git(
        *("hash-object", "-t", "tag", "-w", "--stdin"),
        stdin=encode(f"{header}\n\n{json.dumps(facts)}\n"),
        writes=True,
    ).line
    ref = _free(repo, refs.UNDO + path)
    lines = [refs.create(ref, made), *with_lines]
    refs.transact(repo.site, lines, why=f"fleet: {why}"[:200], keep=keep)
    return ref


def forget(repo: Repository, undo_ref: str, *, keep: Sequence[int] = ()) -> None:
    """Drops the record of a move that was not made."""
    told = repo.site.git("rev-parse", "--verify", "--quiet", undo_ref, accept=(0, 1)).line
    if told:
        refs.transact(repo.site, [refs.delete(undo_ref, told)], why="fleet: not moved", keep=keep)


def stands(repo: Repository, move: Move) -> bool:
    """Returns whether a move's effect is still there: made, and neither taken back nor undone by
    others.
    """
    now = repo.resolve(move.target)
    if move.new is None or now is None:
        return move.new is now
    if repo.resolve(move.new) is None:
        return False  # it was never made, and gc has taken the commit that it was to go to
    if move.old is None:
        return now == move.new
    if repo.is_ancestor(move.new, move.old):
        return not repo.is_ancestor(move.old, now)
    return repo.is_ancestor(move.new, now)


def last_move(repo: Repository, act: str, new: str) -> Move | None:
    """Returns the latest recorded move of a branch by an act that ends at the commit `new`."""
    of_branches = [one for one in recorded_moves(repo) if one.target.startswith(refs.HEADS)]
    return next((m for m in reversed(of_branches) if (m.act, m.new) == (act, new)), None)


def path_of(name: str) -> str:
    """Returns a name with slashes as the path of a ref."""
    return "/".join(refs.component(part) for part in name.split("/"))


def _free(repo: Repository, wanted: str) -> str:
    """Returns `wanted`, or with the first number behind it that is not taken."""
    taken = refs.snapshot(repo.site, refs.UNDO)
    number, found = 1, wanted
    while found in taken:
        number += 1
        found = f"{wanted}.{number}"
    return found
