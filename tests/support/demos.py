"""What a demo may leave behind: folders, tmux servers, processes. All of it is looked for here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def demo_folders() -> set[Path]:
    """Returns the folders of demos in the temporary folder of this process."""
    return set(Path(tempfile.gettempdir()).glob("fleet-demo-*"))


def sockets() -> set[Path]:
    """Returns the sockets of the fleets' tmux servers of this test process."""
    return {path for path in Path(os.environ["TMUX_TMPDIR"]).rglob("fleet-*") if path.is_socket()}


def processes_of(folders: Iterable[Path]) -> list[str]:
    """Returns the command lines of living processes that name or work in one of the folders."""
    names = [os.fsencode(path) for path in folders]
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                told = (process / "cmdline").read_bytes()
                where = os.fsencode((process / "cwd").readlink())
            except OSError:
                continue
            if any(name in told or where.startswith(name) for name in names):
                found.append(told.replace(b"\0", b" ").decode())
    return found
