"""The report as golden text and Markdown, hostile words in every place."""

from __future__ import annotations

import pytest

from fleet.render.report import report_markdown, report_text, span
from fleet.render.text import amount, money, width

EVIL = "\x1b[2J\u202eevil|\r\n<b>"


@pytest.fixture(autouse=True)
def glyphs(monkeypatch):
    monkeypatch.setattr("sys.stdout", type("Out", (), {"encoding": "utf-8"})())


def row(**told):
    usage = {
        "input_tokens": 12_345, "cached_tokens": 900_000, "output_tokens": 950, "tokens": 13_295,
        "turns": 7, "usd": 1.5, "context_share": 0.42,
    }  # fmt: skip
    usual = {
        "id": "db", "agent": "ana", "state": "verified", "planned_days": 2, "actual_days": 1.25,
        "merged_as": None, "tasks": ["db"], "attempts": 2, "failed": 1, "ran_s": 3725.4,
        "usage": usage, "step": "db/work", "attempt": 1, "ending": "failed", "failure": "task",
        "text": "ana: it exited with 1\nmore",
    }  # fmt: skip
    return usual | told


def report(**told):
    usual = {
        "fleet": "shop", "run": {"id": "plan", "state": "running", "revision": 1},
        "planned_days": 10, "actual_days": 3.5, "ran_s": 3725.4, "usage": row()["usage"],
        "phases": [row(id="core"), row(id=None, usage={}, attempts=0, failed=0, ran_s=0)],
        "accounts": [row(id="team", agents=["ana"])],
        "agents": [row(id="ana")],
        "tasks": [row(), row(id="web", state="waiting", usage={}, actual_days=None)],
        "attempts": [
            row(),
            row(attempt=2, ending="succeeded", failure=None, text="done", usage={"usd": 0.004}),
            row(step="db/worktree", agent=None, ending="succeeded", failure=None, text=""),
        ],
    }  # fmt: skip
    return usual | told


def test_the_report_at_80_columns():
    assert report_text(report(), 80) == GOLDEN_80


def test_a_wide_report_tells_cached_tokens_turns_and_context():
    text = report_text(report(), 120)
    assert "IN     CACHED  OUT  TURNS  COST    CONTEXT  LAST WORD" in text
    assert "12.3k  900k    950  7      $1.50   42 %     ana: it exited with 1" in text


def test_accounts_are_shown_once_there_are_several():
    assert "ACCOUNT " not in report_text(report(), 80)
    several = [row(id="team", agents=["ana", "bob"]), row(id="own", agents=["eve"])]
    text = report_text(report(accounts=several), 80)
    assert "ACCOUNTS\nACCOUNT  AGENTS" in text
    assert max(map(width, text.splitlines())) <= 80


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_no_line_is_wider_than_told_and_nothing_hostile_comes_through(columns):
    evil = row(id=EVIL * 5, state=EVIL, step=EVIL, text=EVIL * 9, agent=EVIL)
    text = report_text(
        report(fleet=EVIL, phases=[evil], agents=[evil], tasks=[evil], attempts=[evil]), columns
    )
    assert max(map(width, text.splitlines())) <= columns
    assert not {"\x1b", "\u202e", "\r"} & set(text)


def test_markdown_is_tables_and_what_others_wrote_stays_text():
    text = report_markdown(report())
    assert text.startswith("# shop: running\n")
    assert "## Tasks\n\n| task | state | plan | days |" in text
    text = report_markdown(report(tasks=[row(id=EVIL)]))
    assert r"evil\| \<b\>" in text
    heads = next(one for one in text.splitlines() if one.startswith("| task "))
    cells = [one for one in text.splitlines() if "evil" in one]
    assert len(cells) == 1
    assert cells[0].replace(r"\|", "").count("|") == heads.count("|")


def test_figures_are_short():
    shown = [amount(one) for one in (None, 0, 950, 1000, 12_345, 123_456, 2_500_000, 3e9)]
    assert shown == ["-", "0", "950", "1k", "12.3k", "123k", "2.5M", "3G"]
    assert [money(one) for one in (None, 0, 12, 0.25, 0.0042)] == [
        "-", "$0.00", "$12.00", "$0.25", "$0.0042",
    ]  # fmt: skip
    assert [span(one) for one in (0, 9.94, 59, 61, 7322)] == [
        "0.0 s", "9.9 s", "59 s", "1 min 1 s", "2 h 2 min",
    ]  # fmt: skip


GOLDEN_80 = """\
shop: running · 10 days planned, 3.5 taken · 2 attempts, 1 failed
agents ran 1 h 2 min · 13.3k tokens · $1.50

PHASES
PHASE  MERGE  PLAN  DAYS  TRIES         RAN        IN     OUT  COST
core   -      2     1.25  2 (1 failed)  1 h 2 min  12.3k  950  $1.50
-      -      2     1.25  0             0.0 s      -      -    -

AGENTS
AGENT  TASKS  TRIES         RAN        IN     OUT  COST
ana    1      2 (1 failed)  1 h 2 min  12.3k  950  $1.50

TASKS
TASK  STATE     PLAN  DAYS  TRIES         RAN        IN     OUT  COST
db    verified  2     1.25  2 (1 failed)  1 h 2 min  12.3k  950  $1.50
web   waiting   2     -     2 (1 failed)  1 h 2 min  -      -    -

ATTEMPTS
ATTEMPT    ENDED         RAN        IN     OUT  COST    LAST WORD
db/work 1  failed: task  1 h 2 min  12.3k  950  $1.50   ana: it exited with 1
db/work 2  succeeded     1 h 2 min  -      -    $0.004  done"""
