"""Text to plain values with positions: YAML with 1.2 core scalars, Markdown front matter.

Reads libyaml's event stream, so that nothing is built before depth, size, tags and aliases are
known to be harmless. Scalars stay text: one that YAML 1.2 would read as a number, a truth value or
nothing is a `Plain` text, and the form that expects a number resolves it, so where text is expected
it stands as it was written. There is no fall-back to the slow pure-Python parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

try:
    from yaml.cyaml import CParser  # type: ignore[attr-defined]
except ImportError as error:  # a PyYAML without libyaml would be ten times slower, unnoticed
    raise ImportError("PyYAML is installed without libyaml; install a wheel of PyYAML") from error

from fleet.errors import Place, Problem
from fleet.files.fleet import MAX_BYTES

MAX_DEPTH = 32
MAX_NODES = 20_000

Path = tuple[str | int, ...]
Repeated = Callable[[str, dict[str, Any], int, int], str | None]

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_SPECIAL = re.compile(r"[-+.~0-9nNtTfF]")
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_ENDLESS = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_WORDS: Mapping[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


class Plain(str):
    """An unquoted scalar that YAML 1.2's core schema reads as a number, truth value or nothing."""

    __slots__ = ()


@dataclass(slots=True)
class Source:
    """What a text holds: the mapping at its top, the Markdown after it, and all their places."""

    values: dict[str, Any]
    body: str = ""
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    marks: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def place(self, file: str, path: Path, *, key: bool = False) -> Place:
        """Returns where `path` stands, or the nearest thing around it that does stand somewhere."""
        if key and path in self.keys:
            return Place(file, *self.keys[path])
        for length in range(len(path), -1, -1):
            if path[:length] in self.marks:
                return Place(file, *self.marks[path[:length]])
        return Place(file, 1, 1)


class Unreadable(Exception):
    """The text is no document; carries the one problem that stopped the reading."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def decode(raw: bytes, file: str) -> str:
    """Returns the text of a file; raises Unreadable for size, encoding and control characters."""

    def stop(text: str, line: int = 0, column: int = 0, hint: str = "") -> NoReturn:
        raise Unreadable(Problem(text, Place(file, line, column), hint))

    if len(raw) > MAX_BYTES:
        stop(f"file is larger than {MAX_BYTES // 1024} KiB", hint="long material belongs beside it")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        stop("file is UTF-16, not UTF-8", hint="save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lead = raw[: error.start]
        line = lead.count(b"\n") + 1
        column = len(lead.rpartition(b"\n")[2].decode("utf-8-sig", "replace")) + 1
        stop(f"not UTF-8 at byte {error.start}", line, column, "save the file as UTF-8")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found = _CONTROL.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        stop(f"control character U+{ord(found[0]):04X}", line, column, "remove it")
    if not text.strip():
        stop("file is empty; expected keys and values")
    return text


def read_markdown(text: str, file: str, *, positions: bool = False) -> Source:
    """Returns the front matter's values and the body after it; raises Unreadable."""
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        raise Unreadable(
            Problem("there is no front matter", Place(file, 1, 1), "line 1 must be '---'")
        )
    for number in range(1, len(lines)):
        if lines[number].rstrip() == "---":
            break
    else:
        raise Unreadable(
            Problem("front matter is never closed", Place(file, 1, 1), "end it with a line '---'")
        )
    front = "\n".join(["", *lines[1:number], ""])
    body = "\n".join(lines[number + 1 :]).strip("\n")
    source = _read(front, file, positions=positions, empty_is_fine=True)
    source.body = body
    return source


def read_yaml(
    text: str, file: str, *, positions: bool = False, repeated: Repeated | None = None
) -> Source:
    """Returns the values of one YAML document; raises Unreadable. `repeated` may give a key that
    stands twice another name: (key, mapping so far, line, column) -> name, or None for an error.
    """
    return _read(text, file, positions=positions, repeated=repeated)


def resolve(text: str) -> int | float | bool | None:
    """Returns what YAML 1.2's core schema reads a `Plain` text as; ValueError for .inf and .nan."""
    if text in _WORDS:
        return _WORDS[text]
    if text.startswith("0o"):
        return int(text, 0)
    if text.startswith("0x"):
        return int(text, 0)
    if _INT.match(text):
        return int(text) if len(text) <= 40 else float(text)
    if _ENDLESS.match(text):
        raise ValueError(f"{text} is no number to work with")
    return float(text)


def resolved(value: Any) -> Any:
    """Returns `value` with every `Plain` text in it resolved, for keys that hold any JSON value."""
    if type(value) is Plain:
        return resolve(value)
    if isinstance(value, dict):
        return {key: resolved(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner) for inner in value]
    return value


def _read(
    text: str,
    file: str,
    *,
    positions: bool,
    empty_is_fine: bool = False,
    repeated: Repeated | None = None,
) -> Source:
    reader = _Reader(text, file, positions=positions)
    reader.repeated = repeated
    try:
        value = reader.document()
    except yaml.YAMLError as error:
        raise Unreadable(_syntax_problem(error, text, file)) from None
    if value is None and empty_is_fine:
        value = {}
    if value is None:
        raise Unreadable(Problem("file is empty; expected keys and values", Place(file)))
    if not isinstance(value, dict):
        got = "a list" if isinstance(value, list) else "text"
        said = f"expected keys and values at the top, got {got}"
        raise Unreadable(Problem(said, Place(file, 1, 1), "write lines such as 'name: x'"))
    reader.source.values = value
    return reader.source


