"""What each command does: one use case of `app`, one rendering, one exit code. Nothing is decided
here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fleet.app.place import FleetPlace, find_place
from fleet.errors import FleetError

TIMED_OUT = 124


def say(text: str) -> None:
    """Prints what was asked for."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def tell(text: str) -> None:
    """Prints what is said beside it."""
    sys.stderr.write(text if text.endswith("\n") else f"{text}\n")


def say_json(found: Mapping[str, Any] | Sequence[Any]) -> None:
    """Prints one JSON object."""
    say(json.dumps(found, ensure_ascii=False))


def columns(width: int | None) -> int:
    """Returns how many columns to print in: as asked, as the terminal has, else 100."""
    if width is not None:
        return width
    if sys.stdout.isatty():
        return os.get_terminal_size().columns
    return int(os.environ.get("COLUMNS", "100"))


def overview(directory: Path | None) -> int:
    """Bare `fleet`: the status, or what to do first where there is no fleet."""
    try:
        find_place(directory)
    except FleetError:
        say(
            "no fleet here yet\n\n  fleet init     scaffold one in this repository\n  fleet demo     watch one run\n  fleet --help   all commands"
        )
        return 0
    return status(directory, as_json=False, width=None)


# --- plan -----------------------------------------------------------------------------------------


def init(
    directory: Path | None,
    base: str | None,
    agents: int,
    harness: str | None,
    test: str | None,
    dry_run: bool,
) -> int:
    """Scaffolds a fleet."""
    from fleet.app.starting import scaffold
    from fleet.render.starting import scaffold_text

    made = scaffold(
        directory or Path.cwd(),
        base=base,
        agents=agents,
        harness=harness,
        test=test,
        dry_run=dry_run,
    )
    say(scaffold_text(made))
    return 0


def doctor(directory: Path | None, as_json: bool, repair: bool) -> int:
    """Checks the machine and the fleet."""
    from fleet.app.starting import diagnose, repair_journal
    from fleet.render.starting import diagnosis_text

    if repair:
        say(repair_journal(find_place(directory)))
    found = diagnose(directory or Path.cwd())
    if as_json:
        say_json(found)
    else:
        say(diagnosis_text(found))
    return 0 if found["ok"] else 1


def demo(keep: bool) -> int:
    """Runs the demo."""
    from fleet.app.demo import run_demo

    return run_demo(tell=say, keep=keep)


def check(directory: Path | None, as_json: bool) -> int:
    """Checks the documents."""
    from fleet.app.planning import check as check_documents
    from fleet.render.errors import problem_lines

    found = check_documents(find_place(directory))
    if as_json:
        say_json(found)
    elif found["problems"]:
        tell(problem_lines(found["problems"]))
    else:
        for warning in found["warnings"]:
            tell(f"{warning['place']}: warning: {warning['text']}")
        say(
            f"{found['tasks']} tasks, {found['agents']} agents, {found['phases']} phases: no problems"
        )
    return 2 if found["problems"] else 0


def plan(
    directory: Path | None,
    as_json: bool,
    agents: int | None,
    limits: list[str],
    form: str | None,
    width: int | None,
) -> int:
    """Shows the schedule."""
    from fleet.app.planning import plan as plan_of
    from fleet.app.planning import read_limits

    view = plan_of(find_place(directory), read_limits(limits, agents))
    if as_json:
        from fleet.views.plan import plain

        say_json(plain(view))
    elif form is not None:
        from fleet.render.exports import export_plan

        say(export_plan(view, form))
    else:
        from fleet.render.plan import render_plan
        from fleet.render.text import ascii_only

        say(render_plan(view, columns=columns(width), plain_ascii=ascii_only()))
    return 0


def schema(kind: str) -> int:
    """Prints a JSON Schema."""
    from fleet.files.schema import schema as schema_of

    say(json.dumps(schema_of(kind), indent=2))
    return 0


# --- run ------------------------------------------------------------------------------------------


