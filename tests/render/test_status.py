"""The daily check-in as golden text: 80 and 120 columns, ASCII, hostile words in every place."""

from __future__ import annotations

import pytest

from fleet.render.status import age, glyph, next_commands, status_text
from fleet.render.text import width
from fleet.views.tasks import STATES

NOW = "2026-11-20T12:00:00.000Z"
EVIL = "\x1b[2J\u202eevil\r\n"


@pytest.fixture(autouse=True)
def glyphs(monkeypatch):
    monkeypatch.setattr("sys.stdout", type("Out", (), {"encoding": "utf-8"})())


def task(name, state, **told):
    usual = {
        "id": name, "agent": "ana", "state": state, "since": "2026-11-20T11:30:00.000Z",
        "slack_days": 0, "attempt": 1, "deliverables": [{"met": False}, {"met": True}],
        "checks": [], "ahead": None, "behind": None, "dirty": None, "waiting_for": [], "why": "", "port": None,
        "port_open": None, "evidence": {"source": "journal", "age_s": None, "doubt": None}, "turn": None, "session": None,
        "last_checkin": None,
    }  # fmt: skip
    return usual | told


def status(**told):
    checkin = {
        "at": "2026-11-20T09:00:00.000Z", "day": 2, "done": "the schema", "next": "the tables",
        "blockers": ["no database"],
    }  # fmt: skip
    usual = {
        "fleet": "shop", "now": NOW, "day": 2, "of_days": 10, "done_pct": 12.5, "planned_pct": 20,
        "finish": "2026-12-03", "forecast_finish": "2026-12-04", "slip_days": 1.5,
        "slip_causes": [{"task": "db", "days": 2}, {"task": "api", "days": -0.5}],
        "spend": {"usd": 1.25, "tokens": 90_000},
        "questions": [
            {"id": "plan.q1", "step": "api/work", "task": "api", "kind": "text",
             "message": "Which framework?", "choices": [], "slack_days": 0},
        ],
        "tasks": [
            task("db", "working", session="db-1-aa", ahead=2, behind=1, dirty=3,
                 last_checkin=checkin, since="2026-11-18T12:00:00.000Z", port=8001, port_open=True,
                 evidence={"source": "process", "age_s": 4.2, "doubt": None}),
            task("api", "needs-you", attempt=2, checks=[{"passed": True}, {"passed": False}],
                 why="api is not there yet\nmore", ahead=1, behind=0),
            task("web", "waiting", slack_days=2.5, attempt=0, since=None,
                 waiting_for=["db", "api"]),
            task("docs", "verified", slack_days=None, since="2026-11-20T11:59:30.000Z"),
            task("late", "ready", waiting_for=["launch"], attempt=0, since=None),
        ],
        "phases": [
            {"id": "one", "gate": "open", "missing": [], "merged_as": "0123456789abcdef"},
            {"id": "two", "gate": "closed", "merged_as": None,
             "missing": ["db is not verified", "api is not verified", "web is not verified", "x"]},
        ],
        "conflicts": [],
        "warnings": ["the files were edited:", "  ~ db/work: span"],
    }  # fmt: skip
    return usual | told


GOLDEN_80 = """\
shop · day 2 of 10 · 12.5 % done (plan 20 %)
finish 2026-12-03, forecast 2026-12-04 (+1.5 d) · 90k tokens · $1.25

NEEDS YOU (1)
  plan.q1  api  text  on the critical path
      Which framework?
      fleet answer plan.q1 TEXT

TASK  STATE        SINCE   SLACK  TRY  DELIVERED  COMMITS   WAITS FOR
db    ● working    2 d     0 *    1    1/2        +2 -1 ~3
api   ◆ needs-you  30 min  0 *    2    1/2 +1/2   +1        api is not there yet
web   · waiting    -       2.5d   -    1/2        -         db, api
docs  ✔ verified   30 s    -      1    1/2        -
late  ○ ready      -       0 *    -    1/2        -         launch

phase one: landed as 0123456789
phase two: gate closed: db is not verified, api is not verified, web is not ver…

SINCE YESTERDAY
  db: the schema
  docs verified

TODAY
  db: the tables
  db is blocked: no database

DRIFT
  db +2 d, api -0.5 d

! the files were edited:
    ~ db/work: span

Next: fleet inbox   fleet launch late   fleet attach db
"""

# ruff: noqa: E501 - a screen of 120 columns
GOLDEN_120_TABLE = """\
TASK  AGENT  STATE        SINCE   SLACK  TRY  DELIVERED  COMMITS   PORT       SIGNAL       WAITS FOR
db    ana    ● working    2 d     0 *    1    1/2        +2 -1 ~3  8001 open  process 4 s
api   ana    ◆ needs-you  30 min  0 *    2    1/2 +1/2   +1        -          journal      api is not there yet
web   ana    · waiting    -       2.5d   -    1/2        -         -          journal      db, api
docs  ana    ✔ verified   30 s    -      1    1/2        -         -          journal
late  ana    ○ ready      -       0 *    -    1/2        -         -          journal      launch
"""


def test_the_hour_at_which_an_account_opens_is_seen_at_80_columns():
    resting = task("a-task", "ready", waiting_for=["account claude until 14:05"], ahead=1)
    assert "claude until 14:05" in status_text(status(tasks=[resting]), 80)


def test_the_check_in_at_80_columns():
    assert status_text(status(), 80) + "\n" == GOLDEN_80


def test_the_table_at_120_columns_shows_agents_ports_and_signals():
    lines = status_text(status(), 120).splitlines()
    start = next(n for n, one in enumerate(lines) if one.startswith("TASK"))
    assert "\n".join(lines[start : start + 6]) + "\n" == GOLDEN_120_TABLE


