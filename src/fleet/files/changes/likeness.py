"""Which questions of a run are the same: of one topic, or of near-same words.

Words are compared without order, endings and those that only make a sentence; rapidfuzz pairs what
is left in spite of slips. A rephrased question adds or loses words; another question has *other*
words in their place, so what is unmatched on both sides weighs most. Only those are compared that
share words enough to be the same, counted in lists of who holds a word (Sarawagi, Kirpal, 2004), so
that one among 100,000 costs little more than one among a thousand. Pure: an index follows from the
events of its run.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rapidfuzz import fuzz, process

from fleet.core import messages as m
from fleet.core.state import CLOSED, State

SHARED: Final = 0.65
"""The part of both questions' words that is the same at least (the coefficient of Dice, 1945)."""

OTHER: Final = 0.15
"""The part of their words that stand in one another's place at most."""

SLIP: Final = 80.0
"""From how much of their letters on two words that begin alike are one (0 to 100)."""

BEGINNING: Final = 4
"""So many letters of two words are the same where one is the other with a slip."""

CANDIDATES: Final = 1_000
"""So many of the latest questions with one word are looked at."""

CHARS: Final = 2_000
ROUNDS: Final = 100
"""So many of the latest rounds of a loop are told at most."""

ASKED: Final = frozenset({"text", "choice", "number"})
"""Kinds of questions that somebody asks who works; others follow from something else."""

_LITTLE = """
a about actually all also an and any anybody anyone are as at be been being but by can could did do
does done either else for from get go good got had has have having hers him his how i if in into is
it its just kindly like look may me might must my need nobody no none nor not of off ok okay on one
onto or our out please possible really right safe shall she should so some somebody someone still
supposed than that the their them then there these they thing this those to too up us using use used
want wanted was we were what when where whether which who whom whose why will with without would yes
yet you your mean meant intend intended t s d m ll re ve ca don
"""
LITTLE: Final = frozenset(_LITTLE.split())
"""Words that make a sentence a question or polite, and say nothing of what it is about."""

ODD: Final = {
    "kept": "keep", "sent": "send", "taken": "take", "took": "take", "written": "write",
    "wrote": "write", "found": "find", "chosen": "choose", "chose": "choose", "built": "build",
    "ran": "run", "gave": "give", "given": "give", "made": "make", "meant": "mean", "held": "hold",
    "stored": "store", "shown": "show", "broken": "break", "broke": "break", "lost": "lose",
}  # fmt: skip
"""Forms of verbs that no ending tells."""

