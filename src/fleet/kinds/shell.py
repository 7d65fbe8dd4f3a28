"""The kind `shell`: a command of a workflow; what it prints on standard output is its output.

Values reach it as variables and as a file, never as text of the command: an expression in it
becomes a reference to a variable, quoted as the place asks where it stands. It runs in a scratch
folder, or in a worktree of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.adapters.layout import scratch_path
from fleet.core.messages import Ending, Outcome
from fleet.errors import FleetError
from fleet.files.flows.commands import referring
from fleet.files.flows.sandbox import text_of
from fleet.files.flows.scope import Scope
from fleet.harnesses.commands import run_command
from fleet.kinds import Work
from fleet.kinds.flow import attempted, failed, own_tree

TIMEOUT_S: Final = 1_800.0
OUTPUT_BYTES: Final = 65_536
ASIDE: Final = 'exec "$@" >"$0"'
"""Keeps standard output apart: what else is said is evidence, not output."""


async def run(work: Work) -> Outcome:
    """Returns the command's standard output as output, or FAILED with what it said."""
    done = work.folder / "done.json"
    if done.exists():
        return Outcome(ending=Ending.SUCCEEDED, output=json.loads(done.read_text("utf-8")))
    try:
        made: Any = await work.world.in_thread(_prepared, work)
    except FleetError as refused:
        return failed(f"{refused.text} {refused.hint}".strip())
    if isinstance(made, Outcome):
        return made
    argv, env, folder = made
    stdout = work.folder / "stdout.log"
    timeout_s = float((work.params.get("timeout_s")) or TIMEOUT_S)
    ran = await run_command(
        ["/bin/sh", "-c", ASIDE, str(stdout), *argv],
        cwd=folder,
        env=env,
        log=work.folder / "output.log",
        timeout_s=timeout_s,
        marker=f"{work.world.root}:{work.key}",
        stop=work.stop,
    )
    if ran.stopped:
        return Outcome(ending=Ending.STOPPED, text="stopped")
    said = _head(stdout)
    if not ran.passed:
        how = "ran out of time" if ran.code is None else f"exited with {ran.code}"
        evidence = {"code": ran.code, "stdout": said[-4_096:]}
        return failed(f"the command {how}\n{ran.tail}".strip(), evidence=evidence)
    draft = done.with_suffix(".tmp")
    draft.write_text(json.dumps(said), encoding="utf-8")
    draft.replace(done)
    return Outcome(ending=Ending.SUCCEEDED, output=said)


def _prepared(work: Work) -> Any:
    """Returns argv, variables and folder; an outcome where something in the step is refused."""
    found: dict[str, Any] = {}

    def look(scope: Scope) -> Outcome:
        found["made"] = _command(work, scope)
        return Outcome(ending=Ending.SUCCEEDED)

    outcome = attempted(work, look)
    return found.get("made", outcome)


def _command(work: Work, scope: Scope) -> tuple[list[str], Mapping[str, str], Path]:
    step = scope.step
    values: dict[str, str] = {}
    if isinstance(step["command"], str):
        text, expressions = referring(step["command"])
        argv = ["/bin/sh", "-c", text]
        for name, expression in expressions.items():
            values[name] = text_of(scope.evaluate(expression))
    else:
        argv = [scope.render(word) for word in step["command"]]
    values |= {
        name: text_of(scope.evaluate(told)) for name, told in (step.get("env") or {}).items()
    }
    place = own_tree(work)
    scratch = scratch_path(work.world.state, work.run, work.step.whole)
    folder = Path(place["path"]) if place else scratch / "work"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    work.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = scope.names()
    kept = ("inputs", "item", "index")
    told: dict[str, Any] = {name: names[name] for name in kept if name in names}
    told["state"] = dict(names["state"])
    path = work.folder / "values.json"
    path.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    own = work.environment(
        task=work.step.whole, branch=str((place or {}).get("branch", "")), worktree=str(folder)
    )
    return argv, {**values, **own, "FLEET_VALUES": str(path)}, folder


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(OUTPUT_BYTES).decode("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""
