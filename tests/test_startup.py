"""What a start imports: sets of modules, never milliseconds. Whoever adds a heavy import to the
way of the help or of the check-in fails here, and is told which one it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.git_repo import GitRepo

HEAVY = {"pydantic", "yaml", "git", "libtmux", "psutil", "asyncio", "rich", "jinja2", "holidays"}
MCP = {"mcp", "mcp_types", "anyio", "httpx2", "starlette"}
TASKS = 3

# Runs a command line as `fleet` does and leaves the names of all modules that it has imported.
DOOR = """
import sys
sys.argv = ["fleet", *sys.argv[2:]]
from fleet.__main__ import main
try:
    main()
finally:
    open({names!r}, "w").write("\\n".join({{name.partition(".")[0] for name in sys.modules}}))
"""


def run(folder: Path, *words: str, door: bool = True) -> tuple[str, set[str]]:
    names = folder / "modules"
    names.unlink(missing_ok=True)
    code = ["-c", DOOR.format(names=str(names)), "fleet"] if door else ["-m", "fleet"]
    done = subprocess.run(
        [sys.executable, *code, *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, set(names.read_text().split()) if door else set()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Path]:
    """A fleet whose tasks were launched and whose coordinator has gone."""
    files = {
        "coordination.md": f"---\nfleet: small\nbase: main\nlimits: {{agents: {TASKS}}}\n---\n",
        "agents/crew.yaml": "id: crew\nharness: shell\nargs: [/bin/sh, -c, exit 0]\n",
        **{
            f"tasks/t{n}.md": f"---\nagent: crew\nworktree: ../trees/t{n}\n---\nDo it.\n"
            for n in range(TASKS)
        },
    }
    root = GitRepo(tmp_path / "project", files=files).root
    yield root
    run(tmp_path, "-C", str(root), "down", "--all", door=False)
    from fleet.adapters.tmux import Tmux
    from fleet.app.place import FleetPlace

    Tmux(FleetPlace(root).socket).kill_server()


def test_help_imports_nothing_heavy(tmp_path):
    said, modules = run(tmp_path, "--help")

    assert "status" in said
    assert modules & {*HEAVY, *MCP, "sqlite3"} == set()


def test_a_coordinator_and_its_tools_import_no_mcp_before_a_server_is_called():
    code = "import sys, fleet.runtimes.embedded, fleet.kinds.tool, fleet.app.diagnosing.servers\n"
    said = subprocess.run(
        [sys.executable, "-c", f"{code}print(*sys.modules)"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert {name.partition(".")[0] for name in said.stdout.split()} & MCP == set()


@pytest.mark.parametrize("words", [["status"], ["status", "--json"]], ids=" ".join)
def test_status_imports_nothing_heavy(fleet, tmp_path, words):
    run(tmp_path, "-C", str(fleet), "launch", "--all", door=False)
    run(tmp_path, "-C", str(fleet), *words, door=False)  # what is read for the first time is cached

    said, modules = run(tmp_path, "-C", str(fleet), *words)

    assert "t0" in said
    assert "sqlite3" in modules, "a run is in the journal"
    assert modules & {*HEAVY, *MCP} == set()


def test_the_short_way_says_what_the_long_way_says(fleet, tmp_path, monkeypatch):
    def told(*words: str) -> dict[str, object]:
        return json.loads(run(tmp_path, *words, door=False)[0])

    monkeypatch.setenv("FLEET_NOW_MS", "1790000000000")
    short = told("-C", str(fleet), "status", "--json")
    long = told("-C", str(fleet), "status", "--width", "100", "--json")

    assert short == long


def test_an_edit_is_seen_though_nothing_was_read(fleet, tmp_path):
    run(tmp_path, "-C", str(fleet), "launch", "--all", door=False)
    for _ in range(2):
        said, _ = run(tmp_path, "-C", str(fleet), "status", "--json", door=False)
        assert json.loads(said)["warnings"] == []

    task = fleet / "tasks/t1.md"
    task.write_text(task.read_text().replace("Do it.", "Do that."))
    said, _ = run(tmp_path, "-C", str(fleet), "status", "--json", door=False)

    assert any("edited" in line for line in json.loads(said)["warnings"])


def test_a_workflow_that_has_run_before_is_run_without_its_parsers(fleet, tmp_path):
    (fleet / "workflows").mkdir()
    (fleet / "workflows/w.yaml").write_text(
        "initial_state: {n: 0}\nsteps:\n"
        '  - {id: a, type: set_state, updates: {n: "{{ state.n + 1 }}"}}\n'
    )
    run(tmp_path, "-C", str(fleet), "run", "w", "--wait", door=False)

    said, modules = run(tmp_path, "-C", str(fleet), "run", "w")

    assert said.startswith("w-")
    assert modules & HEAVY == set()
