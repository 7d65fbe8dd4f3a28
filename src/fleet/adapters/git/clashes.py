"""Which commits would conflict with each other, found in memory: no worktree, no ref, no object of
the repository is written.

All pairs go through a few `git merge-tree --stdin`, one for each core, which write the merged trees
into a folder that is thrown away. Lines are where both sides changed the same place of their common
ancestor. A pair of the same two commits gives the same answer for as long as the base declares the
same merge drivers, so answers may be kept.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from fleet.adapters.git import refs
from fleet.adapters.git.attributes import as_declared
from fleet.adapters.git.command import encode, version
from fleet.adapters.git.repository import Repository
from fleet.errors import ToolFailed

BATCHED: Final = (2, 39)
"""The first git whose merge-tree reads many pairs."""

PAIRS_S: Final = 900.0
SPOTS: Final = 20  # places of one path that are told
_HUNK: Final = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
_BLOBS: Final = frozenset({"100644", "100755"})

Pair = tuple[str, str]
"""Two commits, as full ids."""

Span = tuple[int, int]
"""First and last line, from 1; a last line before the first one is a place where lines are gone."""


@dataclass(frozen=True, slots=True)
class Clash:
    """One path that both sides changed so that git cannot join them; `lines` are those of either
    side, pair by pair, and empty where the path as a whole is what they differ about.
    """

    path: str
    kind: str
    lines: tuple[tuple[Span, Span], ...] = ()


def forecast(
    repo: Repository, pairs: Sequence[Pair], base: str | None = None
) -> dict[Pair, tuple[Clash, ...]]:
    """Returns what would clash in each pair, sorted by path, with the merge drivers that the commit
    `base` declares; nothing for a pair that merges.

    Costs one merge a pair, spread over the cores. Raises ToolFailed for a commit that is missing.
    """
    assert all(refs.is_sha(sha) for pair in pairs for sha in pair), pairs
    cores = max(1, min(os.cpu_count() or 1, len(pairs)))
    chunks = [list(pairs[number::cores]) for number in range(cores)]
    with (
        tempfile.TemporaryDirectory(prefix="fleet-forecast-") as scratch,
        ThreadPoolExecutor(cores) as pool,
        as_declared(repo, base) if base else nullcontext(repo) as declared,
    ):
        found = list(pool.map(partial(_merge, declared, Path(scratch)), chunks))
        told = dict(one for chunk in found for one in chunk)
        spots = _Spots(repo)
        return {pair: tuple(spots.clash(path, *told[pair][path]) for path in sorted(told[pair]))
                for pair in pairs}  # fmt: skip


Stages = Mapping[int, tuple[str, str]]
"""Stage (1 their ancestor's, 2 ours, 3 theirs) -> mode and object id of a path's file."""

Merged = dict[str, tuple[str, Stages]]
"""Path -> what kind of conflict it is in, and its files."""


def _merge(repo: Repository, scratch: Path, pairs: Sequence[Pair]) -> list[tuple[Pair, Merged]]:
    if version() >= BATCHED:
        asked = encode("".join(f"{ours} {theirs}\n" for ours, theirs in pairs))
        fields = iter(_merge_tree(repo, scratch, "--stdin", stdin=asked))
        return [(pair, _batched(fields)) for pair in pairs]
    return [(pair, _single(_merge_tree(repo, scratch, *pair))) for pair in pairs]


def _merge_tree(repo: Repository, scratch: Path, *words: str, stdin: bytes = b"") -> Sequence[str]:
    done = repo.site.git(
        # Branches without a common past conflict in what both have; they are no failure here.
        *("merge-tree", "--write-tree", "-z", "--messages", "--allow-unrelated-histories", *words),
        stdin=stdin,
        accept=(0, 1),
        objects=scratch,
        timeout_s=PAIRS_S,
    )
    fields = done.fields
    if not fields or not (stdin or refs.is_sha(fields[0])):
        raise ToolFailed(done.argv, done.code, done.err or "merge-tree gave no tree")
    return fields


def _batched(fields: Iterator[str]) -> Merged:
    """Takes one pair's answer from those of many."""
    next(fields)  # whether it is clean, which its list of files says too
    next(fields)  # the tree
    files = list(iter(partial(next, fields), ""))
    said = list[Sequence[str]]()
    while count := next(fields):
        paths = [next(fields) for _ in range(int(count))]
        said.append((next(fields), *paths))
        next(fields)  # the sentence
    return _joined(files, said)


def _single(fields: Sequence[str]) -> Merged:
    end = fields.index("", 1) if "" in fields[1:] else len(fields)
    said, at = list[Sequence[str]](), end + 1
    while at < len(fields) and fields[at].isdigit():
        count = int(fields[at])
        said.append((fields[at + count + 1], *fields[at + 1 : at + 1 + count]))
        at += count + 3
    return _joined(fields[1:end], said)


def _joined(files: Sequence[str], said: Sequence[Sequence[str]]) -> Merged:
    """Returns paths with their kinds; a path that only a message names is in conflict, too."""
    stages: dict[str, dict[int, tuple[str, str]]] = {}
    for line in files:
        facts, path = line.split("\t", 1)
        mode, oid, stage = facts.split(" ")
        stages.setdefault(path, {})[int(stage)] = (mode, oid)
    kinds: dict[str, str] = {}
    for kind, *paths in said:
        if kind.startswith("CONFLICT"):
            for path in paths[:1] if not set(paths) & set(stages) else set(paths) & set(stages):
                kinds.setdefault(path, kind.removeprefix("CONFLICT (").removesuffix(")"))
    return {path: (kinds.get(path, "contents"), stages.get(path, {}))
            for path in {*stages, *kinds}}  # fmt: skip


class _Spots:
    """Where two sides touched: what each changed of the ancestor's file, looked up once."""

    def __init__(self, repo: Repository) -> None:
        self.repo = repo
        self.known: dict[tuple[str, str], list[tuple[Span, Span]]] = {}

    def clash(self, path: str, kind: str, stages: Stages) -> Clash:
        if kind != "contents" or not all(stages.get(n, ("",))[0] in _BLOBS for n in (1, 2, 3)):
            return Clash(path, kind)
        before, ours, theirs = (stages[number][1] for number in (1, 2, 3))
        lines = [
            (mine, other)
            for was, mine in self._changes(before, ours)
            for over, other in self._changes(before, theirs)
            if was[0] <= over[1] + 1 and over[0] <= was[1] + 1
        ]
        return Clash(path, kind, tuple(lines[:SPOTS]))

    def _changes(self, before: str, after: str) -> list[tuple[Span, Span]]:
        """Returns which lines of a blob became which lines of another one."""
        if (before, after) not in self.known:
            done = self.repo.site.git(
                *("diff", "--unified=0", "--no-color", "--no-ext-diff", "--no-textconv"),
                *("--no-renames", before, after),
            )
            self.known[before, after] = [
                (_span(was, count), _span(now, size))
                for was, count, now, size in _HUNK.findall(done.out)
            ]
        return self.known[before, after]


def _span(first: bytes, count: bytes) -> Span:
    """Returns a hunk's lines; of an empty one, the place between two lines."""
    size = int(count) if count else 1
    start = int(first) if size else int(first) + 1
    return start, start + size - 1
