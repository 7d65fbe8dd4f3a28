"""Forecasts against hand-computed numbers: planned, early, late, under limits, over weekends."""

from __future__ import annotations

import pytest

from fleet.app.calendars import calendar_of, working_day
from fleet.core import messages as m
from fleet.views.forecast import done_share, forecast, planned_of, planned_share
from fleet.views.status import phase_order
from fleet.views.tasks import phases_of, tasks_of
from support.lowered_run import DAY_MS, HOUR_MS, LoweredRun, plan

PAIR = {"one": "days: 2", "two": "days: 3\ndeps: [one]"}
CHAIN = PAIR | {"three": "days: 1"}


def run_of(root, **told):
    return LoweredRun(plan(root, **told), now=10 * DAY_MS)


def at(run, days):
    run.now = run.state.started_ms + round(days * DAY_MS)
    return run


def foretell(run, day_of=None, now_day=None):
    clock, tasks = run.clock(), tasks_of(run.state)
    order = [names for _, names in phase_order(tasks, phases_of(run.state))]
    found = forecast(
        run.state.about, tasks, order, day_of or clock.day_of,
        clock.now_day if now_day is None else now_day,
    )  # fmt: skip
    charged = sum(days for _, days in found.slip_causes)
    assert charged == pytest.approx(found.slip_days, abs=0.011), "the causes are the slip"
    return found


def test_before_the_start_nothing_has_slipped(tmp_path):
    found = foretell(run_of(tmp_path, **CHAIN))
    assert (found.planned_days, found.finish, found.slip_days) == (5, 5, 0)
    assert dict(found.ends) == {"one": 2, "two": 5, "three": 1}
    assert found.slip_causes == []
    assert (found.slack_of("three"), found.slack_of("one"), found.slack_of("x")) == (4, 0, None)


def test_a_launch_during_the_first_day_costs_nothing(tmp_path):
    run = at(run_of(tmp_path, **CHAIN), 0.4)
    assert foretell(run).slip_days == 0
    assert foretell(run.begin("one")).slip_days == 0


def test_a_day_without_a_launch_costs_a_day(tmp_path):
    found = foretell(at(run_of(tmp_path, **CHAIN), 1.2))
    assert (found.finish, found.slip_days) == (6, 1)
    assert found.slip_causes == [("one", 1)]


def test_work_that_runs_late_slips_with_the_clock(tmp_path):
    run = run_of(tmp_path, **CHAIN).begin("one")
    assert foretell(at(run, 1.9)).slip_days == 0
    found = foretell(at(run, 2.5))
    assert (found.ends["one"], found.finish, found.slip_days) == (2.5, 5.5, 0.5)
    assert found.slip_causes == [("one", 0.5)]


def test_each_answers_for_what_it_added(tmp_path):
    run = run_of(tmp_path, **PAIR).begin("one")
    at(run, 3.0).verify("one")
    run.begin("two")
    found = foretell(at(run, 6.5))
    assert found.slip_causes == [("one", 1.0), ("two", 0.5)]
    assert found.slip_days == 1.5


def test_time_won_is_a_cause_below_nothing(tmp_path):
    run = run_of(tmp_path, **PAIR).begin("one")
    at(run, 3.0).verify("one").begin("two")
    at(run, 4.5).verify("two")
    found = foretell(run)
    assert (found.finish, found.slip_days) == (4.5, -0.5)
    assert found.slip_causes == [("one", 1.0), ("two", -1.5)]


def test_a_task_ahead_of_plan_lets_what_follows_begin_earlier(tmp_path):
    run = run_of(tmp_path, **CHAIN).begin("one")
    at(run, 0.5).verify("one")
    found = foretell(run)
    assert found.ends["two"] == 3.5
    assert found.slip_days == -1.5
    run.begin("two")
    assert foretell(run).ends["two"] == 3.5, "it begins no earlier than what it needs has ended"


def test_what_the_chain_had_to_spare_is_taken_up_first(tmp_path):
    run = run_of(tmp_path, **CHAIN).begin("one")
    at(run, 2).verify("one").begin("two")
    at(run, 5).verify("two")
    found = foretell(at(run, 6.25))
    assert found.ends["three"] == 7.0, "not begun, so from the start of day 7"
    assert found.slip_causes == [("three", 2.0)], "6 days late, 4 of them its slack"


def test_phases_wait_for_the_one_before(tmp_path):
    settings = "phases: [{id: p, tasks: [one, three]}, {id: q, tasks: [two]}]"
    run = run_of(tmp_path, settings=settings, **(CHAIN | {"two": "days: 3"}))
    assert foretell(run).ends == {"one": 2, "three": 1, "two": 5}
    run.begin("one").begin("three")
    at(run, 1).verify("three")
    found = foretell(at(run, 4))
    assert found.ends == {"one": 4, "three": 1, "two": 7}
    assert found.slip_causes == [("one", 2)]


