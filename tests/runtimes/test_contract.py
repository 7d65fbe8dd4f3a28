"""What every runtime does: mail in order, journal first, SIGKILL survived, gone when idle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from fleet import codec
from fleet.adapters.journal import Reader
from fleet.adapters.lease import holder
from fleet.app.place import FleetPlace, fold
from fleet.app.telling import coordinator_environ, post, tell, wait_for_results
from fleet.core import messages as m
from fleet.core.evolve import replay
from fleet.core.plan import Need, Plan, Step, plan_of
from fleet.errors import Rejected
from support.git_repo import GitRepo

DEADLINE_S = 60


@pytest.fixture
def place(tmp_path: Path) -> FleetPlace:
    repo = GitRepo(tmp_path / "repo")
    repo.commit({"README.md": "a repository\n"})
    return FleetPlace(tmp_path / "repo")


def chain(length: int) -> Plan:
    """Steps that put out their number, one after another."""
    return plan_of(
        "chain",
        [
            Step(
                id=f"s{n}",
                kind="set",
                params={"value": n},
                needs=(Need(step=f"s{n - 1}"),) if n else (),
            )
            for n in range(length)
        ],
    )


def until(what, deadline_s: float = DEADLINE_S):
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"did not come about in {deadline_s} s")


def ended(place: FleetPlace, runs: list[str]) -> bool:
    with closing(Reader(place.state)) as reader:
        rows = {row.run: row.state for row in reader.runs()}
    return all(rows.get(run) not in (None, "running") for run in runs)


def events(place: FleetPlace, run: str) -> list[m.Event]:
    with closing(Reader(place.state)) as reader:
        return [codec.loads_event(row.body) for row in reader.events(run)]


def start(place: FleetPlace, *, crash_at: str = "") -> subprocess.Popen[bytes]:
    environ = coordinator_environ(os.environ)
    if crash_at:
        environ["FLEET_CRASH_AT"] = crash_at
    argv = [sys.executable, "-m", "fleet.runtimes.embedded", os.fspath(place.root)]
    return subprocess.Popen(argv, cwd=place.root, env=environ, start_new_session=True)


def test_a_run_is_taken_to_its_end_and_the_coordinator_leaves(place):
    tell(place, [m.StartRun(run="r", plan=chain(5))], run="r")
    until(lambda: ended(place, ["r"]))
    state = replay(events(place, "r"))
    assert state is not None
    assert state.ended == "succeeded"
    assert [one.output for one in state.steps.values()] == [0, 1, 2, 3, 4]
    until(lambda: holder(place.state) is None)


def test_a_snapshot_and_the_tail_give_what_all_events_give(place):
    tell(place, [m.StartRun(run="r", plan=chain(150))], run="r")
    until(lambda: ended(place, ["r"]))
    with closing(Reader(place.state)) as reader:
        assert reader.snapshot("r") is not None
        assert fold(reader, "r") == replay(events(place, "r"))


def test_commands_of_one_front_door_are_taken_in_their_order(place):
    plan = plan_of("p", [Step(id="a", kind="set", released=False, params={"value": 1})])
    ids = post(
        place,
        [
            m.StartRun(run="r", plan=plan),
            m.HoldStep(step="a", reason="first hold"),
            m.ReleaseStep(steps=("a",)),
        ],
        run="r",
    )
    wait_for_results(place, ids)
    until(lambda: ended(place, ["r"]))
    names = [type(event).__name__ for event in events(place, "r")]
    assert names == [
        "RunStarted", "StepHeld", "StepReleased", "AttemptStarted", "AttemptEnded", "RunEnded",
    ]  # fmt: skip


def test_a_refusal_reaches_who_told(place):
    tell(place, [m.StartRun(run="r", plan=chain(1))], run="r")
    with pytest.raises(Rejected, match="started already"):
        tell(place, [m.StartRun(run="r", plan=chain(1))], run="r")


def test_unreadable_mail_is_answered_and_harms_nobody(place):
    from fleet.adapters.mailbox import Mailbox

    place.state.mkdir(mode=0o700)
    name = Mailbox(place.state).post({"run": "r", "is": "no-such-command"}, actor="test")
    with pytest.raises(Rejected, match="cannot be read"):
        wait_for_results(place, [name])
    tell(place, [m.StartRun(run="r", plan=chain(2))], run="r")
    until(lambda: ended(place, ["r"]))


def test_only_one_of_two_coordinators_works(place):
    place.state.mkdir(mode=0o700)
    both = (start(place), start(place))
    first = until(lambda: next((one for one in both if one.poll() is not None), None))
    assert first.returncode == 0
    other = both[1] if first is both[0] else both[0]
    assert holder(place.state) is None or holder(place.state).pid == other.pid
    other.wait(DEADLINE_S)
    log = (place.state / "logs" / "coordinator.jsonl").read_text().splitlines()
    started = [json.loads(line)["at"] for line in log if "coordinator started" in line]
    left = [json.loads(line)["at"] for line in log if "coordinator left" in line]
    assert len(started) == len(left)
    assert all(later >= earlier for earlier, later in zip(left, started[1:], strict=False))


def test_mail_that_was_committed_before_a_crash_is_not_taken_twice(place):
    place.state.mkdir(mode=0o700)
    first = start(place, crash_at="coordinator.after_commit:1")
    ids = post(place, [m.StartRun(run="r", plan=chain(3))], run="r")
    assert first.wait(DEADLINE_S) == -signal.SIGKILL
    assert wait_for_results(place, ids) == [{"events": 2}]
    until(lambda: ended(place, ["r"]))
    kinds = Counter(type(event).__name__ for event in events(place, "r"))
    assert kinds["RunStarted"] == 1


def test_sigkill_at_any_moment_loses_nothing_and_starts_nothing_twice(place):
    place.state.mkdir(mode=0o700)
    runs = [f"r{n}" for n in range(60)]
    ids = [
        name for run in runs for name in post(place, [m.StartRun(run=run, plan=chain(8))], run=run)
    ]
    for pause_s in (0.25, 0.3, 0.35, 0.4, 0.5):
        victim = start(place)
        time.sleep(pause_s)
        victim.kill()
        victim.wait(DEADLINE_S)
    results = wait_for_results(place, ids)
    assert len(results) == len(runs)
    until(lambda: ended(place, runs))
    for run in runs:
        told = events(place, run)
        started = Counter((e.step, e.attempt) for e in told if isinstance(e, m.AttemptStarted))
        assert set(started.values()) == {1}
        assert len(started) == 8
        state = replay(told)
        assert state is not None
        assert state.ended == "succeeded"


def test_limits_hold_over_all_runs(place):
    limited = plan_of(
        "limited",
        [Step(id=f"s{n}", kind="set", params={"value": n}, uses={"slots": 1}) for n in range(20)],
        limits={"slots": 3},
    )
    tell(place, [m.StartRun(run="a", plan=limited)], run="a")
    tell(place, [m.StartRun(run="b", plan=limited)], run="b")
    until(lambda: ended(place, ["a", "b"]))
    for run in ("a", "b"):
        running = most = 0
        for event in events(place, run):
            running += isinstance(event, m.AttemptStarted)
            running -= isinstance(event, m.AttemptEnded)
            most = max(most, running)
        assert 1 <= most <= 3


def test_an_unknown_kind_ends_as_an_outcome_and_asks(place):
    plan = plan_of("p", [Step(id="a", kind="teleport")])
    tell(place, [m.StartRun(run="r", plan=plan)], run="r")
    until(lambda: ended(place, ["r"]))
    last = [e for e in events(place, "r") if isinstance(e, m.AttemptEnded)]
    assert last[-1].outcome.failure == "agent"
    assert "no kind 'teleport'" in last[-1].outcome.text


def parent_of(child: Plan, ladder: tuple = ()) -> Plan:
    params = {"plan": codec.dump_plan(child)}
    return plan_of("parent", [Step(id="part", kind="subplan", params=params, ladder=ladder)])


def test_a_step_may_be_a_run(place):
    tell(place, [m.StartRun(run="r", plan=parent_of(chain(3)))], run="r")
    until(lambda: ended(place, ["r", "r.part.1"]))
    state = replay(events(place, "r"))
    assert state is not None
    assert state.ended == "succeeded"
    assert state.steps["part"].output == {"run": "r.part.1", "standing": "succeeded"}
    child = replay(events(place, "r.part.1"))
    assert child is not None
    assert child.parent == ("r", "part", 1)


def test_a_child_run_that_fails_fails_its_step(place):
    child = plan_of("child", [Step(id="a", kind="teleport")])
    tell(place, [m.StartRun(run="r", plan=parent_of(child))], run="r")
    until(lambda: ended(place, ["r"]))
    state = replay(events(place, "r"))
    assert state is not None
    assert state.ended == "failed"
    assert "r.part.1 failed" in state.steps["part"].text


def test_a_child_run_is_found_again_after_a_crash_and_cancelled_with_its_parent(place):
    held = plan_of("held", [Step(id="a", kind="set", released=False, params={"value": 1})])
    tell(place, [m.StartRun(run="r", plan=parent_of(held))], run="r")
    until(lambda: events(place, "r.part.1"))
    found = holder(place.state)
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    until(lambda: holder(place.state) is None)
    tell(place, [m.CancelRun(reason="enough")], run="r")
    until(lambda: ended(place, ["r", "r.part.1"]))
    started = [e for e in events(place, "r.part.1") if isinstance(e, m.RunStarted)]
    assert len(started) == 1
    for run in ("r", "r.part.1"):
        state = replay(events(place, run))
        assert state is not None
        assert state.ended == "cancelled"


def test_a_file_that_is_no_mail_is_named_in_the_log(place):
    place.state.mkdir(mode=0o700)
    tell(place, [m.StartRun(run="r", plan=chain(1))], run="r")
    (place.state / "mailbox" / "new" / "00-garbage.json").write_text("{")
    tell(place, [m.StartRun(run="s", plan=chain(1))], run="s")
    log = place.state / "logs" / "coordinator.jsonl"
    until(lambda: "a file that is no mail" in log.read_text())


def test_a_coordinator_that_leaves_has_copied_its_log_back(place):
    tell(place, [m.StartRun(run="r", plan=chain(20))], run="r")
    until(lambda: ended(place, ["r"]) and holder(place.state) is None)
    wal = place.state / "journal.db-wal"
    assert not wal.exists() or wal.stat().st_size == 0
