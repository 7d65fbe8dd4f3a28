"""Edits of the documents that nobody has made in the root: they came with what a phase landed.

What a person edits counts at once. What lands was written by an agent, so it is a proposal: a
person is asked, once for each such edit, and until one has approved it, and when one has rejected
it, the run follows these documents as they were before, beside all others as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from fleet.adapters import git
from fleet.core.messages import AnswerQuestion, Question, RaiseQuestion
from fleet.files.kept import edited, pending_revision

if TYPE_CHECKING:
    from pathlib import Path

    from fleet.core.messages import Command
    from fleet.core.state import State
    from fleet.files.fleet import Fleet

ABOUT: Final = "edit"
"""What such a question is about, by the digest of what has landed."""

FILES: Final = "files"
"""Who tells of edits."""

SHOWN: Final = 40
"""Lines of an edit that a question shows."""


def arrived(fleet: Fleet, folder: Path, state: State) -> dict[str, bytes | None]:
    """Returns which of the documents that were edited since a run took them up came with a landing,
    each as the run took it up, None where it was not there; none where the run follows them. It
    asks git.
    """
    if fleet.digest == state.about.get("digest"):
        return {}
    before = edited(fleet, folder, str(state.about.get("digest", "")))
    if not before:
        return {}
    repo = git.Repository.at(fleet.root)
    top = fleet.root.relative_to(repo.root).as_posix() if fleet.root != repo.root else ""
    held = {raw.path: raw.raw for raw in fleet.raws.values()}
    named = {f"{top}/{path}".removeprefix("/"): path for path in before}
    files = {name: held.get(path) for name, path in named.items()}
    found = git.brought(repo, str(state.about["base"]), files)
    taken = {named[name]: _taken(told, before[named[name]]) for name, told in found.items()}
    return {path: one for path, one in taken.items() if one is not None or not before[path]}


def _taken(contents: Sequence[bytes | None], digest: str) -> bytes | None:
    """Returns the content of a file that has the digest, in the line ends of whoever has it."""
    held = [one for one in contents if one is not None]
    held += [one.replace(b"\n", b"\r\n") for one in held]
    return next((one for one in held if sha256(one).hexdigest() == digest), None)


def name_of(fleet: Fleet, paths: Iterable[str]) -> str:
    """Returns what names an edit that came with a landing: the digest of these documents."""
    held = {raw.path: raw.digest for raw in fleet.raws.values()}
    told = [(path, held.get(path, "")) for path in sorted(paths)]
    return sha256(repr(told).encode()).hexdigest()


def asking(fleet: Fleet, folder: Path, state: State, paths: Iterable[str]) -> list[Command]:
    """Returns what a run is told of an edit that came with a landing: the question about it, unless
    that was asked, in the place of one about an earlier edit.
    """
    name = name_of(fleet, paths)
    asked = [(one.id, one.question) for one in state.questions.values()]
    # What was closed because the documents went on is asked about once more when they come back.
    said = [one.question for one in state.answers.values() if one.by != FILES]
    known = [*(one for _, one in asked), *said]
    if any(one.about.get(ABOUT) == name for one in known):
        return []
    told: list[Command] = [
        AnswerQuestion(id=one, value="reject", note="the documents were edited since", by=FILES)
        for one, question in asked
        if ABOUT in question.about
    ]
    revision = pending_revision(fleet, folder, state)
    if revision is None:
        return told
    lines = revision.words()
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    head = f"What has landed changes the plan, in {', '.join(paths)}. Is it to be taken up?"
    question = Question(
        message="\n".join([head, *lines[:SHOWN], *more]),
        kind="approval",
        choices=("approve", "reject"),
        topic="plan",
        about={ABOUT: name},
    )
    return [*told, RaiseQuestion(question=question, by=FILES)]
