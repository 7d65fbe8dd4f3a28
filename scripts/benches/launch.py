"""Launching agents: worktree, brief and session each, until the last agent runs.

    main([CASE...])   CASE: 50, 200, files (10 agents on 10,000 files); 50, 200 and files by default

The floor is what a person scripts: one shell, `git worktree add` and `tmux new-session` by turns.
An agent notes when it started; a launch is as long as the last of these notes says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import scenes

LOOP = """
i=0
while [ $i -lt {tasks} ]; do
    git worktree add -q -b work/t$i ../{name}-trees/t$i main 2>/dev/null
    printf '%s' "$BRIEF" >../{name}-briefs/t$i.md
    tmux -L {socket} new-session -d -s t$i -c "$PWD/../{name}-trees/t$i" "{agent}"
    i=$((i + 1))
done
"""


class Scene:
    """A template repository, and fresh copies of it for each round."""

    def __init__(self, folder: Path, files: int, tasks: int) -> None:
        self.folder, self.tasks, self.rounds = folder, tasks, 0
        self.template = scenes.make_repository(folder / f"template{files}", files)
        self.first: list[float] = []

    def _fresh(self) -> tuple[Path, Path]:
        self.rounds += 1
        root, notes = self.folder / f"r{self.rounds}", self.folder / f"n{self.rounds}"
        shutil.copytree(self.template, root, symlinks=True)
        scenes.git(root, "update-index", "-q", "--refresh")
        notes.mkdir()
        return root, notes

    def _agent(self, notes: Path) -> str:
        return f"date +%s%N >{notes}/$$; exec sleep 600"

    def _ended(self, notes: Path, began: float) -> float:
        scenes.until(lambda: len(list(notes.iterdir())) >= self.tasks)
        time.sleep(0.05)
        moments = scenes.seconds_of(notes)
        assert len(moments) == self.tasks, f"{len(moments)} of {self.tasks} agents started"
        self.first.append((moments[0] - began) / (moments[-1] - began))
        return moments[-1] - began

    def _clear(self, root: Path, notes: Path) -> None:
        for path in (root, notes, *(root.parent / f"{root.name}-{w}" for w in ("trees", "briefs"))):
            shutil.rmtree(path, ignore_errors=True)

    def loop(self) -> float:
        """Returns the seconds of the shell loop."""
        root, notes = self._fresh()
        for what in ("trees", "briefs"):
            (root.parent / f"{root.name}-{what}").mkdir()
        socket = f"bench-{root.name}"
        script = LOOP.format(
            tasks=self.tasks,
            name=root.name,
            socket=socket,
            agent=self._agent(notes).replace("$$", "\\$\\$"),
        )
        try:
            began = time.time()
            subprocess.run(
                ["/bin/sh", "-c", script], cwd=root, check=True, env=_with(BRIEF=scenes.BRIEF)
            )
            return self._ended(notes, began)
        finally:
            scenes.end_server(socket)
            self._clear(root, notes)

    def cold(self) -> float:
        """Returns the seconds of `fleet launch --all` when no coordinator lives."""
        root, notes = self._fresh()
        scenes.write_fleet(root, self.tasks, self._agent(notes))
        try:
            began = time.time()
            self._launch(root)
            return self._ended(notes, began)
        finally:
            scenes.end_fleet(root)
            self._clear(root, notes)

    def live(self) -> float:
        """Returns the seconds of `fleet launch --all` with a coordinator that waits."""
        root, notes = self._fresh()
        scenes.write_fleet(root, self.tasks, self._agent(notes))
        try:
            with scenes.coordinator(root):
                began = time.time()
                self._launch(root)
                return self._ended(notes, began)
        finally:
            scenes.end_fleet(root)
            self._clear(root, notes)

    def _launch(self, root: Path) -> None:
        subprocess.run(
            scenes.fleet("-C", str(root), "launch", "--all"),
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _with(**more: str) -> dict[str, str]:
    return {**os.environ, **more}


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns 1 when a target is missed."""
    rounds = next((int(word[3:]) for word in argv if word.startswith("-n=")), 5)
    cases = [word for word in argv if not word.startswith("-")] or ["50", "200", "files"]
    figures: list[scenes.Figure] = []
    with scenes.scratch() as folder:
        for case in cases:
            files, tasks = (10_000, 10) if case == "files" else (100, int(case))
            scene = Scene(folder / case, files, tasks)
            found = scenes.in_turn(
                rounds if tasks <= 50 else max(2, rounds - 2),
                loop=scene.loop,
                cold=scene.cold,
                live=scene.live,
            )
            what = "10 agents, 10,000 files" if case == "files" else f"{case} agents, 100 files"
            figures += [
                scenes.ratio(f"{what}, coordinator lives", found["live"], found["loop"], 1.0),
                scenes.ratio(f"{what}, none lives", found["cold"], found["loop"], 1.0),
            ]
            if case == "files":
                share = min(scene.first[1::3] + scene.first[2::3])
                figures.append(
                    scenes.Figure(
                        "first agent, as a share of the whole", f"{share:.2f}", "< 0.6", share < 0.6
                    )
                )
            if case == "50":
                base = min(found["loop"])
            if case == "200" and "50" in cases:
                figures.append(
                    scenes.Figure(
                        "200 agents against the loop for 50",
                        f"{min(found['live']) / base:.2f}x",
                        "<= 4x",
                        min(found["live"]) <= 4 * base,
                    )
                )
    return scenes.show("launch", "scripts/bench launch", figures)
