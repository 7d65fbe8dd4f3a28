"""A change of the plan as people read it, also with hostile words in it."""

from __future__ import annotations

from fleet.core.plan import JOIN, Need, Step, plan_of
from fleet.render.adapting import adapting_text
from fleet.views.difference import difference

EVIL = "\x1b]0;owned\x07"


def a_plan(days, chain, **tasks):
    """Tasks as {needs, slot}; their joins say what a diff asks."""
    facts = {
        name: {"id": name, "name": name, "agent": "ann", "phase": "p", "days": 2,
               "dependencies": told["needs"]}
        for name, told in tasks.items()
    }  # fmt: skip
    steps = [
        Step(id=name, kind=JOIN, params={"task": told},
             needs=tuple(Need(step=one) for one in told["dependencies"]))
        for name, told in facts.items()
    ]  # fmt: skip
    slots = {name: told["slot"] for name, told in tasks.items()}
    about = {"schedule": {"days": days, "slots": slots, "chain": chain}}
    return plan_of("p", steps, about=about)


BEFORE = a_plan(
    4.0, ["a", "b"], a={"needs": [], "slot": [0, 2, 0]}, b={"needs": ["a"], "slot": [2, 4, 0]},
    c={"needs": ["a"], "slot": [2, 4, 0]}, gone={"needs": [], "slot": [0, 2, 2]},
)  # fmt: skip
AFTER = a_plan(
    5.5, ["x", "b"], a={"needs": [], "slot": [0, 2, 1.5]}, x={"needs": [], "slot": [0, 3.5, 0]},
    b={"needs": ["a", "x"], "slot": [3.5, 5.5, 0]}, c={"needs": [], "slot": [0, 2, 3.5]},
)  # fmt: skip


def told(**rest):
    found = difference(BEFORE, AFTER, lambda day: f"day-{day}")
    return {
        "reason": "Why not.", "against": [], "question": None, "revision": None, "state": "applied",
        "running": {}, **found, **rest,
    }  # fmt: skip


def test_a_change_is_a_diff_of_graph_schedule_and_longest_chain():
    shown = adapting_text(told(revision=3, running={"b": "stop", "gone": "stop", "c": "leave"}), 80)
    assert shown.splitlines() == [
        "Why not.",
        "",
        "  + x (ann, p, 2 days)",
        "  ~ b also needs x",
        "  ~ c no longer needs a",
        "  - gone",
        "  ! b is stopped and goes on behind that",
        "  ! gone is stopped",
        "  ! c goes on; what waits for it waits for that too",
        "",
        "  finish moves from day 4 to day 6 (day-4 to day-6)",
        "  new critical path: x -> b",
        "  slack: a 0 -> 1.5, c 0 -> 3.5",
        "",
        "applied as revision 3",
    ]


def test_what_became_of_it_stands_last():
    asked = told(state="asked", question="plan.q3", against=["agent 'x' may get no task"])
    assert adapting_text(asked, 100).splitlines()[-2:] == [
        "outside of the envelope: agent 'x' may get no task",
        "asked as plan.q3: fleet approve plan.q3, or fleet reject plan.q3 --reason ...",
    ]
    assert "would ask; nothing was done" in adapting_text(told(state="would ask"), 80)
    assert "applied" not in adapting_text(told(revision=3), 80, outcome=False)
    taken = {"reason": "", "against": [], "state": "taken"}
    assert adapting_text(taken, 80).splitlines() == [
        "No reason was given.", "", "nothing to do: the plan has taken this change up already",
    ]  # fmt: skip
    same = difference(BEFORE, BEFORE, str)
    shown = adapting_text({**told(), **same}, 80)
    assert "finish stays on day 4" in shown
    assert "critical path as before: a -> b" in shown


def test_hostile_words_stay_words_and_lines_stay_short():
    graph = {
        "added": [{"id": EVIL, "agent": EVIL, "phase": EVIL, "days": 1, "needs": [EVIL] * 30}],
        "needs": [{"task": EVIL, "added": [EVIL], "removed": [EVIL]}],
        "dropped": [EVIL],
    }
    evil = told(
        reason=EVIL, graph=graph, running={EVIL: "stop"}, state="asked", question=EVIL,
        against=[EVIL * 20],
    )  # fmt: skip
    shown = adapting_text(evil, 60)
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 60
