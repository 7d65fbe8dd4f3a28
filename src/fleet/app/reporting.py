"""Use cases inside an agent's session: what it reports, asks, finds and puts out.

Who speaks follows from the session's environment; outside one, a task is named. What is said is
masked before it leaves: a secret of the session is in no report.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from fleet.app.calendars import time_of
from fleet.app.launching import running_state
from fleet.app.place import PLAN_RUN, FleetPlace, fold
from fleet.app.telling import actor, changes, tell
from fleet.core import messages as m
from fleet.errors import FleetError, NotFound, Rejected
from fleet.files.names import path_problem
from fleet.views.findings import FINDING, SEVERITIES, findings_of

Session = tuple[str, str, Path]
"""Run, task (of a workflow: its step) and the attempt's folder."""

FINDING_CHARS: Final = 16_384


def session_facts(environ: Mapping[str, str] | None = None) -> Session:
    """Returns the session that this process is in; raises FleetError outside of one."""
    environ = environ or os.environ
    try:
        return environ["FLEET_RUN"], environ["FLEET_TASK"], Path(environ["FLEET_BRIEF"]).parent
    except KeyError as missing:
        raise FleetError(
            f"{missing.args[0]} is not set: this command is for agents inside their session",
            hint="set FLEET_RUN and FLEET_TASK, or use it from an agent that fleet launched",
        ) from missing


def session_of(place: FleetPlace, run: str, task: str) -> Session:
    """Returns the session that works at a task now, of the plan's run if none is named; raises
    NotFound for an unknown run, and Rejected when nobody works at the task.
    """
    from fleet.adapters.layout import attempt_path

    state = place.run_state(run or PLAN_RUN)
    if state is None:
        raise NotFound("run", run or PLAN_RUN)
    for step, attempt in state.running.items():
        one = state.steps[step].step
        if one.kind == "agent" and task in (one.whole, step):
            return state.run, one.whole, attempt_path(place.state, state.run, step, attempt)
    raise Rejected(f"nobody works at {task!r} of the run {state.run} now")


def check_in(
    place: FleetPlace,
    done: str,
    following: str,
    blockers: Sequence[str],
    *,
    task: str = "",
    run: str = PLAN_RUN,
) -> str:
    """Records a task's daily report and returns the task; the session's own if none is named."""
    if not task:
        run, task, _ = session_facts()
    done, following, *blockers = map(_masked, (done, following, *blockers))
    tell(
        place, [m.CheckIn(step=task, done=done, next=following, blockers=tuple(blockers))], run=run
    )
    return task


def ask(
    place: FleetPlace,
    text: str,
    *,
    topic: str = "",
    severity: str = "",
    choices: Sequence[str] = (),
    wait_s: float | None = None,
    expires_s: float | None = None,
    default: str | None = None,
    waits_for: str = "",
    session: Session | None = None,
) -> tuple[str, str | None]:
    """Raises a question of this session's task; returns its id and, when waited for, the answer.

    After `expires_s` the `default` answers it; raises FleetError for one that is no choice. Raises
    NotFound for a task to wait for that is not there, and Rejected for the session's own.
    """
    if default is not None and (expires_s is None or (choices and default not in choices)):
        listed = ", ".join(choices)
        raise FleetError(
            f"{default!r} answers nothing",
            hint=f"one of: {listed}" if expires_s is not None else "say also when, by --expires",
        )
    if severity and severity not in SEVERITIES:
        raise FleetError(f"{severity!r} is no severity", hint=f"one of: {', '.join(SEVERITIES)}")
    run, task, _ = session or session_facts()
    about: dict[str, object] = {"severity": severity} if severity else {}
    text, choices = _masked(text), [_masked(one) for one in choices]
    question = m.Question(
        message=text,
        kind="choice" if choices else "text",
        choices=tuple(choices),
        topic=topic,
        expires_at_ms=None if expires_s is None else int((time.time() + expires_s) * 1000),
        default=default,
        about=about | (_awaited(place, run, task, waits_for) if waits_for else {}),
    )
    name = raise_question(place, question, run, task)
    if wait_s is not None:
        for seen in changes(place, time.monotonic() + wait_s, run):
            if name in seen.answers:
                return name, seen.answers[name].value or None
    return name, None


def _awaited(place: FleetPlace, run: str, task: str, wanted: str) -> dict[str, object]:
    """Returns what a question is about that waits for another task of its run."""
    from fleet.files.changes.waiting import WAITS_FOR, is_task

    state = place.run_state(run)
    if state is None or not is_task(state, wanted):
        known = [name for name in state.steps if is_task(state, name)] if state is not None else []
        raise NotFound("task", wanted, known)
    if wanted == task:
        raise Rejected(f"{task} cannot wait for itself", hint="name the task whose work you need")
    return {WAITS_FOR: wanted}


def raise_question(place: FleetPlace, question: m.Question, run: str, task: str) -> str:
    """Raises a question of a task, or of the run where `task` is empty, and returns its id."""
    state = running_state(place) if run == PLAN_RUN else place.run_state(run)
    if state is None:
        raise NotFound("run", run)
    before = set(state.questions) | set(state.answers)
    works = (s for s in state.running if task and state.steps[s].step.whole == task)
    step = next(works, task)
    tell(place, [m.RaiseQuestion(step=step, question=question)], run=run)
    after = place.run_state(run)
    assert after is not None
    raised = [
        name
        for name, asked in after.questions.items()
        if name not in before and asked.question.message == question.message
    ]
    return raised[-1] if raised else ""


