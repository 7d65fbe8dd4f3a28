"""Planted bugs: each changes one line of what guards people's work, and a history must find it."""

# ruff: noqa: E501  a planted line stands as it does in the code
from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from fleet.adapters.git import (
    branches,
    containment,
    following,
    landing,
    moves,
    removal,
    reverting,
    snapshot,
)
from fleet.kinds import undo
from histories.world import World

Change = tuple[Callable[..., object], str, str]


@dataclass(frozen=True)
class Mutant:
    """A bug of one line or a few; `seed` is a history that finds it."""

    name: str
    seed: int
    changes: tuple[Change, ...]

    @contextmanager
    def planted(self) -> Iterator[None]:
        sources: dict[Callable[..., object], str] = {}
        for function, old, new in self.changes:
            source = sources.get(function) or dedent(inspect.getsource(function))
            assert source.count(old) == 1, f"{self.name}: {old!r} is not there once"
            sources[function] = source.replace(old, new)
        kept = [(function, function.__code__) for function in sources]
        try:
            for function, source in sources.items():
                room: dict[str, Callable[..., object]] = {}
                text = f"from __future__ import annotations\n{source}"
                exec(compile(text, self.name, "exec"), function.__globals__, room)
                function.__code__ = room[function.__name__].__code__
            yield
        finally:
            for function, code in kept:
                function.__code__ = code


def caught_by(mutant: Mutant, folder: Path, seeds: Iterable[int]) -> tuple[int, str] | None:
    """Returns the first seed that finds a mutant, with what it says; None when none does."""
    with mutant.planted():
        for seed in seeds:
            try:
                World(seed, folder / str(seed)).play()
            except Exception as error:  # noqa: BLE001  however it shows
                return seed, f"{type(error).__name__}: {error}"
            finally:
                shutil.rmtree(folder / str(seed), ignore_errors=True)
    return None


MUTANTS = [
    Mutant(
        "a worktree goes without a proof",
        0,
        ((removal.prove_removable, "    if reasons:\n", "    if False:\n"),),
    ),
    Mutant(
        "a rescue forgets ignored files",
        0,
        (
            (
                snapshot.extra_files,
                '"ls-files", "-z", "--others"',
                '"ls-files", "-z", "--others", "--exclude-standard"',
            ),
        ),
    ),
    Mutant(
        "a clean worktree's ignored files are not rescued",
        0,
        ((removal.remove, "if not proof.ref and extra_files", "if False and extra_files"),),
    ),
    Mutant(
        "a rescue forgets what was staged",
        0,
        ((snapshot.rescue, "if refs.is_sha(staged) and", "if False and"),),
    ),
    Mutant(
        "a rescue goes through filters",
        0,
        ((snapshot._written, '"--no-filters", ', ""),),
    ),
    Mutant(
        "a rescue believes hidden files",
        0,
        ((snapshot._changed, "if line[0].islower()", "if False"),),
    ),
    Mutant(
        "commits of a worktree's logs go with it",
        0,
        ((removal.keep_loose, "return [keep(", "return [] and [keep("),),
    ),
    Mutant(
        "the HEAD of what is removed counts as a ref",
        0,
        ((containment.unreachable, '"--not", "--single-worktree", "--all"', '"--not", "--all"'),),
    ),
    Mutant(
        "a branch is deleted without a record",
        0,
        (
            (
                branches.delete_branch,
                "    with locks.repository_lock(repo.common) as lock:\n",
                "    with locks.repository_lock(repo.common) as lock:\n        refs.transact(repo.site, [refs.delete(ref, tip)] if tip else [], why='x')\n",
            ),
        ),
    ),
    Mutant(
        "an undo resets the base, whatever was built on it",
        0,
        (
            (reverting.way_back, "if now != new:", "if False:"),
            (landing.take_back, "actual is None or actual != old_sha", "actual is None"),
            (landing.take_back, "_Step(base_branch, old_sha,", "_Step(base_branch, actual,"),
        ),
    ),
    Mutant(
        "a landing overwrites what is ignored",
        0,
        ((following.obstacles, "hit |= _in_the_way(", "set() or _in_the_way("),),
    ),
    Mutant(
        "a killed undo is taken for finished",
        0,
        ((following.recover, "actual != follow.old and ", ""),),
    ),
    Mutant(
        "a record is overwritten",
        0,
        ((moves._free, "while found in taken:", "while False:"),),
    ),
    Mutant(
        "a revert that nobody judged lands",
        0,
        ((undo._once, "[] if found.known else await", "[] if True else await"),),
    ),
    Mutant(
        "what a revert took out stays out",
        0,
        ((undo._reopened, '"reverted": taken.reverted', '"reverted": False'),),
    ),
]
