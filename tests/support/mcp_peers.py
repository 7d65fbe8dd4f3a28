"""MCP servers of tests as commands, and an official one over HTTP that may die and come again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil

from support.scripted_fleet import until

HERE = Path(__file__).parent
BY_HAND = (sys.executable, str(HERE / "mcp_server.py"))
OFFICIAL = (sys.executable, str(HERE / "mcp_official.py"))


def alive(pid: int) -> bool:
    """Returns whether a process lives; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def noted(notes: Path, what: str) -> list[str]:
    """Returns what a server by hand has noted of its starts, calls or children."""
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{what} ")]


def end_all(notes: Path) -> None:
    """Kills what a server by hand has noted and that still lives, each known by its notes."""
    for pid in (*noted(notes, "start"), *noted(notes, "child")):
        with contextlib.suppress(psutil.Error):
            one = psutil.Process(int(pid))
            if str(notes) in one.cmdline():
                one.kill()


class Web:
    """An official server over HTTP, on a port that it keeps when it comes again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, ""
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/mcp"

    def start(self) -> Web:
        """Starts it, again if it has ended."""
        self.stop()
        path = self.folder / "port"
        path.unlink(missing_ok=True)
        words = [*OFFICIAL, "http", str(path), *([self.port] if self.port else [])]
        with (self.folder / "web.log").open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        self.port = until(lambda: path.exists() and path.read_text(), "the server's port")
        return self

    def stop(self) -> None:
        """Kills it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
