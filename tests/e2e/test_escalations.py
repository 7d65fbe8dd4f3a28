"""Questions go to roles: an agent is started to answer, its answer reaches who asked, and where it
gives none somebody else is asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import yaml

from support.crash_walks import OF_AN_ANSWER
from support.scripted_fleet import PATIENCE_S, ScriptedFleet, until

HOSTILE = r"# JWT or <script>`sessions`? \033[31m\n```\n## Decision\n"
"""A question, as printf writes it."""


def role(fleet: ScriptedFleet, name: str, script: str, **told: Any) -> None:
    """Declares an agent that answers; it keeps the brief of each of its attempts."""
    note = f'echo "$FLEET_AGENT $FLEET_TASK $FLEET_ATTEMPT" >> "{fleet.ran_path}"\n'
    keeps = f'cp "$FLEET_BRIEF" "{fleet.top}/brief-$FLEET_TASK-$FLEET_ATTEMPT"\n'
    agent = {"harness": "shell", "args": note + keeps + script, **told}
    fleet.put(f"agents/{name}.yaml", yaml.safe_dump(agent))


def says(told: Any) -> str:
    """Returns a script whose last words are an answer."""
    words = told if isinstance(told, str) else f"I think.\n\n```json\n{json.dumps(told)}\n```"
    text = f"cat > \"$FLEET_BRIEF.out\" <<'END'\n{words}\nEND\n"
    return text + 'fleet done --output "$FLEET_BRIEF.out"\n'


def asks(name: str, text: str, *words: str) -> str:
    """Returns a script that asks, waits for the answer, and commits it as NAME.md."""
    ask = f'fleet ask "$(printf {shlex.quote(text)})" {" ".join(words)} --wait 60 > answer\n'
    return f"{ask}mv answer {name}.md; git add {name}.md; git commit -qm done\n"


def brief(fleet: ScriptedFleet, name: str) -> str:
    return (fleet.top / f"brief-{name}").read_text()


def decided(fleet: ScriptedFleet) -> dict[str, dict[str, Any]]:
    """Returns what was decided, by task."""
    found = fleet.must("decisions", "--json").json()
    assert found["schema"] == "fleet.decisions/1"
    return {one["task"]: one for one in found["decisions"]}


def test_roles_answer_and_who_gives_no_answer_is_passed_over(fleet: ScriptedFleet) -> None:
    fleet.settings["escalations"] = [
        {"topic": "auth", "to": "architect", "within": "10m"},
        {"topic": "slow", "to": "sleeper", "within": "3s"},
        {"severity": "high", "to": "@grace"},
        {"topic": "odd", "to": "vague"},
    ]
    fleet.settings["loops"] = {"after": 9}
    own = 'if [ "$FLEET_TASK" = own ]; then\n' + asks("own", "mine?", "--topic auth") + "exit; fi\n"
    answer = own + says({"answer": "jwt", "reason": "stateless, *see* RFC"})
    role(fleet, "ada", answer, role="architect")
    role(fleet, "bob", "sleep 600\n", role="sleeper")
    role(fleet, "vera", says("I would say maybe"), role="vague")
    role(fleet, "lea", says("retry\nuse port 80, then it works"), role="lead")
    role(fleet, "zoe", fleet.delivers("docs"))
    choices = "--topic auth --choice jwt --choice session"
    fleet.task("api", asks("api", HOSTILE, choices), body="Build the api.", deliverables=["api.md"])
    held = f'grep -q "use port 80" "$FLEET_BRIEF" || exit 1\n{fleet.delivers("web")}'
    fleet.task("web", held, deliverables=["web.md"], attempts=1, on_failure=["escalate lead"])
    fleet.task("never", "exit 1\n", attempts=1, on_failure=["escalate lead"])
    handed = ["agent zoe", "ask grace"]
    fleet.task("docs", "exit 0\n", deliverables=["docs.md"], attempts=1, on_failure=handed)
    slow = asks("slow", "now?", "--topic slow --severity high")
    fleet.task("slow", slow, deliverables=["slow.md"])
    odd = asks("odd", "which?", "--topic odd --choice left --choice right")
    fleet.task("odd", odd, deliverables=["odd.md"], decisions=[{"text": "left", "reason": "law"}])
    late = 'grep -q stateless "$FLEET_BRIEF" && { echo > late.md; git add late.md; '
    late += "git commit -qm late; exit; }\nfleet ask 'And then?' --topic auth\n"
    late += 'until ls "${FLEET_BRIEF%/*}"/notes/*.md; do sleep 0.1; done\nexit 1\n'
    fleet.task("late", late, deliverables=["late.md"])
    fleet.put("tasks/own.md", "---\nagent: ada\ndeliverables: [own.md]\n---\nDecide.\n")
    fleet.write()
    (point,) = OF_AN_ANSWER
    with dying(fleet, point):
        fleet.must("launch", "--all")
        _plays(fleet)
    _shows_decisions(fleet)


@contextlib.contextmanager
def dying(fleet: ScriptedFleet, point: str) -> Iterator[None]:
    """Has a coordinator at work that dies at a point, and insists that it did."""
    up = subprocess.Popen(
        [sys.executable, "-m", "fleet", "up"],
        cwd=fleet.root,
        env={**os.environ, "FLEET_CRASH_AT": point},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: fleet.coordinator() == up.pid, "the coordinator that is to die")
        yield
        assert up.wait(PATIENCE_S) == -signal.SIGKILL, f"{point} was never passed"
    finally:
        up.kill()
        up.wait()


def _plays(fleet: ScriptedFleet) -> None:
    # while a role is at it nobody needs to look, and its session is to be found by the question
    late = fleet.asked(task="slow", whom="sleeper")
    assert (late["answering"], late["climbs_at"] is not None) == ("sleeper", True)
    assert fleet.row("slow")["state"] == "working"
    until(lambda: "bob plan" in fleet.ran_path.read_text(), "a sleeper")
    assert fleet("logs", late["id"]).code == 0
    assert "sleeper works at the answer until" in fleet.must("status").stdout

    # its time is up: its session ends, and the next route's person is asked, who sends it on
    late = fleet.asked(task="slow", whom="@grace")
    assert late["answering"] is None
    assert "for grace" in fleet.must("inbox").stdout
    assert "person is asked now" in fleet.must("answer", late["id"], "--escalate").stdout
    assert "a person's already" in fleet("answer", late["id"], "--escalate").stderr
    assert fleet("answer", late["id"]).code == 2
    fleet.must("answer", late["id"], "tomorrow")
    assert "answered already" in fleet("answer", late["id"], "today").stderr

    # what is no choice is asked for once more, with what was wrong, and then of a person
    which = fleet.asked(task="odd", whom="person")
    assert "'I would say maybe' is none of left, right" in brief(fleet, f"{which['id']}-2")
    assert (which["passed"], "is none of left, right" in which["why"]) == (["vague"], True)
    assert "    from vague: vera: what it said last is no answer" in fleet.must("inbox").stdout
    fleet.must("answer", which["id"], "left", "--note", "it is the law")

    # nobody answers what they asked themselves, through no door
    mine = fleet.asked(task="own", whom="person")
    refused = fleet("answer", mine["id"], "yes", env={"FLEET_AGENT": "ada"})
    assert refused.code == 1
    assert "ada asked this itself" in refused.stderr
    fleet.must("answer", mine["id"], "ours", env={"USER": "grace"})

    # who has said often enough how a task goes on is not asked once more
    last = fleet.asked(task="never", whom="person")
    assert fleet.ran()["never 4"] == 1
    fleet.must("answer", last["id"], "skip")

    assert fleet.wait("api", "web", "docs", "slow", "odd", "own", "late").code == 0
    assert [fleet.git("show", f"fleet/{name}:{name}.md") for name in ("api", "slow", "odd")] == [
        "jwt", "tomorrow", "left",
    ]  # fmt: skip
    ran = fleet.ran()
    assert ran["web 1"] == ran["web 2"] == 1
    assert ran["zoe docs 2"] == 1, "another agent had the last round"
    assert fleet.status()["questions"] == []

    told = brief(fleet, f"{decided(fleet)['api']['id']}-1")
    assert "Build the api." in told
    assert "- `jwt`\n- `session`" in told
    assert "# JWT or <script>" in told
    asked_ada = sum(count for name, count in ran.items() if name.startswith("ada plan."))
    assert asked_ada == 2, "the coordinator's death asks nobody twice"
    assert ran["late 2"] == 1, "its answer stood in the next brief"
    assert " to architect" in fleet.must("history").stdout


def _shows_decisions(fleet: ScriptedFleet) -> None:
    found = decided(fleet)
    assert {
        task: (one["answer"], one["by"])
        for task, one in found.items()
        if task not in ("slow", "never")
    } == {
        "api": ("jwt", "agent:ada"),
        "web": ("retry", "agent:lea"),
        "odd": ("left", found["odd"]["by"]),
        "own": ("ours", "grace"),
        "late": ("jwt", "agent:ada"),
    }
    assert found["web"]["reason"] == "use port 80, then it works"
    listed = fleet.must("decisions").stdout
    assert "-> left\n       law" in listed
    assert "\x1b" not in listed

    folder = fleet.root / "docs"
    assert len(fleet.must("decisions", "--export", str(folder), "--dry-run").stdout.split()) == 11
    assert not folder.exists()
    fleet.must("decisions", "--export", str(folder))
    names = sorted(path.name for path in folder.iterdir())
    assert names[0] == "0001-left.md"
    (api,) = (path for path in folder.iterdir() if "jwt-or-script-sessions" in path.name)
    text = api.read_text()
    assert text.splitlines()[0].endswith(r". \# JWT or \<script\>\`sessions\`?")
    assert "````text\n# JWT" in text, "nothing in it closes the fence"
    assert text.index("\n## Decision\n\n```text\njwt\n```") > text.index("\n````\n")
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert "there already" in fleet.must("decisions", "--export", str(folder)).stdout
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times
