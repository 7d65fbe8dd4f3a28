from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from fleet.core import messages as m
from fleet.core.plan import Patch
from fleet.files.changes.likeness import Likeness, alike, is_round, likeness_of, words_of
from support.plans import plan, step
from support.playbook import answered, play

CORPORA = Path(__file__).parent / "corpora"
DISTINCT = (CORPORA / "distinct.txt").read_text().splitlines()
REPHRASED = [
    part.splitlines() for part in (CORPORA / "rephrased.txt").read_text().strip().split("\n\n")
]


def question(text: str, **rest: object) -> m.Question:
    return m.Question(message=text, **rest)


def index(*texts: str, topic: str = "") -> Likeness:
    found = Likeness()
    for number, text in enumerate(texts, start=1):
        found.add(f"r.q{number}", question(text, topic=topic))
    return found


def same(one: str, other: str) -> bool:
    return alike(words_of(one), words_of(other))


def loops_in(texts: list[str]) -> list[list[str]]:
    """The questions that are asked three times or more, as an index of all of them sees it."""
    found = index(*texts)
    return [[texts[int(n[3:]) - 1] for n in names] for names in found.asked.values()
            if len(names) > 2]  # fmt: skip


def test_no_two_of_distinct_questions_are_the_same():
    assert len(DISTINCT) >= 200
    assert not [pair for pair in combinations(DISTINCT, 2) if same(*pair)]
    assert not loops_in(DISTINCT)


def test_every_rephrased_triple_is_one_loop_and_nothing_else_is():
    assert len(REPHRASED) >= 60
    told = [text for number in range(3) for text in (part[number] for part in REPHRASED)]
    assert sorted(map(sorted, loops_in(told))) == sorted(map(sorted, REPHRASED))


def test_what_the_index_finds_is_what_comparing_all_finds():
    texts = [*DISTINCT, *(text for part in REPHRASED for text in part)]
    found = index(*texts)
    for text in texts:
        all_of_them = [n for n, form in enumerate(found.forms) if alike(words_of(text), form)]
        assert found._resembling(words_of(text)) == all_of_them, text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Which format do tenant ids have?", "which FORMAT do   tenant-IDs have??"),
        ("Who renews the certificate?", "Who renews the certifcate?"),
        ("Why?", "why?!"),
        ("...", "..."),
        ("租户 ID 的格式是什么?", "租户 ID 的格式是什么!"),
    ],
)
def test_these_are_the_same(one, other):
    assert same(one, other)
    assert index(one).earlier(question(other)) == ["r.q1"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("May I change create_user?", "May I change create_order?"),
        ("Does test 12 have to pass?", "Does test 13 have to pass?"),
        ("Is /v1/users still served by the gateway?", "Is /v2/users still served by the gateway?"),
        ("Should the import be encoded?", "Should the import be decoded?"),
        ("Why?", "How?"),
        ("", "Why?"),
    ],
)
def test_these_are_not(one, other):
    assert not same(one, other)
    assert not index(one).earlier(question(other))


def test_questions_of_one_topic_are_the_same_whatever_they_say():
    found = index("Which format has it?", "Who generates it?", topic="Tenant  ID")
    assert found.earlier(question("Is it validated?", topic="tenant id")) == ["r.q1", "r.q2"]
    assert not found.earlier(question("Is it validated?"))
    assert not found.earlier(question("Is it validated?", topic="api"))


def test_a_topic_and_words_lead_to_all_that_is_the_same_in_the_order_in_which_it_was_asked():
    found = Likeness()
    found.add("r.q2", question("Which colour has the button?"))
    found.add("r.q9", question("Where is the button?", topic="ui"))
    found.add("r.q10", question("Which colour does the button have?", topic="ui"))
    assert found.earlier(question("button colour")) == ["r.q2", "r.q9", "r.q10"]


def asks(text: str, **rest: object) -> m.RaiseQuestion:
    return m.RaiseQuestion(question=question(text, **rest), step="a")


def test_what_led_to_something_is_not_counted_again_and_an_index_follows_from_the_events():
    with play(plan(step("a"), step("b", "a"))) as run:
        seen = Likeness()

        def look(text: str) -> tuple[tuple[str, ...], str]:
            for event in run.log[len(heard) :]:
                heard.append(event)
                seen.hear(event)
            found = seen.look(run.state, question(text))
            assert found == likeness_of(run.log).look(run.state, question(text))
            return found

        heard: list[m.Event] = []
        text = "Which colour has it?"
        run.quietly(asks(text), asks(text, kind="approval"), asks("Is it blue?"))
        assert look(text) == (("r.q1",), "")
        loop = asks("a loop", kind="loop", about={"rounds": ["r.q1"]})
        run.quietly(loop)
        assert look(text) == ((), "r.q4"), "a person is asked already"
        run.quietly(asks(text, about={"loop": "r.q4"}), answered(4, "red"))
        assert look(text) == ((), ""), "what came into the loop is over with it"
        run.quietly(asks(text))
        assert look(text) == (("r.q6",), "")
        put = step("adapt", "a", kind="set", params={"rounds": ["r.q6"]})
        run.quietly(m.RevisePlan(patch=Patch(put=(put,))))
        assert look(text) == ((), "adapt")
        run.quietly(m.SkipStep(steps=("adapt",)))
        assert look(text) == ((), "")


def test_only_what_a_working_step_asks_of_its_own_is_a_round():
    assert is_round(question("why?"), "a")
    assert is_round(question("why?", kind="choice", choices=("x",)), "a")
    assert not is_round(question("why?"), "")
    assert not is_round(question("why?", kind="permission"), "a")
    assert not is_round(question("why?", then=m.Then.REPLY), "a")


def test_a_question_without_end_costs_its_beginning():
    long = " ".join(f"w{n}" for n in range(100_000))
    assert len(words_of(long)) < 1_000
    assert index(long).earlier(question(long)) == ["r.q1"]
