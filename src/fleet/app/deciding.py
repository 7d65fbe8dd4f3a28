"""Use cases of decisions: list what was decided in all runs, and write one record a file.

A record keeps its number and name for ever: it is found again by the id that stands in it. Texts of
others stand in fences, and in names only as letters, digits and dashes.
"""

from __future__ import annotations

import os
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet.app.calendars import time_of
from fleet.app.place import FleetPlace, fold
from fleet.errors import FleetError
from fleet.views.decisions import decisions_of, written_decisions

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORD: Final = re.compile(r"(\d{4,})-[a-z0-9-]*\.md\Z")
SLUG_CHARS: Final = 48
TITLE_CHARS: Final = 80
HEAD_CHARS: Final = 4_096
"""Within so much of a record its id stands."""


def decisions(place: FleetPlace) -> dict[str, Any]:
    """Returns `fleet.decisions/1`: what tasks say was decided, then every answer by a role or a
    person in all runs, the oldest first.
    """
    written: list[dict[str, Any]] = []
    answered: list[dict[str, Any]] = []
    reader = place.reader()
    if reader is not None:
        with closing(reader):
            for row in reader.runs():
                state = fold(reader, row.run)
                if state is not None:
                    written += written_decisions(state)
                    answered += decisions_of(state, time_of)
    answered.sort(key=lambda one: (one["at"], one["id"]))
    return {"schema": "fleet.decisions/1", "decisions": [*written, *answered]}


def export(place: FleetPlace, folder: Path, *, dry_run: bool = False) -> list[Path]:
    """Writes a record for each decision and returns the files that are new or changed (with
    `dry_run` those that would be); raises FleetError for a folder that cannot be written.
    """
    known = _known(folder)
    taken = {int(name.partition("-")[0]) for name in known.values()}
    found = []
    for one in decisions(place)["decisions"]:
        key = f"{one['run']} {one['id']}"
        if key not in known:
            number = max(taken, default=0) + 1
            taken.add(number)
            known[key] = f"{number:04}-{_slug(_title(one))}.md"
        path = folder / known[key]
        text = record_text(int(known[key].partition("-")[0]), one)
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
            found.append(path)
            if not dry_run:
                _write(path, text)
    return found


def _known(folder: Path) -> dict[str, str]:
    """Returns the names of the records that are there, by the run and id that stand in each."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.md")) if folder.is_dir() else ():
        if RECORD.match(path.name) and path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                head = file.read(HEAD_CHARS)
            told = re.search(r"^- Id: `([^`\n]+)` of the run `([^`\n]+)`$", head, re.MULTILINE)
            if told:
                found[f"{told[2]} {told[1]}"] = path.name
    return found


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise FleetError(f"{path} cannot be written: {error.strerror}") from error


# --- a record -------------------------------------------------------------------------------------


def record_text(number: int, one: Mapping[str, Any]) -> str:
    """Returns a decision as a record in Markdown: title, status, date, context, decision,
    consequences (the form is that of Nygard, 2011).
    """
    from fleet.harnesses.brief import fence

    by = str(one["by"] or "the file of its task").removeprefix("agent:")
    task = f"task `{_code(one['task'])}`" if one["task"] else "the run"
    topic = f", about {_plain(one['topic'])}" if one["topic"] else ""
    question = one["question"] or f"Written in the file of {task}."
    return "\n".join(
        [
            f"# {number}. {_plain(_title(one))}",
            "",
            "- Status: accepted",
            f"- Date: {str(one['at'])[:10] if one['at'] else 'not said'}",
            f"- By: {_plain(by)}",
            f"- About: {task}{topic}",
            f"- Id: `{_code(one['id'])}` of the run `{_code(one['run'])}`",
            "",
            "## Context",
            "",
            fence(question, len(question)),
            "",
            "## Decision",
            "",
            fence(one["answer"], len(one["answer"])),
            "",
            "## Consequences",
            "",
            fence(one["reason"], len(one["reason"])) if one["reason"] else "No reason was given.",
            "",
        ]
    )


def _title(one: Mapping[str, Any]) -> str:
    text = f"Change of the plan: {one['change']}" if one["change"] else one["question"]
    text = str(text or one["answer"]).strip()
    return (text.splitlines() or [""])[0][:TITLE_CHARS] or "A decision"


def _slug(text: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")
    return words[:SLUG_CHARS].strip("-") or "decision"


def _plain(text: str) -> str:
    """Returns a text on one line in which nothing is Markdown, nor a control character."""
    from fleet.adapters.attempts import plain

    line = " ".join(plain(str(text)).split())
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", line)


def _code(text: Any) -> str:
    """Returns a name as it may stand between backticks."""
    return re.sub(r"[^\w./@:+ -]", "-", str(text))
