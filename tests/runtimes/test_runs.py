"""The live runs of a coordinator: what a commit holds, and what a failed one gives back."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from fleet import codec
from fleet.adapters.journal import DiskFull, Journal, Reader
from fleet.app.place import fold
from fleet.core import messages as m
from fleet.core.evolve import replay
from fleet.core.plan import Failure, Need, Step, plan_of
from fleet.errors import FleetError
from fleet.runtimes import runs as module
from fleet.runtimes.embedded import Coordinator
from fleet.runtimes.runs import Runs, Told
from support.git_repo import GitRepo


@pytest.fixture
def folder(tmp_path):
    return tmp_path / ".fleet"


@pytest.fixture
def log():
    return []


@pytest.fixture
def runs(folder, log):
    journal = Journal.open(folder)
    reader = Reader(folder)
    found = Runs(journal, reader, lambda *told, **fields: log.append((*told, fields)))
    found.recover()
    yield found
    reader.close()
    journal.close()


class Full:
    """A journal whose disk is full while `full` is set."""

    def __init__(self, journal):
        self.journal, self.full = journal, True

    def append(self, batch):
        if self.full:
            raise DiskFull("the disk is full")
        self.journal.append(batch)

    def __getattr__(self, name):
        return getattr(self.journal, name)


def chain(*names, **rest):
    return plan_of(
        "chain",
        [
            Step(id=name, kind="set", needs=(Need(step=before),) if before else (), **rest)
            for before, name in zip(("", *names), names, strict=False)
        ],
    )


def start(runs, run="r", plan=None, mail=""):
    runs.tell(Told(run, m.StartRun(run=run, plan=plan or chain("a", "b")), mail))
    return runs.states[run]


def ended(run, step, attempt=1, ending=m.Ending.SUCCEEDED, **rest):
    outcome = m.Outcome(ending=ending, **rest)
    return Told(run, m.ReportOutcome(step=step, attempt=attempt, outcome=outcome))


def again(runs):
    """What another process would make of the journal."""
    found = Runs(runs.journal, runs.reader, runs.log)
    found.recover()
    return found


# --- commands and commits -------------------------------------------------------------------------


def test_nothing_is_journaled_before_the_commit(runs):
    start(runs, mail="m1")
    assert runs.reader.last_seq("r") == 0
    assert runs.reader.handled("m1") is None
    done = runs.commit()
    assert runs.reader.last_seq("r") == len(done.events) == 2
    assert json.loads(runs.reader.handled("m1")) == {"events": 2}
    assert done.touched == {("r", "a"): None}
    assert runs.commit().events == []


def test_a_refusal_is_an_answer_and_changes_nothing(runs, log):
    start(runs)
    runs.commit()
    before = codec.dump_state(runs.states["r"])
    runs.tell(Told("r", m.RetryStep(step="a"), "m2"))
    assert codec.dump_state(runs.states["r"]) == before
    runs.commit()
    assert "only one that backs off" in json.loads(runs.reader.handled("m2"))["rejected"]
    assert log[-1][:2] == ("info", "rejected")
    runs.tell(ended("nobody", "a"))
    assert log[-1][:2] == ("warning", "rejected"), "its own commands should find their run"


def test_time_never_goes_back(runs, monkeypatch):
    monkeypatch.setattr(module, "now_ms", lambda: 5_000)
    start(runs)
    monkeypatch.setattr(module, "now_ms", lambda: 3_000)
    runs.tell(ended("r", "a"))
    runs.commit()
    assert {row.at_ms for row in runs.reader.events("r")} == {5_000}


def test_an_ended_run_is_let_go_and_read_back_when_somebody_asks(runs):
    start(runs, plan=chain("a"))
    runs.tell(ended("r", "a"))
    assert list(runs.commit().ended) == ["r"]
    assert "r" not in runs.states
    runs.tell(Told("r", m.ReleaseStep(steps=("a",)), "m3"))
    runs.commit()
    assert runs.reader.handled("m3") is not None
    assert "r" not in runs.states
    assert runs.state("r").ended == "succeeded"


def test_a_run_that_ends_and_goes_on_in_one_commit_stays(runs):
    from fleet.core.plan import Patch

    start(runs, plan=chain("a"))
    runs.tell(ended("r", "a"))
    patch = Patch(put=(Step(id="b", kind="set", needs=(Need(step="a"),)),))
    runs.tell(Told("r", m.RevisePlan(patch=patch)))
    done = runs.commit()
    assert list(done.ended) == ["r"]
    assert runs.states["r"].running == {"b": 1}
    runs.tell(ended("r", "b"))
    runs.commit()
    assert "r" not in runs.states


# --- a commit that fails --------------------------------------------------------------------------


def test_a_failed_commit_gives_all_states_back(runs):
    start(runs)
    start(runs, "other", chain("x"))
    runs.commit()
    before = {run: codec.dump_state(state) for run, state in runs.states.items()}
    seqs = dict(runs.seqs)
    journal, runs.journal = runs.journal, Full(runs.journal)
    runs.tell(ended("r", "a"))
    runs.tell(ended("other", "x"))
    start(runs, "new")
    with pytest.raises(DiskFull):
        runs.commit()
    assert {run: codec.dump_state(state) for run, state in runs.states.items()} == before
    assert runs.seqs == seqs
    runs.journal = journal
    runs.tell(ended("r", "a"))
    runs.tell(ended("other", "x"))
    assert "other" in runs.commit().ended
    assert runs.states["r"].running == {"b": 1}


def test_a_failed_commit_gives_the_units_of_limits_back(runs):
    plan = plan_of(
        "p",
        [Step(id=name, kind="set", uses={"slot": 1}) for name in ("a", "b")],
        limits={"slot": 1},
    )
    start(runs, plan=plan)
    runs.commit()
    runs.journal = Full(runs.journal)
    runs.give_grants()
    assert runs.ledger.used["slot"] == 1
    with pytest.raises(DiskFull):
        runs.commit()
    assert not runs.ledger.used.get("slot")
    assert runs.taken == {}
    runs.journal.full = False
    runs.give_grants()
    runs.commit()
    assert runs.states["r"].running == {"a": 1}
    assert runs.taken == {("r", "a"): (("slot", 1),)}


# --- recovery and snapshots -----------------------------------------------------------------------


def test_recovery_gives_the_same_states_and_ledger(runs):
    plan = plan_of("p", [Step(id="a", kind="set", uses={"slot": 1})], limits={"slot": 2})
    start(runs, plan=plan)
    runs.give_grants()
    runs.commit()
    found = again(runs)
    assert found.states == runs.states
    assert found.seqs == runs.seqs
    assert found.ledger.used == runs.ledger.used == {"slot": 1}
    assert found.ledger.limits["slot"] == 2


def test_snapshots_come_now_and_then_and_at_the_end(runs, monkeypatch):
    monkeypatch.setattr(module, "SNAPSHOT_EVENTS", 5)
    names = [f"s{n}" for n in range(8)]
    start(runs, plan=chain(*names))
    runs.commit()
    assert runs.reader.snapshot("r") is None
    for name in names[:4]:
        runs.tell(ended("r", name))
        runs.commit()
    seq, body = runs.reader.snapshot("r")
    assert 8 <= seq < runs.reader.last_seq("r")
    assert codec.load_state(body).run == "r"
    assert fold(runs.reader, "r") == runs.states["r"] == again(runs).states["r"]
    for name in names[4:]:
        runs.tell(ended("r", name))
    runs.commit()
    assert runs.reader.snapshot("r")[0] == runs.reader.last_seq("r")
    told = [codec.loads_event(row.body) for row in runs.reader.events("r")]
    assert fold(runs.reader, "r") == replay(told)


def test_leaving_snapshots_what_has_moved(runs):
    start(runs)
    runs.commit()
    runs.snapshot_all()
    assert runs.reader.snapshot("r")[0] == 2
    assert again(runs).states == runs.states


# --- limits and time ------------------------------------------------------------------------------


def test_a_limit_is_the_fleets_and_not_the_runs(runs):
    plan = plan_of("p", [Step(id="a", kind="set", uses={"slot": 1})], limits={"slot": 1})
    start(runs, "r", plan)
    start(runs, "s", plan)
    runs.give_grants()
    running = [run for run, state in runs.states.items() if state.running]
    assert len(running) == 1
    (other,) = {"r", "s"} - set(running)
    runs.tell(ended(running[0], "a"))
    runs.give_grants()
    assert runs.states[other].running == {"a": 1}
    runs.commit()


def test_an_account_that_is_closed_rests_until_it_opens(runs, monkeypatch):
    monkeypatch.setattr(module, "now_ms", lambda: 1_000)
    plan = plan_of("p", [Step(id=name, kind="set", uses={"big": 1}) for name in ("a", "b")])
    start(runs, plan=plan)
    runs.give_grants()
    failed = {"ending": m.Ending.FAILED, "failure": Failure.ACCOUNT}
    runs.tell(ended("r", "a", account="big", until_ms=9_000, **failed))
    runs.tell(ended("r", "b", account="big", until_ms=9_000, **failed))
    runs.give_grants()
    assert runs.states["r"].running == {}
    assert runs.next_wakeup(1_000) == 9_000
    monkeypatch.setattr(module, "now_ms", lambda: 9_000)
    runs.ring(9_000)
    runs.give_grants()
    assert runs.states["r"].running == {"a": 2, "b": 2}


def test_ringing_tells_only_whom_it_concerns(runs, monkeypatch):
    from fleet.core.plan import Retry

    monkeypatch.setattr(module, "now_ms", lambda: 1_000)
    start(runs, plan=chain("a", ladder=(Retry(times=1, backoff_ms=500),)))
    start(runs, "other")
    runs.tell(ended("r", "a", ending=m.Ending.FAILED, failure=Failure.TASK))
    runs.commit()
    woken_ms = runs.next_wakeup(1_000)
    assert 1_375 <= woken_ms <= 1_625
    runs.ring(woken_ms - 1)
    assert runs.open.told == []
    monkeypatch.setattr(module, "now_ms", lambda: woken_ms)
    runs.ring(woken_ms)
    assert [told.run for told in runs.open.told] == ["r"]
    assert runs.states["r"].running == {"a": 2}
    assert runs.next_wakeup(woken_ms) is None


# --- a full disk under a whole coordinator --------------------------------------------------------


@pytest.fixture
def coordinator(tmp_path, log):
    GitRepo(tmp_path / "repo")
    state = tmp_path / "repo/.fleet"
    state.mkdir()

    async def made():
        note = lambda *told, **fields: log.append((*told, fields))  # noqa: E731
        return Coordinator(tmp_path / "repo", state, note)

    with asyncio.Runner() as runner:
        found = runner.run(made())
        yield found, runner
        runner.run(found.sessions.close())
        found.reader.close()
        found.journal.close()


def test_a_full_disk_loses_neither_mail_nor_outcomes(coordinator, log, monkeypatch):
    from fleet.runtimes import embedded

    monkeypatch.setattr(embedded, "FULL_S", 0)
    fleet, runner = coordinator
    plan = chain("a", "b")
    body = {"run": "r", **codec.encode(m.StartRun(run="r", plan=plan)), "by": "me"}
    first = fleet.mailbox.post(body, actor="me")
    runner.run(fleet._turn())
    assert fleet.runs.reader.handled(first)
    assert list(fleet.runs.begun) == [("r", "a")], "a settles in the next turn"
    journal, fleet.runs.journal = fleet.runs.journal, Full(fleet.runs.journal)
    second = fleet.mailbox.post(
        {"run": "r", **codec.encode(m.CheckIn(step="a", done="x")), "by": "me"}, actor="me"
    )
    for _ in range(3):
        assert runner.run(fleet._turn()) is True
    assert list(fleet.runs.begun) == [("r", "a")], "it settles again, once"
    assert not fleet.inner
    assert [mail.id for mail in fleet.mailbox.take(9)] == [second]
    assert fleet.runs.reader.handled(second) is None
    assert ("error", "disk full") in [line[:2] for line in log]
    fleet.runs.journal = journal
    for _ in range(4):
        runner.run(fleet._turn())
    state = fold(fleet.reader, "r")
    assert state.ended == "succeeded"
    assert [one.attempt for one in state.steps.values()] == [1, 1]
    assert state.steps["a"].checkin["done"] == "x"
    assert fleet.mailbox.take(9) == []


def counted(fleet):
    """Counts the commits of a coordinator from now on."""
    commits = []
    append = fleet.runs.journal.append
    fleet.runs.journal.append = lambda batch: commits.append(len(batch.events)) or append(batch)
    return commits


def test_steps_that_wait_for_nothing_share_a_commit_whatever_their_number(coordinator, log):
    fleet, runner = coordinator
    commits = counted(fleet)
    fleet.post("r", m.StartRun(run="r", plan=chain(*(f"s{n}" for n in range(40)))))
    runner.run(fleet._turn())
    assert commits == [2], "who starts a run hears of it before its steps are gone through"
    while fleet.runs.begun:
        runner.run(fleet._turn())
    assert fold(fleet.reader, "r").ended == "succeeded"
    assert len(commits) < 10
    assert sum(commits) == 2 + 40 + 39 + 1
    assert fleet.runs.open.touched == {}
    assert fleet.attempts.live == {}


def test_a_turn_goes_through_so_many_steps_only_and_mail_comes_between(coordinator, monkeypatch):
    from fleet.runtimes import embedded

    clock = iter(range(1_000_000))
    monkeypatch.setattr(embedded, "SETTLE_S", 2)
    monkeypatch.setattr(embedded, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    fleet, runner = coordinator
    fleet.post("r", m.StartRun(run="r", plan=chain("a", "b", "c", "d")))
    runner.run(fleet._turn())
    assert runner.run(fleet._turn()) is True
    assert [one.standing for one in fold(fleet.reader, "r").steps.values()] == [
        "succeeded", "running", "waiting", "waiting"
    ]  # fmt: skip
    body = {"run": "r", **codec.encode(m.HoldStep(step="d", reason="wait")), "by": "me"}
    told = fleet.mailbox.post(body, actor="me")
    runner.run(fleet._turn())
    assert json.loads(fleet.reader.handled(told))["events"] == 1
    while runner.run(fleet._turn()):
        pass
    assert [one.standing for one in fold(fleet.reader, "r").steps.values()] == [
        "succeeded", "succeeded", "succeeded", "ready"
    ]  # fmt: skip


def test_commands_that_come_while_the_disk_is_full_stay_in_their_order(coordinator, monkeypatch):
    from fleet.runtimes import embedded

    monkeypatch.setattr(embedded, "FULL_S", 0)
    fleet, runner = coordinator
    fleet.runs.journal = Full(fleet.runs.journal)
    fleet.runs.journal.full = False
    fleet.post("r", m.StartRun(run="r", plan=chain("a", released=False)))
    runner.run(fleet._turn())
    fleet.runs.journal.full = True
    fleet.post("r", m.HoldStep(step="a", reason="first"))
    runner.run(fleet._turn())
    fleet.post("r", m.ReleaseStep(steps=("a",)))
    runner.run(fleet._turn())
    assert [type(told.command) for told in fleet.inner] == [m.HoldStep, m.ReleaseStep]
    fleet.runs.journal.full = False
    runner.run(fleet._turn())
    names = [type(codec.loads_event(row.body)).__name__ for row in fleet.reader.events("r")]
    assert names == ["RunStarted", "StepHeld", "StepReleased", "AttemptStarted"]


def test_a_disk_that_is_full_at_the_end_is_no_death(coordinator, monkeypatch):
    fleet, runner = coordinator
    monkeypatch.setattr("fleet.runtimes.embedded.LINGER_S", 0.05)
    fleet.post("r", m.StartRun(run="r", plan=chain("a", released=False)))
    runner.run(fleet._turn())
    fleet.runs.journal = Full(fleet.runs.journal)
    runner.run(fleet.serve())
    assert fleet.runs.journal.full


def test_the_journal_error_of_another_kind_is_not_swallowed(runs):
    class Broken:
        def append(self, batch):
            raise FleetError("no such table")

    start(runs)
    journal, runs.journal = runs.journal, Broken()
    with pytest.raises(FleetError, match="no such table"):
        runs.commit()
    assert "r" not in runs.states
    runs.journal = journal


@pytest.mark.parametrize("why", ["an account rests", "a launch rate is used up"])
def test_what_waits_for_the_ledger_starts_when_that_lets_go_in_every_run(runs, monkeypatch, why):
    now = [1_000_000]
    monkeypatch.setattr(module, "now_ms", lambda: now[0])
    uses = {"account:x": 1, "account:x/min": 1}
    step = Step(id="a", kind="work", uses=uses)
    limits = {"account:x/min": 1 if "rate" in why else 9}
    start(runs, "r1", plan_of("one", [step], limits=limits))
    runs.give_grants()
    opens_ms = now[0] + 60_000
    if "account" in why:
        closed = {"failure": Failure.ACCOUNT, "account": "account:x", "until_ms": opens_ms}
        runs.tell(ended("r1", "a", ending=m.Ending.FAILED, **closed))
    start(runs, "r2", plan_of("two", [step]))

    def turn(at_ms):
        now[0] = at_ms
        runs.ring(at_ms)
        runs.give_grants()
        return sorted(run for run, state in runs.states.items() if state.running)

    assert "r2" not in turn(now[0])
    assert "r2" not in turn(opens_ms - 1)
    assert runs.next_wakeup(opens_ms - 1) == opens_ms
    assert "r2" in turn(opens_ms + 3)


def test_a_person_who_retries_ends_the_rest_of_the_account(runs):
    step = Step(id="a", kind="work", uses={"account:x": 1})
    start(runs, "r1", plan_of("one", [step]))
    runs.give_grants()
    closed = {
        "failure": Failure.ACCOUNT,
        "account": "account:x",
        "until_ms": module.now_ms() + 10**9,
    }
    runs.tell(ended("r1", "a", ending=m.Ending.FAILED, **closed))
    start(runs, "r2", plan_of("two", [step]))
    runs.give_grants()
    assert not runs.states["r1"].running
    assert not runs.states["r2"].running
    runs.tell(Told("r1", m.RetryStep(step="a")))
    runs.give_grants()
    assert runs.states["r1"].running
    assert runs.states["r2"].running
