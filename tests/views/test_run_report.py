"""The report of a workflow's run: spans, percentiles, and the chain that determined its end."""

from __future__ import annotations

import json

import pytest

from fleet.app.calendars import time_of
from fleet.core import messages as m
from fleet.core.plan import JOIN, Need, Retry, Step, plan_of
from fleet.render.run_report import run_report_markdown, run_report_text
from fleet.render.text import width
from fleet.views.report import attempts_of
from fleet.views.run_report import _percentiles, report_of_runs
from fleet.views.runs import run_of
from support.playbook import Playbook, answered, asked, ended, failed, granted

EVIL = "\x1b[2Jevil | \u202e"


def step(number, name, kind="shell", type_="shell", needs=(), **rest):
    flow = {
        "id": name, "type": type_, "main": kind != "brief", "pos": [number],
        "at": ["steps", number], "prefix": "", "scope": "",
    }  # fmt: skip
    told = tuple(Need(step=one) for one in needs)
    whole = name.partition(".")[0]
    return Step(id=name, kind=kind, params={"flow": flow}, needs=told, whole=whole, **rest)


def sheet(name="w"):
    """Two branches behind `first`: an agent's waits for a limit, `flaky` tries twice."""
    steps = [
        step(0, "first"),
        step(1, "slow.brief", "brief", "delegate", ["first"]),
        step(1, "slow", "agent", "delegate", ["slow.brief"], uses={"agents": 1}),
        step(2, "flaky", needs=["first"], ladder=(Retry(times=1, backoff_ms=500),)),
        step(3, "ok", "ask", "approve", ["slow", "flaky"]),
        Step(id=".end", kind=JOIN, needs=(Need(step="ok"),), whole=".end"),
    ]
    return plan_of(name, steps, limits={"agents": 1}, about={"workflow": name, "thread": "t"})


@pytest.fixture
def run():
    book = Playbook(sheet())
    book.quietly()
    for at_ms, command in (
        (1_001, ended("first")),
        (1_101, ended("slow.brief")),
        (2_001, failed("flaky", text=EVIL)),
        (3_101, granted("slow")),
        (4_001, ended("flaky", 2)),
        (9_101, ended("slow")),
        (9_101, asked("ok")),
        (19_001, answered(1, "approve")),
        (20_001, ended("ok", 2)),
    ):
        book.open = []
        book.at(at_ms).tell(command)
    assert book.state.ended == "succeeded"
    return book


def report(*books):
    told = [(book.state, attempts_of(book.log)) for book in books]
    found = report_of_runs("r", told, 99_999, time_of)
    json.dumps(found)
    return found


def test_what_each_step_took_and_what_determined_the_end(run):
    (found,) = report(run)["runs"]
    rows = {one["id"]: one for one in found["steps"]}
    spans = {
        name: (one["queued_s"], one["ran_s"], one["waited_s"], one["retries"])
        for name, one in rows.items()
    }
    assert spans == {
        "first": (0, 1, 0, 0),
        "slow": (2.1, 6, 0, 0),
        "flaky": (0, 1.9, 1.1, 1),
        "ok": (0, 1, 9.9, 0),
    }
    assert [tuple(one.values()) for one in found["critical_path"]] == [
        ("first", 0, 1, 0, []),
        ("slow", 2.1, 6, 0, ["limit agents"]),
        ("ok", 0, 1, 9.9, ["an answer"]),
    ]
    assert found["took_s"] == 20
    assert found["success_rate"] == 1
    assert (found["counts"]["steps"], found["counts"]["retries"]) == (4, 1)


def test_a_run_that_goes_on_has_its_chain_up_to_now():
    book = Playbook(sheet())
    book.open = []
    book.at(1_001).tell(ended("first"))
    book.open = []
    found = report(book)
    (one,) = found["runs"]
    assert (one["state"], one["success_rate"], one["took_s"]) == ("running", 1, 99.998)
    assert sum(link["queued_s"] + link["ran_s"] for link in one["critical_path"]) == 99.998
    assert found["totals"]["failed"] == 0
    assert report(Playbook(sheet()))["runs"][0]["success_rate"] is None


def test_what_nobody_has_answered_waits_until_now_and_until_the_run_is_ended():
    book = Playbook(sheet())
    book.quietly(ended("first"), ended("slow.brief"), granted("slow"), ended("slow"))
    book.quietly(ended("flaky"), asked("ok"))
    waits = report(book)["runs"][0]
    book.at(50_000).quietly(m.CancelRun())
    over = report(book)["runs"][0]
    for one, took in ((waits, 99.998), (over, 49.999)):
        assert one["took_s"] == took
        assert [link["id"] for link in one["critical_path"]] == ["first", "flaky", "ok"]
        spans = ("queued_s", "ran_s", "waited_s")
        together = sum(link[key] for link in one["critical_path"] for key in spans)
        assert round(together, 3) == took
        assert one["critical_path"][-1]["waited_s"] > 49
        assert one["steps"][-1]["waited_s"] == one["critical_path"][-1]["waited_s"]
    assert (over["state"], over["steps"][-1]["state"]) == ("cancelled", "cancelled")
    assert run_of(book.state, time_of)["questions"] == []


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], None),
        ([None, 3.0], (3, 3, 3, 3)),
        (list(range(1, 101)), (50, 95, 99, 100)),
        ([4, 1, 3, 2], (2, 4, 4, 4)),
    ],
)
def test_percentiles_are_by_the_nearest_rank(values, found):
    told = _percentiles(values)
    assert (told and tuple(told.values())) == found


@pytest.mark.parametrize("columns", [80, 120])
def test_a_report_is_shown_within_its_columns_and_neutral(run, columns):
    broken = Playbook(sheet(EVIL))
    broken.open = []
    broken.at(501).tell(failed("first", text=EVIL))
    broken.open = []
    found = report(run, broken)
    text = run_report_text(found, columns)
    assert max(map(width, text.splitlines())) <= columns
    page = run_report_markdown(found)
    assert "evil \\|" in page
    for told in (text, page):
        assert not set("\x1b\u202e") & set(told)
    for words in (
        "P50",
        "CRITICAL PATH",
        "an answer",
        "40 %",
        "1 retry",
        "2 runs, 1 succeeded, 1 failed",
    ):
        assert words in text
