"""The workflows of this repository, each rehearsed offline through the `fleet` command."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fleet.app.ending import down
from fleet.app.place import FleetPlace
from fleet.app.runs import run_status, runs
from support.scripted_fleet import until

INTERRUPTED = 130

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
RESULTS = {
    "ecommerce.json": [["milestones"], ["review"], {"go": "Open it."}],
    "code-review.json": [["change"], ["findings"], ["fixes"], {"verdict": "APPROVED"}],
    "incident.yaml": [["cause", "action", "rounds", "learned"]],
    "migration.yaml": [["migrated", "why", "as_before"]],
    "planning.yaml": [["approved", "plan", "rounds"]],
}


@pytest.fixture
def rehearse(fleet_cli, tmp_path):
    """Rehearses a workflow far from any fleet; what it made is ended after, and told as `fleet`."""
    made = []

    def run(*words, code=0):
        done = fleet_cli(
            "run", *words, "--demo", cwd=tmp_path, env={"TMPDIR": str(tmp_path)}, timeout_s=120
        )
        assert done.code == code, done
        made.extend(tmp_path.glob("fleet-rehearsal-*/fleet"))
        return done

    run.made = made
    yield run
    for root in made:
        down(FleetPlace(root), every=True)


def test_every_workflow_here_is_rehearsed():
    assert sorted(path.name for path in WORKFLOWS.iterdir() if path.is_file()) == sorted(RESULTS)


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_a_workflow_is_rehearsed_to_its_result(rehearse, name):
    done = rehearse((WORKFLOWS / name).with_suffix(""))
    (root,) = rehearse.made
    assert f"scripted agents: {root}" in done.stderr
    assert f"rm -rf {root.parent}" in done.stderr
    found = runs(FleetPlace(root))["runs"]
    assert [one["state"] for one in found] == ["succeeded"] * len(RESULTS[name])
    for one, expected in zip(found, RESULTS[name], strict=True):
        status = run_status(FleetPlace(root), one["run"])
        assert f"{one['run']}: {one['workflow']}" in done.stdout
        for step in status["steps"]:
            assert step["id"].removeprefix(step["parent"] or "").lstrip("/") in done.stdout
        result = status["result"]
        assert (result if isinstance(expected, dict) else list(result)) == expected
        assert "result: {" in done.stdout
        if name == "migration.yaml":
            assert (result["migrated"], result["as_before"]) == (False, True)
        if "rounds" in result:
            assert result["rounds"] == 2


MADE_UP = """
inputs: {n: {type: integer, required: true}}
steps:
  - {id: ask, type: prompt, input: number, message: "How many?"}
  - {id: which, type: prompt, input: choice, choices: [left, right], message: "Which?"}
  - id: shape
    type: delegate
    agent: "@the maker"
    instructions: Make it.
    output:
      type: object
      required: [name, sizes]
      properties:
        name: {type: string}
        sizes: {type: array, items: {type: integer}, minItems: 2}
        kind: {enum: [round, flat]}
  - {id: judge, type: verify, of: shape, agent: critic}
  - {id: architect, type: escalate, question: "So?", to: architect}
  - id: end
    type: return
    value: ["{{ steps.ask.output }}", "{{ steps.which.output }}", "{{ steps.shape.output }}",
            "{{ steps.architect.output }}"]
"""


def test_what_no_script_says_is_made_up(rehearse, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(MADE_UP)
    refused = rehearse(path, code=2)
    assert "own.yaml: the input 'n' is required" in refused.stderr
    assert rehearse.made == []
    assert rehearse(path, "--input", "n=1", "--dry-run").stdout == "would run own: 6 steps\n"
    assert rehearse.made == []
    done = rehearse(path, "--input", "n=1", "--json", "--role", "architect=echo so")
    shape = {"name": "made up", "sizes": [1, 1], "kind": "round"}
    assert json.loads(done.stdout)["result"] == [1, "left", shape, "so"]
    assert "? How many?\n> 1 (scripted)" in done.stderr
    (root,) = rehearse.made
    assert FleetPlace(root).documents.agents["the-maker"].roles == ("the maker",)


def test_a_question_left_open_at_the_terminal_says_how_the_throw_away_fleet_is_answered(
    rehearse, fleet_cli, tmp_path
):
    path = tmp_path / "asks.yaml"
    path.write_text('steps:\n  - {id: ask, type: prompt, input: number, message: "How many?"}\n')
    mine, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "fleet", "run", str(path), "--demo"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    said, typed = "", False
    while not said.partition("left open:")[2].count("\n") > 1:
        assert select.select([mine], [], [], 60)[0], said
        said += os.read(mine, 4096).decode()
        if said.endswith("> ") and not typed:
            typed = bool(os.write(mine, b"\x04"))  # the end of the input
    rehearse.made.extend(tmp_path.glob("fleet-rehearsal-*/fleet"))
    how = said.partition("left open:")[2].split("\n")[1].strip()
    program, *words = how.replace("NUMBER", "3").split()
    assert program == "fleet"
    assert fleet_cli(*words, cwd=tmp_path).code == 0, how
    assert child.wait(60) == 0
    os.close(mine)


def test_a_workflow_that_does_not_hold_leaves_nothing_behind(rehearse, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("steps:\n  - {id: a, type: return, value: '{{ own() }}'}\n")
    refused = rehearse(path, code=2)
    assert "workflows/bad.yaml:2:34: no name 'own' in an expression" in refused.stderr
    assert "no workflow 'gone'" in rehearse("gone", code=1).stderr
    path.write_text("steps:\n  - {id: a, type: mcp_call, tool: client.look}\n")
    assert "step 'a' calls a tool of a client" in rehearse(path, code=1).stderr
    path.write_text("steps:\n  - {id: a, type: adapt, patch: {drop: [t]}}\n")
    assert "step 'a' changes the plan" in rehearse(path, code=1).stderr
    assert rehearse.made == []


def test_an_interrupted_rehearsal_leaves_nothing_running(tmp_path):
    path = tmp_path / "slow.json"
    path.write_text('{"workflow": {"role": "dev", "task": "Sleep."}}')
    log, argv = tmp_path / "log", [sys.executable, "-m", "fleet", "run", str(path), "--demo"]
    with log.open("w") as said:
        child = subprocess.Popen(
            [*argv, "--role", "dev=touch begun; sleep 300"],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stderr=said,
        )
    until(lambda: list(tmp_path.glob("fleet-rehearsal-*/fleet/.fleet/**/begun")), "the agent")
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == INTERRUPTED
    (root,) = tmp_path.glob("fleet-rehearsal-*/fleet")
    assert str(root) in log.read_text()
    until(lambda: not _mentioning(root), "the end of all that knows the fleet", 20)


def _mentioning(root: Path) -> list[psutil.Process]:
    """Returns the processes with a folder in their words or their FLEET_ROOT."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = [*one.cmdline(), one.environ().get("FLEET_ROOT", "")]
            if any(str(root) in word for word in words):
                found.append(one)
    return found
