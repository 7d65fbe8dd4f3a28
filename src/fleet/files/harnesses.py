"""Harness documents: what lowering needs of them, and whether their placeholders mean something.

Pure. What a placeholder stands for is decided where a program is prepared; here its name is known,
so that a slip is told with its place before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fleet.errors import Problem, did_you_mean
from fleet.files.documents import HarnessDocument

if TYPE_CHECKING:
    from fleet.files.fleet import Fleet

Path = tuple[str | int, ...]
Templates = Iterator[tuple[Path, str]]

PLACEHOLDERS: Mapping[str, str] = {
    "brief": "the path of the brief",
    "text": "the brief itself",
    "opening": "the brief as the first prompt of a session, or where it lies if it is too long",
    "folder": "the attempt's own folder, which holds `files`",
    "worktree": "the path of the worktree",
    "session": "the session's id: a fresh UUID at the start, the program's own to go on with",
    "model": "the agent's `model`",
    "prompt": "the agent's `prompt`",
    "args": "the agent's `args`: a list",
    "words": "the harness's `words`: a list",
    "hooks": "what hands the hooks over",
    "git_folders": "git's folders of the worktree, which commits write: a list",
}
"""What may stand in braces, besides `limits.NAME`, `env.NAME` and what the permissions fill."""

LISTS = ("args", "words", "git_folders")
HANDED: Mapping[str, str] = {"aider": "text", "claude": "text", "codex": "list", "copilot": "text"}
"""What `{hooks}` stands for, by the program whose way it is; the others need none."""

MODES = ("headless", "interactive")
LIMITS = ("timeout_ms", "idle_ms", "attempts", "tokens", "usd", "launches_per_minute")
_PLACE = re.compile(r"(?<!\{)\{([a-z]\w*(?:\.\w+)?)(:json)?\}")


def harness_of(name: str, plain: Mapping[str, Any]) -> HarnessDocument:
    """Returns the harness that a validated mapping stands for."""
    profile = {key: value for key, value in plain.items() if key != "id"}
    reads = profile.get("reads", {})
    if "like" in reads:
        profile["reads"] = reads["like"]
    return HarnessDocument(
        id=name,
        program=plain["program"],
        account=plain.get("account") or plain["program"].rpartition("/")[2],
        measures=tuple(plain.get("measures", ())),
        profile=profile,
    )


def harnesses_hold(fleet: Fleet) -> Iterator[Problem]:
    """Every placeholder is known, a list stands alone, and what is said is used."""
    for name, harness in fleet.harnesses.items():
        for path, text, hint in _problems(harness.profile):
            yield Problem(text, fleet.place("harness", name, *path), hint)


def names_placeholder(harness: HarnessDocument, name: str) -> bool:
    """Returns whether `{name}` stands anywhere in a harness."""
    return any(name in _places(template) for _, template in _templates(harness.profile))


def _problems(plain: Mapping[str, Any]) -> Iterator[tuple[Path, str, str]]:
    fills = _fills(plain)
    known = {*PLACEHOLDERS, *fills}
    lists = {*LISTS, *(name for name, value in fills.items() if isinstance(value, list))}
    if HANDED.get(plain.get("hooks", "")) == "list":
        lists.add("hooks")
    used = {name for _, template in _templates(plain) for name in _places(template)}
    yield from _slips(_templates(plain), known, lists)
    yield from _slips(_filling(plain), PLACEHOLDERS.keys() - {"words", "hooks"}, lists)
    for name in fills:
        if name in PLACEHOLDERS:
            yield ("permissions",), f"{{{name}}} has a meaning of its own", "call it otherwise"
        elif name not in used:
            yield ("permissions",), f"{{{name}}} is filled, but stands nowhere", "say where it goes"
    yield from _of_modes(plain, used)
    yield from _of_usage(plain)


def _slips(
    templates: Templates, known: Collection[str], lists: Collection[str]
) -> Iterator[tuple[Path, str, str]]:
    for path, template in templates:
        for name, as_json in _places(template).items():
            head, _, tail = name.partition(".")
            if tail and (head == "env" or (head == "limits" and tail in LIMITS)):
                continue
            if name not in known:
                text = f"nothing is called {{{name}}}"
                if name in PLACEHOLDERS:
                    text = f"{{{name}}} is not known here"
                yield path, text, did_you_mean(name, known) or f"{{{{{name}}}}} stands for itself"
            elif name in lists and not as_json and template != f"{{{name}}}":
                yield path, f"{{{name}}} is a list: it stands alone, or as {{{name}:json}}", ""


def _of_modes(plain: Mapping[str, Any], used: set[str]) -> Iterator[tuple[Path, str, str]]:
    hooked = False
    for mode in MODES:
        told = plain.get(mode)
        if told is None:
            continue
        hooked = hooked or bool(told.get("events"))
        words = [*told.get("resume", ()), *plain.get("words", ())]
        if told.get("resume") and not any("session" in _places(word) for word in words):
            yield (mode, "resume"), "`resume` names no {session}, so it could go on with none", ""
        if told.get("events") and "hooks" not in plain:
            yield (mode, "events"), "no `hooks` says how `events` are handed over", "hooks: claude"
        if mode == "interactive" and "stdin" in told:
            yield (mode, "stdin"), "in a terminal, standard input is the terminal", "take it out"
    if "hooks" in plain and not hooked:
        yield ("hooks",), "no mode names the `events` that are hooked", "name them, or take it out"
    elif plain.get("hooks") in HANDED and "hooks" not in used:
        yield ("hooks",), "`hooks` are handed over nowhere", "say where {hooks} goes"


def _of_usage(plain: Mapping[str, Any]) -> Iterator[tuple[Path, str, str]]:
    reads = plain.get("reads", {})
    if isinstance(reads, str):
        return
    keys = reads.get("usage", {}).get("keys", {})
    told = {"tokens": ("input_tokens", "output_tokens"), "usd": ("usd",)}
    for number, name in enumerate(plain.get("measures", ())):
        if not any(key in keys for key in told[name]):
            yield ("measures", number), f"`reads.usage` tells no {name}", "say where it stands"


def _fills(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what any permission in any mode fills, or `absent`, with one of its values."""
    places = (plain, *(plain.get(mode) or {} for mode in MODES))
    absent = {name: one["fill"] for name, one in plain.get("absent", {}).items()}
    return absent | {
        name: value
        for place in places
        for key in ("permissions", "sandboxed")
        for fills in place.get(key, {}).values()
        for name, value in fills.items()
    }