_WORD = re.compile(r"\w+")
_ENDINGS = (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", ""))

Words = tuple[str, ...]


def words_of(text: str) -> Words:
    """Returns what a question is about: its words in one order, without endings, each once; all
    words of one that has no others.
    """
    plain = unicodedata.normalize("NFKC", text[:CHARS]).casefold()
    found = _WORD.findall(plain)
    told = {_stem(word) for word in found if word not in LITTLE}
    return tuple(sorted(told or set(found) or {plain.strip()}))


def _stem(word: str) -> str:
    """Returns a word without the endings that a rephrasing changes."""
    word = ODD.get(word, word)
    if word.isascii() and word.isalpha():
        for ending, rest in _ENDINGS:
            kept = len(word) - len(ending)
            if word.endswith(ending) and kept >= (2 if ending == "s" else 3) and word[-2:] != "ss":
                word = word[:kept] + rest
                break
        if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
            word = word[:-1]
        word = word.removesuffix("e") if len(word) > 4 else word
    return word


def alike(one: Words, other: Words) -> bool:
    """Returns whether two questions ask the same."""
    mine, theirs = set(one).difference(other), set(other).difference(one)
    both = _weight(one) - _weight(mine)
    begun = {word[:BEGINNING] for word in theirs}
    for word in [word for word in one if word in mine and word[:BEGINNING] in begun]:
        near = _near(word, theirs)
        if near is not None:
            mine.discard(word)
            theirs.discard(near)
            both += 1.0
    left, right = _weight(mine), _weight(theirs)
    instead = min(left, right)
    shared = 2 * both / (2 * both + left + right)
    return shared >= SHARED and instead <= OTHER * (both + instead)


def _weight(words: Iterable[str]) -> float:
    """Returns how much words say: a name or a number is twice as telling as another word."""
    return sum([1.0 if word.isalpha() else 2.0 for word in words])


def _near(word: str, others: Iterable[str]) -> str | None:
    """Returns the word among others that is the same but for a slip or an ending, None for none."""
    if not word.isalpha():
        return None
    begun = [one for one in others if one[:BEGINNING] == word[:BEGINNING] and one.isalpha()]
    found = process.extractOne(word, begun, scorer=fuzz.ratio, score_cutoff=SLIP)
    return found[0] if found is not None else None


@dataclass(slots=True)
class Likeness:
    """The questions of a run, those that are the same together."""

    forms: list[Words] = field(default_factory=list)
    known: dict[Words, int] = field(default_factory=dict)
    begun: list[int] = field(default_factory=list)
    """How many beginnings of words each form has."""
    holding: dict[str, list[int]] = field(default_factory=dict)
    """The beginning of a word -> the forms that hold such a word, oldest first."""
    lead: list[int] = field(default_factory=list)
    """A form -> one that asks the same, in the end the first of them."""
    asked: dict[int, list[str]] = field(default_factory=dict)
    """The first of forms that ask the same -> the questions that have them, oldest first."""
    topics: dict[str, int] = field(default_factory=dict)
    raised: dict[str, m.QuestionRaised] = field(default_factory=dict)
    led_to: dict[str, str] = field(default_factory=dict)
    """A question that came into a loop -> what followed: the id of a question or a step."""

    def earlier(self, question: m.Question) -> list[str]:
        """Returns the questions that are the same as one that is yet to be asked, oldest first."""
        words = words_of(question.message)
        found = [self.known[words]] if words in self.known else self._resembling(words)
        topic = self.topics.get(_topic(question))
        firsts = {self._first(one) for one in (*found, *([] if topic is None else [topic]))}
        names = [name for first in firsts for name in self.asked[first]]
        return names if len(firsts) == 1 else sorted(names, key=_number)

    def add(self, name: str, question: m.Question) -> None:
        """Takes a question up that was asked under a name."""
        words = words_of(question.message)
        form = self.known.get(words)
        if form is None:
            form = self._new(words, self._resembling(words))
        topic = _topic(question)
        if topic:
            self._join(self.topics.setdefault(topic, form), form)
        self.asked[self._first(form)].append(name)

    def hear(self, event: m.Event) -> None:
        """Takes up what a run has decided: a question, and what followed a loop."""
        match event:
            case m.QuestionRaised() if is_round(event.question, event.step):
                self.raised[event.id] = event
                self.add(event.id, event.question)
                self._lead_to(event.id, event.question.about.get("loop"))
            case m.QuestionRaised():
                self._follow(event.id, event.question.about.get("rounds"))
            case m.PlanRevised():
                for step in event.patch.put:
                    self._follow(step.id, step.params.get("rounds"))
            case _:
                pass

    def look(self, state: State, question: m.Question) -> tuple[tuple[str, ...], str]:
        """Returns the earlier questions that are the same and have led to nothing yet, and what has
        followed from a loop of them and is still open (empty for nothing, or with the first).
        """
        names = self.earlier(question)
        follows = dict.fromkeys(self.led_to[name] for name in names if name in self.led_to)
        still = next((one for one in follows if _is_open(state, one)), "")
        fresh = [name for name in names if name not in self.led_to]
        return ((), still) if still else (tuple(fresh[-ROUNDS:]), "")

    def _follow(self, follow: str, rounds: object) -> None:
        for name in rounds if isinstance(rounds, list | tuple) else ():
            self._lead_to(str(name), follow)

    def _lead_to(self, name: str, follow: object) -> None:
        if follow:
            self.led_to[name] = str(follow)

    def _new(self, words: Words, found: Sequence[int]) -> int:
        form = len(self.forms)
        self.forms.append(words)
        self.known[words] = form
        self.lead.append(form)
        self.asked[form] = []
        keys = {word[:BEGINNING] for word in words}
        self.begun.append(len(keys))
        for key in keys:
            self.holding.setdefault(key, []).append(form)
        for one in found:
            self._join(one, form)
        return form

    def _join(self, one: int, other: int) -> None:
        """Has the forms of two questions be the same from now on."""
        first, later = sorted((self._first(one), self._first(other)))
        if first != later:
            self.lead[later] = first
            names = [*self.asked[first], *self.asked.pop(later)]
            self.asked[first] = sorted(names, key=_number)

    def _first(self, form: int) -> int:
        while self.lead[form] != form:
            self.lead[form] = form = self.lead[self.lead[form]]
        return form

    def _resembling(self, words: Words) -> list[int]:
        """Returns the known forms that ask the same as some words, oldest first.

        A beginning that another form does not have is a word that is other there: `spare` are how
        many of them there may be on both sides, by how many are shared.
        """
        keys, weight = {word[:BEGINNING] for word in words}, _weight(words)
        held: Counter[int] = Counter()
        for key in keys:
            held.update(self.holding.get(key, [])[-CANDIDATES:])
        own, begun = len(keys), self.begun
        most = OTHER / (1 - OTHER)
        spare = [most * (weight - own + shared) for shared in range(own + 1)]
        near = [
            form for form, shared in held.items() if min(own, begun[form]) - shared <= spare[shared]
        ]
        return sorted(form for form in near if alike(words, self.forms[form]))


def likeness_of(events: Iterable[m.Event]) -> Likeness:
    """Returns the index of a run that has decided so far, oldest first."""
    found = Likeness()
    for event in events:
        found.hear(event)
    return found


def is_round(question: m.Question, step: str) -> bool:
    """Returns whether a question is one that somebody who works at a step asks of their own."""
    return bool(step) and question.then is m.Then.NOTE and question.kind in ASKED


def _topic(question: m.Question) -> str:
    return " ".join(question.topic.casefold().split())


def _number(name: str) -> int:
    """Returns the number of a question, which is the end of its id."""
    digits = name.rpartition(".q")[2]
    return int(digits) if digits.isdecimal() else 0


def _is_open(state: State, follow: str) -> bool:
    one = state.known(follow)
    return follow in state.questions or (one is not None and one.standing not in CLOSED)
