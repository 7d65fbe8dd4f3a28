"""Questions, and what an agent says from inside its session."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.door import (
    INSIDE,
    TALK,
    TIMED_OUT,
    WATCH,
    DryRun,
    Json,
    app,
    columns,
    here,
    say,
    say_json,
)


@app.command(rich_help_panel=TALK)
def inbox(ctx: typer.Context, as_json: Json = False) -> None:
    """Show open questions, what costs most slack first."""
    from fleet.app.inbox import inbox as questions

    found = questions(here(ctx))
    if as_json:
        say_json(found)
    else:
        from fleet.render.running import inbox_text

        say(inbox_text(found["questions"], columns(None)))


@app.command(rich_help_panel=TALK)
def answer(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(metavar="ID", help="A question.")],
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", help="The answer.")] = None,
    note: Annotated[str, typer.Option(help="A word beside it.")] = "",
    escalate: Annotated[
        bool, typer.Option("--escalate", help="Have the next one asked, instead of an answer.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Answer a question, or send it on."""
    from fleet.app.inbox import answer as give
    from fleet.app.inbox import escalate as send_on

    if escalate == (value is not None):
        raise typer.BadParameter("give VALUE or --escalate")
    if dry_run:
        would_decide(ctx, "escalate" if value is None else f"answer {value!r} to", question)
        return
    if value is None:
        name, whom = send_on(here(ctx), question, note)
        say(f"escalated {name}: {whom.removeprefix('@')} is asked now")
        return
    say(f"answered {give(here(ctx), question, value, note)}: {value}")


