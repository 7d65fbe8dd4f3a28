"""Launches, gates, landings, questions, events and metrics as golden text, also hostile."""

from __future__ import annotations

import pytest

from fleet.app.landed import Landing
from fleet.app.launching import Launched
from fleet.render.flows import tree
from fleet.render.gate import gate_markdown, gate_text
from fleet.render.running import (
    event_text,
    inbox_text,
    landing_text,
    launch_text,
    metrics_text,
    next_steps,
    tick,
)
from fleet.render.text import width

EVIL = "\x1b[2J\u202eevil\r\n"


@pytest.fixture(autouse=True)
def glyphs(monkeypatch):
    monkeypatch.setattr("sys.stdout", type("Out", (), {"encoding": "utf-8"})())


def launched(**told):
    usual = {
        "task": "one", "agent": "ana", "state": "working", "worktree": "/w/one",
        "branch": "fleet/one", "port": 8123, "session": "one-1-abc",
    }  # fmt: skip
    return Launched(**usual | told)


def question(**told):
    usual = {
        "id": "plan.q1", "step": "one/work", "task": "one", "kind": "text", "message": "which way?",
        "choices": [], "slack_days": 0,
    }  # fmt: skip
    return usual | told


def gate(**told):
    usual = {
        "phase": "p", "gate": "closed", "merged_as": None,
        "conditions": [
            {"text": "one: A.md", "met": True, "evidence": "committed", "commit": "c"},
            {"text": "one: check make", "met": False, "evidence": "it exited with 1", "commit": ""},
        ],
    }  # fmt: skip
    return usual | told


def closed_by(text):
    return gate(conditions=[{"text": text, "met": False, "evidence": text, "commit": None}])


def test_a_launch():
    assert launch_text(launched()).splitlines() == [
        "one  ana  working",
        "  worktree /w/one   branch fleet/one",
        "  port     8123",
        "  session  one-1-abc",
    ]
    waiting = launched(state="waiting", port=None, session=None, text="waits for two\nand more")
    assert launch_text(waiting) == "one  ana  waiting: waits for two"


def test_what_to_type_next():
    assert next_steps([launched(session=None)]) == "next: fleet status"
    assert next_steps([launched()]) == ("next: fleet status   fleet attach one   fleet logs -f one")
    assert next_steps([launched(), launched(state="needs-you")]) == "next: fleet inbox"


def test_a_gate():
    assert gate_text(gate()).splitlines() == [
        "gate p: closed",
        "  ✔ one: A.md",
        "  ✘ one: check make",
        "      it exited with 1",
    ]
    landed = gate(gate="open", merged_as="0123456789abcdef", conditions=[])
    assert gate_text(landed) == "gate p: open, landed as 0123456789"


def test_a_gate_as_a_page_for_a_pull_request():
    at, by = "2026-11-20T09:00:00.000Z", "plan/one/check/1"
    hostile = "one: <b>|`x`|\n\x1b[2J"
    conditions = [
        {
            "kind": "deliverable", "text": "one: A.md", "met": True, "evidence": "committed",
            "commit": "c" * 40, "at": at, "by": by, "digest": "git:" + "d" * 40,
        },
        {
            "kind": "approval", "text": hostile, "met": False, "evidence": "not yet",
            "commit": None, "at": None, "by": None, "digest": None,
        },
    ]  # fmt: skip
    metrics = [
        {
            "task": "one", "name": "p95", "value": 88.5, "unit": "ms", "target": "<100",
            "met": True, "commit": "c" * 40, "at": at, "by": by, "digest": "sha256:" + "e" * 64,
        }
    ]  # fmt: skip
    told = gate(conditions=conditions, metrics=metrics, run="plan", missing=[hostile])
    assert gate_markdown(told).splitlines() == [
        "# Gate p: closed",
        "",
        "Run plan, 1 missing.",
        "",
        "|  | condition | evidence | commit | at | by | digest |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        f"| yes | one: A.md | committed | cccccccccc | {at} | {by} | git:ddddddddddddddd |",
        "| **no** | one: \\<b\\>\\|\\`x\\`\\| \\\\x1b\\[2J | not yet | - | - | - | - |",
        "",
        "| metric | value | target | commit | at | by | digest |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        f"| one: p95 | 88.5 ms | \\<100 | cccccccccc | {at} | {by} | sha256:eeeeeeeeeeee |",
    ]


