"""init and doctor: what they find, make, keep and name, on real repositories."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from fleet.app.diagnosing.machine import sqlite
from fleet.app.starting import find_test_command
from support.git_repo import GitRepo

PAGE_BYTES = 4096


@pytest.fixture
def repo(tmp_path):
    return GitRepo(tmp_path / "shop", files={"pytest.ini": "[pytest]\n", "app.py": "x = 1\n"})


def levels(found):
    return {one["name"]: one["level"] for one in found["checks"]}


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


# --- init -----------------------------------------------------------------------------------------


def test_what_init_makes_passes_check_and_plan(repo, fleet_cli):
    made = fleet_cli("init", cwd=repo.root)
    assert made.code == 0, made.stderr
    assert "base branch main" in made.stdout
    assert "pytest -q" in made.stdout
    checked = fleet_cli("check", cwd=repo.root)
    assert checked.code == 0, checked.stderr
    assert "no problems" in checked.stdout
    assert checked.stderr == ""
    plan = fleet_cli("plan", "--json", cwd=repo.root).json()
    assert [task["id"] for task in plan["tasks"]] == ["first-steps", "second-look"]
    assert plan["base"] == "main"


def test_what_init_makes_without_an_agent_program_runs_to_its_merge(repo, fleet_cli):
    fleet_cli("init", "--harness", "shell", "--check", "test -s FIRST_STEPS.md", cwd=repo.root)
    for task in ("first-steps", "second-look"):
        launched = fleet_cli("launch", task, cwd=repo.root)
        assert launched.code == 0, launched.stdout + launched.stderr
        waited = fleet_cli("wait", task, "--for", "verified", "--timeout", "60", cwd=repo.root)
        assert waited.code == 0, waited.stdout
    merged = fleet_cli("merge", "first", cwd=repo.root)
    assert merged.code == 0, merged.stdout + merged.stderr
    assert repo.git("ls-tree", "--name-only", "main", "FIRST_STEPS.md", "SECOND_LOOK.md").split()
    seen = levels(fleet_cli("doctor", "--json", cwd=repo.root).json())
    assert seen["journal"] == seen["sessions"] == "ok"


def test_init_leaves_git_status_free_of_state(repo, fleet_cli):
    before = repo.fingerprint()
    fleet_cli("init", cwd=repo.root)
    status = repo.git("status", "--porcelain")
    assert ".fleet" not in status
    assert not (repo.root / ".gitignore").exists()
    for name in ("agents", "tasks"):
        for path in (repo.root / name).iterdir():
            path.unlink()
    (repo.root / "coordination.md").unlink()
    assert repo.fingerprint() == before


def test_init_never_overwrites_and_says_what_it_kept(repo, fleet_cli):
    repo.write({"coordination.md": "---\nbase: main\n---\nmine\n", "agents/ann.md": "---\n---\n"})
    made = fleet_cli("init", cwd=repo.root)
    assert made.code == 0
    assert (repo.root / "coordination.md").read_text() == "---\nbase: main\n---\nmine\n"
    assert "coordination.md" in next(
        row for row in made.stdout.splitlines() if "kept" in row and "coord" in row
    )
    assert "agents/ann.md" in made.stdout
    assert not (repo.root / "agents/agent-1.yaml").exists()
    assert "agent: ann" in (repo.root / "tasks/first-steps.md").read_text()


def test_a_second_init_changes_nothing(repo, fleet_cli):
    fleet_cli("init", cwd=repo.root)
    seen = {path: path.read_bytes() for path in repo.root.glob("*/*") if path.is_file()}
    again = fleet_cli("init", cwd=repo.root)
    assert again.code == 0
    assert {path: path.read_bytes() for path in seen} == seen
    assert not any(row.startswith("  + tasks") for row in again.stdout.splitlines())


def test_dry_run_writes_nothing(repo, fleet_cli):
    before = repo.git("status", "--porcelain", "--ignored")
    told = fleet_cli("init", "--dry-run", cwd=repo.root)
    assert "would make" in told.stdout
    assert repo.git("status", "--porcelain", "--ignored") == before
    assert not (repo.root / ".fleet").exists()


def test_init_says_so_when_kept_documents_do_not_hold(repo, fleet_cli):
    repo.write({"agents/README.md": "about\n", "agents/ann.md": "a folder of other things\n"})
    told = fleet_cli("init", cwd=repo.root)
    assert "agents/ann.md:1:1" in told.stdout
    assert "README" not in told.stdout
    assert "do not hold" in told.stdout


def test_init_refuses_a_folder_that_leads_out(repo, fleet_cli, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (repo.root / "tasks").symlink_to(tmp_path / "elsewhere")
    told = fleet_cli("init", cwd=repo.root)
    assert told.code == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_init_picks_the_agent_program_that_is_there(repo, fleet_cli, tmp_path):
    program(tmp_path / "bin", "codex", "echo codex 1")
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    told = fleet_cli("init", "--agents", "3", cwd=repo.root, env={"PATH": path})
    assert "run by codex" in told.stdout
    agents = sorted(path.name for path in (repo.root / "agents").iterdir())
    assert agents == ["agent-1.yaml", "agent-2.yaml", "agent-3.yaml"]
    text = (repo.root / "agents/agent-1.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=../.fleet/schema/agent.json\n")
    assert "harness: codex" in text
    schemas = sorted(path.stem for path in (repo.root / ".fleet/schema").iterdir())
    assert schemas == ["agent", "fleet", "harness", "task", "workflow"]


@pytest.mark.parametrize("name", ["gemini", "opencode", "copilot", "aider", "mini"])
def test_init_makes_agents_of_each_program_that_hold(repo, fleet_cli, name):
    told = fleet_cli("init", "--harness", name, cwd=repo.root)
    assert f"run by {name}" in told.stdout
    checked = fleet_cli("check", cwd=repo.root)
    assert checked.code == 0, checked.stdout


def test_a_program_that_cannot_keep_to_permissions_is_a_problem(repo, fleet_cli):
    fleet_cli("init", "--harness", "mini", cwd=repo.root)
    agent = repo.root / "agents/agent-1.yaml"
    agent.write_text(agent.read_text().replace("mode: interactive", "mode: headless"))
    told = fleet_cli("check", cwd=repo.root)
    assert told.code != 0
    assert "mini cannot keep to permissions 'edits' headless" in told.stdout + told.stderr
    agent.write_text(agent.read_text().replace("permissions: edits", "permissions: yolo"))
    assert fleet_cli("check", cwd=repo.root).code == 0


def test_a_program_that_cannot_be_held_to_patterns_is_a_problem_at_its_place(repo, fleet_cli):
    fleet_cli("init", "--harness", "aider", cwd=repo.root)
    agent = repo.root / "agents/agent-1.yaml"
    kept = agent.read_text()
    for patterns, sentence in (
        ("{deny: [run: git push *]}", "aider cannot be held to what is denied by pattern"),
        ("{allow: run}", "aider headless with permissions 'edits' never asks"),
    ):
        agent.write_text(kept.replace("permissions: edits", f"permissions: {patterns}"))
        told = fleet_cli("check", cwd=repo.root)
        assert told.code == 2
        assert f": {sentence}" in told.stderr
        assert "agents/agent-1.yaml:" in told.stderr


@pytest.mark.parametrize(
    ("make", "sentence", "cure"),
    [
        (lambda top: None, "not in a git repository", "git init"),
        (lambda top: _git(top, "init", "-q", "--bare", "."), "bare", "worktree add"),
        (lambda top: _git(top, "init", "-q", "."), "no commit", "git commit"),
    ],
    ids=["outside", "bare", "no commit"],
)
def test_init_where_there_is_no_checkout_names_the_cure(make, sentence, cure, tmp_path, fleet_cli):
    top = tmp_path / "place"
    top.mkdir()
    make(top)
    told = fleet_cli("init", cwd=top)
    assert told.code == 1
    assert sentence in told.stderr
    assert cure in told.stderr


def test_init_with_an_unknown_base_or_a_detached_head_is_refused(repo, fleet_cli):
    assert "no branch 'nowhere'" in fleet_cli("init", "--base", "nowhere", cwd=repo.root).stderr
    repo.git("checkout", "-q", "--detach")
    repo.git("branch", "-m", "main", "trunk")
    told = fleet_cli("init", cwd=repo.root)
    assert told.code == 1
    assert "--base" in told.stderr
    assert fleet_cli("init", "--base", "trunk", cwd=repo.root).code == 0


def _git(top, *words):
    subprocess.run(["git", *words], cwd=top, check=True)


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"pyproject.toml": "[tool.pytest.ini_options]\n", "uv.lock": ""}, "uv run pytest -q"),
        ({"package.json": '{"scripts": {"test": "vitest"}}'}, "npm test"),
        ({"package.json": '{"scripts": {"test": "x"}}', "pnpm-lock.yaml": ""}, "pnpm test"),
        ({"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\""}}'}, None),
        ({"package.json": '{"scripts": []}'}, None),
        ({"Cargo.toml": ""}, "cargo test"),
        ({"go.mod": "", "Makefile": "build:\n\ntest: build\n"}, "make test"),
        ({"Makefile": "test := 1\ncheck:\n"}, "make check"),
        ({"go.mod": ""}, "go test ./..."),
        ({"pyproject.toml": "not toml ["}, None),
        ({"README.md": ""}, None),
    ],
)
def test_the_test_command_is_read_from_the_files(files, command, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert find_test_command(tmp_path) == command


# --- doctor ---------------------------------------------------------------------------------------


def test_doctor_on_a_fresh_fleet(repo, fleet_cli):
    fleet_cli("init", cwd=repo.root)
    told = fleet_cli("doctor", "--json", cwd=repo.root)
    found = told.json()
    assert found["schema"] == "fleet.doctor/1"
    assert found["ok"] is True
    assert told.code == 0
    seen = levels(found)
    assert seen["git"] == seen["tmux"] == seen["python"] == seen["documents"] == "ok"
    assert seen["journal"] == seen["coordinator"] == "absent"
    shown = fleet_cli("doctor", cwd=repo.root, env={"LC_ALL": "C", "FLEET_ASCII": "1"})
    assert shown.stdout.isascii()


def test_doctor_without_a_fleet_or_a_repository_names_both_cures(tmp_path, fleet_cli):
    told = fleet_cli("doctor", "--json", cwd=tmp_path)
    found = told.json()
    assert told.code == 1
    cures = {one["name"]: one["cure"] for one in found["checks"]}
    assert cures["documents"] == "fleet init"
    assert cures["repository"].startswith("git init")


def test_doctor_names_tools_that_are_missing_or_too_old(repo, fleet_cli, tmp_path):
    bin_folder = tmp_path / "bin"
    program(bin_folder, "tmux", "echo tmux 2.9a")
    program(bin_folder, "fleet", "echo another editor")
    fleet_cli("init", "--harness", "claude", cwd=repo.root)
    env = {"PATH": f"{bin_folder}:/usr/bin:/bin"}
    found = fleet_cli("doctor", "--json", cwd=repo.root, env=env).json()
    seen = {one["name"]: one for one in found["checks"]}
    assert found["ok"] is False
    assert seen["tmux"]["level"] == "error"
    assert "too old" in seen["tmux"]["text"]
    assert str(bin_folder / "fleet") in seen["fleet"]["text"]
    assert seen["fleet"]["level"] == "warning"
    assert seen["claude"]["level"] == "error"
    assert "agent-1" in seen["claude"]["text"]
    assert seen["claude"]["cure"]


def test_doctor_warns_where_git_knows_no_name(repo, fleet_cli, tmp_path):
    env = {"GIT_CONFIG_GLOBAL": str(tmp_path / "none"), "GIT_CONFIG_SYSTEM": "/dev/null"}
    assert levels(fleet_cli("doctor", "--json", cwd=repo.root, env=env).json())["identity"] == "ok"
    repo.git("config", "--unset", "user.email")
    found = fleet_cli("doctor", "--json", cwd=repo.root, env=env).json()
    assert levels(found)["identity"] == "warning"


def test_doctor_looks_where_it_is_told_whatever_the_environment_says(repo, fleet_cli, tmp_path):
    other = GitRepo(tmp_path / "other")
    fleet_cli("init", cwd=other.root)
    env = {"FLEET_ROOT": str(other.root)}
    found = fleet_cli("-C", repo.root, "doctor", "--json", env=env).json()
    assert levels(found)["documents"] == "absent"
    found = fleet_cli("doctor", "--json", cwd=tmp_path, env=env).json()
    assert levels(found)["documents"] == "ok"


def test_init_in_a_linked_worktree_says_where_it_made_the_fleet(repo, fleet_cli, tmp_path):
    repo.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    told = fleet_cli("init", cwd=tmp_path / "side")
    assert (repo.root / "coordination.md").is_file()
    assert not (tmp_path / "side/coordination.md").exists()
    assert str(repo.root) in told.stdout


def test_doctor_shows_broken_documents_and_an_open_state_folder(repo, fleet_cli):
    fleet_cli("init", cwd=repo.root)
    repo.write({"tasks/bad.md": "---\ndependencies: [nobody]\n---\n"})
    (repo.root / ".fleet").chmod(0o777)
    found = fleet_cli("doctor", "--json", cwd=repo.root).json()
    seen = {one["name"]: one for one in found["checks"]}
    assert seen["documents"]["level"] == "error"
    assert "tasks/bad.md:2" in seen["documents"]["text"]
    assert seen["state"]["level"] == "error"
    assert seen["state"]["cure"].startswith("chmod 700")


def test_doctor_finds_damage_and_repairs_it(repo, fleet_cli):
    fleet_cli("init", cwd=repo.root)
    path = repo.root / ".fleet/journal.db"
    path.write_bytes(os.urandom(3 * PAGE_BYTES))
    told = fleet_cli("doctor", "--json", cwd=repo.root)
    assert told.code == 1
    assert levels(told.json())["journal"] == "error"
    mended = fleet_cli("doctor", "--repair", cwd=repo.root)
    assert "rebuilt" in mended.stdout
    assert levels(fleet_cli("doctor", "--json", cwd=repo.root).json())["journal"] == "ok"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_sqlite_releases_with_the_wal_reset_bug_are_warned_of():
    warned = ("3.7.0", "3.40.1", "3.44.5", "3.50.6", "3.51.2")
    assert {sqlite(one)["level"] for one in warned} == {"warning"}
    assert {sqlite(one)["level"] for one in ("3.44.6", "3.50.7", "3.51.3", "4.0.0")} == {"ok"}


def test_doctor_prints_one_json_object_and_nothing_else(repo, fleet_cli):
    told = fleet_cli("doctor", "--json", cwd=repo.root)
    assert json.loads(told.stdout)["schema"] == "fleet.doctor/1"
    assert told.stderr == ""