def launch(
    directory: Path | None,
    ids: list[str],
    every: bool,
    phase: str | None,
    when_ready: bool,
    as_json: bool,
    dry_run: bool,
) -> int:
    """Starts tasks."""
    from fleet.app.launching import launch as launch_tasks
    from fleet.render.running import launch_text, next_steps

    rows = launch_tasks(
        find_place(directory),
        ids,
        every=every,
        phase=phase,
        when_ready=when_ready,
        dry_run=dry_run,
        tell_of=(lambda _: None) if as_json else (lambda row: say(launch_text(row))),
    )
    if as_json:
        say_json({"schema": "fleet.launch/1", "tasks": [asdict(row) for row in rows]})
    elif dry_run:
        for row in rows:
            say(launch_text(row))
    else:
        tell(next_steps(rows))
    return 1 if any(row.state in ("failed", "needs-you") for row in rows) else 0


def up(directory: Path | None, level: str) -> int:
    """Runs the coordinator here."""
    from fleet.runtimes.embedded import coordinate

    place = find_place(directory)
    tell(f"coordinating {place.root}; end it with C-c, agents live on")
    return coordinate(place.root, stay=True, echo=True, level=level)


def down(directory: Path | None, every: bool, dry_run: bool) -> int:
    """Ends the coordinator."""
    from fleet.app.ending import down as end_coordinator

    for line in end_coordinator(find_place(directory), every=every, dry_run=dry_run):
        say(line)
    return 0


def hold(directory: Path | None, verb: str, ids: list[str], every: bool, dry_run: bool) -> int:
    """Stops, pauses, resumes or retries."""
    from fleet.app import ending, launching

    place = find_place(directory)
    if dry_run:
        state = launching.running_state(place)
        names = launching.chosen(place, state, ids, every=every or not ids)
        say(f"would {verb}: {', '.join(names)}")
        return 0
    match verb:
        case "stop":
            names = launching.stop(place, ids, every=every)
        case "pause":
            names = launching.pause(place, ids)
        case "resume":
            names = launching.resume(place, ids)
        case _:
            names = ending.retry(place, ids)
    said = {"stop": "stopped", "pause": "paused", "resume": "going on", "retry": "trying again"}[
        verb
    ]
    say(f"{said}: {', '.join(names) or 'the whole run'}")
    return 0


def skip(directory: Path | None, ids: list[str], reason: str, dry_run: bool) -> int:
    """Skips tasks."""
    from fleet.app import launching

    place = find_place(directory)
    if dry_run:
        names = launching.chosen(place, launching.running_state(place), ids)
        say(f"would skip: {', '.join(names)}")
        return 0
    say(f"skipped: {', '.join(launching.skip(place, ids, reason))}")
    return 0


def send(directory: Path | None, name: str, text: str) -> int:
    """Sends a note."""
    from fleet.app.launching import send as send_note

    say(f"sent to {send_note(find_place(directory), name, text)}")
    return 0


def attach(directory: Path | None, name: str) -> int:
    """Attaches to a session."""
    from fleet.app.sessions import attach_argv

    argv = attach_argv(find_place(directory), name)
    os.environ.pop("TMUX", None)
    os.execvp(argv[0], argv)  # noqa: S606 - this terminal becomes tmux's


def logs(
    directory: Path | None, name: str, follow: bool, lines: int, attempt: int | None, as_json: bool
) -> int:
    """Shows an attempt's output."""
    from fleet.app.sessions import log_lines

    for line in log_lines(find_place(directory), name, attempt=attempt, last=lines, follow=follow):
        if as_json:
            say_json({"schema": "fleet.log/1", "line": line})
        else:
            say(line)
        sys.stdout.flush()
    return 0


# --- watch ----------------------------------------------------------------------------------------


def status(directory: Path | None, as_json: bool, width: int | None) -> int:
    """Shows the check-in."""
    from fleet.app.watching import status as status_now

    found = status_now(find_place(directory))
    if as_json:
        say_json(found)
    else:
        from fleet.render.status import status_text

        say(status_text(found, columns(width)))
    return 0


def wait(
    directory: Path | None,
    ids: list[str],
    state: str,
    timeout_s: float | None,
    any_one: bool,
    as_json: bool,
) -> int:
    """Waits for a state."""
    from fleet.app.watching import wait as wait_for

    met, words = wait_for(find_place(directory), ids, state, timeout_s, any_one=any_one)
    if as_json:
        say_json({"schema": "fleet.wait/1", "met": met, "tasks": words})
    else:
        say(", ".join(f"{name} {word}" for name, word in words.items()))
    return TIMED_OUT if met is None else (0 if met else 1)