def test_a_landing():
    landed = Landing(
        "p", landed=True, commit="c" * 40, before="b" * 40, tasks={"one": "1" * 40}, tag="v1",
        undo="refs/fleet/undo/1",
    )  # fmt: skip
    assert landing_text(landed).splitlines() == [
        "✔ p: bbbbbbbbbb -> cccccccccc",
        "    one  1111111111",
        "    tag v1",
        "    undo ref refs/fleet/undo/1",
    ]
    checks = [{"passed": True, "tail": "unseen"}, {"passed": False, "tail": "2 failed"}]
    red = Landing("p", landed=False, text="the checks are red", evidence={"checks": checks})
    assert landing_text(red).splitlines() == [
        "✘ p: not landed, the base is untouched",
        "    the checks are red",
        "      2 failed",
    ]


def test_the_inbox():
    assert inbox_text([]) == "nothing needs you"
    told = [
        question(),
        question(id="plan.q2", choices=["approve", "reject"], kind="approve", slack_days=2.5),
        question(id="plan.q3", choices=["a", "b"], task="", step="p/gate", slack_days=None),
    ]
    assert inbox_text(told).splitlines() == [
        "plan.q1  one  text  on the critical path",
        "    which way?",
        "    fleet answer plan.q1 TEXT",
        "plan.q2  one  approve  slack 2.5 d",
        "    which way?",
        "    fleet approve plan.q2   fleet reject plan.q2 --reason ...",
        "plan.q3  p/gate  text",
        "    which way?",
        "    fleet answer plan.q3 a|b",
    ]


def test_a_question_says_how_it_is_answered_within_its_columns():
    name = "all-questions-ea08b6.q5"
    told = [
        question(id=name, kind="approval", choices=["approve", "reject"], whom="lead", topic="x"),
        question(id="r.q2", kind="choice", choices=["roll back", "wait", "$(x)"]),
        question(id="r.q3", kind="number"),
    ]
    lines = inbox_text(told, 80).splitlines()
    assert lines[0] == f"{name}  one  approval  on the critical path  for lead  about x"
    assert lines[2:4] == [
        f"    fleet approve {name}",
        f"    fleet reject {name} --reason ...",
    ]
    assert lines[6] == "    fleet answer r.q2 'roll back'|wait|'$(x)'"
    assert lines[9] == "    fleet answer r.q3 NUMBER"


def event(kind, **told):
    return {
        "schema": "fleet.event/1", "run": "r", "seq": 7, "at": "2026-11-20T10:00:00.000+00:00",
        "event": kind, **told,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (event("attempt-started", step="one/work", attempt=1), "attempt-started    one/work 1"),
        (
            event("attempt-ended", step="a", attempt=2, outcome={"ending": "failed", "text": "no"}),
            "attempt-ended      a 2 failed no",
        ),
        (
            event("question-raised", step="a", id="r.q1", question={"message": "Which?"}),
            "question-raised    a r.q1 text: Which?",
        ),
        (
            event("question-answered", step="a", id="r.q1", value="left", by="ada", note="so"),
            "question-answered  a r.q1 'left' by ada (so)",
        ),
        (
            event(
                "plan-revised", by="a.open", revision=2,
                patch={"put": [{"id": "a[0]/b"}], "drop": ["c"], "reason": "1 items of a"},
            ),
            "plan-revised        revision 2 by a.open: 1 items of a +a[0]/b -c",
        ),
        (
            event("run-started", workflow="w", file="w.yaml", by="ada", steps=3),
            "run-started         w of w.yaml by ada: 3 steps",
        ),
        (event("step-held", step="a", reason="why"), 'step-held          a {"reason": "why"}'),
    ],
)  # fmt: skip
def test_an_event_is_a_line_in_words(told, said):
    found = event_text(told)
    assert found[:5] == "   7 "
    assert found[20:] == said
    assert width(event_text(told | {"text": "x" * 9_000}, 80)) <= 80


def test_steps_stand_below_the_one_that_each_is_within_by_what_it_is_called_there():
    parents = {
        "each": None,
        "each[0]/nest": "each",
        "each[0]/nest2": "each[0]/nest",
        "each[0]/nest2[1]/in": "each[0]/nest2",
        "call": None,
        "call/in": "call",
    }
    rows = [{"id": name, "parent": parent} for name, parent in parents.items()]
    names = [name for name, _ in tree(rows)]
    assert names == ["each", "  [0]/nest", "    nest2", "      [1]/in", "call", "  in"]


