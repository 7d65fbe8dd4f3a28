"""`fleet agents`: which programs are there, and whether they are those that were tested."""

from __future__ import annotations

import os

import pytest

from fleet.app.programs import age_of, programs
from fleet.harnesses import TESTED
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


def test_a_program_is_shown_as_it_is_driven(tmp_path, fleet_cli):
    fleet = ScriptedFleet(tmp_path / "top", fleet_cli)
    shown = fleet.must("agents", "show", "codex", env={**os.environ, "COLUMNS": "80"}).stdout
    assert all(len(line) <= 80 for line in shown.splitlines()), shown
    for said in (
        "codex exec --json",
        "briefed on standard input",
        "state by hooks of codex: PermissionRequest, Stop",
        "its id is taken as it is told",
        "sandbox workspace-write, approval never; in its terminal",
        TESTED["codex"],
    ):
        assert said in shown
    assert "(not headless)" in fleet.must("agents", "show", "mini").stdout
    found = fleet.must("agents", "show", "claude", "--json").json()
    assert (found["schema"], found["source"], found["sessions"]) == (
        *("fleet.harness/1", "fleet", "chosen"),
    )
    assert found["profile"]["permissions"]["plan"] == "plan"


def test_what_no_profile_drives_is_said(tmp_path, fleet_cli):
    fleet = ScriptedFleet(tmp_path / "top", fleet_cli)
    for name, said in (("shell", "shell has no profile"), ("clade", "did you mean 'claude'?")):
        refused = fleet("agents", "show", name)
        assert (refused.code, said in refused.stderr) == (1, True), refused


@pytest.mark.parametrize(
    ("version", "said"), [("1.9", "older"), ("2.0.1", ""), ("3.1", "newer"), ("3.0", "")]
)
def test_a_version_outside_of_a_tested_range_is_said(version, said):
    told = age_of(f"mine {version}", "2.0 - 3.0")
    assert said in told
    assert bool(told) is bool(said)
    assert age_of(version, "") == ""
