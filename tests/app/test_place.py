"""Which task an id means, and telling a run: one coordinator, its answers, and its failures."""

from __future__ import annotations

import subprocess

import pytest

from fleet.app import telling
from fleet.app.ending import down, retry
from fleet.app.launching import launch, pause, skip, stop
from fleet.app.place import FleetPlace, find_place, next_of, resolve_task
from fleet.app.resuming import resume
from fleet.app.telling import coordinator_environ, tell
from fleet.app.watching import status, wait
from fleet.core import messages as m
from fleet.errors import FleetError, NotFound, Rejected
from support.git_repo import GitRepo
from support.lowered_run import LoweredRun, fleet, plan


def test_a_current_folder_that_was_removed_is_said(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FleetError, match="the current folder was removed"):
        find_place()


@pytest.fixture
def run(tmp_path):
    tasks = {"api": "agent: ana", "api-docs": "agent: ana", "web": "agent: api", "db": "agent: dan"}
    return LoweredRun(plan(tmp_path, agents="ana api dan", **tasks), release=False)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("api", "api"),
        ("api-d", "api-docs"),
        ("w", "web"),
        ("db", "db"),
        ("ana", "api"),
        ("dan", "db"),
    ],
)
def test_an_exact_match_beats_a_prefix_and_a_task_beats_an_agent(run, name, task):
    assert resolve_task(FleetPlace(None), name, run.state) == task


@pytest.mark.parametrize("name", ["ap", "x", ""])
def test_what_is_not_one_task_is_named_with_what_is_close(run, name):
    with pytest.raises(NotFound):
        resolve_task(FleetPlace(None), name, run.state)


def test_an_agent_means_its_next_task_and_for_a_launch_one_that_is_ready(run):
    mine = ["api", "api-docs"]
    run.release("api/worktree").begin("api")
    assert next_of(mine, run.state) == "api"
    assert next_of(mine, run.state, ready=True) == "api-docs"
    run.verify("api")
    assert next_of(mine, run.state) == "api-docs"
    assert next_of(mine, None) == "api"


def test_a_coordinator_gets_no_environment_that_leads_tools_astray():
    told = {"GIT_DIR": "x", "TMUX": "y", "FLEET_TASK": "z", "PATH": "p", "GIT_CONFIG_GLOBAL": "g"}
    assert coordinator_environ(told) == {"PATH": "p", "GIT_CONFIG_GLOBAL": "g"}


# --- with a coordinator ---------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    repo = GitRepo(tmp_path / "repo")
    fleet(repo.root, one="", two="deps: [one]")
    yield FleetPlace(repo.root)
    down(FleetPlace(repo.root), every=True)


def test_one_coordinator_is_started_while_its_first_answer_is_waited_for(place, monkeypatch):
    started = []
    ensure = telling.ensure_coordinator

    def counted(where):
        found = ensure(where)
        started.extend([found] if found else [])
        return found

    monkeypatch.setattr(telling, "ensure_coordinator", counted)
    tell(place, [m.StartRun(run="r", plan=LoweredRun and plan(place.root, one=""))], run="r")
    assert len(started) == 1


def test_a_coordinator_that_cannot_start_is_told_with_its_last_words(place, monkeypatch):
    broken = subprocess.run(["which", "false"], capture_output=True, text=True, check=True)
    monkeypatch.setattr("sys.executable", broken.stdout.strip())
    with pytest.raises(FleetError, match="could not start"):
        tell(place, [m.PauseRun()])


def test_a_life_of_holding_and_going_on(place):
    with pytest.raises(Rejected, match="two cannot start yet: it needs one"):
        launch(place, ["two"])
    assert pause(place, ["one"]) == ["one"]
    assert status(place)["tasks"][0]["state"] == "held"
    assert resume(place, []) == ["one"]
    assert skip(place, ["one"], "by hand") == ["one"]
    assert wait(place, ["one"], "verified", 5)[0] is False, "what was skipped is never verified"
    with pytest.raises(Rejected, match="ended already"):
        skip(place, ["one"])
    with pytest.raises(Rejected, match="nothing to try again"):
        retry(place, ["one"])
    with pytest.raises(FleetError, match="no task was named"):
        stop(place, [])
    assert wait(place, ["two"], "merged", 0)[0] is None


def test_an_unknown_task_starts_no_run(place):
    with pytest.raises(NotFound):
        launch(place, ["nobody"])
    assert place.run_state() is None