def test_metrics():
    assert metrics_text({"metrics": []}) == "no metrics are declared"
    rows = [
        {"task": "one", "name": "p95", "baseline": 120.0, "target": "<100", "unit": "ms",
         "measured": 80.0, "met": True},
        {"task": None, "name": "cost", "baseline": None, "target": None, "unit": "",
         "measured": None, "met": None},
    ]  # fmt: skip
    assert metrics_text({"metrics": rows}).splitlines() == [
        "   TASK     METRIC  BASELINE  TARGET  MEASURED",
        "✔  one      p95     120ms     <100    80ms",
        "·  (fleet)  cost    -         -       -",
    ]


# --- narrow, ASCII, hostile -----------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 120])
def test_long_words_stay_within_the_columns(columns):
    long = "word " * 60 + "x" * 300
    texts = [
        gate_text(closed_by(long), columns),
        landing_text(Landing("p", landed=False, text=long), columns),
        inbox_text([question(message=long)], columns),
    ]  # fmt: skip
    for text in texts:
        assert max(map(width, text.splitlines())) <= columns


def test_ascii(monkeypatch):
    monkeypatch.setenv("FLEET_ASCII", "1")
    assert [tick(met) for met in (True, False, None)] == ["+", "x", "."]
    assert gate_text(gate()).isascii()


def test_nothing_of_others_reaches_the_terminal_raw():
    texts = [
        launch_text(launched(task=EVIL, agent=EVIL, worktree=EVIL, branch=EVIL, text=EVIL)),
        launch_text(launched(session=EVIL)),
        next_steps([launched(task=EVIL)]),
        gate_text(closed_by(EVIL)),
        landing_text(Landing(EVIL, landed=False, text=EVIL, evidence={"checks": [{"tail": EVIL}]})),
        landing_text(Landing(EVIL, landed=True, tasks={EVIL: EVIL}, tag=EVIL, undo=EVIL)),
        inbox_text([question(message=EVIL, choices=[EVIL], step=EVIL, kind=EVIL)]),
        event_text(event("x", step=EVIL, text=EVIL)),
        metrics_text({"metrics": [{"task": EVIL, "name": EVIL, "baseline": 1, "target": EVIL,
                                   "unit": EVIL, "measured": 1, "met": True}]}),
    ]  # fmt: skip
    for text in texts:
        assert "evil" in text
        assert not set("\x1b\r\u202e") & set(text)


EVIL_COMMAND = f"rm -rf x {EVIL}\x1b]52;c;eA==\x07\u2028 && echo {'long' * 40}"


@pytest.mark.parametrize("columns", [80, 120])
def test_a_permission_is_shown_with_all_that_it_costs_and_nothing_that_moves(columns):
    asked = question(
        kind="choice", message=f"May it use Bash? {EVIL_COMMAND}", slack_days=2.5,
        choices=["allow", "deny", "always"], expires_at="2026-05-04T10:30:00.000Z", default="deny",
        pattern="run: rm -rf x",
    )  # fmt: skip
    shown = inbox_text([asked], columns)
    assert all(width(one) <= columns for one in shown.splitlines())
    assert not {*shown} & {*"\x1b\x07\r\u202e\u2028"}
    lines = shown.splitlines()
    assert lines[0] == "plan.q1  one  choice  slack 2.5 d"
    assert lines[1].startswith("    May it use Bash? rm -rf x")
    assert lines[-3:] == [
        "    expires 2026-05-04T10:30: then deny",
        "    --always allows `run: rm -rf x` for this run",
        "    fleet approve plan.q1 [--always]   fleet reject plan.q1 --reason ...",
    ]


def test_a_checkpoint_of_fifty_items_is_read_by_its_groups():
    met = [
        {"text": f"item {n}", "met": True, "evidence": "", "group": "Safety" if n % 2 else "Speed"}
        for n in range(48)
    ]
    red = [
        {"text": EVIL * 9, "met": False, "evidence": EVIL * 9, "group": "Safety"},
        {"text": "signed", "met": False, "evidence": "not yet", "group": EVIL},
    ]
    one = {"id": "ready", "name": EVIL * 9, "items": 50, "met": 48, "skipped": False}
    told = {"phase": "p", "checkpoint": one, "gate": "closed", "conditions": [*met, *red]}
    lines = gate_text(told, 80).splitlines()
    assert all(width(text) <= 80 and "\x1b" not in text and "\r" not in text for text in lines)
    assert "closed, 48 of 50 items met" in " ".join(lines[:3])
    first = lines.index("  Safety: 24 of 25")
    assert "evil" in lines[first + 1], "what is not met comes first in its group"
    assert lines.index("  Speed: 24 of 24") < first
