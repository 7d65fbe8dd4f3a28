from __future__ import annotations

import csv
import io
from xml.etree import ElementTree as ET

import pytest

from fleet.files.calendar import make_calendar
from fleet.render.exports import EXPORTS
from fleet.render.plan import render_plan
from fleet.render.text import width
from fleet.views.plan import PlannedPhase, PlannedTask, view_plan

HOSTILE = [
    "\x1b[31mred\x1b]0;title\x07", "a\nsection evil", "=cmd|' /C calc'!A0", '"];x [label="',
    "</text><script>alert(1)</script>", "a:crit,b,c;d%%{init}%%", "right\u202eleft", "名前" * 30,
    "x" * 300, "BEGIN:VEVENT\r\nEND:VCALENDAR", "click t1 call x()", "\ud800",
]  # fmt: skip


def view_of(tasks, phases=(), **limits):
    date_of = make_calendar("2026-11-23").date_of
    return view_plan(tasks, phases, date_of=date_of, fleet="shop", base="main", limits=limits)


def sample():
    phases = [PlannedPhase(id="build", name="Build it"), PlannedPhase(id="ship")]
    tasks = [
        PlannedTask(id="api", name="The API", agent="ada", phase="build", days=4),
        PlannedTask(id="docs", name="Docs", agent="bob", phase="build", days=1.5),
        PlannedTask(id="out", name="Release", agent="ada", phase="ship", days=1, window=(2, 3)),
    ]
    return view_of(tasks, phases)


def hostile():
    return view_of([
        PlannedTask(id=f"{text}{i}", name=text, agent=text, days=i % 4, place=text, window=(90, 91))
        for i, text in enumerate(HOSTILE)
    ], agents=2)  # fmt: skip


GOLDEN_80 = """\
shop: 3 tasks, 2026-11-23 to 2026-11-27, 5 days for 6.5 days of work

ID    TASK     DAYS  ON   FLOAT  ╷1       ╷2       ╷3       ╷4       ╷5
build Build it, days 1 to 4
api   The API  4     1-4  0 *    ████████████████████████████████████
docs  Docs     1.5   1-2  2.5    ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄
ship, days 5 to 5
out   Release  1     5    0 *                                        █████████

Critical path  api → out: 5 days (* no float)
Float          docs 2.5
Load           ada 5 days (5 critical), bob 1.5 days
At once        2 at most, 1.3 times as fast as one by one
Warning        out is expected on days 2 to 3, the schedule has it on days 5 to
               5: what it waits for ends too late
"""


GOLDEN_120 = """\
shop: 3 tasks, 2026-11-23 to 2026-11-27, 5 days for 6.5 days of work

ID    TASK     AGENT  DAYS  STARTS      ENDS        ON   FLOAT  |1         |2         |3         |4         |5
build Build it, days 1 to 4
api   The API  ada    4     2026-11-23  2026-11-26  1-4  0 *    ############################################
docs  Docs     bob    1.5   2026-11-23  2026-11-24  1-2  2.5    ======================......................
ship, days 5 to 5
out   Release  ada    1     2026-11-27  2026-11-27  5    0 *                                                ###########

Critical path  api -> out: 5 days (* no float)
Float          docs 2.5
Load           ada 5 days (5 critical), bob 1.5 days
At once        2 at most, 1.3 times as fast as one by one
Warning        out is expected on days 2 to 3, the schedule has it on days 5 to 5: what it waits for ends too late
"""  # noqa: E501 - lines as they are printed


def test_80_columns():
    assert render_plan(sample(), columns=80) == GOLDEN_80


def test_120_columns_in_ascii():
    assert render_plan(sample(), columns=120, plain_ascii=True) == GOLDEN_120


@pytest.mark.parametrize("columns", [60, 80, 99, 100, 120, 250])
@pytest.mark.parametrize("plain_ascii", [True, False])
def test_no_line_is_wider_than_the_terminal(columns, plain_ascii):
    text = render_plan(hostile(), columns=columns, plain_ascii=plain_ascii)
    assert max(width(line) for line in text.splitlines()) <= columns
    assert text.isascii() or not plain_ascii


def test_a_name_steers_no_terminal():
    text = render_plan(hostile())
    assert not {"\x1b", "\x07", "\r", "\u202e", "\ud800"} & set(text)
    text.encode()


def test_colour_is_only_there_when_asked_for():
    assert "\x1b[31m" in render_plan(sample(), colour=True)


def test_long_plans_fit_too():
    tasks = [PlannedTask(id=f"t{i}", days=3, needs=(f"t{i - 1}",) if i else ()) for i in range(300)]
    text = render_plan(view_of(tasks))
    assert max(map(width, text.splitlines())) <= 80
    assert "and 260 more" in text


def test_csv_computes_nothing():
    rows = list(csv.reader(io.StringIO(EXPORTS["csv"](hostile()))))
    assert len(rows) == len(HOSTILE) + 1
    assert not [cell for row in rows for cell in row[:5] if cell.startswith(("=", "+", "-", "@"))]


def test_svg_is_text_only():
    root = ET.fromstring(EXPORTS["svg"](hostile()))
    assert {node.tag.rpartition("}")[2] for node in root.iter()} <= {"svg", "title", "text", "rect"}


def test_mermaid_has_one_line_a_task_and_one_section():
    lines = EXPORTS["mermaid"](hostile()).splitlines()
    starts = [line.split()[0] for line in lines]
    assert starts[:4] == ["gantt", "title", "dateFormat", "section"]
    assert len(lines) == 4 + len(HOSTILE)
    assert not {"section", "click", "title"} & set(starts[4:])
    assert all(line.count(":") == 1 for line in lines[4:])


def test_ics_has_an_event_a_task_in_short_lines():
    text = EXPORTS["ics"](hostile())
    assert text.count("\r\nBEGIN:VEVENT\r\n") == len(HOSTILE)
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))


def test_dot_quotes_every_name():
    text = EXPORTS["dot"](hostile())
    assert text.count("\n  t") == len(HOSTILE)
    assert '\\"];x [label=\\"' in text
