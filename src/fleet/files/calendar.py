"""Which dates are working days: day numbers of a plan to ISO dates and back.

Lives here, and only here: weekends, holidays and the `holidays` package, which is imported when a
fleet names a country and at no other time. Schedules count days and know no dates.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from fleet.errors import InvalidPlan, Place, Problem, did_you_mean

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WEEKEND = ("sat", "sun")
LONGEST_SEARCH = 3_660
"""Days in a row without a working day after which a calendar is held to have none."""


@dataclass(slots=True, kw_only=True)
class Calendar:
    """Working days from `start` on; day 1 is the first of them. Dates are found once and kept."""

    start: date
    weekend: frozenset[int] = frozenset({5, 6})
    holidays: frozenset[date] = frozenset()
    public: Container[date] | None = None
    place: Place | None = None
    found: list[date] = field(default_factory=list)

    def works(self, day: date) -> bool:
        """Returns whether that date is a working day."""
        return (
            day.weekday() not in self.weekend
            and day not in self.holidays
            and not (self.public is not None and day in self.public)
        )

    def date_of(self, day: int) -> str:
        """Returns the ISO date of a working day, counted from 1;
        a day before the first is the first.
        """
        day = max(day, 1)
        if not (self.weekend or self.holidays or self.public is not None):
            return self._shifted(self.start, day - 1).isoformat()
        while len(self.found) < day:
            last = self.found[-1] if self.found else self.start - timedelta(days=1)
            self.found.append(self._next(last))
        return self.found[day - 1].isoformat()

    def day_of(self, when: str) -> int:
        """Returns how many working days there are from the start to that ISO date, both included.

        So a weekend has the number of the Friday before it, and dates before the start have 0.
        Raises InvalidPlan on text that is no date.
        """
        wanted = read_date(when, self.place)
        day = (wanted - self.start).days + 1
        if day < 1:
            return 0
        return sum(self.works(self.start + timedelta(days=passed)) for passed in range(day))

    def _next(self, last: date) -> date:
        for passed in range(1, LONGEST_SEARCH + 1):
            day = self._shifted(last, passed)
            if self.works(day):
                return day
        text = f"the calendar has no working day in the {LONGEST_SEARCH} days after {last}"
        raise InvalidPlan([Problem(text, self.place, "take days out of its weekend or holidays")])

    def _shifted(self, day: date, by: int) -> date:
        try:
            return day + timedelta(days=by)
        except OverflowError:
            text = "the plan reaches beyond the year 9999"
            raise InvalidPlan([Problem(text, self.place, "give shorter days")]) from None


def make_calendar(
    start: str,
    *,
    weekend: Iterable[str] = WEEKEND,
    holidays: Iterable[str] = (),
    country: str | None = None,
    place: Place | None = None,
) -> Calendar:
    """Returns the calendar of a fleet that starts on an ISO date.

    An empty `weekend` is a calendar of every day. `holidays` are ISO dates; `country` is a code of
    the `holidays` package ("DE", or "DE-BY" for a part of a country), whose days are added. Raises
    InvalidPlan, with all problems, on what is no date, day or country, on a weekend of seven days,
    and when the package is missing.
    """
    first = read_date(start, place)
    problems = []
    days = set()
    for name in weekend:
        said = name.lower()
        if said in DAYS or said in NAMES:
            days.add(DAYS.index(said[:3]))
        else:
            hint = did_you_mean(name, DAYS) or f"days are {', '.join(DAYS)}"
            problems.append(Problem(f"{name!r} is no day of the week", place, hint))
    if len(days) == len(DAYS):
        problems.append(Problem("a weekend of seven days leaves no day to work", place))
    free: set[date] = set()
    for text in holidays:
        try:
            free.add(read_date(text, place))
        except InvalidPlan as error:
            problems.extend(error.problems)
    public: Container[date] | None = None
    try:
        public = _country(country, place) if country else None
    except InvalidPlan as error:
        problems.extend(error.problems)
    if problems:
        raise InvalidPlan(problems)
    return Calendar(
        start=first, weekend=frozenset(days), holidays=frozenset(free), public=public, place=place
    )


def read_date(text: str, place: Place | None = None) -> date:
    """Returns the date that `text` (YYYY-MM-DD) says; raises InvalidPlan on anything else."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.isoformat() != text:
        problem = Problem(f"{text!r} is no date", place, "write it as 2026-11-23")
        raise InvalidPlan([problem])
    return found


def _country(code: str, place: Place | None) -> Container[date]:
    try:
        import holidays
    except ImportError:
        text = f"holidays of {code!r} need the Python package 'holidays', which is not installed"
        hint = "pip install holidays, or list the dates"
        raise InvalidPlan([Problem(text, place, hint)]) from None
    country, _, part = code.partition("-")
    try:
        found: Container[date] = holidays.country_holidays(country.upper(), subdiv=part or None)
    except NotImplementedError:
        known = sorted(holidays.list_supported_countries())
        hint = did_you_mean(code.upper(), known) or "use an ISO 3166 code such as DE, US or DE-BY"
        text = f"no holidays are known for {code!r}"
        raise InvalidPlan([Problem(text, place, hint)]) from None
    return found