def test_a_limit_is_kept_by_the_forecast_too(tmp_path):
    tasks = {"one": "days: 2", "two": "days: 3", "three": "days: 1"}
    run = run_of(tmp_path, settings="limits: {agents: 1}", **tasks)
    found = foretell(run)
    assert (found.planned_days, found.finish, found.slip_days) == (6, 6, 0)
    first = min(found.planned, key=lambda name: found.planned[name].start)
    days = found.planned[first].end
    run.begin(first)
    late = foretell(at(run, days + 1))
    assert (late.finish, late.slip_causes) == (7, [(first, 1)])
    run.verify(first)
    assert foretell(run).finish == 7


def test_two_at_once_hand_their_units_on_one_by_one(tmp_path):
    tasks = {"one": "days: 4", "two": "days: 1", "three": "days: 2", "four": "days: 1"}
    run = run_of(tmp_path, settings="limits: {agents: 2}", **tasks)
    found = foretell(run)
    assert (found.planned_days, found.slip_days) == (4, 0)
    run.begin("one")
    later = foretell(at(run, 4.5))
    assert later.ends["one"] == 4.5


def test_a_skipped_task_is_over_when_it_was_skipped(tmp_path):
    run = at(run_of(tmp_path, **CHAIN), 0.5)
    run.tell(m.SkipStep(steps=("one/worktree", "one/work", "one/check", "one")))
    found = foretell(run)
    assert (found.ends["one"], found.ends["two"]) == (0.5, 3.5)


def test_rework_after_a_task_was_through_is_not_over(tmp_path):
    from fleet.core.plan import SETTLED, Need, NeedsChange, Patch
    from fleet.files.changes.rework import recheck

    run = run_of(tmp_path, one="days: 1").begin("one")
    at(run, 1).verify("one")
    assert foretell(run).ends["one"] == 1
    (phase,) = phases_of(run.state)
    steps = {n: s.step for n, s in run.state.steps.items() if s.step.whole == "one"}
    again = recheck(
        steps["one/check"], steps, needs=(Need(step="one/check", on=SETTLED),),
        before=(f"{phase}/gate",),
    )  # fmt: skip
    change = {f"{phase}/gate": NeedsChange(add=(Need(step=again.id),))}
    patch = Patch(put=(again,), needs=change)
    run.end(f"{phase}/gate", m.Outcome(ending=m.Ending.DEFERRED, patch=patch))
    assert foretell(at(run, 2.5)).ends["one"] == 2.5


def test_weekends_are_no_days(tmp_path):
    # 2026-11-20 is a Friday; working days are counted, nights as part of their day.
    calendar = calendar_of({"start": "2026-11-20", "calendar": {"weekend": ["sat", "sun"]}})
    friday_noon_ms = 1_795_176_000_000

    def day_of(at_ms):
        return working_day(calendar, at_ms)

    assert day_of(friday_noon_ms) == 0.5
    assert day_of(friday_noon_ms + DAY_MS) == day_of(friday_noon_ms + 2 * DAY_MS) == 1.0
    assert day_of(friday_noon_ms + 3 * DAY_MS) == 1.5
    run = LoweredRun(plan(tmp_path, **CHAIN), now=friday_noon_ms).begin("one")
    monday = friday_noon_ms + 3 * DAY_MS
    found = foretell(run, day_of, day_of(monday))
    assert (found.ends["one"], found.slip_days) == (2, 0), "two days: Friday and Monday"
    tuesday = monday + DAY_MS - 6 * HOUR_MS
    assert foretell(run, day_of, day_of(tuesday)).slip_causes == [("one", 0.25)]


def test_shares_of_the_work():
    about = {"schedule": {"days": 5, "slots": {"one": [0, 2, 0], "two": [2, 5, 0]}}}
    planned = planned_of(about).planned
    assert [planned_share(planned, day) for day in (0, 1, 2, 3.5, 9)] == [0, 20, 40, 70, 100]
    assert planned_share({}, 3) == 0
    assert done_share({}, set()) == 0


def test_a_plan_without_a_schedule_has_no_forecast():
    assert planned_of({}).planned_days == 0
    assert forecast({}, {}, [], float, 3).slip_days == 0


def test_a_long_chain_is_walked_without_recursion(tmp_path):
    tasks = {"t0": "days: 1"} | {f"t{n}": f"deps: [t{n - 1}]" for n in range(1, 60)}
    found = foretell(run_of(tmp_path, **tasks))
    assert (found.finish, found.slip_days) == (60, 0)
