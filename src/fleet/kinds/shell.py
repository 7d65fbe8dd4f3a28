"""The kind `shell`: a command of a workflow; what it prints on standard output is its output.

Values reach it as variables and as a file, never as text of the command: an expression in it
becomes a reference to a variable, quoted as the place asks where it stands. It runs in a scratch
folder, or in a worktree of its own.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fleet.adapters import process
from fleet.adapters.crash import crash_point
from fleet.adapters.layout import scratch_path
from fleet.core.messages import Ending, Outcome
from fleet.errors import FleetError
from fleet.files.flows.commands import referring
from fleet.files.flows.sandbox import text_of
from fleet.files.flows.scope import Scope
from fleet.harnesses.commands import MARKER, reap, run_command, shown
from fleet.kinds import Work
from fleet.kinds.flow import attempted, failed, own_tree

TIMEOUT_S: Final = 1_800.0
VALUES: Final = "values.json"
"""What a command may read beside its variables; written just before it is started."""
OUTPUT_BYTES: Final = 65_536
LOOK_S: Final = 0.1
ASIDE: Final = '''"$@" >"$0"
code=$?
echo "$code" >"$0.draft" && mv "$0.draft" "$0.code"
exit "$code"'''
"""Keeps standard output apart, what else is said being evidence and no output, and the exit code
beside it: a command that has ended is not run again, whatever became of the coordinator.
"""


async def run(work: Work) -> Outcome:
    """Returns the command's standard output as output, or FAILED with what it said."""
    stdout = work.folder / "stdout.log"
    timeout_s = float(work.params.get("timeout_s") or TIMEOUT_S)
    if stdout.exists():
        early = await _outlived(work, timeout_s)
        if early is not None:
            return early
    if (code := _code(stdout)) is not None:
        return _outcome(stdout, code, shown(_read(work.folder / "output.log")))
    try:
        made: Any = await work.world.in_thread(_prepared, work)
    except FleetError as refused:
        return failed(f"{refused.text} {refused.hint}".strip())
    if isinstance(made, Outcome):
        return made
    argv, env, folder = made
    ran = await run_command(
        ["/bin/sh", "-c", ASIDE, str(stdout), *argv],
        cwd=folder,
        env=env,
        log=work.folder / "output.log",
        timeout_s=timeout_s,
        marker=_marker(work),
        stop=work.stop,
    )
    crash_point("kinds.shell.before_outcome")
    if ran.stopped:
        return Outcome(ending=Ending.STOPPED, text="stopped")
    return _outcome(stdout, ran.code, ran.tail)


async def _outlived(work: Work, timeout_s: float) -> Outcome | None:
    """Waits until a command has ended that an earlier life of the coordinator has started; returns
    an outcome where it had to be ended.
    """
    known = process.Members(marker=f"{MARKER}={_marker(work)}")
    begun_s = (work.folder / VALUES).stat().st_mtime
    while await work.world.in_thread(process.members, known):
        late = time.time() - begun_s > timeout_s
        if late or work.stop.is_set():
            await work.world.in_thread(reap, known)
            ended = failed("the command ran out of time")
            return ended if late else Outcome(ending=Ending.STOPPED, text="stopped")
        await asyncio.sleep(LOOK_S)
    return None


def _outcome(stdout: Path, code: int | None, tail: str) -> Outcome:
    said = _head(stdout)
    if code == 0:
        return Outcome(ending=Ending.SUCCEEDED, output=said)
    how = "ran out of time" if code is None else f"exited with {code}"
    evidence = {"code": code, "stdout": said[-4_096:]}
    return failed(f"the command {how}" + (f":\n{tail}" if tail else ""), evidence=evidence)


def _code(stdout: Path) -> int | None:
    """Returns how a command ended, None for one that has not."""
    try:
        return int(stdout.with_name(f"{stdout.name}.code").read_text("ascii"))
    except (OSError, ValueError):
        return None


def _marker(work: Work) -> str:
    return f"{work.world.root}:{work.key}"


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
    path = work.folder / VALUES
    path.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    own = work.environment(
        task=work.step.whole, branch=str((place or {}).get("branch", "")), worktree=str(folder)
    )
    return argv, {**values, **own, "FLEET_VALUES": str(path)}, folder


def _head(path: Path) -> str:
    return _read(path).decode("utf-8", "replace").rstrip("\n")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(OUTPUT_BYTES)
    except OSError:
        return b""
