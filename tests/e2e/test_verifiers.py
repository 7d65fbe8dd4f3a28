"""Tasks that judge others: what they find goes back with its evidence, and is judged again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from support.scripted_fleet import PATIENCE_S, ScriptedFleet, until

PASSED = '{"passed": true, "findings": []}'


def verdict(*findings: dict[str, str]) -> str:
    """Returns a verdict that does not pass, with these findings."""
    return json.dumps({"passed": False, "findings": list(findings)})


def finding(text: str, evidence: str, severity: str = "high", **about: str) -> dict[str, str]:
    return {"severity": severity, "text": text, "evidence": evidence, **about}


def says(told: str) -> str:
    """Returns a script that gives `told` as its output, behind other words."""
    words = f"I have looked.\n\n```json\n{told}\n```"
    return f"cat > out <<'END'\n{words}\nEND\nfleet done --output out\nrm out\n"


def keeps(fleet: ScriptedFleet) -> str:
    return f'cp "$FLEET_BRIEF" "{fleet.top}/brief-$FLEET_TASK-$FLEET_ATTEMPT"\n'


def brief(fleet: ScriptedFleet, name: str) -> str:
    return (fleet.top / f"brief-{name}").read_text()


def on_try(number: int, then: str, otherwise: str) -> str:
    return f'if [ "$FLEET_ATTEMPT" = {number} ]; then\n:\n{then}\nelse\n:\n{otherwise}\nfi\n'


def started(fleet: ScriptedFleet) -> list[str]:
    """Returns the steps of all attempts, in the order in which they were started."""
    return [one["step"] for one in fleet.history() if one["event"] == "attempt-started"]


def test_what_a_verifier_finds_is_mended_and_judged_again(fleet: ScriptedFleet) -> None:
    api = on_try(1, "word=bad", "word=good")
    api += 'echo "$word" > api.md; git add api.md; git commit -qm "api $FLEET_ATTEMPT"\n'
    notes = 'echo "$FLEET_ATTEMPT $(cat api.md)" >> QA.md; git add QA.md; git commit -qm qa\n'
    red = verdict(
        finding("a small thing", "web.md:1", "low", task="web"),
        finding("the api is bad", "$ cat api.md\nbad ```\x1b[31m", task="api"),
    )
    judges = f"if grep -q bad api.md; then\n{says(red)}else\n{says(PASSED)}fi\n"
    fleet.phases("p")
    fleet.task("api", keeps(fleet) + api, phase="p", deliverables=["api.md"])
    fleet.task("web", phase="p", deliverables=["web.md"])
    fleet.task(
        "qa", keeps(fleet) + "test -e web.md\n" + notes + judges,
        phase="p", deliverables=["QA.md"], verifies=["api", "web"], approved_by=["grace"],
    )  # fmt: skip
    fleet.task("docs", phase="p", deliverables=["docs.md"], dependencies=["api"])
    smoke = "phase: p\nverifies: [web, api]\nchecks: ['test -e api.md -a -e web.md']"
    fleet.put("tasks/smoke.md", f"---\n{smoke}\n---\n")
    fleet.write()
    # the coordinator dies while it brings a verifier's worktree to the commits of the next round
    up = subprocess.Popen(
        [sys.executable, "-m", "fleet", "up"],
        cwd=fleet.root,
        env={**os.environ, "FLEET_CRASH_AT": "git.land.after_files"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: fleet.coordinator() == up.pid, "the coordinator that is to die")
        fleet.must("launch", "--all")
        assert fleet.wait("api", "web", "qa", "docs", "smoke", timeout_s=60).code == 0
        assert up.wait(PATIENCE_S) == -signal.SIGKILL, "it was never brought up to date"
    finally:
        up.kill()
        up.wait()
    assert fleet.ran() == {"api 1": 1, "api 2": 1, "web 1": 1, "qa 1": 1, "qa 2": 1, "docs 1": 1}

    # the rework is told what was found, the gravest with its evidence; nothing comes through raw
    told = brief(fleet, "api-2")
    assert "`qa` judged this at commit" in told
    assert "- high: the api is bad\n````text\n$ cat api.md\nbad ```\n````" in told
    assert "a small thing" not in told
    again = brief(fleet, "qa-2")
    assert "This is what you found in the round before" in again
    assert "- low in `web`: a small thing" in again
    assert fleet.rev("fleet/api")[:12] in again
    assert "what failed" not in again

    # nothing that depends on the api began before both verifiers had passed its last commit
    order = started(fleet)
    judged = [n for n, step in enumerate(order) if step.startswith(("qa/check", "smoke/check"))]
    assert order.index("docs/worktree") > max(judged)
    assert order.count("web/check") == 1
    assert fleet.git("show", "fleet/docs:api.md") == "good"
    # what the verifier has committed itself came along, onto the commits that were judged last
    assert fleet.git("show", "fleet/qa:QA.md") == "1 bad\n2 good"
    assert fleet.git("show", "fleet/qa:api.md") == "good"

    found = fleet("gate", "p", "--json").json()["conditions"]
    verdicts = [one for one in found if one["kind"] == "verdict"]
    assert sorted((one["text"], one["met"], one["commit"]) for one in verdicts) == [
        (f"{who} passes {task}", True, fleet.rev(f"fleet/{task}"))
        for who in ("qa", "smoke")
        for task in ("api", "web")
    ]
    assert all(one["digest"].startswith("sha256:") and one["by"] for one in verdicts)
    row = fleet.row("qa")["verdict"]
    assert (row["passed"], row["commits"]["api"]) == (True, fleet.rev("fleet/api"))
    assert fleet.row("api")["verdict"] is None
    rounds = fleet.must("report", "--json").json()["verdicts"]
    assert [(one["step"], one["passed"], one["back"]) for one in rounds if one["task"] == "qa"] == [
        ("qa/check", False, ["api"]),
        ("qa/check.2", True, []),
    ]
    assert "api does not pass: high: " in fleet.must("history").stdout

    # who works in the phase does not approve it
    question = fleet.status()["questions"][0]
    assert question["whom"] == "grace"
    fleet.must("approve", question["id"], env={"FLEET_AGENT": "qa", "USER": "grace"})
    question = until(
        lambda: [one for one in fleet.status()["questions"] if one["id"] != question["id"]],
        "the question once more",
    )[0]
    assert "qa cannot approve its own work" in question["message"]
    fleet.must("approve", question["id"], env={"USER": "grace"})
    until(lambda: fleet("gate", "p").code == 0, "an open gate")

    # a branch that moves is judged again, and only then
    fleet.put("web.md", "better\n", fleet.worktree("web"))
    fleet.git("commit", "-qam", "by hand", cwd=fleet.worktree("web"))
    shown = fleet("gate", "p", "--json").json()
    assert sorted(one for one in shown["missing"] if "passes" in one) == [
        "qa passes web",
        "smoke passes web",
    ]
    fleet("merge", "p")
    question = fleet.asked(task="p")
    assert fleet.ran()["qa 3"] == 1
    assert started(fleet)[len(order) :].count("smoke/check.3") == 1
    assert fleet.ran()["docs 2"] == fleet.ran()["web 2"] == fleet.ran()["qa 4"] == 0
    fleet.must("approve", question["id"], env={"USER": "grace"})
    assert fleet.wait("qa", "smoke", "docs", state="merged").code == 0
    assert fleet.git("show", "main:QA.md") == "1 bad\n2 good\n3 good"
    assert fleet.git("show", "main:web.md") == "better"
    fleet.nothing_runs()


def test_verifiers_that_lie_err_meddle_or_never_end_pass_nothing(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    counts = 'echo "$FLEET_ATTEMPT" >> {0}.md; git add {0}.md; git commit -qm "{0}"\n'
    bad = verdict(finding("not good", "see for yourself"))
    meddles = (
        "old=$(git rev-parse fleet/{0})\n"
        "new=$(git commit-tree -p $old -m meddled $old^{{tree}})\n"
        "git update-ref refs/heads/fleet/{0} $new\n"
    )

    def judged(name: str, script: str, *, tries: int = 2, of: int = 3, **keys: Any) -> None:
        fleet.task(name, keeps(fleet) + counts.format(name), deliverables=[f"{name}.md"],
                   attempts=of)  # fmt: skip
        fleet.task(f"{name}-qa", keeps(fleet) + script, verifies=[name], attempts=tries, **keys)

    # says passed and fails: no verdict at all, twice
    judged("liar", f"{says(PASSED)}exit 1\n")
    # a verdict without the form is the verifier's own failure
    judged("form", on_try(1, says('{"passed": "yes", "findings": []}'), says(PASSED)))
    # a verdict about a commit that is not there, and not the one that came in
    other = json.dumps({"passed": True, "findings": [], "commits": {"gone": "deadbeef" * 5}})
    judged("gone", on_try(1, says(other), says(PASSED)))
    # passed by its agent, red by its command: sent back until the task's own tries are used up
    judged("red", says(PASSED), tries=5, of=2, checks=["echo 'the wheel is off'; exit 4"])
    # rewrites the branch that it judges, once and always
    judged("once", on_try(1, meddles.format("once"), "") + says(PASSED))
    judged("always", meddles.format("always") + says(PASSED))
    # never content: the verifier's tries end it
    judged("endless", says(bad), tries=2, of=9)
    # the commit that it judges is taken away while it looks
    judged("amended", on_try(1, fleet.waits("amended"), "") + says(PASSED))
    # what it is to judge together does not merge: the second of the two is to mend that
    same = "echo {0} > same.md; git add same.md; git commit -qm {0}\n"
    fleet.task("left", same.format("left"), deliverables=["same.md"])
    merges = "git merge -q -X ours fleet/left"
    fleet.task("right", keeps(fleet) + on_try(1, same.format("right"), merges),
               deliverables=["same.md"])  # fmt: skip
    fleet.put("tasks/both.md", "---\nverifies: [left, right]\nchecks: [grep right same.md]\n---\n")
    # a check by an agent is the task's own: its agent mends it, and only then it is verified
    critic = f'cp "$FLEET_BRIEF" "{fleet.top}/critic-$FLEET_TASK"\n'
    scored = PASSED.replace("}", ', "score": 8}')
    forgets = on_try(1, says(PASSED), says(scored))  # what its document asks besides
    refuses = says(bad[:-1] + ', "score": 2}')
    critic += f"if grep -q 2 own.md; then\n{forgets}else\n{refuses}fi\n"
    fleet.put("agents/critic.yaml", json.dumps({"harness": "shell", "args": critic}))
    critic_is = {
        "agent": "critic",
        "instructions": "Be strict.",
        "verdict": {"required": ["score"]},
    }
    checks = ["test -e own.md", critic_is]
    fleet.task("own", keeps(fleet) + counts.format("own"), checks=checks)
    fleet.task("after", dependencies=["own"])
    stirs = f"git commit -q --allow-empty -m stirred\n{says(PASSED)}"
    fleet.put("agents/stirrer.yaml", json.dumps({"harness": "shell", "args": stirs}))
    fleet.task("stirred", attempts=1, checks=[{"agent": "stirrer"}])
    fleet.task("behind", dependencies=["red"])
    fleet.write()
    untouched()
    fleet("launch", "--all")

    until(lambda: fleet.row("amended-qa")["state"] == "working", "the look at what is taken away")
    gone, tree = fleet.rev("fleet/amended"), fleet.worktree("amended")
    fleet.git("rm", "-q", "amended.md", cwd=tree)
    fleet.put("amended.md", "new\n", tree)
    fleet.put("more.md", "new\n", tree)
    fleet.git("add", "-A", cwd=tree)
    fleet.git("commit", "-q", "--amend", "-m", "another", cwd=tree)
    fleet.git("update-ref", "-d", "refs/fleet/verified/amended")
    fleet.git("reflog", "expire", "--expire=now", "--all")
    fleet.go("amended")

    through = ("after", "both", "form-qa", "gone-qa", "once-qa", "amended-qa")
    assert fleet.wait(*through, timeout_s=90).code == 0
    questions = {
        name: fleet.asked(task=f"{name}-qa") for name in ("liar", "red", "always", "endless")
    }
    ran = fleet.ran()
    assert {name: n for name, n in ran.items() if name.endswith(" 3")} == {}
    assert {ran[f"{name}-qa 2"] for name in ("liar", "form", "gone", "red", "once", "endless")} == {
        1
    }
    assert [ran[f"{name} 2"] for name in ("liar", "form", "gone", "once", "always")] == [0] * 5
    assert (ran["red 2"], ran["endless 2"], ran["behind 1"]) == (1, 1, 0)

    assert "$.passed" in brief(fleet, "form-qa-2")
    told = brief(fleet, "gone-qa-2")
    assert "deadbeefdead, which is not in the repository" in told
    assert fleet.rev("fleet/gone")[:12] in told
    assert "the branch moved each of the 3 times" in fleet.asked(task="stirred")["message"]
    assert ran["own 2"] == 1
    told = brief(fleet, "own-2")
    assert "check `judged by critic`: high: not good" in told
    assert "see for yourself" in told
    told = (fleet.top / "critic-own").read_text()
    assert "Be strict." in told
    assert "holds this JSON Schema besides" in told
    assert "'score' is a required property" in told
    assert f"`own`: `fleet/own` at {fleet.rev('fleet/own')[:12]}" in told
    assert "change and commit nothing there" in told
    row = fleet.row("own")
    assert [(one["text"], one["passed"]) for one in row["checks"]] == [
        ("test -e own.md", True), ("judged by critic", True),
    ]  # fmt: skip
    assert row["attempt"] == 2
    order = started(fleet)
    assert order.index("after/worktree") > order.index("own/judge.2.1")
    told = brief(fleet, "right-2")
    assert "- high: it conflicts with left in same.md" in told
    assert f"$ git merge {fleet.rev('fleet/left')}" in told
    assert (ran["left 2"], ran["right 2"]) == (0, 1)
    told = brief(fleet, "red-2")
    assert "`red-qa` judged this at commit" in told
    assert "the wheel is off" in told
    assert "it exited with 4" in told
    assert "red cannot be sent back again" in questions["red"]["message"]
    assert "has judged as often as its document lets it (2)" in questions["endless"]["message"]
    assert "high: not good" in questions["endless"]["message"]
    assert "was moved from" in questions["always"]["message"]
    assert "rework" in questions["endless"]["choices"]

    # what was moved was checked again and judged at its new commit; nothing of the old one is left
    row = fleet.row("once-qa")["verdict"]
    assert row["commits"] == {"once": fleet.rev("fleet/once")}
    first = fleet.must("report", "--json").json()["verdicts"]
    assert [one["moved"] != {} for one in first if one["task"] == "once-qa"] == [True, False]
    assert fleet.row("amended-qa")["verdict"]["commits"] == {"amended": fleet.rev("fleet/amended")}
    assert fleet.rev("fleet/amended") != gone
    assert fleet.git("show", "fleet/amended-qa:amended.md") == "new"
    assert fleet.git("branch", "--contains", gone, "--list", "fleet/*") == ""

    # a person sends it back once more, with all tries anew; another does without the verdict
    fleet.must("answer", questions["endless"]["id"], "rework", "--note", "polish it")
    again = until(
        lambda: [
            one
            for one in fleet.must("inbox", "--json").json()["questions"]
            if one["task"] == "endless-qa" and one["id"] != questions["endless"]["id"]
        ],
        "the verifier's next question",
    )
    assert fleet.ran()["endless 3"] == fleet.ran()["endless 4"] == 1
    assert "polish it" in brief(fleet, "endless-3")
    fleet.must("retry", "endless-qa")  # judges again as it is
    until(lambda: fleet.ran()["endless-qa 5"] == 1, "one more look")
    assert fleet.ran()["endless 5"] == 0
    fleet.must("skip", "red-qa", "--reason", "we know the wheel")
    assert fleet.wait("behind").code == 0
    assert again


def test_what_has_landed_is_mended_by_a_new_task_in_the_phase_of_its_verifier(
    fleet: ScriptedFleet,
) -> None:
    fleet.phases({"id": "build", "merge": "auto"}, {"id": "ship", "merge": "auto"})
    # what mends comes from the same agent: it is told what was found, and begins from the base
    api = keeps(fleet) + 'case "$FLEET_TASK $FLEET_ATTEMPT" in "api-rework 2") word=good ;; '
    api += '*) word="bad $FLEET_TASK" ;; esac\n'
    api += 'echo "$word" > api.md; git add api.md; git commit -qm "$FLEET_TASK $FLEET_ATTEMPT"\n'
    red = verdict(finding("the api is bad", "$ cat api.md", task="api"))
    again = red.replace('"task": "api"', '"task": "api-rework"')
    audit = keeps(fleet) + "if grep -q 'bad api-rework' api.md; then\n" + says(again)
    audit += f"elif grep -q bad api.md; then\n{says(red)}else\n{says(PASSED)}fi\n"
    web = "cp api.md seen.md; git add seen.md; git commit -qm web\n"
    fleet.task("api", api, phase="build", deliverables=["api.md"])
    fleet.task("audit", audit, phase="ship", verifies=["api"])
    fleet.task("web", web, phase="ship", deliverables=["seen.md"], dependencies=["api"])
    checks = "phase: ship\nverifies: [api]\nchecks: ['test -e api.md']"
    fleet.put("tasks/smoke.md", f"---\n{checks}\n---\n")
    fleet.write()
    fleet.must("launch", "--all")
    assert fleet.wait("web", "audit", "smoke", state="merged", timeout_s=60).code == 0

    assert fleet.git("show", "main:api.md") == "good"
    assert fleet.git("show", "main:seen.md") == "good", "it began on what was mended"
    assert fleet.ran()["api 1"] == 1
    assert (fleet.ran()["api-rework 1"], fleet.ran()["api-rework 2"]) == (1, 1)
    assert fleet.git("rev-parse", "fleet/api-rework") != fleet.git("rev-parse", "fleet/api")
    told = brief(fleet, "api-rework-1")
    assert "`audit` judged this at commit" in told
    assert "the api is bad" in told
    order = started(fleet)
    last = max(n for n, step in enumerate(order) if step.startswith(("audit/check", "smoke/check")))
    assert order.index("web/worktree") > last
    found = fleet.must("gate", "ship", "--json").json()
    passed = [one["text"] for one in found["conditions"] if one["kind"] == "verdict"]
    assert sorted(passed) == ["audit passes api-rework", "smoke passes api-rework"]
    assert {one["state"] for one in fleet.status()["tasks"]} == {"merged"}
    assert fleet.row("api-rework")["phase"] == "ship"
    fleet.nothing_runs()
