"""What agents do that they should not, and what is left of it: clear words, nothing lost."""

from __future__ import annotations

from support.scripted_fleet import ScriptedFleet, until


def test_an_agent_that_deletes_its_own_worktree_is_said_and_goes_on_after_the_cure(
    fleet: ScriptedFleet,
) -> None:
    script = (
        "echo half > half.md; git add .; git commit -qm half\n"
        '[ "$FLEET_ATTEMPT" = 1 ] && { cd /; rm -rf "$FLEET_WORKTREE"; exit 0; }\n'
    )
    fleet.task("a", script + fleet.delivers("a"), deliverables=["a.md", "half.md"], attempts=3)
    fleet.write()
    fleet.must("launch", "a")
    until(lambda: fleet.row("a")["state"] == "needs-you", "a question")
    (asked,) = fleet.must("inbox", "--json").json()["questions"]
    told = asked["message"]
    assert "was deleted; what was committed is on its branch 'fleet/a'" in told
    cure = ("worktree", "add", "--force", "--force", str(fleet.worktree("a")), "fleet/a")
    assert " ".join(cure) in " ".join(told.split())
    assert fleet.git("show", "fleet/a:half.md") == "half"
    fleet.git(*cure)
    fleet.must("answer", asked["id"], "rework")
    assert fleet.wait("a").code == 0
    assert fleet.git("show", "fleet/a:half.md") == "half"


def test_a_flood_of_output_is_cut_and_harms_nobody(fleet: ScriptedFleet) -> None:
    flood = "head -c 200000000 /dev/zero | tr '\\0' 'x' | fold -w 200\n"
    fleet.task("a", flood + fleet.delivers("a"), deliverables=["a.md"])
    fleet.task("b", deliverables=["b.md"])
    fleet.write()
    fleet.must("launch", "a", "b")
    assert fleet.wait("b").code == 0
    assert fleet.wait("a", timeout_s=60).code == 0
    logs = list((fleet.state / "attempts/plan/a%2Fwork/1").glob("*.log"))
    assert logs
    assert all(path.stat().st_size <= 64 << 20 for path in logs)
    assert len(fleet.must("logs", "a", "-n", "3").stdout.splitlines()) == 3


def test_commits_of_another_author_count_as_what_they_are(fleet: ScriptedFleet) -> None:
    commit = "git -c user.name=Eve -c user.email=eve@example.org commit -qm eve"
    fleet.task("a", f"echo x > a.md; git add a.md; {commit}\n", deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    until(lambda: fleet("gate", "last", "--json").code == 0, "the gate")
    fleet.must("merge")
    assert "Eve <eve@example.org>" in fleet.git("log", "--format=%an <%ae>", "main")


def test_what_an_agent_writes_into_the_main_checkout_stops_no_landing_unseen(
    fleet: ScriptedFleet,
) -> None:
    outside = 'echo stray > "$FLEET_ROOT/a.md"\n'
    fleet.task("a", outside + fleet.delivers("a"), deliverables=["a.md"])
    fleet.write()
    fleet.must("launch", "a")
    assert fleet.wait("a").code == 0
    until(lambda: fleet("gate", "last", "--json").code == 0, "the gate")
    before = fleet.rev()
    refused = fleet("merge")
    assert refused.code == 1
    assert "a.md" in refused.stdout + refused.stderr
    assert fleet.rev() == before
    assert (fleet.root / "a.md").read_text() == "stray\n"
