"""A repository for each test, and a way to die at a crash point in another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.adapters.git import Repository
from support.git_repo import GitRepo


@pytest.fixture
def user(tmp_path):
    """Returns the user's repository with one commit on main."""
    return GitRepo(tmp_path / "repo", files={"a.txt": "a\n", "b.txt": "b\n", "dir/c.txt": "c\n"})


@pytest.fixture
def repo(user):
    """Returns the same repository as fleet sees it."""
    return Repository.at(user.root)


@pytest.fixture
def die_at(user):
    """Returns a function that runs code in a process that dies at a crash point."""

    def run(point: str, code: str) -> None:
        head = (
            "from pathlib import Path\nfrom fleet.adapters.git import *\n"
            f"repo = Repository.at(Path({str(user.root)!r}))\n"
        )
        source = Path(__file__).parents[3] / "src"
        done = subprocess.run(
            [sys.executable, "-c", head + code],
            env=os.environ | {"FLEET_CRASH_AT": point, "PYTHONPATH": str(source)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, (point, done.returncode, done.stderr)

    return run
