"""A deterministic repository for tests: fixed names and dates, an environment of its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

_DATE = "1700000000 +0000"


class GitRepo:
    """A repository at `root` with a branch `main`; every method goes through the real git."""

    def __init__(self, root: Path, *, files: dict[str, str] | None = None) -> None:
        self.root = root
        self.home = root.parent / f"{root.name}-home"
        self.home.mkdir(parents=True, exist_ok=True)
        root.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Ada")
        self.git("config", "user.email", "ada@example.org")
        self.commit({"README.md": "hello\n"} if files is None else files, "first")

    def git(self, *args: str, cwd: Path | None = None, check: bool = True) -> str:
        """Returns git's output, stripped."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        extra = {
            "HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_DATE": _DATE,
            "GIT_COMMITTER_DATE": _DATE,
            "LC_ALL": "C",
        }
        done = subprocess.run(
            ["git", *args],
            cwd=cwd or self.root,
            env=kept | extra,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"git {args}: {done.stderr.decode('utf-8', 'replace')}")
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    def write(self, files: Mapping[str, str | bytes | None], cwd: Path | None = None) -> None:
        """Writes files (None deletes) into a checkout."""
        for name, text in files.items():
            path = (cwd or self.root) / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def commit(
        self, files: dict[str, str | None], message: str = "change", cwd: Path | None = None
    ) -> str:
        """Writes and commits everything in a checkout; returns the commit."""
        self.write(files, cwd)
        self.git("add", "-A", cwd=cwd)
        self.git("commit", "-q", "--no-verify", "-m", message, cwd=cwd)
        return self.head(cwd)

    def branch(self, name: str, files: dict[str, str | None], start: str = "main") -> str:
        """Makes a branch with one commit, without touching the checkout; returns the commit."""
        place = self.root.parent / f"{self.root.name}-scratch"
        self.git("worktree", "add", "-q", "-b", name, str(place), start)
        sha = self.commit(files, f"work on {name}", cwd=place)
        self.git("worktree", "remove", "--force", str(place))
        return sha

    def head(self, cwd: Path | None = None) -> str:
        """Returns the commit that HEAD is at."""
        return self.git("rev-parse", "HEAD", cwd=cwd)

    def rev(self, name: str) -> str:
        """Returns the commit of a full ref name or id, or an empty text."""
        return self.git("rev-parse", "--verify", "-q", name, check=False)

    def fingerprint(self) -> str:
        """Returns a hash of what is the user's: HEAD, index, config, hooks, stash, files."""
        seen = hashlib.sha256()
        for args in (("ls-files", "-s"), ("stash", "list"), ("status", "--porcelain")):
            seen.update(self.git(*args).encode("utf-8", "surrogateescape"))
        for name in ("HEAD", "config"):
            seen.update((self.root / ".git" / name).read_bytes())
        for hook in sorted((self.root / ".git/hooks").iterdir()):
            seen.update(hook.name.encode() + hook.read_bytes())
        return seen.hexdigest()