class _Reader:
    """Walks libyaml's events; `count` is every node built so far, those of aliases included."""

    def __init__(self, text: str, file: str, *, positions: bool) -> None:
        self.next: Callable[[], Any] = CParser(text).get_event
        self.file = file
        self.source = Source({})
        self.positions = positions
        self.count = 0
        self.depth = 0
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.open: set[str] = set()
        self.repeated: Repeated | None = None

    def stop(self, text: str, event: Any, hint: str = "") -> NoReturn:
        mark: Any = event.start_mark
        raise Unreadable(Problem(text, Place(self.file, mark.line + 1, mark.column + 1), hint))

    def document(self) -> Any:
        self.next()
        if type(self.next()) is yaml.StreamEndEvent:
            return None
        value = self.node(self.next(), ())
        self.next()
        event = self.next()
        if type(event) is not yaml.StreamEndEvent:
            self.stop("a second YAML document begins here", event, "one document a file")
        return value

    def node(self, event: Any, path: Path) -> Any:
        kind = type(event)
        self.count += 1
        if self.count > MAX_NODES:
            self.stop(f"more than {MAX_NODES} values in one file", event, "split the file")
        if kind is yaml.AliasEvent:
            return self.alias(event, path)
        if event.tag is not None:
            self.stop(f"tag {event.tag[:80]!r} is not allowed", event, "write the plain value")
        if self.positions:
            self.source.marks[path] = (event.start_mark.line + 1, event.start_mark.column + 1)
        if kind is yaml.ScalarEvent:
            value: Any = self.scalar(event)
            if event.anchor:
                self.anchors[event.anchor] = (value, 1)
            return value
        return self.collection(event, path)

    def collection(self, event: Any, path: Path) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.stop(f"nested deeper than {MAX_DEPTH} levels", event, "make it flatter")
        anchor, before = event.anchor, self.count
        if anchor:
            self.open.add(anchor)
        value = self.mapping(path) if type(event) is yaml.MappingStartEvent else self.list(path)
        if anchor:
            self.open.discard(anchor)
            self.anchors[anchor] = (value, self.count - before + 1)
        self.depth -= 1
        return value

    def alias(self, event: Any, path: Path) -> Any:
        name = event.anchor
        if name in self.open:
            self.stop(f"alias *{name} stands inside what it repeats", event, "write it out")
        if name not in self.anchors:
            self.stop(f"alias *{name} has no anchor &{name} before it", event, "write it out")
        value, size = self.anchors[name]
        self.count += size
        if self.count > MAX_NODES:
            self.stop(f"aliases repeat more than {MAX_NODES} values", event, "use fewer")
        if self.positions:
            self.source.marks[path] = (event.start_mark.line + 1, event.start_mark.column + 1)
        return value

    def mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while type(event := self.next()) is not yaml.MappingEndEvent:
            key = self.key(event)
            if key in found:
                mark = event.start_mark
                name = self.repeated and self.repeated(key, found, mark.line + 1, mark.column + 1)
                if not name:
                    self.stop(f"key {key!r} is there twice", event, f"first on line {lines[key]}")
                key = name
            lines[key] = event.start_mark.line + 1
            if self.positions:
                self.source.keys[(*path, key)] = (lines[key], event.start_mark.column + 1)
            found[key] = self.node(self.next(), (*path, key) if self.positions else path)
        return found

    def key(self, event: Any) -> str:
        self.count += 1
        if type(event) is not yaml.ScalarEvent:
            self.stop("a key must be text", event, "write a word, then a colon")
        if event.tag is not None:
            self.stop(f"tag {event.tag[:80]!r} is not allowed", event)
        value = self.scalar(event)
        if event.anchor:
            self.anchors[event.anchor] = (value, 1)
        if value == "<<" and not event.style:
            self.stop("merge keys are not read", event, "write the keys out")
        if type(value) is Plain:
            self.stop(f"key {value[:80]!r} is no text", event, "put it in quotes if it is meant")
        return value

    def list(self, path: Path) -> list[Any]:
        found: list[Any] = []
        while type(event := self.next()) is not yaml.SequenceEndEvent:
            found.append(self.node(event, (*path, len(found)) if self.positions else path))
        return found

    def scalar(self, event: Any) -> str:
        value: str = event.value
        if not event.style:
            if not value or (_SPECIAL.match(value) and _is_special(value)):
                if _ENDLESS.match(value):
                    self.stop(f"{value} is no number to work with", event, "give a number")
                return Plain(value)
        elif event.style == '"' and _CONTROL.search(value):
            self.stop("control character in a quoted text", event, "remove it")
        return value


def _is_special(value: str) -> bool:
    return bool(
        value in _WORDS or _INT.match(value) or _FLOAT.match(value) or _ENDLESS.match(value)
    )


def _syntax_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    if mark is None:
        return Problem(f"cannot be read as YAML: {what}", Place(file, 1, 1))
    lines = text.split("\n")
    line = lines[mark.line] if mark.line < len(lines) else ""
    place = Place(file, mark.line + 1, mark.column + 1)
    lead = line[: len(line) - len(line.lstrip())]
    if "\t" in lead or line[mark.column : mark.column + 1] == "\t":
        return Problem("tab used for indentation", place, "indent with spaces")
    start = getattr(error, "context_mark", None)
    begun = getattr(error, "context", None)
    if begun == "while scanning an alias":
        return Problem("cannot be read as YAML: `*` begins an alias", place, "put it in quotes")
    hint = f"{begun} that begins on line {start.line + 1}" if begun and start else ""
    return Problem(f"cannot be read as YAML: {what}", place, hint)
