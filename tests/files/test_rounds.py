from __future__ import annotations

import pytest

from fleet.core.plan import Failure
from fleet.files.changes.rework import course_of, next_round
from fleet.files.changes.rounds import Loop, Round, lasting, loop_at, loop_in
from support.lowered_run import LoweredRun, plan, sha

PHASE = "phases: [{id: p, tasks: [one]}]"


def rounds(*told: str) -> list[Round]:
    """Rounds from words: `c1:ab` is a round at the commit c1 in which a and b are red; a way in
    which an item is red may follow it as a number.
    """
    found = []
    for number, one in enumerate(told, start=1):
        commit, _, red = one.partition(":")
        items = {red[n]: red[n : n + 2] for n in range(0, len(red), 2)}
        found.append(Round(step=f"check.{number}", commits={"": commit}, red=items))
    return found


def loop(*told: str, after: int = 3) -> Loop | None:
    return loop_in(rounds(*told), after)


def test_the_same_failure_at_a_commit_of_before_is_a_loop():
    found = loop("c1:a1", "c2:b1", "c1:a1", after=9)
    assert found.rounds == ("check.1", "check.3")
    assert found.why.startswith("a loop of check.1 and check.3: ")
    assert loop("c1:a1", "c1:a1", after=9).rounds == ("check.1", "check.2")


@pytest.mark.parametrize("told", [("c1:a1", "c2:a1"), ("c1:a1", "c1:a2"), ("c1:a1", "c1:a1b1")])
def test_another_commit_or_failure_is_none(told):
    assert loop(*told, after=9) is None


def test_two_failures_that_take_turns_are_a_loop():
    assert loop("c1:a1", "c2:b1", "c3:a1", "c4:b1", after=9).rounds == tuple(
        f"check.{n}" for n in range(1, 5)
    )
    assert loop("c0:z1", "c1:a1", "c2:b1", "c3:a1", "c4:b1", after=9)
    assert loop("c1:a1", "c2:b1", "c3:a1", "c4:c1", after=9) is None
    assert loop("c1:a1", "c2:", "c3:a1", "c4:", after=9) is None, "a green round is no failure"


def test_rounds_that_bring_nothing_are_a_loop():
    assert loop("c1:a1b1", "c2:a2b1", after=3) is None
    found = loop("c1:a1b1", "c2:a2b1", "c3:a3b1", after=3)
    assert found.rounds == ("check.1", "check.2", "check.3")
    assert "nothing that was red is green after 3 rounds" in found.why
    assert loop("c1:a1", "c2:a2", after=2)


def test_progress_is_what_is_green_for_good():
    assert loop("c1:a1b1", "c2:a1", "c3:a2", after=3) is None, "b is green since the second"
    assert loop("c1:a1b1", "c2:a1", "c3:a2", "c4:a3", after=3), "nothing since"
    assert loop("c1:a1b1", "c2:a1", "c3:a2b1", after=3), "b is red again"
    assert loop("c1:a1b1", "c2:a1", "c3:a2b1", "c4:a3", "c5:a4", after=3), (
        "b was green before: that is no news"
    )
    assert loop("c1:a1b1c1", "c2:a1b1", "c3:a1", after=2) is None


def test_what_is_another_each_time_tells_no_failure_from_another():
    one = "2 failed in 3.41s, /tmp/pytest-of-me/x: 0xdeadbeef at 1f3a9c2e4b"
    other = "7 failed  in 12.1s, /tmp/pytest-of-me/y/z: 0x1234 at\n9999999aaaa"
    assert lasting(one) == lasting(other)
    assert lasting("no A.md") != lasting("no B.md")


# --- in a run -------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    return LoweredRun(
        plan(tmp_path, settings=PHASE, one="attempts: 9\ndeliverables: [A.md]\nchecks: [make]")
    )


def findings(
    commit: str, *, made: bool = False, tail: str = "", **rest: object
) -> dict[str, object]:
    a = {"text": "A.md", "met": made, "why": "" if made else "missing"}
    make = {"text": "make", "passed": False, "why": "it exited with 2", "tail": tail}
    return {"commit": sha(commit), "deliverables": [a], "checks": [make], **rest}


def red(run: LoweredRun, check: str, spent: int, found: dict[str, object]) -> None:
    step = run.state.steps[check].step
    steps = {n: s.step for n, s in run.state.steps.items() if s.step.whole == step.whole}
    patch = next_round(step, steps, reason="red", spent=spent)
    run.fail(check, text="red", evidence=found, patch=patch)


def at(run: LoweredRun, check: str, found: dict[str, object], after: int = 3) -> Loop | None:
    return loop_at(course_of(run.state), run.state.steps[check].step, found, after)


def test_the_rounds_of_a_task_are_read_from_its_checks(run):
    run.begin("one").ok("one/work")
    assert at(run, "one/check", findings("c1")) is None
    red(run, "one/check", 1, findings("c1", tail="error 7"))
    run.ok("one/work.2")
    assert at(run, "one/check.2", findings("c1", tail="error 8")).rounds == (
        "one/check",
        "one/check.2",
    )
    assert at(run, "one/check.2", findings("c1", tail="another")) is None
    red(run, "one/check.2", 2, findings("c2", tail="another"))
    run.ok("one/work.3")
    assert at(run, "one/check.3", findings("c3", tail="a third")).rounds == (
        "one/check",
        "one/check.2",
        "one/check.3",
    )
    assert at(run, "one/check.3", findings("c3", tail="a third", made=True)) is None
    assert at(run, "one/check.3", findings("c3", tail="a third"), after=4) is None


def test_a_round_of_the_machine_is_no_round_of_the_task_and_a_person_begins_anew(run):
    run.begin("one").ok("one/work")
    run.fail("one/check", Failure.INFRA, text="the disk was full")
    run.now += 60_000
    red(run, "one/check", 1, findings("c1"))
    run.ok("one/work.2")
    assert at(run, "one/check.2", findings("c1")), "as before"
    red(run, "one/check.2", 0, findings("c1"))  # a person asked for more
    run.ok("one/work.3")
    assert at(run, "one/check.3", findings("c1")) is None
    red(run, "one/check.3", 1, findings("c1"))
    run.ok("one/work.4")
    assert at(run, "one/check.4", findings("c1")).rounds == ("one/check.3", "one/check.4")


def test_findings_in_other_words_are_the_same_finding(run):
    def verdict(*texts: str) -> dict[str, object]:
        told = [
            {"severity": "high", "text": text, "evidence": "x", "task": "one"} for text in texts
        ]
        return {"commits": {"one": sha("c1")}, "findings": told, "back": ["one"], "red": []}

    def judged(*texts: str) -> dict[str, object]:
        return {"commit": sha("v"), "deliverables": [], "checks": [], "verdict": verdict(*texts)}

    run.begin("one").ok("one/work")
    red(run, "one/check", 1, judged("The login accepts an empty password."))
    run.ok("one/work.2")
    assert at(run, "one/check.2", judged("An empty password is accepted by the login!"))
    assert at(run, "one/check.2", judged("The logout leaves the session open.")) is None
