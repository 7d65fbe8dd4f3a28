"""Landing and foreseeing conflicts: the trial of a phase, and all pairs of the live branches.

    main([CASE...])   CASE: trial, forecast; both by default

The floor of a trial is the same merges, of the very same pairs of commits, by bare `git merge-tree`
and one checkout; that of a forecast are bare `git merge-tree` calls for all pairs, spread over the
cores.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import scenes

from fleet.adapters.git import Assembled, Part, Repository, assemble, remove_trial, trial_checkout
from fleet.app.foresight import foresee
from fleet.app.place import FleetPlace

FILES, BRANCHES, LIVE, PAST = 10_000, 20, 50, 20_000


def branches(root: Path, count: int, *, alike: int = 0) -> list[str]:
    """Makes branches with a commit each: a file of its own, and one of many lines that all touch,
    every `alike`th of them at the same place; returns their heads.
    """
    scenes.git(root, "checkout", "-q", "main")
    (root / "shared.txt").write_text("\n".join(map(str, range(4_000))) + "\n")
    scenes.git(root, "add", "shared.txt")
    scenes.git(root, "commit", "-qm", "shared")
    lines = [0 if alike and number % alike == 0 else number * 70 for number in range(count)]
    return [commit(root, number, line) for number, line in enumerate(lines)]


def deepen(root: Path, count: int) -> None:
    """Puts so many commits onto main."""
    told = [
        f"commit refs/heads/main\ncommitter Bench <b@x> {1_600_000_000 + number} +0000\n"
        f"data 4\npast\n{'from refs/heads/main^0' if not number else ''}\n"
        for number in range(count)
    ]
    subprocess.run(
        ["git", "-C", str(root), "fast-import", "--quiet"],
        input="".join(told).encode(),
        check=True,
    )


def commit(root: Path, number: int, line: int) -> str:
    """Makes branch `work/N` with one commit; returns it."""
    scenes.git(root, "checkout", "-q", "-B", f"work/{number}", "main")
    lines = (root / "shared.txt").read_text().splitlines()
    lines[line] = f"by {number}"
    (root / "shared.txt").write_text("\n".join(lines) + "\n")
    (root / f"own-{number}.txt").write_text(f"{number}\n")
    scenes.git(root, "add", "shared.txt", f"own-{number}.txt")
    scenes.git(root, "commit", "-qm", f"work {number}")
    return scenes.git(root, "rev-parse", "HEAD")


def timed(what: Callable[[], object]) -> float:
    """Returns the seconds that a call took."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def merge_tree(root: Path, ours: str, theirs: str) -> str:
    """Returns the tree of a bare merge."""
    argv = ["git", "-C", str(root), "merge-tree", "--write-tree", "--no-messages", ours, theirs]
    done = subprocess.run(argv, capture_output=True, check=False, text=True)
    return done.stdout.splitlines()[0]


def trial(folder: Path, rounds: int, past: int = 0) -> tuple[list[float], list[float]]:
    """Returns the seconds of the trial of a phase of 20 branches on 10,000 files, and of its floor,
    with so many commits of history behind it.
    """
    root = scenes.make_repository(folder / f"trial{past}", FILES)
    deepen(root, past)
    heads = branches(root, BRANCHES)
    scenes.git(root, "checkout", "-q", "main")
    base, place, bare = scenes.git(root, "rev-parse", "main"), folder / "place", folder / "bare"
    repo = Repository.at(root)
    parts = [Part(f"t{n}", f"work/{n}", head) for n, head in enumerate(heads)]

    def assembled() -> Assembled:
        made = assemble(repo, base, parts, name="bench", message=lambda part: f"merge {part.task}")
        assert isinstance(made, Assembled), made
        return made

    # Each merge is onto what the merges before it made, of which a floor without commits has none.
    ontos = [base, *(step.commit for step in assembled().steps)]

    def floor() -> None:
        for onto, head in zip(ontos, heads, strict=False):
            merge_tree(root, onto, head)
        scenes.git(root, "worktree", "add", "-q", "--detach", str(bare), ontos[-1])

    def ours() -> None:
        trial_checkout(repo, assembled().commit, place)

    def case(what: Callable[[], None]) -> Callable[[], float]:
        def measured() -> float:
            remove_trial(repo, place)
            shutil.rmtree(bare, ignore_errors=True)
            scenes.git(root, "worktree", "prune")
            return timed(what)

        return measured

    found = scenes.in_turn(rounds, floor=case(floor), ours=case(ours))
    remove_trial(repo, place)
    return found["ours"], found["floor"]


def trials(folder: Path, rounds: int) -> list[scenes.Figure]:
    """Measures trials, without history and with much of it."""
    name = f"trial of {BRANCHES} branches, {FILES} files"
    return [
        scenes.ratio(name, *trial(folder, rounds), 1.5),
        scenes.ratio(f"the same behind {PAST} commits", *trial(folder, rounds, PAST), 1.5),
    ]


def forecast(folder: Path, rounds: int) -> list[scenes.Figure]:
    """Measures the forecast of 50 live branches on 10,000 files, and of one that moved."""
    root = scenes.make_repository(folder / "forecast", FILES)
    heads = {f"t{n}": head for n, head in enumerate(branches(root, LIVE, alike=10))}
    repo, state = Repository.at(root), root / ".fleet"
    pairs = list(itertools.combinations(heads.values(), 2))

    def floor(some: Sequence[tuple[str, str]]) -> float:
        def all_of_them() -> None:
            with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                list(pool.map(lambda pair: merge_tree(root, *pair), some))

        return timed(all_of_them)

    def ours(now: dict[str, str]) -> float:
        return timed(lambda: foresee(FleetPlace(root), repo, now, None))

    def first() -> float:
        shutil.rmtree(state, ignore_errors=True)
        return ours(heads)

    moved = [{**heads, "t7": commit(root, 7, 30 + number)} for number in range(rounds)]
    last = [(moved[0]["t7"], head) for name, head in heads.items() if name != "t7"]
    found = scenes.in_turn(rounds, floor=lambda: floor(pairs), ours=first)
    ahead = iter(moved)
    again = scenes.in_turn(rounds, floor=lambda: floor(last), ours=lambda: ours(next(ahead)))
    looked = foresee(FleetPlace(root), repo, {**heads, "t7": commit(root, 7, 2_000)}, None)
    return [
        scenes.ratio(f"{len(pairs)} pairs of {LIVE} branches", found["ours"], found["floor"], 1.2),
        scenes.ratio("one head moved, against its 49 pairs", again["ours"], again["floor"], 1.2),
        scenes.Figure("pairs looked at then", str(looked.fresh), "= 49", looked.fresh == LIVE - 1),
        scenes.Figure("pairs that conflict", str(len(looked.clashes))),
    ]


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns 1 when a target is missed."""
    rounds = next((int(word[3:]) for word in argv if word.startswith("-n=")), 5)
    cases = [word for word in argv if not word.startswith("-")] or ["trial", "forecast"]
    figures: list[scenes.Figure] = []
    with scenes.scratch() as folder:
        if "trial" in cases:
            figures += trials(folder, rounds)
        if "forecast" in cases:
            figures += forecast(folder, rounds)
    return scenes.show("landing", "scripts/bench landing", figures)
