"""The kind `call`: commands run one after another in a folder; the first that fails ends it.

A command that passed is not run again by the attempt that is adopted after a crash; a further
attempt begins at the first one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fleet.core.messages import Ending, Outcome
from fleet.core.plan import Failure
from fleet.harnesses.commands import run_command
from fleet.kinds import Work

TIMEOUT_S: Final = 1_800.0


async def run(work: Work) -> Outcome:
    """Returns {commands: [{text, code, tail}]} as output, or FAILED with the command that did."""
    params: Any = work.params
    folder = Path(params["folder"])
    if not await work.world.in_thread(folder.is_dir):
        text = f"{folder} is not there, so nothing could be run in it"
        return Outcome(ending=Ending.FAILED, failure=Failure.TASK, text=text)
    env = work.environment(
        task=str(params["task"]), branch=str(params.get("branch", "")), worktree=str(folder)
    )
    done: list[dict[str, object]] = []
    passed = work.folder / "passed"
    for number, command in enumerate(params["commands"], start=1):
        shown = command if isinstance(command, str) else " ".join(command)
        if (passed / str(number)).exists():
            done.append({"text": shown, "code": 0, "tail": ""})
            continue
        ran = await run_command(
            command,
            cwd=folder,
            env=env,
            log=work.folder / f"call-{number}.log",
            timeout_s=float(params.get("timeout_s") or TIMEOUT_S),
            marker=f"{work.world.root}:{work.key}",
            stop=work.stop,
        )
        if ran.stopped:
            return Outcome(ending=Ending.STOPPED, text="stopped between its commands")
        done.append({"text": shown, "code": ran.code, "tail": ran.tail})
        if not ran.passed:
            how = "ran out of time" if ran.code is None else f"exited with {ran.code}"
            return Outcome(
                ending=Ending.FAILED,
                failure=Failure.TASK,
                text=f"command {number} {how}: {shown}\n{ran.tail}".strip(),
                evidence={"commands": done},
            )
        passed.mkdir(parents=True, exist_ok=True)
        (passed / str(number)).touch()
    return Outcome(ending=Ending.SUCCEEDED, output={"commands": done})