def gate(directory: Path | None, phase: str | None, as_json: bool) -> int:
    """Shows gates."""
    from fleet.app.watching import gate as gates

    found = gates(find_place(directory), phase)
    if as_json:
        say_json(found[0] if phase is not None else {"schema": "fleet.gates/1", "gates": found})
    else:
        from fleet.render.running import gate_text

        say("\n\n".join(gate_text(one) for one in found))
    return 0 if all(one["gate"] == "open" for one in found) else 1


def history(directory: Path | None, run: str, as_json: bool) -> int:
    """Shows a run's events."""
    from fleet.app.watching import history as events
    from fleet.render.running import event_text

    for event in events(find_place(directory), run):
        if as_json:
            say_json(event)
        else:
            say(event_text(event))
    return 0


def metrics(directory: Path | None, as_json: bool) -> int:
    """Shows metrics."""
    from fleet.app.watching import metrics as measured

    found = measured(find_place(directory))
    if as_json:
        say_json(found)
    else:
        from fleet.render.running import metrics_text

        say(metrics_text(found))
    return 0


# --- land -----------------------------------------------------------------------------------------


def merge(directory: Path | None, names: list[str], as_json: bool, dry_run: bool) -> int:
    """Lands phases."""
    from fleet.app.landing import merge as land
    from fleet.render.running import landing_text

    rows = land(
        find_place(directory),
        names,
        dry_run=dry_run,
        tell_of=lambda name: tell(f"merging {name} ..."),
    )
    if as_json:
        say_json({"schema": "fleet.merge/1", "phases": [asdict(row) for row in rows]})
    else:
        say("\n".join(landing_text(row) for row in rows))
    return 0 if dry_run or all(row.landed for row in rows) else 1


def backup(directory: Path | None, target: Path, restore: bool, dry_run: bool) -> int:
    """Copies or restores the journal."""
    from fleet.app.ending import back_up, restore_backup

    place: FleetPlace = find_place(directory)
    say(
        restore_backup(place, target, dry_run=dry_run)
        if restore
        else back_up(place, target, dry_run=dry_run)
    )
    return 0


# --- questions ------------------------------------------------------------------------------------


def inbox(directory: Path | None, as_json: bool) -> int:
    """Shows open questions."""
    from fleet.app.inbox import inbox as questions

    found = questions(find_place(directory))
    if as_json:
        say_json(found)
    else:
        from fleet.render.running import inbox_text

        say(inbox_text(found["questions"]))
    return 0


def answer(directory: Path | None, question: str, value: str, note: str) -> int:
    """Answers a question."""
    from fleet.app.inbox import answer as give

    say(f"answered {give(find_place(directory), question, value, note)}: {value}")
    return 0


def decide(directory: Path | None, question: str, approved: bool, note: str) -> int:
    """Approves or rejects."""
    from fleet.app.inbox import approve, reject

    place = find_place(directory)
    name = approve(place, question, note) if approved else reject(place, question, note)
    say(f"{'approved' if approved else 'rejected'} {name}")
    return 0


# --- inside an agent ------------------------------------------------------------------------------


def checkin(
    directory: Path | None, done: str, following: str, blockers: list[str], task: str
) -> int:
    """Records a check-in."""
    from fleet.app.inbox import check_in

    say(f"checked in: {check_in(find_place(directory), done, following, blockers, task)}")
    return 0


def ask(
    directory: Path | None,
    text: str,
    topic: str,
    choices: list[str],
    wait_s: float | None,
    as_json: bool,
) -> int:
    """Asks a person."""
    from fleet.app.inbox import ask as raise_question

    name, value = raise_question(
        find_place(directory), text, topic=topic, choices=choices, wait_s=wait_s
    )
    if as_json:
        say_json({"schema": "fleet.ask/1", "id": name, "answer": value})
    else:
        say(
            value
            if value is not None
            else f"asked {name}; the answer comes into the session or the next brief"
        )
    return 0 if wait_s is None or value is not None else TIMED_OUT


def done(output: Path | None) -> int:
    """Says that the work is done."""
    from fleet.app.inbox import finish

    text = output.read_text(encoding="utf-8", errors="replace") if output is not None else None
    finish(text)
    say("noted; end the session when you are ready")
    return 0


def brief() -> int:
    """Prints the brief."""
    from fleet.app.inbox import brief as brief_text

    say(brief_text())
    return 0
