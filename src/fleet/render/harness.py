"""How a program is driven, as text: what `fleet agents show` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fleet.render.text import line, wrapped

GUTTER: Final = 14
SESSIONS: Final[Mapping[str, str]] = {
    "chosen": "its id is chosen here, and gone on with after it was cut short",
    "captured": "its id is taken as it is told, and gone on with after it was cut short",
    "none": "it has none to go on with",
}
BRIEFS: Final = (("text", "as an argument"), ("opening", "as an argument"), ("brief", "as a file"))


def harness_text(found: Mapping[str, Any], columns: int) -> str:
    """Returns a harness in lines: program, modes, brief, what tells its state, permissions."""
    profile: Mapping[str, Any] = found["profile"]
    lines: list[str] = []
    for head, text in _rows(found, profile):
        told = wrapped(line(text), columns, " " * GUTTER)
        lines.append(f"{head.ljust(GUTTER)}{told[0].lstrip()}" if told else head)
        lines += told[1:]
    return "\n".join(lines)


def _rows(found: Mapping[str, Any], profile: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield found["name"], profile.get("name", profile["program"])
    yield "from", "fleet" if found["source"] == "fleet" else found["source"]
    there = found["problem"] if found["path"] is None else f"at {found['path']}"
    version = f"{found['version']} " if found["version"] else ""
    yield "program", f"{profile['program']}: {version}{there}"
    if found["cure"]:
        yield "", f"cure: {found['cure']}"
    note = f"; this one is {found['problem']}" if found["path"] and found["problem"] else ""
    yield "tested with", f"{found['tested'] or 'nothing is said of it'}{note}"
    for name in ("headless", "interactive"):
        mode = profile.get(name)
        if mode is not None:
            yield name, " ".join([profile["program"], *_argv(profile, mode)])
            yield "", f"briefed {_brief(profile, mode)}"
            yield "", _state(profile, mode)
    yield "session", SESSIONS[found["sessions"]]
    yield "its end", _reading(profile.get("reads", "exit"))
    kept = {name: _permissions(profile, name) for name in ("headless", "interactive")}
    for permission, told in _union(kept.values()).items():
        lacking = [name for name in kept if name in profile and permission not in kept[name]]
        yield f"  {permission}", told + (f" (not {lacking[0]})" if lacking else "")
    yield "measures", ", ".join(profile.get("measures", ())) or "nothing"
    yield "used by", ", ".join(found["agents"]) or "nobody"


def _argv(profile: Mapping[str, Any], mode: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for word in mode["start"]:
        words += profile.get("words", ()) if word == "{words}" else [word]
    return words


def _brief(profile: Mapping[str, Any], mode: Mapping[str, Any]) -> str:
    if "{text" in mode.get("stdin", ""):
        return "on standard input"
    argv = " ".join(_argv(profile, mode))
    files = {**profile.get("files", {}), **mode.get("files", {})}
    if any("{text" in text for text in files.values()):
        return f"by its file {next(name for name, text in files.items() if '{text' in text)}"
    ways = [way for name, way in BRIEFS if f"{{{name}}}" in argv]
    return ways[0] if ways else "by FLEET_BRIEF, the path of a file"


def _state(profile: Mapping[str, Any], mode: Mapping[str, Any]) -> str:
    if mode.get("events"):
        return f"state by hooks of {profile['hooks']}: {', '.join(mode['events'])}"
    return "state by its process alone"


def _reading(reads: Any) -> str:
    if isinstance(reads, str):
        return "told by its exit code" if reads == "exit" else f"read as {reads}'s is"
    told = ", ".join(name for name in reads)
    return f"read from JSON lines: {told}"


def _permissions(profile: Mapping[str, Any], mode: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for told in (profile, profile.get(mode) or {}):
        permissions = told.get("permissions", {})
        if isinstance(permissions, Sequence):
            permissions = {name: {} for name in permissions}
        found |= {name: _fills(fills) for name, fills in permissions.items()}
    return found if mode in profile else {}


def _fills(fills: Any) -> str:
    if isinstance(fills, Mapping):
        return ", ".join(f"{name} {_words(value)}" for name, value in fills.items()) or "as it is"
    return _words(fills)


def _words(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(value)


def _union(kept: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for permissions in kept:
        for name, told in permissions.items():
            if found.setdefault(name, told) != told:
                found[name] = f"{found[name]}; in its terminal {told}"
    return found
