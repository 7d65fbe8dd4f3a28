"""What an agent says from inside its session, as it is left in the attempt's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import FleetError
from fleet.mcp import forms
from fleet.mcp.tools import TOOLS, Caller


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an attempt that this process is inside of; returns it."""
    folder, tree = tmp_path / "attempt", tmp_path / "tree"
    (tree / "docs").mkdir(parents=True)
    folder.mkdir()
    (tree / "docs/load.md").write_text("load")
    told = {"RUN": "plan", "TASK": "api", "BRIEF": str(folder / "brief.md")}
    told |= {"ROOT": str(tmp_path), "WORKTREE": str(tree)}
    for name, value in told.items():
        monkeypatch.setenv(f"FLEET_{name}", value)
    monkeypatch.chdir(tree / "docs")
    return folder


def left(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "done.json").read_text())
    return found


def test_what_shows_something_is_named_from_the_worktrees_root(session, fleet_cli):
    done = fleet_cli("done", "--evidence", "a = b is fast=load.md", "--evidence",
                     "read=docs/load.md", cwd=Path.cwd())  # fmt: skip
    assert done.code == 0, done
    assert left(session)["evidence"] == {"a = b is fast": "docs/load.md", "read": "docs/load.md"}
    more = TOOLS["done"]
    form = forms.Done.model_validate({"output": "good", "evidence": {"read": "README.md"}})
    more.call(Caller(place=None, client="x", inside=True), form)  # type: ignore[arg-type]
    told = left(session)
    assert (told["output"], told["done"]) == ("good", True)
    assert told["evidence"] == {"a = b is fast": "docs/load.md", "read": "README.md"}
    form = forms.Done.model_validate({"evidence": {"secret": "../../etc/passwd"}})
    with pytest.raises(FleetError, match="must stay inside"):
        more.call(Caller(place=None, client="x", inside=True), form)  # type: ignore[arg-type]


@pytest.mark.parametrize(("told", "why"), [("no file", "names no file"), ("x=gone", "not there")])
def test_what_names_no_file_shows_nothing(session, fleet_cli, told, why):
    done = fleet_cli("done", "--evidence", told, cwd=Path.cwd())
    assert done.code == 1
    assert why in done.stderr
    assert not (session / "done.json").exists()
