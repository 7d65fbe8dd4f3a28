"""Fixtures of the end-to-end tests: a fleet on disk, and the user's checkout watched around it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.demos import demo_folders, processes_of, sockets
from support.scripted_fleet import ScriptedFleet


@pytest.fixture
def fleet(tmp_path: Path, fleet_cli: Callable[..., object]) -> ScriptedFleet:
    """A fleet without tasks yet."""
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    return ScriptedFleet(tmp_path, fleet_cli)  # type: ignore[arg-type]


@pytest.fixture
def untouched(fleet: ScriptedFleet) -> Iterator[Callable[[], None]]:
    """Call it once the fleet is written: the user's checkout must be the same after the test."""
    seen: list[str] = []
    yield lambda: seen.append(fleet.fingerprint())
    assert seen, "the test never said where it begins"
    assert fleet.fingerprint() == seen[0], "the user's checkout was touched"


@pytest.fixture
def footprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Path]]:
    """Holds that a demo leaves no folder, no tmux server and no process; is given its folders."""
    # of its own, so that demos of tests that run side by side are not seen by one another
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folders, servers = demo_folders(), sockets()
    made: set[Path] = set()
    yield made
    assert demo_folders() == folders
    assert sockets() == servers
    deadline = time.monotonic() + 20  # a front door that lost its fleet takes a moment to see it
    while processes_of(made) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(made) == []
