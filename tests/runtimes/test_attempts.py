"""Attempts in this process: asking twice changes nothing, every end is an outcome."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from fleet import kinds
from fleet.core import messages as m
from fleet.core.decide import decide
from fleet.core.evolve import evolve
from fleet.core.plan import Failure, Need, Step, plan_of
from fleet.errors import FleetError
from fleet.kinds import World
from fleet.runtimes.attempts import Attempts, siblings_of


class Scene:
    """A run, its attempts, and what they posted; `said` is all that scripted kinds noted."""

    def __init__(self, *steps: Step) -> None:
        self.state = None
        self.posted: list[m.Command] = []
        self.logged: list[str] = []
        nothing = dict.fromkeys(field.name for field in fields(World))
        log = lambda level, text, **_: self.logged.append(f"{level} {text}")  # noqa: E731
        world = World(**nothing | {"root": Path("/r"), "log": log, "endings": {}})
        self.attempts = Attempts(world, lambda run, command: self.posted.append(command))
        self.tell(m.StartRun(run="r", plan=plan_of("p", steps)))

    def tell(self, command: m.Command) -> Scene:
        for event in decide(self.state, command):
            self.state = evolve(self.state, event)
        return self

    def reconcile(self, *steps: str) -> Scene:
        for step in steps or list(self.state.running):
            self.attempts.reconcile(self.state, step)
        return self

    async def settle(self, until: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not until():  # noqa: ASYNC110 - what is awaited knows of no event
                await asyncio.sleep(0)

    def outcomes(self) -> list[tuple[str, int, m.Outcome]]:
        return [
            (one.step, one.attempt, one.outcome)
            for one in self.posted
            if isinstance(one, m.ReportOutcome)
        ]


@pytest.fixture
def kind(monkeypatch):
    """Declares scripted kinds in this test's table."""

    def declare(name: str, **functions: object) -> None:
        module = ModuleType(f"scripted_{name}")
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(kinds.KINDS, name, module.__name__)

    return declare


