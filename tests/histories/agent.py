"""What an agent does in its worktree: by chance, without manners, and with names of every sort."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import ClassVar

from histories.oracle import Memory
from support.git_repo import GitRepo

PATHS = [
    "a.txt", "b.txt", "dir/c.txt", "dir", "A.TXT", 'sp ace "q"', "new\nline", "-dash", "crlf.txt",
    os.fsdecode(b"\xff\xfe.bin"), "ig.log", "build/out.log", "node_modules/x", "un'quote/d/e",
]  # fmt: skip


@dataclass
class Agent:
    user: GitRepo
    tree: Path
    branch: str
    rng: Random
    memory: Memory

    OFTEN: ClassVar = {"write": 6, "stage": 3, "commit": 5}
    ACTS: ClassVar = (
        "write", "stage", "commit", "amend", "detach", "rogue", "stash", "link", "pipe", "hide",
        "drop", "back", "program", "reset", "merge",
    )  # fmt: skip

    def acts(self) -> str:
        """Does one thing; returns what it was."""
        acts = [act for act in self.ACTS for _ in range(self.OFTEN.get(act, 1))]
        act: str = self.rng.choice(acts)
        getattr(self, act)()
        self.memory.commits.add(self.user.head(self.tree))
        return act

    def git(self, *words: str) -> None:
        self.user.git(*words, cwd=self.tree, check=False)

    def number(self) -> int:
        return self.rng.randrange(10**9)

    # --- files ----------------------------------------------------------------------------------

    def write(self, path: str = "") -> Path:
        place = self.clear(path or self.rng.choice(PATHS))
        place.parent.mkdir(parents=True, exist_ok=True)
        end = b"\r\n" if place.name == "crlf.txt" or self.rng.random() < 0.1 else b"\n"
        lines = [b"%d" % self.rng.randint(0, 5) for _ in range(3)]
        place.write_bytes(end.join([*lines, b"%d" % self.number(), b""]))
        return place

    def program(self) -> None:
        self.write().chmod(0o755)

    def link(self) -> None:
        self.clear("link").symlink_to("../../outside")

    def pipe(self) -> None:
        os.mkfifo(self.clear("pipe"))

    def drop(self) -> None:
        place = self.tree / self.rng.choice(PATHS)
        if place.is_file():
            place.unlink()

    def hide(self) -> None:
        self.git("update-index", "--assume-unchanged", "a.txt")
        self.write("a.txt")

    def clear(self, path: str) -> Path:
        """Makes room for a file, as an agent does that turns a folder into a file or back."""
        place = self.tree / path
        for parent in place.relative_to(self.tree).parents[:-1]:
            if (self.tree / parent).is_file():
                (self.tree / parent).unlink()
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        elif os.path.lexists(place):
            place.unlink()
        return place

    # --- git ------------------------------------------------------------------------------------

    def stage(self) -> None:
        self.git("add", "-A")

    def commit(self) -> None:
        self.git("add", "-A")
        self.record()

    def amend(self) -> None:
        self.record("--amend")

    def detach(self) -> None:
        self.git("checkout", "-q", "--detach")
        self.record()

    def rogue(self) -> None:
        name = f"rogue{self.number()}"
        self.git("checkout", "-q", "-b", name)
        self.record()
        if self.user.rev(f"refs/heads/{name}"):
            self.memory.foreign.add(f"refs/heads/{name}")

    def back(self) -> None:
        self.git("checkout", "-q", self.branch)

    def stash(self) -> None:
        self.git("stash", "-q", "-u")

    def reset(self) -> None:
        self.git("reset", "-q", "--hard", "HEAD~1")

    def merge(self) -> None:
        self.git("merge", "-q", "--no-edit", "main")

    def record(self, *words: str) -> None:
        message = ("-m", f"c{self.number()}", "--allow-empty", "--no-verify")
        self.git("commit", "-q", *message, *words)
        self.memory.commits.add(self.user.head(self.tree))
