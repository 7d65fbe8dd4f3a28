from __future__ import annotations

import sys

import pytest

from fleet.errors import InvalidPlan, Place
from fleet.files.calendar import make_calendar


def test_weekends_and_holidays_are_no_working_days():
    calendar = make_calendar("2026-11-23", holidays=["2026-11-24"])
    assert [calendar.date_of(d) for d in (1, 2, 4, 5)] == [
        "2026-11-23",
        "2026-11-25",
        "2026-11-27",
        "2026-11-30",
    ]
    assert calendar.day_of("2026-11-29") == 4
    assert calendar.day_of("2026-11-22") == 0


def test_a_start_on_a_weekend_is_the_monday_after():
    assert make_calendar("2026-11-21").date_of(1) == "2026-11-23"


def test_every_day_and_other_weekends():
    assert make_calendar("2026-11-21", weekend=()).date_of(3) == "2026-11-23"
    assert make_calendar("2026-11-19", weekend=["friday", "Sat"]).date_of(2) == "2026-11-22"


@pytest.mark.parametrize("day", range(1, 400, 7))
def test_day_and_date_are_inverses(day):
    calendar = make_calendar("2026-01-01", holidays=["2026-12-25"])
    assert calendar.day_of(calendar.date_of(day)) == day


def test_every_problem_is_told_with_its_place():
    with pytest.raises(InvalidPlan) as caught:
        make_calendar(
            "2026-11-23",
            weekend=["sun", "sonday"],
            holidays=["2026-13-01", "20261224"],
            place=Place("coordination.md", 3, 1),
        )
    texts = [str(problem) for problem in caught.value.problems]
    assert len(texts) == 3
    assert all(text.startswith("coordination.md:3:1") for text in texts)


def test_a_week_without_work_is_refused():
    with pytest.raises(InvalidPlan, match="no day to work"):
        make_calendar("2026-11-23", weekend="mon tue wed thu fri sat sun".split())


def test_beyond_the_last_year_is_refused():
    with pytest.raises(InvalidPlan, match="9999"):
        make_calendar("9999-12-27").date_of(9)


def test_a_country_has_its_holidays():
    pytest.importorskip("holidays")
    calendar = make_calendar("2026-12-24", country="DE")
    assert calendar.date_of(2) == "2026-12-28"
    with pytest.raises(InvalidPlan, match="no holidays are known for 'XQ'"):
        make_calendar("2026-12-24", country="XQ")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "holidays", None)
    with pytest.raises(InvalidPlan, match="'holidays', which is not installed"):
        make_calendar("2026-12-24", country="DE")
