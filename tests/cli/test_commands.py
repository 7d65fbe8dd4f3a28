"""The command line: help and groups, exit codes, and the JSON of every reading command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.app.demo.story import names
from fleet.cli import main
from fleet.cli.door import FIRST, FLOW, INSIDE, LAND, PLAN, RUN, SERVE, TALK, WATCH, app, columns
from support.git_repo import GitRepo

GROUPS = {FIRST, FLOW, INSIDE, LAND, PLAN, RUN, SERVE, TALK, WATCH}
READING = {
    "check": "fleet.check/1", "plan": "fleet.plan/1", "status": "fleet.status/1",
    "gate": "fleet.gates/1", "metrics": "fleet.metrics/1", "inbox": "fleet.inbox/1",
    "doctor": "fleet.doctor/1", "report": "fleet.report/1", "findings": "fleet.findings/1",
}  # fmt: skip
STREAMS = {"history", "logs"}
WRITING = set(
    "init launch down stop pause resume retry skip send merge backup answer approve reject checkin"
    " ask done output finding run".split()
)


def commands():
    from typer.main import get_command

    from fleet.cli import overview, planning, running, talking, watching, withdrawing  # noqa: F401

    return get_command(app).commands


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    repo = GitRepo(tmp_path_factory.mktemp("cli") / "repo")
    for name, text in {
        "coordination.md": "---\nbase: main\nfleet: shop\n"
        "phases: [{id: p, tasks: [one, two]}]\n---\n",
        "agents/a.md": "---\nharness: shell\nargs: 'true'\n---\n",
        "tasks/one.md": "---\nagent: a\ndays: 2\nmetrics: [{name: p95, target: '<100'}]\n---\n",
        "tasks/two.md": "---\nagent: a\ndependencies: [one]\n---\n",
    }.items():
        path = repo.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return repo.root


@pytest.fixture
def run(root, capsys, monkeypatch):
    """Runs a command line in this process; returns code, standard output and standard error."""
    monkeypatch.chdir(root)

    def told(*argv):
        code = main(list(argv))
        out, err = capsys.readouterr()
        return code, out, err

    return told


# --- help -----------------------------------------------------------------------------------------


def test_every_command_has_help_and_a_group():
    for name, command in commands().items():
        assert command.help, name
        assert command.rich_help_panel in GROUPS, name
        assert len(command.get_short_help_str(100)) <= 100
        for parameter in command.params:
            assert getattr(parameter, "help", "") or parameter.name in ("help", "ctx"), (
                name,
                parameter,
            )


def test_help_lists_every_command_under_its_group(run):
    code, out, _ = run("--help")
    assert code == 0
    found, group = {}, ""
    for text in out.splitlines():
        if text.endswith(":") and not text.startswith(" "):
            group = text.removesuffix(":")
        elif group in GROUPS and text.startswith("  ") and text[2:3].strip():
            found[text.split()[0]] = group
    assert found == {name: command.rich_help_panel for name, command in commands().items()}
    assert max(map(len, out.splitlines())) <= 100


def test_every_command_tells_its_own_help(run):
    for name in commands():
        code, out, err = run(name, "--help")
        assert (code, err) == (0, ""), name
        assert out.startswith(f"Usage: fleet {name}")


def test_reading_commands_take_json_and_writing_ones_a_dry_run():
    options = {
        name: {option for one in command.params for option in one.opts}
        for name, command in commands().items()
    }
    assert {name for name in (*READING, *STREAMS) if "--json" not in options[name]} == set()
    assert {name for name in WRITING if "--dry-run" not in options[name]} == set()


# --- exit codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "nonsense", "plan --nonsense", "plan --agents 0", "plan --agents many", "plan --limit x=y",
        "plan --limit agents", "plan --format nonsense", "schema nonsense", "schema", "send one",
        "reject q1", "logs one -n 0", "wait one --timeout soon", "status --width 3",
    ],
)  # fmt: skip
def test_usage_errors_exit_2_and_say_what_is_wrong(run, line):
    code, out, err = run(*line.split())
    assert (code, out) == (2, "")
    assert "error: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("launch nobody", "no task or agent 'nobody'"),
        ("launch", "no task was named"),
        ("launch --phase x", "no phase 'x'"),
        ("stop one", "nothing was launched yet"),
        ("resume --dry-run one", "nothing was launched yet"),
        ("wait one", "nothing was launched yet"),
        ("answer q1 yes", "no open question 'q1'"),
        ("gate nowhere", "no phase or checkpoint 'nowhere'"),
        ("logs one", "nothing was launched yet"),
        ("attach one", "nothing was launched yet"),
        ("done", "is not set"),
        ("ask why", "is not set"),
        ("brief", "is not set"),
        ("output coordination.md", "is not set"),
        ("output nowhere.md", "nowhere.md cannot be read"),
        ("done --output nowhere.md", "nowhere.md cannot be read"),
        ("finding x", "is not set"),
        ("checkin --done x", "is not set"),
        ("backup /nowhere --restore", "is not there"),
        ("merge --dry-run", "the gate of p is closed"),
    ],
)
def test_a_refusal_exits_1_and_says_why(run, line, words):
    code, out, err = run(*line.split())
    assert (code, out) == (1, "")
    assert words in err
    assert err.startswith("error: ")


def test_invalid_documents_exit_2_with_every_problem(tmp_path, monkeypatch, capsys):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "coordination.md").write_text("---\nbase: main\nnonsense: 1\n---\n")
    (tmp_path / "tasks/one.md").write_text("---\ndependencies: [nobody]\n---\n")
    monkeypatch.chdir(tmp_path)
    for line in (["check"], ["plan"], ["launch", "one", "--dry-run"]):
        assert main(line) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "coordination.md:3:1" in err
        assert "nobody" in err
    assert main(["check", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert found["problems"][0]["line"] == 3


def test_a_bug_exits_3_and_keeps_its_trace(run, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("by nobody")

    monkeypatch.setattr("fleet.app.planning.plan", broken)
    code, out, err = run("plan")
    assert (code, out) == (3, "")
    assert "ZeroDivisionError('by nobody')" in err
    path = Path(err.split("its trace: ")[1].strip())
    assert "Traceback" in path.read_text()
    path.unlink()


def test_an_interrupt_exits_130(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fleet.app.planning.plan", interrupted)
    assert run("plan")[0] == 130


# --- what is printed ------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "schema"), READING.items())
def test_reading_commands_print_one_object_with_its_schema(run, name, schema):
    code, out, _ = run(name, "--json")
    assert code in (0, 1)
    assert json.loads(out)["schema"] == schema
    assert out.count("\n") == 1


def test_the_quick_way_to_the_status_is_the_same_as_the_usual_one(run, root):
    quick = json.loads(run("-C", str(root), "status", "--json")[1])
    usual = json.loads(run("status", "--json", "--width", "80")[1])
    assert {**quick, "now": ""} == {**usual, "now": ""}


def test_a_gate_that_is_named_is_one_object_and_closed_means_1(run):
    code, out, _ = run("gate", "p", "--json")
    assert code == 1
    assert json.loads(out)["schema"] == "fleet.gate/1"


def test_what_a_launch_would_do(run):
    code, out, _ = run("launch", "--all", "--dry-run", "--json")
    rows = json.loads(out)["tasks"]
    assert code == 0
    assert [(row["task"], row["state"]) for row in rows] == [
        ("one", "would launch"),
        ("two", "would wait"),
    ]
    _, out, _ = run("launch", "two", "--dry-run")
    assert out.splitlines()[0] == "two  a  would be refused: two cannot start yet: it needs one"


def test_a_dry_run_leaves_no_run_behind(run):
    run("launch", "--all", "--dry-run")
    assert run("history")[:2] == (0, "")
    assert run("inbox")[:2] == (0, "nothing needs you\n")


def test_the_version(run):
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("fleet ")


def test_the_help_of_the_demo_names_every_story():
    (argument,) = (one for one in commands()["demo"].params if one.name == "name")
    first, *rest = argument.help.removesuffix(".").replace(" or ", ", ").split(", ")
    assert [first.removesuffix(" (the first)"), *sorted(rest)] == names()


def test_bare_fleet_says_how_to_begin_where_there_is_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert "fleet init" in capsys.readouterr().out


def test_bare_fleet_shows_the_status(run):
    code, out, _ = run()
    assert code == 0
    assert out.startswith("shop")
    assert "Next: fleet launch one" in out


def test_columns_are_those_of_the_terminal_or_the_environment(monkeypatch):
    assert columns(77) == 77
    for told, expected in (("120", 120), ("", 100), ("wide", 100), ("7", 100), ("\u00b2", 100)):
        monkeypatch.setenv("COLUMNS", told)
        assert columns(None) == expected


def test_names_that_the_terminal_cannot_show_break_nothing(root, tmp_path):
    path = root / "coordination.md"
    before = path.read_text()
    path.write_text(before.replace("fleet: shop", "fleet: caf\u00e9"))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fleet", "status"], cwd=root, capture_output=True, text=True,
            env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False,
        )  # fmt: skip
    finally:
        path.write_text(before)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("caf\\xe9 - day 1")