# --- narrow, long, ASCII, hostile -----------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 80, 100, 120, 200])
def test_no_line_is_wider_than_asked_but_80_at_least(columns):
    words = "word " * 80
    checkin = {"at": NOW, "day": 1, "done": words, "next": words, "blockers": [words]}
    tasks = [
        task(
            "t" * 64,
            "working",
            agent="a" * 64,
            why=words,
            waiting_for=[words],
            last_checkin=checkin,
        )
    ]
    phases = [{"id": "p" * 64, "gate": "closed", "missing": [words], "merged_as": None}]
    causes = [{"task": "t" * 64, "days": 1}] * 4
    told = status(
        fleet="f" * 200,
        tasks=tasks,
        phases=phases,
        slip_causes=causes,
        warnings=[words, f"  {words}"],
    )
    lines = status_text(told, columns).splitlines()
    assert max(map(width, lines)) <= max(columns, 80)


def test_ascii_has_no_glyphs(monkeypatch):
    monkeypatch.setenv("FLEET_ASCII", "1")
    text = status_text(status(), 80)
    assert text.isascii()
    assert "* working" in text
    assert {glyph(state) for state in STATES} <= set("*!x?+.")


def test_every_state_has_a_glyph_of_its_kind():
    assert all(glyph(state) != "?" for state in STATES if state != "lost")


def test_hostile_words_are_shown_and_not_obeyed():
    checkin = {"at": NOW, "day": 1, "done": EVIL, "next": EVIL, "blockers": [EVIL]}
    one = task(
        EVIL, "working", agent=EVIL, why=EVIL, waiting_for=[EVIL], last_checkin=checkin,
        session=EVIL,
        evidence={"source": EVIL, "age_s": 1, "doubt": EVIL},
    )  # fmt: skip
    told = status(
        fleet=EVIL,
        tasks=[one, task(EVIL, "ready", waiting_for=["launch"])],
        phases=[{"id": EVIL, "gate": "open", "missing": [EVIL], "merged_as": None}],
        slip_causes=[{"task": EVIL, "days": 1}],
        questions=[{"id": "q", "step": EVIL, "task": EVIL, "kind": EVIL, "message": EVIL,
                    "choices": [EVIL], "slack_days": 1}],
        warnings=[EVIL, f"  {EVIL}"],
    )  # fmt: skip
    for columns in (80, 120):
        text = status_text(told, columns)
        assert not set("\x1b\r\u202e") & set(text)
        assert text.count("evil") >= 12


def test_what_is_of_no_matter_is_left_out():
    told = status(
        questions=[], phases=[], slip_causes=[], warnings=[], slip_days=0,
        spend={"usd": 0, "tokens": 0},
        tasks=[task("a", "merged", since="2026-11-01T00:00:00.000Z")],
    )  # fmt: skip
    assert status_text(told, 80).splitlines() == [
        "shop · day 2 of 10 · 12.5 % done (plan 20 %)",
        "finish 2026-12-03, forecast 2026-12-04",
        "",
        "TASK  STATE     SINCE  SLACK  TRY  DELIVERED  COMMITS  WAITS FOR",
        "a     ✔ merged  19 d   0 *    1    1/2        -",
        "",
        "Next: fleet report",
    ]


def test_conflicts_that_are_foreseen_are_shown_as_far_as_there_is_room():
    pair = {"tasks": ["db", "api"], "with_base": False, "paths": ["a.sql", EVIL, "c", "d"]}
    based = {"tasks": ["db"], "with_base": True, "paths": ["b.sql"]}
    told = status(conflicts=[pair, *[based] * 6], questions=[])
    shown = status_text(told, 80)
    at = shown.index("WOULD CONFLICT")
    assert shown[at:].splitlines()[:3] == [
        "WOULD CONFLICT",
        "  db and api: a.sql, \\x1b[2J\\u202eevil , c ...",
        "  db and the base: b.sql",
    ]
    assert "  2 more\n" in shown[at:]
    assert next_commands(told) == ["fleet launch late", "fleet attach db", "fleet conflicts"]


def test_the_next_commands_are_three_at_most_and_fit_the_case():
    assert next_commands(status()) == ["fleet inbox", "fleet launch late", "fleet attach db"]
    opened = [{"id": "p", "gate": "open", "missing": [], "merged_as": None}]
    found = next_commands(status(phases=opened))
    assert found == ["fleet inbox", "fleet merge p", "fleet launch late"]
    assert next_commands(status(questions=[], phases=[], tasks=[])) == ["fleet plan"]
    for state, what in (("merged", "fleet report"), ("waiting", "fleet plan")):
        rest = [task("db", "skipped"), task("api", state)]
        assert next_commands(status(questions=[], phases=[], tasks=rest)) == [what]


def test_work_that_nobody_looks_after_is_told():
    gone = {"alive": False, "pid": None, "host": None}
    assert "NO COORDINATOR: fleet resume" in status_text(status(coordinator=gone), 80)
    there = {"alive": True, "pid": 1, "host": "h"}
    assert "COORDINATOR" not in status_text(status(coordinator=there), 80)
    idle = [task("web", "waiting"), task("docs", "verified")]
    assert "COORDINATOR" not in status_text(status(coordinator=gone, tasks=idle), 80)


def test_ages():
    from datetime import datetime

    now = datetime.fromisoformat(NOW)
    told = ["2026-11-20T11:59:58.500Z", "2026-11-20T11:58:00.000Z", "2026-11-20T09:00:00.000Z",
            "2026-11-17T12:00:00.000Z", "2026-11-20T12:00:05.000Z", None]  # fmt: skip
    assert [age(one, now) for one in told] == ["1 s", "2 min", "3 h", "3 d", "0 s", "-"]
