"""Checkpoints: many conditions and sign-offs, for exactly the commits that were looked at."""

from __future__ import annotations

from support.scripted_fleet import ScriptedFleet

WIDE = 80


def commit(fleet: ScriptedFleet, task: str, text: str) -> str:
    """Commits to a task's branch by hand, and returns the commit."""
    tree = fleet.worktree(task)
    fleet.put(f"{task}.md", text, tree)
    fleet.git("commit", "-qam", text, cwd=tree)
    return fleet.git("rev-parse", "HEAD", cwd=tree)


def readiness() -> list[dict[str, str]]:
    """Returns ten named items, the ninth of which asks for a good `web.md`."""
    items = [{"name": f"item {n} of the list", "command": f"echo looked at {n}"} for n in range(10)]
    items[8] = {"name": "the page is good", "command": "cat web.md; grep -q good web.md"}
    return items


def signed_fleet(fleet: ScriptedFleet) -> None:
    fleet.phases({"id": "p", "merge": "auto"}, {"id": "q", "merge": "auto"})
    begins = "git log --format=%s > log; git add log; git commit -qm deploy\n"
    begins += fleet.waits("deploy")
    fleet.task("api", phase="p")
    fleet.task("web", phase="p")
    fleet.task("docs", phase="p", dependencies=["api"])
    fleet.task("deploy", begins, phase="p", dependencies=["api"])
    fleet.task("tell", "cat web.md > tell.md; git add tell.md; git commit -qm tell", phase="q")
    fleet.settings["checkpoints"] = [
        {
            "id": "ready", "name": "Ready to deploy", "needs": ["api", "web"],
            "before": ["deploy"], "checks": ["test -e api.md"],
            "checklist": {"Launch": readiness(), "Base": ["git diff --quiet"]},
            "approve": ["grace"],
        },
        {
            "id": "live", "needs": ["ready", "web"], "before": ["tell"],
            "checks": ["grep good web.md"],
        },
    ]  # fmt: skip
    fleet.write()


def test_a_checkpoint_opens_for_the_commits_that_were_signed(fleet: ScriptedFleet) -> None:
    signed_fleet(fleet)
    plan = fleet.must("plan", "--json").json()
    rows = {one["id"]: one for one in plan["tasks"]}
    assert (rows["ready"]["kind"], rows["ready"]["days"]) == ("checkpoint", 0)
    assert rows["deploy"]["dependencies"] == ["api", "ready"]
    assert rows["deploy"]["start_day"] == 2, "it takes no day of its own"
    assert rows["docs"]["dependencies"] == ["api"], "only what it stands before waits for it"
    assert [one["phase"] for one in (rows["ready"], rows["live"])] == ["p", "q"]

    # red: it stays closed, nobody is sent back, and a person is asked
    fleet.must("launch", "--all")
    question = fleet.asked(task="ready")
    assert question["choices"] == ["retry", "skip", "fail"]
    assert "1 of 12 items are not met: the page is good" in question["message"]
    shown = fleet("gate", "ready", env={"COLUMNS": str(WIDE)})
    assert shown.code == 1
    lines = shown.stdout.splitlines()
    assert lines[0] == "checkpoint ready (Ready to deploy): closed, 11 of 12 items met"
    assert "  Launch: 9 of 10" in lines
    first = lines.index("  Launch: 9 of 10") + 1
    assert lines[first].endswith("the page is good"), "what is not met comes first"
    assert lines[first + 1].strip() == "it exited with 1"
    assert max(map(len, lines)) <= WIDE
    assert fleet("wait", "ready", "--timeout", "1").code == 124
    assert (fleet.row("ready")["state"], fleet.row("ready")["kind"]) == ("needs-you", "checkpoint")
    assert fleet.row("deploy")["waiting_for"] == ["ready"]
    assert fleet.wait("docs").code == 0, "what it does not stand before goes on"

    # mended on the branch, it is judged again there, at a fresh assembly
    commit(fleet, "web", "good")
    fleet.must("answer", question["id"], "retry")
    sign = fleet.asked(task="ready", other_than=question["id"])
    assert (sign["kind"], sign["whom"]) == ("approve", "grace")
    assert "Is the checkpoint Ready to deploy passed?" in sign["message"]
    assert "All 12 items are met." in sign["message"]
    assert fleet.ran()["web 2"] == 0
    found = fleet("gate", "ready", "--json").json()
    assert found["missing"] == ["approved by grace"]
    item = next(one for one in found["conditions"] if one["text"] == "the page is good")
    assert (item["group"], item["evidence"]) == ("Launch", "good")
    assert (item["commit"], item["by"]) == (fleet.rev("fleet/ready"), "plan/ready/check.2/1")
    assert item["digest"].startswith("sha256:")

    # neither a stranger's word nor one for other commits opens it
    fleet.must("approve", sign["id"], env={"USER": "mallory"})
    sign = fleet.asked(task="ready", other_than=sign["id"])
    now = commit(fleet, "api", "moved since")
    fleet.must("approve", sign["id"], env={"USER": "grace"})
    sign = fleet.asked(task="ready", other_than=sign["id"])
    assert f"api at {now[:12]}" in sign["message"]
    assert fleet.row("deploy")["state"] == "waiting"
    fleet.must("approve", sign["id"], env={"USER": "grace"})
    assert fleet.wait("ready").code == 0
    assert fleet("gate", "ready").code == 0
    judged = [one["step"] for one in fleet.history() if one["event"] == "attempt-started"]
    assert judged.count("ready/check") == 2, "the second look found only that it had to begin anew"

    # what moves after it was passed is judged and signed again before the phase lands
    commit(fleet, "web", "good, and later")
    fleet.go("deploy")
    sign = fleet.asked(task="ready", other_than=sign["id"])
    assert fleet.status()["phases"][0]["gate"] == "closed"
    assert f"web at {fleet.rev('fleet/web')[:12]}" in sign["message"]
    fleet.must("approve", sign["id"], env={"USER": "grace"})
    assert fleet.wait("deploy", state="merged").code == 0

    # what stood before it began with the commit that was signed, without the checkpoint's own
    assert fleet.git("show", "fleet/deploy:api.md") == "moved since"
    assert "web" not in fleet.git("show", "fleet/deploy:log").split()
    # of an earlier phase, what has landed is judged as part of the base
    assert fleet.wait("tell", state="merged").code == 0
    assert fleet.git("show", "main:tell.md") == "good, and later"
    assert {fleet.row(name)["state"] for name in ("ready", "live")} == {"merged"}
    assert fleet.git("log", "--format=%s", "main").count("ready") == 0, "it brings nothing itself"
    judged = [one["text"] for one in fleet("gate", "p", "--json").json()["conditions"]]
    assert "the checkpoint ready is passed" in judged
    fleet.nothing_runs()