class Waiting:
    """A kind that runs until it is stopped, and keeps the notes it is given."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.notes: list[str] = []
        self.slow = asyncio.Event()

    async def run(self, work):
        self.began.append(work.key)
        work.report({"session": "s"})
        await work.stop.wait()
        return m.Outcome(ending=m.Ending.STOPPED)

    async def deliver(self, work, note):
        self.notes.append(note.text)
        await self.slow.wait()


@pytest.fixture
def waiting(kind):
    found = Waiting()
    kind("waiting", run=found.run, deliver=found.deliver)
    return found


# --- starting, stopping ---------------------------------------------------------------------------


def test_asking_twice_starts_once(waiting):
    async def scene():
        one = Scene(Step(id="a", kind="waiting"))
        one.reconcile().reconcile()
        await one.settle(lambda: waiting.began)
        one.reconcile()
        assert waiting.began == ["r/a/1"]
        assert one.posted == [m.ReportProgress(step="a", attempt=1, facts={"session": "s"})]
        await one.attempts.detach()

    asyncio.run(scene())


def test_a_stop_reaches_the_attempt_and_its_end_is_reported(waiting):
    async def scene():
        one = Scene(Step(id="a", kind="waiting")).reconcile()
        await one.settle(lambda: waiting.began)
        one.tell(m.HoldStep(step="a", stop=True)).reconcile().reconcile()
        await one.settle(one.outcomes)
        ((step, attempt, outcome),) = one.outcomes()
        assert (step, attempt, outcome.ending) == ("a", 1, m.Ending.STOPPED)
        assert one.attempts.live == {}

    asyncio.run(scene())


def test_a_stop_for_an_attempt_of_an_earlier_process_is_carried_out(waiting):
    async def scene():
        one = Scene(Step(id="a", kind="waiting")).tell(m.HoldStep(step="a", stop=True))
        one.reconcile()
        await one.settle(one.outcomes)
        assert waiting.began == ["r/a/1"], "it is adopted, so that it can be ended"
        assert one.outcomes()[0][2].ending is m.Ending.STOPPED

    asyncio.run(scene())


def test_detaching_ends_no_attempt(waiting):
    async def scene():
        one = Scene(Step(id="a", kind="waiting")).reconcile()
        await one.settle(lambda: waiting.began)
        await one.attempts.detach()
        assert one.outcomes() == []

    asyncio.run(scene())


# --- endings --------------------------------------------------------------------------------------


def test_a_kind_that_settles_needs_no_loop(kind):
    kind("quick", settle=lambda work: m.Outcome(ending=m.Ending.SUCCEEDED, output=work.params["n"]))
    one = Scene(Step(id="a", kind="quick", params={"n": 4})).reconcile()
    assert [(step, o.output) for step, _, o in one.outcomes()] == [("a", 4)]


async def _world_failure(work):
    raise FleetError("the disk is gone", hint="look at it")


async def _bug(work):
    return 1 // 0


def _settling_bug(work):
    raise KeyError("x")


@pytest.mark.parametrize(
    ("functions", "text"),
    [
        ({"run": _world_failure}, "the disk is gone look at it"),
        ({"run": _bug}, "a bug in the 'broken' kind: ZeroDivisionError"),
        ({"settle": _settling_bug}, "a bug in the 'broken' kind: KeyError"),
    ],
)
def test_what_breaks_is_an_outcome(kind, functions, text):
    kind("broken", **functions)

    async def scene():
        one = Scene(Step(id="a", kind="broken")).reconcile()
        await one.settle(one.outcomes)
        ((_, _, outcome),) = one.outcomes()
        assert (outcome.ending, outcome.failure) == (m.Ending.FAILED, Failure.INFRA)
        assert outcome.text.startswith(text)
        return one.logged

    logged = asyncio.run(scene())
    assert ("error bug in a kind" in logged) == ("bug" in text)


def test_an_unknown_kind_is_the_agents_failure_and_names_the_others():
    one = Scene(Step(id="a", kind="teleport")).reconcile()
    ((_, _, outcome),) = one.outcomes()
    assert outcome.failure is Failure.AGENT
    assert "no kind 'teleport'" in outcome.text


# --- notes ----------------------------------------------------------------------------------------


def test_a_note_is_delivered_once_however_often_it_is_asked_for(waiting):
    async def scene():
        one = Scene(Step(id="a", kind="waiting")).reconcile()
        one.tell(m.SendNote(step="a", text="first")).reconcile()
        await one.settle(lambda: waiting.notes)
        one.tell(m.SendNote(step="a", text="second")).reconcile().reconcile()
        await one.settle(lambda: len(waiting.notes) == 2)
        waiting.slow.set()
        delivered = lambda: [c.delivered for c in one.posted if getattr(c, "delivered", ())]  # noqa: E731
        await one.settle(lambda: len(delivered()) == 2)
        one.reconcile()
        await asyncio.sleep(0)
        assert waiting.notes == ["first", "second"]
        assert sorted(delivered()) == [(1,), (2,)]
        await one.attempts.detach()

    asyncio.run(scene())


def test_a_note_that_could_not_be_delivered_is_tried_again(kind):
    tries = []

    async def run(work):
        await work.stop.wait()
        return m.Outcome(ending=m.Ending.STOPPED)

    async def deliver(work, note):
        tries.append(note.text)
        if len(tries) == 1:
            raise OSError("no space")

    kind("deaf", run=run, deliver=deliver)

    async def scene():
        one = Scene(Step(id="a", kind="deaf")).reconcile()
        one.tell(m.SendNote(step="a", text="hello")).reconcile()
        await one.settle(lambda: "error note not delivered" in one.logged)
        one.reconcile()
        await one.settle(lambda: len(tries) == 2)
        await one.settle(lambda: any(getattr(c, "delivered", ()) for c in one.posted))
        await one.attempts.detach()

    asyncio.run(scene())


# --- what an attempt is given ---------------------------------------------------------------------


def test_an_attempt_gets_inputs_answers_and_siblings(kind):
    seen = []

    def settle(work):
        seen.append(work)
        return m.Outcome(ending=m.Ending.SUCCEEDED, output="out")

    kind("quick", settle=settle)
    one = Scene(
        Step(id="t/a", kind="quick", whole="t"),
        Step(id="t/b", kind="quick", whole="t", needs=(Need(step="t/a"),)),
        Step(id="t", kind="join", whole="t", needs=(Need(step="t/b"),)),
        Step(id="other", kind="quick", needs=(Need(step="t"),)),
    ).reconcile()
    one.tell(one.posted.pop()).reconcile()
    work = seen[-1]
    assert work.key == "r/t/b/1"
    assert work.inputs["t/a"]["output"] == "out"
    assert set(work.siblings) == {"t/a", "t/b", "t"}
    assert work.plan_step("other").kind == "quick"
    assert work.plan_step("nobody") is None
    assert siblings_of(one.state, "") == {}
