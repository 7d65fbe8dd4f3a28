"""Workflow files as text: one or several documents, YAML or JSON, each with its places.

JSON is read with positions by the same parser as YAML, after its `//` comments were blanked and the
documents told apart; a document keeps the lines that it has in its file. Nothing is validated here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from fleet.errors import Place, Problem
from fleet.files.source import Path, Source, Unreadable, decode, read_yaml

_SURROGATES: Final = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
MAX_DOCUMENTS: Final = 200
"""Documents in one file at most."""


@dataclass(frozen=True, slots=True)
class Page:
    """One document of a file: where it is from, what it holds, and where each part stands."""

    file: str
    source: Source
    warnings: tuple[Problem, ...] = ()

    @property
    def values(self) -> dict[str, Any]:
        """The mapping at the top."""
        return self.source.values

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Returns where a part stands, or the nearest around it."""
        return self.source.place(self.file, path, key=key)


def read_pages(raw: bytes, file: str) -> list[Page]:
    """Returns the documents of a file in their order; raises Unreadable for the first trouble."""
    text = decode(raw, file)
    blank = _without_comments(text)
    parts = list(_objects(blank, file)) if blank.lstrip()[:1] == "{" else list(_yaml_parts(text))
    if len(parts) > MAX_DOCUMENTS:
        what = f"more than {MAX_DOCUMENTS} documents in one file"
        raise Unreadable(Problem(what, Place(file), "split the file"))
    pages = []
    for part in parts:
        warnings: list[Problem] = []
        source = read_yaml(part, file, positions=True, repeated=_as_input(warnings, file))
        pages.append(Page(file, source, tuple(warnings)))
    if not pages:
        raise Unreadable(Problem("file is empty; expected a workflow", Place(file)))
    return pages


def _as_input(warnings: list[Problem], file: str) -> Any:
    """Returns what a second `type` in a prompt means: the one repeated key that is read."""

    def repeated(key: str, found: dict[str, Any], line: int, column: int) -> str | None:
        if key != "type" or found.get("type") != "prompt" or "input" in found:
            return None
        said = "`type` is there twice; the second is read as `input`"
        warnings.append(Problem(said, Place(file, line, column), "write `input:`"))
        return "input"

    return repeated


def _yaml_parts(text: str) -> Iterator[str]:
    """Yields the documents between `---` lines, each on the lines that it has in the file."""
    lines = text.split("\n")
    start = 0
    for number, line in enumerate([*lines, "---"]):
        if line.rstrip() == "---" or line.startswith("--- "):
            part = "\n".join(lines[start:number])
            if any(one.strip() and not one.lstrip().startswith("#") for one in lines[start:number]):
                yield "\n" * start + part
            start = number + 1


def _without_comments(text: str) -> str:
    """Returns JSON text with its `//` comments blanked out, every character in its place."""
    out, at, quoted = [], 0, False
    while at < len(text):
        char = text[at]
        if quoted and char == "\\":
            out.append(text[at : at + 2])
            at += 2
            continue
        if char == '"':
            quoted = not quoted
        if not quoted and text.startswith("//", at):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            out.append(" " * (end - at))
            at = end
            continue
        out.append(char)
        at += 1
    return "".join(out)


def _objects(text: str, file: str) -> Iterator[str]:
    """Yields each object at the top of a JSON text, on the lines that it has in the file."""
    at = 0
    while (at := _next_word(text, at)) < len(text):
        line, column = text.count("\n", 0, at), at - text.rfind("\n", 0, at) - 1
        if text[at] != "{":
            place = Place(file, line + 1, column + 1)
            raise Unreadable(Problem("expected `{`: one object after another", place))
        end = _end_of(text, at)
        part = _SURROGATES.sub(_joined, text[at:end])
        yield "\n" * line + " " * column + part
        at = end


def _next_word(text: str, at: int) -> int:
    while at < len(text) and (text[at].isspace() or text[at] == ","):
        at += 1
    return at


def _end_of(text: str, at: int) -> int:
    """Returns where the object that begins at `at` ends; the parser says what an open one lacks."""
    depth, quoted = 0, False
    while at < len(text):
        char = text[at]
        if quoted:
            at += char == "\\"
            quoted = char != '"'
        elif char == '"':
            quoted = True
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    return len(text)


def _joined(found: re.Match[str]) -> str:
    """Returns the character that a pair of escapes writes, which YAML does not read as one."""
    return bytes.fromhex(found[1] + found[2]).decode("utf-16-be")
