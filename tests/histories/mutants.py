"""Planted bugs: each changes one line of what guards people's work, and a history must find it."""

# ruff: noqa: E501  a planted line stands as it does in the code
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
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
from histories.agent import Agent
from histories.world import Broken, World

Change = tuple[Callable[..., object], str, str]


@dataclass(frozen=True)
class Mutant:
    """A bug of one line or a few, and a short history in which it shows."""

    name: str
    scene: Callable[[World], None]
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


def found_in(scene: Callable[[World], None], folder: Path, mutant: Mutant | None = None) -> str:
    """Returns what a scene finds wrong, with a bug planted or without; nothing when all is well."""
    world = World(0, folder)
    world.killing = None
    with mutant.planted() if mutant else nullcontext():
        try:
            scene(world)
            world.check()
        except Exception as error:  # noqa: BLE001  however it shows
            return f"{type(error).__name__}: {error}"
    return ""


# --- scenes ---------------------------------------------------------------------------------------


def agent(world: World, name: str = "t0") -> Agent:
    found = world.agent(name)
    assert found is not None, "its worktree is there"
    return found


def landed(world: World, strategy: str = "squash", path: str = "b.txt") -> Agent:
    """An agent whose work has landed."""
    found = agent(world)
    found.write(path)
    found.commit()
    world.land_phase(["t0"], strategy)
    assert world.landings[-1].landed is not None, world.trace
    return found


def edited(world: World) -> None:
    landed(world).write("a.txt")
    world.clean(["t0"])


def ignored(world: World) -> None:
    landed(world).write("ig.log")
    world.clean(["t0"])


def forced_ignored(world: World) -> None:
    found = landed(world)
    found.write("ig.log")
    found.write("a.txt")
    world.clean(["t0"], force=True)


def staged(world: World) -> None:
    found = agent(world)
    found.write("a.txt")
    found.stage()
    found.write("a.txt")
    world.clean(["t0"], force=True)


def line_ends(world: World) -> None:
    agent(world).write("crlf.txt")
    world.clean(["t0"], force=True)


def staged_line_ends(world: World) -> None:
    found = agent(world)
    found.write("crlf.txt")
    found.stage()
    world.clean(["t0"], force=True)


def hidden(world: World) -> None:
    found = landed(world)
    found.hide()
    world.clean(["t0"], force=True)


def left_behind(world: World) -> None:
    found = landed(world)
    found.detach()
    found.back()
    world.clean(["t0"])


def detached(world: World) -> None:
    landed(world).detach()
    world.clean(["t0"])


def squashed(world: World) -> None:
    landed(world)
    world.clean(["t0"])


def squashed_twice(world: World) -> None:
    for _ in range(2):
        landed(world)
        world.clean(["t0"])


def built_upon(world: World) -> None:
    landed(world)
    world.person_commits()
    world.take_back()


def in_the_way(world: World) -> None:
    found = agent(world)
    found.write("ig.log")
    found.git("add", "-f", "ig.log")
    found.record()
    world.person_edits("ig.log")
    world.check()
    world.land_phase(["t0"], "merge")


def killed_undo(world: World) -> None:
    landed(world)
    world.killing = "git.land.after_index"
    world.take_back()


def reverted_and_landed_again(world: World) -> None:
    found = landed(world, "merge", "-dash")
    world.person_commits()
    world.take_back()
    world.killing = None
    world.merge(world.landings[-1])
    if not world.user.rev("refs/heads/main:-dash"):
        raise Broken(f"what landed again is not there: {found.tree}")


MUTANTS = [
    Mutant(
        "a worktree goes without a proof",
        edited,
        ((removal.prove_removable, "    if reasons:\n", "    if False:\n"),),
    ),
    Mutant(
        "a rescue forgets ignored files",
        forced_ignored,
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
        ignored,
        ((removal.remove, "if not proof.ref and extra_files", "if False and extra_files"),),
    ),
    Mutant(
        "a rescue forgets what was staged",
        staged,
        ((snapshot.rescue, "if refs.is_sha(staged) and", "if False and"),),
    ),
    Mutant(
        "a rescue goes through filters",
        line_ends,
        ((snapshot._written, '"--no-filters", ', ""),),
    ),
    Mutant(
        "a rescue takes what is staged for what is on disk",
        staged_line_ends,
        ((snapshot.rescue, "*_staged(site, index, at.sha), ", ""),),
    ),
    Mutant(
        "a rescue believes hidden files",
        hidden,
        (
            (snapshot._changed, "if line[0].islower()", "if False"),
            (snapshot._changed, "--really-refresh", "--refresh"),
        ),
    ),
    Mutant(
        "commits of a worktree's logs go with it",
        left_behind,
        ((removal.keep_loose, "return [keep(", "return [] and [keep("),),
    ),
    Mutant(
        "the HEAD of what is removed counts as a ref",
        detached,
        ((containment.unreachable, '"--not", "--single-worktree", "--all"', '"--not", "--all"'),),
    ),
    Mutant(
        "a branch is deleted without a record",
        squashed,
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
        built_upon,
        (
            (reverting.way_back, "if now != new:", "if False:"),
            (landing.take_back, "actual is None or actual != old_sha", "actual is None"),
            (landing.take_back, "_Step(base_branch, old_sha,", "_Step(base_branch, actual,"),
        ),
    ),
    Mutant(
        "a landing overwrites what is ignored",
        in_the_way,
        ((following.obstacles, "hit |= _in_the_way(", "set() or _in_the_way("),),
    ),
    Mutant(
        "a killed undo is taken for finished",
        killed_undo,
        ((following.recover, "actual != follow.old and ", ""),),
    ),
    Mutant(
        "a record is overwritten",
        squashed_twice,
        (
            (moves._free, "while found in taken:", "while False:"),
            (moves.note, "refs.create(ref, made)", "refs.put(ref, made)"),
        ),
    ),
    Mutant(
        "a revert that nobody judged lands",
        built_upon,
        ((undo._once, "[] if found.known else await", "[] if True else await"),),
    ),
    Mutant(
        "what a revert took out stays out",
        reverted_and_landed_again,
        ((undo._undone, '"reverted": taken.reverted', '"reverted": False'),),
    ),
]
