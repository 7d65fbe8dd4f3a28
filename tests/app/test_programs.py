"""`fleet agents`: which programs are there, and whether they are those that were tested."""

from __future__ import annotations

import os

import pytest

from fleet.app.programs import age_of, programs
from support.scripted_fleet import ScriptedFleet


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("2.1.328 (Claude Code)", True),
        ("2.1.329", False),
        ("codex-cli 2.2.0", False),
        ("2.0", True),
        ("unknown", False),
    ],
)
def test_only_an_older_version_is_said(version, old):
    assert bool(age_of(version, "2.1.329")) is old


def test_programs_that_are_there_missing_and_too_old(tmp_path):
    for name, version in (("claude", "2.1.329 (Claude Code)"), ("codex", "codex-cli 0.1.0")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{version}'\n")
        (tmp_path / name).chmod(0o755)
    rows = {row["name"]: row for row in programs(None, {"PATH": str(tmp_path)})["programs"]}
    assert rows["claude"]["problem"] == ""
    assert rows["claude"]["path"] == str(tmp_path / "claude")
    assert "older than" in rows["codex"]["problem"]
    assert rows["gemini"]["version"] is None
    assert rows["gemini"]["cure"]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_table_fits(tmp_path, fleet_cli, columns):
    fleet = ScriptedFleet(tmp_path / "top", fleet_cli)
    fleet.task("a", deliverables=["a.md"])
    fleet.write()
    shown = fleet.must("agents", env={**os.environ, "COLUMNS": columns}).stdout
    assert all(len(line) <= int(columns) for line in shown.splitlines()), shown
    assert "PROGRAM" in shown
    assert "AGENT" in shown
    found = fleet.must("agents", "--json").json()
    assert found["schema"] == "fleet.agents/1"
    assert [one["id"] for one in found["agents"]] == ["a"]
