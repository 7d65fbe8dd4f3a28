"""The use case that rehearses a workflow: a throw-away fleet whose agents are scripted.

The fleet is a fresh repository in a temporary folder, with the workflow, those beside it, and an
agent for each role that they name; everything else is real. What agents say, inputs and answers
stand in `demo/NAME.yaml` beside the workflow, a script for the player; what is not there is made
up: a sentence, a value that follows the schema, the answer that goes on. Nothing of the user's is
touched, and the fleet stays, to be looked at.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet.app.place import FleetPlace, find_place
from fleet.app.throwaway import begin_repository, neutral
from fleet.app.workflows import Asked, loaded
from fleet.errors import FleetError, NotFound, Rejected
from fleet.files.flows.checking import read_workflows
from fleet.files.flows.documents import Workflow, walk
from fleet.files.flows.loading import ENDINGS, FOLDER, find_file
from fleet.files.flows.lowering import is_client_call
from fleet.files.source import Unreadable, decode, read_yaml, resolved

if TYPE_CHECKING:
    from fleet.core.state import OpenQuestion

SCRIPTS: Final = "demo"
"""The folder beside a workflow whose files say how it is rehearsed."""
BESIDE_BYTES: Final = 1 << 20
"""What lies beside a workflow and is larger is none that it calls."""
SCRIPT: Final = "script.yaml"
"""What the agents of the throw-away fleet play; JSON, which YAML reads as well."""
SETTINGS: Final = "---\nfleet: rehearsal\nbase: main\nlimits: {agents: 4}\n---\n"
GOES_ON: Final = {"confirm": "yes", "approval": "approve", "number": "1"}
"""Kind of question -> the answer with which a workflow goes on."""
ANSWER: Final = "Go on as you think best."


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A throw-away fleet that is ready: its place, the workflow's file in it, its script."""

    place: FleetPlace
    top: Path
    name: str
    script: Mapping[str, Any]

    def asked(self, given: Asked) -> Asked:
        """Returns what a command says of the run, with the script's inputs where it says none."""
        declared = {
            name for one in loaded(self.place, self.name, given.roles)[0]
            for name in one.workflow.form["inputs"]
        }  # fmt: skip
        told = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in (self.script.get("inputs") or {}).items()
            if name in declared
        }
        return replace(given, inputs={**told, **given.inputs})

    def end(self) -> None:
        """Ends whatever of it still runs."""
        from fleet.app.ending import down

        with suppress(FleetError, OSError):
            down(self.place, every=True)

    def remove(self) -> None:
        """Removes the throw-away fleet."""
        shutil.rmtree(self.top, ignore_errors=True)

    def answer(self, asked: OpenQuestion) -> str:
        """Returns the scripted answer to a question, else the one with which it goes on."""
        name = asked.step.removesuffix(".open")
        answers: Mapping[str, Any] = self.script.get("answers") or {}
        found = answers.get(name, answers.get(name.rpartition("/")[2]))
        if found is not None:
            return str(found)
        choices = asked.question.choices
        return GOES_ON.get(asked.question.kind) or (choices[0] if choices else ANSWER)


