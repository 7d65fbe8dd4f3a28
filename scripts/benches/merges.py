"""Whether fleet's trial merges as git does: real merges of a repository, done again.

    main([REPO [N]])   the last N two-parent merges (default 200) of REPO (default: this repository)

Each is done twice: by git itself (`git merge --no-commit` in a worktree) and by fleet's trial (in
memory). They agree when both say that it conflicts, both refuse it (histories without a common
past), or both give the same tree. REPO is only read: both work in a clone that borrows its objects.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import scenes

from fleet.adapters.git import Assembled, Conflict, Identity, Part, Repository, assemble
from fleet.errors import Rejected

WHO = Identity("fleet", "fleet@localhost", 1_700_000_000)


def by_git(place: Path, ours: str, theirs: str) -> str:
    """Returns the tree that `git merge` makes, or `conflict`, or `refused`."""
    scenes.git(place, "reset", "-q", "--hard", ours)
    scenes.git(place, "clean", "-qfdx")
    done = subprocess.run(
        ["git", "-C", str(place), "merge", "-q", "--no-commit", "--no-ff", theirs],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        scenes.git(place, "reset", "-q", "--hard", ours)
        return "conflict" if done.returncode == 1 else "refused"
    tree = scenes.git(place, "write-tree")
    scenes.git(place, "reset", "-q", "--hard", ours)
    return tree


def by_fleet(repo: Repository, ours: str, theirs: str) -> str:
    """Returns the tree of fleet's trial, or `conflict`, or `refused`."""
    part = Part("theirs", "theirs", theirs)
    try:
        found = assemble(repo, ours, [part], name="bench", message=lambda _: "merge", identity=WHO)
    except Rejected:
        return "refused"
    if isinstance(found, Conflict):
        return "conflict"
    assert isinstance(found, Assembled)
    return found.tree


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns 1 when a single merge differs."""
    source = Path(argv[0] if argv else Path(__file__).resolve().parents[2])
    count = int(argv[1]) if len(argv) > 1 else 200
    spent = {"git": 0.0, "fleet": 0.0}
    differing, conflicts, merges = [], 0, list[list[str]]()
    with scenes.scratch() as folder:
        root, place = folder / "clone", folder / "place"
        scenes.git(folder, "clone", "-q", "--shared", "--no-checkout", str(source), str(root))
        scenes.git(root, "config", "user.name", "bench")
        scenes.git(root, "config", "user.email", "bench@localhost")
        listed = scenes.git(
            root, "rev-list", "--all", "--min-parents=2", "--max-parents=2", "--parents",
            f"--max-count={count}",
        )  # fmt: skip
        merges = [line.split() for line in listed.splitlines()]
        if not merges:
            print(f"{source} has no merge of two parents", file=sys.stderr)
            return 2
        scenes.git(root, "worktree", "add", "-q", "--detach", str(place), merges[0][1])
        repo = Repository.at(root)
        for merge, ours, theirs in merges:
            began = time.perf_counter()
            wanted = by_git(place, ours, theirs)
            spent["git"] += time.perf_counter() - began
            began = time.perf_counter()
            found = by_fleet(repo, ours, theirs)
            spent["fleet"] += time.perf_counter() - began
            conflicts += wanted == "conflict"
            if wanted != found:
                differing.append(f"{merge[:12]}: git {wanted[:12]}, fleet {found[:12]}")
    for line in differing:
        print(line)
    agreed = len(merges) - len(differing)
    figures = [
        scenes.Figure(
            f"{len(merges)} merges, {conflicts} of which conflict: agreed",
            f"{agreed / len(merges):.2%}",
            "100 %",
            not differing,
        ),
        scenes.Figure(
            "time of fleet's trial against git merge in a worktree",
            f"{spent['fleet'] / spent['git']:.2f}x",
        ),
    ]
    return scenes.show(
        f"merges of {source.name}", f"scripts/bench merges {source} {count}", figures
    )
