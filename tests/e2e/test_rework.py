"""What agents leave is judged, not believed: rework with evidence, capped, then a person."""

from __future__ import annotations

from collections.abc import Callable

from support.scripted_fleet import ScriptedFleet, until


def asked(fleet: ScriptedFleet, *tasks: str) -> dict[str, dict[str, object]]:
    """Returns the open question of each task once all have one."""

    def look() -> dict[str, dict[str, object]] | None:
        found = {one["task"]: one for one in fleet.must("inbox", "--json").json()["questions"]}
        return found if set(tasks) <= set(found) else None

    found: dict[str, dict[str, object]] = until(look, f"questions of {', '.join(tasks)}")
    return found


def second(first: str, then: str) -> str:
    return f'if [ "$FLEET_ATTEMPT" = 1 ]; then\n:\n{first}\nelse\n{then}\nfi\n'


def test_failing_work_is_reworked_with_the_evidence_in_the_brief(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    keep = f'cp "$FLEET_BRIEF" "{fleet.top}/brief-$FLEET_TASK-$FLEET_ATTEMPT"\n'
    fleet.task("late", keep + second("", fleet.delivers("late")), deliverables=["late.md"])
    fleet.task(
        "red",
        keep + second(fleet.delivers("red", "bad"), fleet.delivers("red", "good")),
        deliverables=["red.md"],
        checks=["grep -q good red.md || { echo 'it is not good at all'; exit 4; }"],
    )
    fleet.task(
        "crash",
        keep + second("echo 'my last words'; exit 3", fleet.delivers("crash")),
        deliverables=["crash.md"],
        backoff="1s",
    )
    fleet.task("after", dependencies=["red"], deliverables=["after.md"])
    fleet.write()
    untouched()
    fleet.must("launch", "--all")
    assert fleet.wait("late", "red", "crash", "after").code == 0
    twice = {f"{task} {n}": 1 for task in ("late", "red", "crash") for n in (1, 2)}
    assert fleet.ran() == twice | {"after 1": 1}
    late = (fleet.top / "brief-late-2").read_text()
    assert "Before you begin: what failed" in late
    assert "deliverable `late.md`" in late
    red = (fleet.top / "brief-red-2").read_text()
    assert "it is not good at all" in red
    assert "grep -q good red.md" in red
    assert "deliverable `red.md`" not in red
    crash = (fleet.top / "brief-crash-2").read_text()
    assert "my last words" in crash
    assert "3" in crash
    assert "what failed" not in (fleet.top / "brief-late-1").read_text()
    assert fleet.row("red")["attempt"] == 2
    assert all(row["facts"]["verified"] for row in fleet.status()["tasks"])
    # nothing of the rework is lost: both commits are on the branch, the second is what is verified
    branch = fleet.row("red")["branch"]
    assert fleet.git("rev-list", "--count", f"main..{branch}") == "2"
    fleet.nothing_runs()


def test_work_that_does_not_count_says_why_and_ends_with_a_person(
    fleet: ScriptedFleet, untouched: Callable[[], None]
) -> None:
    once = {"attempts": 1}
    fleet.task("empty", ":", deliverables=["empty.md"], **once)
    fleet.task(
        "wrong", "git checkout -q -b elsewhere\n" + fleet.delivers("wrong"),
        deliverables=["wrong.md"], **once,
    )  # fmt: skip
    fleet.task(
        "detached", "git checkout -q --detach\n" + fleet.delivers("detached"),
        deliverables=["detached.md"], **once,
    )  # fmt: skip
    fleet.task("loose", "echo x > loose.md\ngit add loose.md\n", deliverables=["loose.md"], **once)
    fleet.task("stale", ":", deliverables=["README.md"], **once)
    fleet.task("never", ":", deliverables=["never.md"], attempts=2)
    fleet.task("exits", "exit 9", deliverables=["exits.md"], **once)
    fleet.task("behind", dependencies=["exits"], deliverables=["behind.md"])
    names = ("empty", "wrong", "detached", "loose", "stale", "never", "exits")
    fleet.write()
    untouched()
    fleet("launch", "--all")  # 1 when one asks already, else 0
    questions = asked(fleet, *names)
    rows = {row["id"]: row for row in fleet.status()["tasks"]}
    assert {rows[name]["state"] for name in names} == {"needs-you"}
    assert fleet.ran()["never 2"] == 1
    assert fleet.ran()["never 3"] == 0
    assert not any(rows[name]["facts"]["verified"] for name in names)

    def why(name: str) -> str:
        met = [str(one["why"]) for one in rows[name]["deliverables"]]
        return " ".join([*met, str(rows[name]["why"])])

    assert rows["empty"]["deliverables"][0]["text"] == "empty.md"
    assert "elsewhere" in why("wrong"), why("wrong")
    assert "detached" in why("detached") or "no branch" in why("detached"), why("detached")
    assert "commit" in why("loose"), why("loose")
    assert "start" in why("stale") or "branch point" in why("stale"), why("stale")
    assert "9" in why("exits"), why("exits")
    # the wrongly placed work is still there
    assert fleet.git("show", "elsewhere:wrong.md") == "done"
    assert (fleet.worktree("loose") / "loose.md").read_text() == "x\n"
    assert fleet.git("show", "HEAD:detached.md", cwd=fleet.worktree("detached")) == "done"

    text = fleet.must("status").stdout
    assert "never" in text
    assert "fleet answer" in text + fleet.must("inbox").stdout
    refused = fleet("answer", str(questions["never"]["id"]), "maybe")
    assert refused.code == 1
    assert "rework" in refused.stderr
    fleet.must("answer", str(questions["never"]["id"]), "skip")
    fleet.must("answer", str(questions["empty"]["id"]), "fail")
    fleet.must("answer", str(questions["exits"]["id"]), "fail")
    fleet.put("empty.md", "from a person", fleet.worktree("loose"))
    fleet.must("answer", str(questions["loose"]["id"]), "rework", "--note", "do commit it")
    until(lambda: fleet.ran()["loose 2"] == 1, "one more attempt of loose")
    rows = {row["id"]: row for row in fleet.status()["tasks"]}
    assert rows["never"]["state"] == "skipped"
    assert rows["empty"]["state"] == "failed"
    assert rows["exits"]["state"] == "failed"
    assert rows["behind"]["state"] == "unreached"
    assert fleet.wait("behind", timeout_s=5).code == 1
    again = fleet("answer", str(questions["never"]["id"]), "skip")
    assert again.code == 1
    asked(fleet, "loose")
    assert fleet.ran()["loose 3"] == 0
    briefs = sorted(fleet.state.glob("attempts/plan/loose*/*/brief.md"))
    assert "do commit it" in briefs[-1].read_text()
    fleet.nothing_runs()
