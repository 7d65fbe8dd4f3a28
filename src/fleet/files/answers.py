"""What was said as an answer to a question: one of its choices or a text, and the reason for it.

    {"answer": "jwt", "reason": "stateless"}

as JSON, alone or in a last fenced block; or in plain words, of which the first line is the choice
where there are choices. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fleet.files.flows.answering import FENCED
from fleet.views.flows import number_of

if TYPE_CHECKING:
    from fleet.core.messages import Question

ANSWER_CHARS: Final = 16_384
_AROUND: Final = " \t\"'`*.:"


def spoken(said: str, question: Question) -> tuple[dict[str, str], str]:
    """Returns {answer, reason} of what was said, and why it will not do, empty when it does."""
    for text in (said, *reversed(FENCED.findall(said))):
        try:
            told = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(told, Mapping) and "answer" in told:
            return _fitting(told["answer"], str(told.get("reason") or ""), question)
    words = said.strip()
    first, _, rest = words.partition("\n")
    if question.choices or question.kind == "number":
        return _fitting(first, rest.strip(), question)
    return _fitting(words, "", question)


def _fitting(answer: Any, reason: str, question: Question) -> tuple[dict[str, str], str]:
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    text = text.strip()
    if question.choices:
        choice = _choice(text, question.choices)
        if choice is None:
            listed = ", ".join(question.choices)
            return {}, f"what it said last is no answer: {text[:80]!r} is none of {listed}"
        text = choice
    elif question.kind == "number" and number_of(text) is None:
        return {}, f"what it said last is no answer: {text[:80]!r} is no number"
    if not text:
        return {}, "it gave no answer"
    if len(text) > ANSWER_CHARS:
        return {}, f"an answer has {ANSWER_CHARS} characters at most, not {len(text)}"
    return {"answer": text, "reason": reason.strip()[:ANSWER_CHARS]}, ""


def _choice(text: str, choices: Sequence[str]) -> str | None:
    bare = text.strip(_AROUND).casefold()
    return next((one for one in choices if one == text or one.casefold() == bare), None)