def _templates(plain: Mapping[str, Any]) -> Templates:
    """Yields the place and the text of everything in which placeholders are filled."""
    for number, word in enumerate(plain.get("words", ())):
        yield ("words", number), word
    for key, beginnings in plain.get("unasked", {}).items():
        for number, word in enumerate(beginnings):
            yield ("unasked", key, number), word
    for path, part in (((), plain), *(((mode,), plain.get(mode) or {}) for mode in MODES)):
        for key in ("env", "files"):
            for name, text in part.get(key, {}).items():
                yield (*path, key, name), text
        for key in ("start", "resume", "events"):
            words: Sequence[str] = part.get(key, ())
            for number, word in enumerate(words):
                yield (*path, key, number), word
        if "stdin" in part:
            yield (*path, "stdin"), part["stdin"]


def _filling(plain: Mapping[str, Any]) -> Templates:
    """Yields the place and the text of everything that placeholders are filled with."""
    for name, one in plain.get("absent", {}).items():
        yield ("absent", name, "fill"), one["fill"]
    for path, part in (((), plain), *(((mode,), plain.get(mode) or {}) for mode in MODES)):
        for key in ("permissions", "sandboxed"):
            for permission, fills in part.get(key, {}).items():
                for name, value in fills.items():
                    for one in value if isinstance(value, list) else [value]:
                        yield (*path, key, permission, name), one


def _places(template: str) -> dict[str, bool]:
    return {place[1]: bool(place[2]) for place in _PLACE.finditer(template)}
