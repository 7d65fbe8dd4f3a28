"""The player: an agent without a model. `python -m fleet.harnesses.player FILE` does what it says.

    steps: [...]              what it does; or
    attempts: [[...], ...]    a list for each attempt (FLEET_ATTEMPT), the last one for all later;
                              also `rounds:`; or
    tasks: {TASK: ...}        either of these for a task, by its whole name or the last part of it;
                              for tasks that are not there what stands beside

    say: TEXT, else as JSON   write: {path, text}                    append: {path, text}
    remove: PATH              commit: MESSAGE or {message, paths}    tag: NAME
    run: ARGV or TEXT for sh  checkin: {done, next, blocker}         ask: {text, topic, wait}
    done: {output}            wait: SECONDS (or sleep)               expect_brief: {contains}
    fail: TEXT                exit: CODE                             answer: {TEXT: VALUE, ...}

An `answer` says, as JSON, the value of that TEXT which comes first in the brief.

Reports go through the `fleet` command, as any agent's would. Standard library and yaml only: it
starts fast.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ASK_WAIT_S = 3_600
FAILED: Final = 1
USAGE: Final = 2


class Ended(Exception):
    """The script ends here with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def play(script: object, attempt: int, task: str = "") -> int:
    """Plays the steps for this attempt (from 1) at a task; returns the exit code."""
    try:
        for step in _steps(_part(script, task), attempt):
            if not isinstance(step, dict) or len(step) != 1:
                raise ValueError(f"a step is one name with its value, not {step!r}")
            ((name, value),) = step.items()
            act = ACTS.get(name)
            if act is None:
                raise ValueError(f"no step {name!r}; there are {', '.join(sorted(ACTS))}")
            act(value)
    except Ended as end:
        return end.code
    except (ValueError, KeyError, TypeError) as problem:
        _complain(f"script: {problem}")
        return USAGE
    except (OSError, subprocess.CalledProcessError) as problem:
        _complain(str(problem))
        return FAILED
    return 0


def _part(script: object, task: str) -> object:
    tasks = script.get("tasks") if isinstance(script, dict) else None
    if not isinstance(tasks, dict):
        return script
    return tasks.get(task, tasks.get(task.rpartition("/")[2], script))


def _steps(script: object, attempt: int) -> Sequence[object]:
    if isinstance(script, list):
        return script
    if not isinstance(script, dict):
        raise ValueError("a script holds steps")  # noqa: TRY004 - a fault of the file, told as one
    rounds = script.get("attempts") or script.get("rounds")
    steps = rounds[min(attempt, len(rounds)) - 1] if rounds else script.get("steps", [])
    steps = steps["steps"] if isinstance(steps, dict) else steps
    if not isinstance(steps, list):
        raise ValueError("steps are a list")  # noqa: TRY004 - a fault of the file, told as one
    return steps


def _say(value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _put(mode: str) -> Callable[[Any], None]:
    def act(value: Any) -> None:
        path = Path(value["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode, encoding="utf-8") as file:
            file.write(str(value["text"]))

    return act


def _commit(value: Any) -> None:
    told = value if isinstance(value, dict) else {"message": value}
    _call(["git", "add", "-A", "--", *map(str, told.get("paths") or ["."])])
    _call(["git", "commit", "-q", "-m", str(told.get("message") or "work")])


def _checkin(value: Any) -> None:
    words = [
        word
        for name in ("done", "next", "blocker")
        if value.get(name)
        for word in (f"--{name}", str(value[name]))
    ]
    _fleet("checkin", *words)


def _ask(value: Any) -> None:
    told = value if isinstance(value, dict) else {"text": value}
    topic = ["--topic", str(told["topic"])] if told.get("topic") else []
    waits = told.get("wait")
    wait = ["--wait", str(ASK_WAIT_S if waits is True else float(waits))] if waits else []
    _fleet("ask", str(told["text"]), *topic, *wait)


def _done(value: Any) -> None:
    output = value.get("output") if isinstance(value, dict) else value
    _fleet("done", *(["--output", str(output)] if output is not None else []))


def _fail(text: Any) -> None:
    _complain(str(text))
    raise Ended(FAILED)


def _exit(code: Any) -> None:
    raise Ended(int(code))


def _expect_brief(value: Any) -> None:
    brief = Path(os.environ["FLEET_BRIEF"]).read_text(encoding="utf-8")
    wanted = value["contains"]
    for text in wanted if isinstance(wanted, list) else [wanted]:
        if str(text) not in brief:
            _fail(f"the brief does not say {text!r}")


def _answer(value: Any) -> None:
    brief = Path(os.environ["FLEET_BRIEF"]).read_text(encoding="utf-8")
    found = [(brief.find(str(text)), text) for text in value if str(text) in brief]
    if not found:
        _fail("the brief asks nothing that the script answers")
    _say(json.dumps(value[min(found)[1]], ensure_ascii=False))


def _run(value: Any) -> None:
    _call(["sh", "-c", value] if isinstance(value, str) else [str(word) for word in value])


def _sleep(value: Any) -> None:
    time.sleep(float(value))


def _fleet(*words: str) -> None:
    _call([sys.executable, "-P", "-m", "fleet", *words])


def _call(argv: list[str]) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)


ACTS: Final[dict[str, Callable[[Any], None]]] = {
    "say": _say,
    "write": _put("w"),
    "append": _put("a"),
    "remove": lambda path: Path(path).unlink(),
    "commit": _commit,
    "tag": lambda name: _call(["git", "tag", "-f", "--", str(name)]),
    "checkin": _checkin,
    "ask": _ask,
    "done": _done,
    "wait": _sleep,
    "sleep": _sleep,
    "run": _run,
    "fail": _fail,
    "exit": _exit,
    "expect_brief": _expect_brief,
    "answer": _answer,
}


def main(argv: Sequence[str]) -> int:
    """Plays the file that is named; returns the exit code."""
    if len(argv) != 1:
        _complain("usage: python -m fleet.harnesses.player FILE")
        return USAGE
    places = [Path(root, argv[0]) for root in (os.environ.get("FLEET_ROOT"), ".") if root]
    path = next((place for place in places if place.is_file()), places[-1])
    try:
        script = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as problem:
        _complain(f"script {argv[0]}: {problem}")
        return USAGE
    attempt = int(os.environ.get("FLEET_ATTEMPT") or 1)
    return play(script, attempt, os.environ.get("FLEET_TASK", ""))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
