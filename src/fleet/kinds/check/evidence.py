"""What a task shows, judged at one commit: a file is committed there, a command passes there; what
is only stated is kept as stated, for people to believe or not.

The agent may back what it states by a file of its own choice (`fleet done --evidence TEXT=FILE`);
that file is held to be committed then. Each row is {text, how, met, why, commit, digest} and, as it
was shown, {file} or {command, code, tail}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fleet.files.names import path_problem
from fleet.kinds.check.deliverables import Scene, judge

FILE, COMMAND, STATED = "file", "command", "stated"
BACKED_MOST: Final = 100

Row = dict[str, Any]


def by_file(scene: Scene, wanted: Mapping[str, Any], *, backed: bool = False) -> Row:
    """Returns evidence that is a file, or a glob; what backs a statement may be an old file."""
    path = str(wanted["path"])
    told = judge(scene, {**wanted, "fresh": not backed})
    return {**told, "how": FILE, "file": path}


def by_command(text: str, command: object, verdict: Mapping[str, Any]) -> Row:
    """Returns evidence that is a command, from the verdict on it."""
    return {
        "text": text,
        "how": COMMAND,
        "met": verdict["passed"],
        "why": verdict["why"],
        "commit": verdict["at_commit"],
        "digest": verdict["digest"],
        "command": command if isinstance(command, str) else list(command),  # type: ignore[call-overload]
        "code": verdict["code"],
        "tail": verdict["tail"],
    }


def stated(
    scene: Scene, wanted: Sequence[Mapping[str, Any]], backing: Mapping[str, str]
) -> list[Row]:
    """Returns what is stated, backed by a file or not, and what the agent has shown unasked."""
    texts = [str(one["text"]) for one in wanted if not (one.get("path") or one.get("command"))]
    more = [text for text in backing if text not in texts]
    rows = []
    for text in (*texts, *more[:BACKED_MOST]):
        path = backing.get(text)
        if path is None:
            rows.append({**scene.verdict(text, ""), "how": STATED, "why": STATED})
        elif wrong := path_problem(path):
            rows.append({**scene.verdict(text, f"{path} {wrong}"), "how": FILE, "file": path})
        else:
            wanted_file = {"text": text, "path": path}
            rows.append(by_file(scene, wanted_file, backed=True) | {"backed": True})
    return rows


def backing_of(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Returns the files that agents have backed their statements with, by text: as they say now,
    or as an earlier check has kept it.
    """
    found: dict[str, str] = {}
    for one in inputs.values():
        output: Any = one.get("output")
        if not isinstance(output, Mapping):
            continue
        kept = {row["text"]: row["file"] for row in output.get("evidence") or () if "backed" in row}
        told: Any = output.get("backing") or {}
        found |= {**kept, **{str(text): str(path) for text, path in told.items()}}
    return found