def _masked(text: str) -> str:
    """Returns what an agent says without the secrets of its session."""
    from fleet.harnesses.secrets import mask, own

    return mask(text, own(os.environ))


# --- output ---------------------------------------------------------------------------------------


def read_output(file: Path) -> str:
    """Returns the text of a file that holds an output; raises FleetError when it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise FleetError(f"{file} cannot be read: {error.strerror}") from error


def finish(
    output: str | None, session: Session | None = None, evidence: Mapping[str, str] | None = None
) -> Path:
    """Leaves word that the work is done, with its output and the files that show something, by what
    that is; returns the file.

    What was given before stays, unless another one is given now. Raises FleetError for a file that
    can show nothing.
    """
    for path in (evidence or {}).values():
        wrong = path_problem(path)
        if wrong:
            raise FleetError(f"{path!r} {wrong}", hint="name a file of the worktree")
    return _leave(session or session_facts(), output, done=True, evidence=evidence)


def read_evidence(told: Sequence[str]) -> dict[str, str]:
    """Returns file by what it shows, from `TEXT=FILE`; raises FleetError for anything else, and for
    a file that is not there. What was not committed is found out later, and is red.
    """
    found = {}
    for one in told:
        text, equals, path = one.rpartition("=")
        text, path = text.strip(), path.strip()
        if not (equals and text and path):
            raise FleetError(f"{one!r} names no file", hint='write it as "TEXT=FILE"')
        top = Path(os.environ.get("FLEET_WORKTREE") or Path.cwd())
        near = next((one for one in (Path.cwd() / path, top / path) if one.exists()), None)
        if near is None:
            raise FleetError(f"{path} is not there", hint="name a file of the worktree")
        found[text] = os.path.relpath(near, top)
    return found


def put_out(output: str, session: Session | None = None) -> Path:
    """Gives the task's output, before the work is done or with it; returns the file."""
    return _leave(session or session_facts(), output, done=False)


def _leave(
    session: Session,
    output: str | None,
    *,
    done: bool,
    evidence: Mapping[str, str] | None = None,
) -> Path:
    folder = session[2]
    path = folder / "done.json"
    told: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        told = found if isinstance(found, dict) else {}
    output = told.get("output") if output is None else _masked(output)
    shown = {_masked(text): path for text, path in (evidence or {}).items()}
    kept = {**(told.get("evidence") or {}), **shown}
    text = json.dumps(
        {
            "output": output,
            "done": done or bool(told.get("done")),
            **({"evidence": kept} if kept else {}),
        }
    )
    if os.environ.get("FLEET_SANDBOX"):  # of the folder, only this file may be written there
        path.write_text(text, encoding="utf-8")
        return path
    draft = folder / f".done.{os.getpid()}.{secrets.token_hex(4)}"
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    return path


# --- findings -------------------------------------------------------------------------------------


def find(
    place: FleetPlace,
    text: str,
    *,
    severity: str = "medium",
    where: str = "",
    session: Session | None = None,
) -> str:
    """Keeps a finding of this session's task and returns its id; raises FleetError for an empty or
    endless one, and for an unknown severity.
    """
    run, task, _ = session or session_facts()
    if severity not in SEVERITIES:
        raise FleetError(f"{severity!r} is no severity", hint=f"one of: {', '.join(SEVERITIES)}")
    if not text.strip() or len(text) > FINDING_CHARS:
        raise FleetError(
            f"a finding has 1 to {FINDING_CHARS} characters, not {len(text)}",
            hint="say it in short, and name a file for the rest",
        )
    name = secrets.token_hex(4)
    told = {
        "text": _masked(text),
        "severity": severity,
        "where": _masked(where),
        "by": actor(),
        "at_ms": time.time_ns() // 1_000_000,
    }
    facts: dict[str, object] = {f"{FINDING}{name}": told}
    tell(place, [m.ReportProgress(step=task, attempt=0, facts=facts)], run=run)
    return name


def findings(place: FleetPlace) -> dict[str, Any]:
    """Returns `fleet.findings/1`: what agents of all runs have found, the oldest first."""
    rows: list[dict[str, Any]] = []
    reader = place.reader()
    if reader is not None:
        with closing(reader):
            for row in reader.runs():
                state = fold(reader, row.run)
                rows += findings_of(state, time_of) if state is not None else []
    rows.sort(key=lambda one: (one["at"], one["id"]))
    return {"schema": "fleet.findings/1", "findings": rows}


def hook_argv() -> list[str]:
    """Returns the command that takes one event of an agent program's session."""
    from fleet.adapters.hooks import argv

    return argv()


def brief(environ: Mapping[str, str] | None = None) -> str:
    """Returns the brief of the session that this process is in."""
    _, _, folder = session_facts(environ)
    return (folder / "brief.md").read_text(encoding="utf-8")