@app.command(rich_help_panel=TALK)
def approve(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(metavar="ID", help="A question.")],
    note: Annotated[str, typer.Option(help="A word beside it.")] = "",
    always: Annotated[
        bool, typer.Option("--always", help="The same, too, for the rest of the run.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Approve what a question asks approval of."""
    from fleet.app.inbox import approve as give

    if not always:
        _show_change(ctx, question)
    if dry_run:
        would_decide(ctx, "approve for good" if always else "approve", question)
        return
    say(f"approved {give(here(ctx), question, note, always=always)}")


@app.command(rich_help_panel=TALK)
def reject(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(metavar="ID", help="A question.")],
    reason: Annotated[str, typer.Option(help="Why; it goes into the rework's brief.")],
    dry_run: DryRun = False,
) -> None:
    """Reject what a question asks approval of."""
    from fleet.app.inbox import reject as refuse

    if dry_run:
        would_decide(ctx, "reject", question)
        return
    say(f"rejected {refuse(here(ctx), question, reason)}")


def _show_change(ctx: typer.Context, question: str) -> None:
    """Says what an approval would change of the plan, where it would."""
    from fleet.app.inbox import find_question
    from fleet.app.proposing import proposed

    place = here(ctx)
    found = proposed(place, *find_question(place, question))
    if found is not None:
        from fleet.render.adapting import adapting_text

        say(adapting_text(found, columns(None), outcome=False))


def would_decide(ctx: typer.Context, verb: str, question: str) -> None:
    """Says which question a verb would be about, without doing it."""
    from fleet.app.inbox import find_question
    from fleet.render.running import question_line

    _, asked = find_question(here(ctx), question)
    say(f"would {verb} {question_line(asked.id, asked.question.message)}")


@app.command(rich_help_panel=TALK)
def decisions(
    ctx: typer.Context,
    export: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a record a file into a folder.")
    ] = None,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """List what was decided: answers by roles and people, and what tasks say."""
    from fleet.app import deciding

    place = here(ctx)
    if export is not None:
        written = deciding.export(place, export, dry_run=dry_run)
        say("\n".join(str(path) for path in written) or "every record is there already")
        return
    found = deciding.decisions(place)
    if as_json:
        say_json(found)
    else:
        from fleet.render.decisions import decisions_text

        say(decisions_text(found["decisions"], columns(None)))


@app.command(rich_help_panel=INSIDE)
def checkin(
    ctx: typer.Context,
    done: Annotated[str, typer.Option(help="What is done.")] = "",
    following: Annotated[str, typer.Option("--next", help="What comes next.")] = "",
    blocker: Annotated[list[str] | None, typer.Option(help="What is in the way.")] = None,
    task: Annotated[str, typer.Option(help="The task, outside a session.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Report the day's work of this session's task."""
    from fleet.app.reporting import check_in, session_facts

    if dry_run:
        say(f"would check in: {task or session_facts()[1]}")
        return
    say(f"checked in: {check_in(here(ctx), done, following, blocker or [], task=task)}")


@app.command(rich_help_panel=INSIDE)
def ask(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="The question.")],
    topic: Annotated[str, typer.Option(help="What it is about.")] = "",
    severity: Annotated[str, typer.Option(help="low, medium, high or critical.")] = "",
    choice: Annotated[list[str] | None, typer.Option(help="A possible answer.")] = None,
    wait_s: Annotated[
        float | None,
        typer.Option("--wait", metavar="S", help="Wait so many seconds for the answer."),
    ] = None,
    expires_s: Annotated[
        float | None,
        typer.Option("--expires", metavar="S", min=0, help="Close it after so many seconds."),
    ] = None,
    default: Annotated[
        str | None, typer.Option(help="The answer when it expires; without one, none is given.")
    ] = None,
    waits_for: Annotated[
        str, typer.Option("--waits-for", metavar="TASK", help="The task whose work this waits for.")
    ] = "",
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Ask a role or a person; the answer comes into the session or the next brief."""
    from fleet.app.reporting import ask as raise_question
    from fleet.app.reporting import session_facts

    if dry_run:
        say(f"would ask for {session_facts()[1]}")
        return
    name, value = raise_question(
        here(ctx),
        text,
        topic=topic,
        severity=severity,
        choices=choice or [],
        wait_s=wait_s,
        expires_s=expires_s,
        default=default,
        waits_for=waits_for,
    )
    if as_json:
        say_json({"schema": "fleet.ask/1", "id": name, "answer": value})
    else:
        say(
            value
            if value is not None
            else f"asked {name}; the answer comes into the session or the next brief"
        )
    if wait_s is not None and value is None:
        raise typer.Exit(TIMED_OUT)


@app.command(rich_help_panel=INSIDE)
def done(
    output: Annotated[Path | None, typer.Option(help="A file with the task's output.")] = None,
    evidence: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT=FILE", help="A committed file that shows what TEXT says."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Say that the work is done, give its output, and what shows it."""
    from fleet.app.reporting import finish, read_evidence, read_output, session_facts

    shown = read_evidence(evidence or ())

    if dry_run:
        say(f"would report {session_facts()[1]} as done")
        return
    finish(read_output(output) if output is not None else None, evidence=shown)
    say("noted; end the session when you are ready")


@app.command(rich_help_panel=INSIDE)
def output(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The output; else standard input.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Give the task's output, before the work is done or with it; the last one counts."""
    from fleet.app.reporting import put_out, read_output, session_facts

    if dry_run:
        say(f"would give the output of {session_facts()[1]}")
        return
    if file is None:
        put_out(sys.stdin.buffer.read().decode("utf-8", "replace"))
    else:
        put_out(read_output(file))
    say("noted")


@app.command(rich_help_panel=INSIDE)
def finding(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="What was found.")],
    severity: Annotated[str, typer.Option(help="low, medium, high or critical.")] = "medium",
    where: Annotated[str, typer.Option(help="Where: a file, a line.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Keep something found beside the task, for people to read: `fleet findings`."""
    from fleet.app.reporting import find, session_facts

    if dry_run:
        say(f"would keep a finding of {session_facts()[1]}")
        return
    say(f"kept {find(here(ctx), text, severity=severity, where=where)}")


@app.command(rich_help_panel=WATCH)
def findings(ctx: typer.Context, as_json: Json = False) -> None:
    """List what agents have found beside their tasks, in all runs."""
    from fleet.app.reporting import findings as all_findings

    found = all_findings(here(ctx))
    if as_json:
        say_json(found)
    else:
        from fleet.render.running import findings_text

        say(findings_text(found["findings"], columns(None)))


@app.command(rich_help_panel=INSIDE)
def hook() -> None:
    """Take one event of an agent program's session, as JSON on standard input.

    Fleet hands a shorter way to this to the programs that it starts.
    """
    from fleet.app.reporting import hook_argv

    argv = hook_argv()
    os.execv(argv[0], argv)  # noqa: S606  no shell is wanted


@app.command(rich_help_panel=INSIDE)
def brief() -> None:
    """Print this session's brief."""
    from fleet.app.reporting import brief as brief_text

    say(brief_text())