def rehearsal_of(name: str, given: Asked, explicit: Path | None = None) -> Rehearsal:
    """Makes the throw-away fleet of a workflow: a file, or its name in `workflows/` here or of the
    fleet that this folder is in. Raises NotFound, and InvalidPlan for files that do not hold.
    """
    file = _find(name, explicit)
    beside = [one for one in sorted(file.parent.iterdir()) if one.suffix in ENDINGS]
    beside = [one for one in beside if one.is_file() and one.stat().st_size <= BESIDE_BYTES]
    found = [one for path in dict.fromkeys((file, *beside)) for one in read_workflows(path)]
    _require_playable(file, found)
    script = _script(file, found)
    top = Path(tempfile.mkdtemp(prefix="fleet-rehearsal-")).resolve()
    root = top / "fleet"
    try:
        (root / FOLDER).mkdir(parents=True)
        (root / "agents").mkdir()
        for other in dict.fromkeys((file, *beside)):
            shutil.copy(other, root / FOLDER / other.name)
        (root / "coordination.md").write_text(SETTINGS, encoding="utf-8")
        told = json.dumps(script, ensure_ascii=False, indent=1)
        (root / SCRIPT).write_text(f"{told}\n", encoding="utf-8")
        for number, role in enumerate(_roles(found), 1):
            agent = re.sub(r"[^A-Za-z0-9_-]+", "-", role).strip("-_")[:40] or f"agent-{number}"
            text = json.dumps({"role": role, "harness": "script", "args": [SCRIPT]})
            (root / "agents" / f"{agent}.yaml").write_text(f"{text}\n", encoding="utf-8")
        made = Rehearsal(FleetPlace(root), top, str(root / FOLDER / file.name), script)
        loaded(made.place, made.name, given.roles)
        begin_repository(root, f"A rehearsal of {file.name}", neutral(os.environ))
    except FleetError:
        shutil.rmtree(top, ignore_errors=True)
        raise
    return made


def _find(name: str, explicit: Path | None) -> Path:
    """Returns the file: as it is named, else in `workflows/` here, else in that of the fleet."""
    roots = [Path.cwd()]
    with suppress(FleetError):
        roots.append(find_place(explicit).root)
    for root in roots:
        with suppress(NotFound):
            return find_file(root, Path.cwd(), name).resolve()
    return find_file(roots[-1], Path.cwd(), name)


def _require_playable(file: Path, found: Iterable[Workflow]) -> None:
    """Raises Rejected where a step needs what no throw-away fleet has: a client that calls a tool,
    a plan to change.
    """
    mine = [step for one in found if one.form["file"] == file.name for _, step in walk(one.steps)]
    for step in mine:
        if is_client_call(step):
            text = f"step {step['id']!r} calls a tool of a client, which no script plays"
            raise Rejected(text, hint="run it with a client: fleet run FILE, and fleet mcp")
        if step["type"] == "adapt":
            text = f"step {step['id']!r} changes the plan, of which a rehearsal has none"
            raise Rejected(text, hint="run it in its fleet: fleet run FILE")


def _roles(found: Iterable[Workflow]) -> list[str]:
    """Returns the roles that workflows name for agents, each once."""
    said: list[str] = []
    for one in found:
        for _, step in walk(one.steps):
            said += [str(step.get("agent") or ""), str(step.get("to") or "")]
    names = (role.removeprefix("@") for role in said)
    return [role for role in dict.fromkeys(names) if role not in ("", "person")]


def _script(file: Path, found: Iterable[Workflow]) -> dict[str, Any]:
    """Returns what is written for a workflow, with what agents say made up where nothing is."""
    told: dict[str, Any] = {}
    path = file.parent / SCRIPTS / f"{file.stem}.yaml"
    if path.is_file():
        try:
            text = decode(path.read_bytes(), path.name)
            told = resolved(read_yaml(text, path.name).values)
        except Unreadable as wrong:
            raise FleetError(str(wrong.problem)) from None
    tasks = dict(told.get("tasks") or {})
    for one in found:
        for _, step in walk(one.steps):
            tasks.setdefault(step["id"], [{"say": _made_up(step)}])
    return {**told, "tasks": tasks}


def _made_up(step: Mapping[str, Any]) -> str:
    if step["type"] == "verify":
        return json.dumps({"passed": True, "findings": []})
    schema = step.get("output")
    return json.dumps(_sample(schema)) if schema else f"{step['id']} is done."


def _sample(schema: Any) -> Any:
    """Returns a value that a plain JSON Schema takes: its first example, else one of its type."""
    if not isinstance(schema, Mapping):
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: _sample(one) for name, one in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [_sample(schema.get("items") or {})] * max(1, int(schema.get("minItems", 1)))
    least = {"integer": int(schema.get("minimum", 1)), "number": schema.get("minimum", 1)}
    plain = {"boolean": True, "null": None, "string": "made up"}
    return {**least, **plain}.get(kind)
