"""Setting a fleet going: launch, up, down, stop, pause, resume, retry, skip, send, attach, logs."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fleet.app.place import FleetPlace
    from fleet.app.steering import Verb

from fleet.cli.door import (
    RUN,
    DryRun,
    Id,
    Ids,
    Json,
    Session,
    app,
    here,
    say,
    say_json,
    tell,
)


@app.command(rich_help_panel=RUN)
def launch(
    ctx: typer.Context,
    ids: Ids = None,
    every: Annotated[
        bool, typer.Option("--all", help="All tasks, each as soon as it may.")
    ] = False,
    phase: Annotated[str | None, typer.Option(help="All tasks of a phase.")] = None,
    when_ready: Annotated[bool, typer.Option(help="Queue what is not ready yet.")] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Start tasks: worktree, branch, port, setup, agent in a tmux session."""
    from fleet.app.launching import launch as launch_tasks
    from fleet.render.running import launch_text, next_steps

    rows = launch_tasks(
        here(ctx),
        ids or [],
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
    unstarted = [row for row in rows if row.state == "starting" and row.text and not row.session]
    bad = unstarted or any(row.state in ("failed", "needs-you") for row in rows)
    raise typer.Exit(1 if bad else 0)


@app.command(rich_help_panel=RUN)
def up(
    ctx: typer.Context,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the coordinator in the foreground, until interrupted."""
    from fleet.app.ending import up as coordinate

    place = here(ctx)
    tell(f"coordinating {place.root}; end it with C-c, agents live on")
    raise typer.Exit(coordinate(place, log_level))


@app.command(rich_help_panel=RUN)
def down(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="The agents' sessions too.")] = False,
    dry_run: DryRun = False,
) -> None:
    """End the coordinator; agents live on unless --all."""
    from fleet.app.ending import down as end_coordinator

    for line in end_coordinator(here(ctx), every=every, dry_run=dry_run):
        say(line)


@app.command(rich_help_panel=RUN)
def stop(
    ctx: typer.Context,
    ids: Ids = None,
    every: Annotated[bool, typer.Option("--all", help="Everything that runs.")] = False,
    dry_run: DryRun = False,
) -> None:
    """End tasks' attempts, spend no retry, and hold the tasks; end runs of workflows."""
    from fleet.app import launching

    place = here(ctx)
    if _steered(place, "stop", "stopped", ids or [], dry_run=dry_run):
        return
    if dry_run:
        would("stop", place, ids or [], every=every)
        return
    names = launching.stop(place, ids or [], every=every)
    say(f"stopped: {', '.join(names) or 'the whole run'}")


@app.command(rich_help_panel=RUN)
def pause(ctx: typer.Context, ids: Ids = None, dry_run: DryRun = False) -> None:
    """Start nothing more, of tasks or of the whole run; what runs goes on."""
    from fleet.app import launching

    place = here(ctx)
    if _steered(place, "pause", "paused", ids or [], dry_run=dry_run):
        return
    if dry_run:
        would("pause", place, ids or [], every=not ids)
        return
    names = launching.pause(place, ids or [])
    say(f"paused: {', '.join(names) or 'the whole run'}")


@app.command(rich_help_panel=RUN)
def resume(ctx: typer.Context, ids: Ids = None, dry_run: DryRun = False) -> None:
    """Lift a pause, and go on with what was stopped, held or lost."""
    from fleet.app.resuming import resume as go_on

    place = here(ctx)
    if _steered(place, "resume", "going on", ids or [], dry_run=dry_run):
        return
    if dry_run:
        would("resume", place, ids or [], every=not ids)
        return
    names = go_on(place, ids or [])
    say(f"going on: {', '.join(names) or 'the whole run'}")


@app.command(rich_help_panel=RUN)
def retry(ctx: typer.Context, ids: Ids = None, dry_run: DryRun = False) -> None:
    """Try failed, asking or waiting tasks again now."""
    from fleet.app import ending

    place = here(ctx)
    if dry_run:
        would("retry", place, ids or [], every=not ids)
        return
    names = ending.retry(place, ids or [])
    say(f"trying again: {', '.join(names) or 'the whole run'}")


@app.command(rich_help_panel=RUN)
def skip(
    ctx: typer.Context,
    ids: Ids = None,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Count tasks as succeeded for what depends on them."""
    from fleet.app import launching

    place = here(ctx)
    if dry_run:
        would("skip", place, ids or [], every=False)
        return
    say(f"skipped: {', '.join(launching.skip(place, ids or [], reason))}")


@app.command(rich_help_panel=RUN)
def send(
    ctx: typer.Context,
    name: Id,
    text: Annotated[str, typer.Argument(help="What to say.")],
    dry_run: DryRun = False,
) -> None:
    """Send a note to a running agent."""
    from fleet.app.launching import send as send_note

    place = here(ctx)
    if dry_run:
        would("send to", place, [name], every=False)
        return
    say(f"sent to {send_note(place, name, text)}")


@app.command(rich_help_panel=RUN)
def attach(ctx: typer.Context, name: Session) -> None:
    """Attach this terminal to a running agent's session; leave it with C-b d."""
    from fleet.app.sessions import attach_argv

    argv = attach_argv(here(ctx), name)
    os.environ.pop("TMUX", None)
    os.execvp(argv[0], argv)  # noqa: S606 - this terminal becomes tmux's


@app.command(rich_help_panel=RUN)
def logs(
    ctx: typer.Context,
    name: Session,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as more comes.")] = False,
    lines: Annotated[int, typer.Option("-n", min=1, help="Last lines to show.")] = 200,
    attempt: Annotated[
        int | None, typer.Option(help="Which attempt; the latest by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what an agent put out."""
    from fleet.app.sessions import log_lines

    for line in log_lines(here(ctx), name, attempt=attempt, last=lines, follow=follow):
        if as_json:
            say_json({"schema": "fleet.log/1", "line": line})
        else:
            say(line)
        sys.stdout.flush()


def _steered(place: FleetPlace, verb: Verb, told: str, ids: list[str], *, dry_run: bool) -> bool:
    """Does to runs of workflows what a verb says; returns whether the ids are those of runs."""
    from fleet.app import steering

    runs = steering.runs_meant(place, ids)
    if runs and dry_run:
        say(f"would {verb}: {', '.join(runs)}")
    elif runs:
        say(f"{told}: {', '.join(steering.steer(place, verb, runs))}")
    return bool(runs)


def would(verb: str, place: FleetPlace, ids: list[str], *, every: bool) -> None:
    """Says which tasks a verb would be about, without doing it."""
    from fleet.app import launching

    names = launching.chosen(place, launching.running_state(place), ids, every=every)
    say(f"would {verb}: {', '.join(names)}")
