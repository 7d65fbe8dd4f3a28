"""A ref transaction that is held open while something else is done, and then committed or
dropped.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
from types import TracebackType
from typing import Final, Self

from fleet.adapters.git import refs
from fleet.adapters.git.command import Site, environment, kill_group, neutral
from fleet.errors import ToolFailed

ANSWER_S: Final = 120.0
"""How long git, and the user's hook in it, may take to answer."""

_BY_HOOK: Final = re.compile(r"aborted by .*hook")


class Prepared:
    """A ref transaction held open by a live `git update-ref`: prepared (locked, hook asked), then
    committed.

    When this process dies, git sees the end of its input and aborts. `stopped_by_hook` tells a
    refusal, or the silence, of the user's hook from trouble of git's own.
    """

    def __init__(
        self, site: Site, ref: str, new: str, old: str, *, why: str, lock: int, hooks: bool
    ) -> None:
        self._said = b""
        self.stopped_by_hook = False
        places = [f"--git-dir={site.git_dir}"]
        extra = {"GIT_COMMON_DIR": str(site.common)} if site.git_dir != site.common else {}
        argv = [
            *("git", *neutral(hooks=hooks, durable=True), *places),
            *("update-ref", "-m", why, "--stdin", "-z"),
        ]
        self._argv = argv
        self._process = subprocess.Popen(
            argv,
            cwd=site.work_tree or site.common,
            env=environment(extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=() if hooks else (lock,),
        )
        self._lines = b"start\0" + refs.update(ref, new, old) + b"prepare\0"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def refused(self) -> str | None:
        """Prepares; returns None, or what git or the user's hook said against it."""
        return self._tell(self._lines, b"prepare: ok")

    def commit(self) -> None:
        """Carries the prepared move out. Raises ToolFailed."""
        refused = self._tell(b"commit\0", b"commit: ok")
        if refused is not None:
            raise ToolFailed(self._argv, self._process.returncode, refused)

    def close(self) -> None:
        """Ends git; what was prepared and not committed is dropped."""
        if self._process.returncode is None:
            try:
                self._process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                kill_group(self._process)

    def _tell(self, lines: bytes, answer: bytes) -> str | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(lines)
            self._process.stdin.flush()
            while answer not in self._said:
                readable, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
                more = os.read(self._process.stdout.fileno(), 4096) if readable else b""
                if not more:
                    break
                self._said += more
        except BrokenPipeError:
            pass
        if answer in self._said:
            return None
        try:
            _, err = self._process.communicate(timeout=min(ANSWER_S, 10))
        except subprocess.TimeoutExpired:
            kill_group(self._process)
            self.stopped_by_hook = True
            return f"no answer within {ANSWER_S:g} s"
        said = err.decode("utf-8", "backslashreplace").strip()
        self.stopped_by_hook = bool(_BY_HOOK.search(said))
        return said or "refused without a word"
