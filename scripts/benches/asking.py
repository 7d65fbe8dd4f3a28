"""What it costs to find out whether a question was asked before, and how often that is right.

    main([])

For `judgement`: 100,000 questions are recorded, and another one is looked for. Its floor is
rapidfuzz alone, comparing the words of that one with those of all others. The corpora are those of
the tests: distinct questions, and questions that were asked three times in other words.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import scenes

if TYPE_CHECKING:
    from fleet.core.messages import Question
    from fleet.files.changes.likeness import Likeness

CORPORA = Path(__file__).resolve().parents[2] / "tests/files/corpora"
RECORDED, ASKED, SEED = 100_000, 300, 20_261_130
TRIES = 3
"""So often a question is looked for; the least counts, for others use the machine as well."""

FOUND_MS = 10.0
SYLLABLES = "ba co di fu ga lo mi ne po ra se ti vo zu ker lan mon per sta tor".split()  # noqa: SIM905


def main(_argv: Sequence[str]) -> int:
    """Prints these lines alone; returns 1 when a target is missed."""
    return scenes.show("asking", "scripts/bench asking", asked_before())


def asked_before() -> list[scenes.Figure]:
    """Returns the cost of a new question among all, and precision and recall of the corpora."""
    from rapidfuzz import fuzz, process

    from fleet.core.messages import Question
    from fleet.files.changes.likeness import Likeness, words_of

    chance = random.Random(SEED)  # noqa: S311 - the same questions each time
    texts = (CORPORA / "distinct.txt").read_text().splitlines()
    known = Likeness()
    began = time.perf_counter()
    for number in range(RECORDED):
        known.add(f"r.q{number + 1}", Question(message=another(texts, chance)))
    built = time.perf_counter() - began
    took, floor = [], []
    forms = [" ".join(form) for form in known.forms]
    for _ in range(ASKED):
        question = Question(message=another(texts, chance))
        took.append(min(_found_ms(known, question) for _ in range(TRIES)))
    for _ in range(ASKED // 30):
        words = " ".join(words_of(another(texts, chance)))
        began = time.perf_counter()
        process.extract(words, forms, scorer=fuzz.ratio, score_cutoff=60, limit=None)
        floor.append(1000 * (time.perf_counter() - began))
    took.sort()
    late = took[int(len(took) * 0.99)]
    note = f"median {statistics.median(took):.2f} ms, recorded in {1e6 * built / RECORDED:.0f} us"
    alone = statistics.median(floor)
    return [
        scenes.Figure(
            f"a question among {RECORDED:,}, 99 of 100 within",
            f"{late:.2f} ms",
            f"< {FOUND_MS:g} ms",
            late < FOUND_MS,
            f"{note}; rapidfuzz over all of them {alone:.1f} ms",
        ),
        *exactness(texts),
    ]


def _found_ms(known: Likeness, question: Question) -> float:
    began = time.perf_counter()
    known.earlier(question)
    return 1000 * (time.perf_counter() - began)


def another(texts: Sequence[str], chance: random.Random) -> str:
    """Returns a question of a fleet, about something of its own."""
    words = chance.choice(texts).split()
    for _ in range(chance.choice((1, 1, 2))):
        made = "".join(chance.choice(SYLLABLES) for _ in range(chance.randint(2, 4)))
        words[chance.randrange(len(words))] = made
    return " ".join(words)


def exactness(distinct: Sequence[str]) -> list[scenes.Figure]:
    """Returns how many of the pairs found are right, and how many of the right ones are found."""
    from fleet.files.changes.likeness import alike, words_of

    triples = (CORPORA / "rephrased.txt").read_text().strip().split("\n\n")
    asked = [(number, line) for number, one in enumerate(triples) for line in one.splitlines()]
    told = [(number, words_of(line)) for number, line in asked]
    pairs = [(one[0] == other[0], alike(one[1], other[1])) for one, other in combinations(told, 2)]
    # Many of the distinct ones are the first of a triple: they are compared with one another.
    single = [words_of(line) for line in distinct]
    pairs += [(False, alike(one, other)) for one, other in combinations(single, 2)]
    found, right = sum(same for _, same in pairs), sum(wanted for wanted, _ in pairs)
    both = sum(wanted and same for wanted, same in pairs)
    loops = sum(
        sum(alike(words_of(a), words_of(b)) for a, b in combinations(one.splitlines(), 2)) >= 2
        for one in triples
    )
    return [
        scenes.Figure(
            f"precision, {len(distinct)} distinct questions and {len(triples)} triples",
            f"{100 * both / found:.1f} %",
            "100 %",
            both == found,
            f"{found} pairs are found to be the same",
        ),
        scenes.Figure(
            "recall of pairs; of triples",
            f"{100 * both / right:.1f} %; {loops} of {len(triples)}",
            "all triples",
            loops == len(triples),
        ),
    ]
