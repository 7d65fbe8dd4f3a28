"""Fixtures of the end-to-end tests: a fleet on disk, and the user's checkout watched around it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
