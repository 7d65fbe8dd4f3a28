"""Looking and landing: status, wait, gate, history, report, metrics, merge, backup."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.door import (
    LAND,
    TIMED_OUT,
    WATCH,
    DryRun,
    Ids,
    Json,
    app,
    columns,
    here,
    say,
    say_json,
    tell,
)


@app.command(rich_help_panel=WATCH)
def status(
    ctx: typer.Context,
    task: Annotated[
        str | None, typer.Argument(metavar="ID", help="A task, with its screen, or a run.")
    ] = None,
    as_json: Json = False,
    width: Annotated[int | None, typer.Option(min=40, help="Columns to print in.")] = None,
) -> None:
    """The daily check-in: what needs you, the table, since yesterday, today, drift."""
    if task is not None:
        _task_status(ctx, task, as_json=as_json, width=width)
        return
    from fleet.app.watching import status as status_now

    found = status_now(here(ctx))
    if as_json:
        say_json(found)
    else:
        from fleet.render.status import status_text

        say(status_text(found, columns(width)))


def _task_status(ctx: typer.Context, task: str, *, as_json: bool, width: int | None) -> None:
    """Prints one task in full, or runs of workflows."""
    from fleet.app.watching import task_status
    from fleet.render.task import task_text

    for found in task_status(here(ctx), task):
        if as_json:
            say_json(found)
        elif found["schema"] == "fleet.run/1":
            from fleet.render.flows import run_text

            say(run_text(found, columns(width)))
        else:
            say(task_text(found, columns(width)))


@app.command(rich_help_panel=WATCH)
def wait(
    ctx: typer.Context,
    ids: Ids = None,
    state: Annotated[
        str, typer.Option("--for", metavar="STATE", help="A task's state.")
    ] = "verified",
    timeout: Annotated[float | None, typer.Option(metavar="S", help="Seconds.")] = None,
    any_one: Annotated[bool, typer.Option("--any", help="One of them will do.")] = False,
    as_json: Json = False,
) -> None:
    """Wait until tasks come to a state, or a later one, or until runs of workflows have ended."""
    from fleet.app import steering
    from fleet.app.watching import wait as wait_for

    place = here(ctx)
    runs = steering.runs_meant(place, ids or [])
    if runs:
        met, words = steering.wait_for_runs(place, runs, timeout, any_one=any_one)
    else:
        met, words = wait_for(place, ids or [], state, timeout, any_one=any_one, tell_of=tell)
    if as_json:
        say_json({"schema": "fleet.wait/1", "met": met, "runs" if runs else "tasks": words})
    else:
        say(", ".join(f"{name} {word}" for name, word in words.items()))
    raise typer.Exit(TIMED_OUT if met is None else (0 if met else 1))


@app.command(rich_help_panel=WATCH)
def gate(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="A phase or a checkpoint; all without one.")
    ] = None,
    export: Annotated[
        bool, typer.Option("--export", help="As Markdown, for a pull request.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show each condition of a phase's gate or a checkpoint with its evidence."""
    from fleet.app.watching import gate as gates

    found = gates(here(ctx), name)
    if export:
        from fleet.render.gate import gate_markdown

        say("\n\n".join(gate_markdown(one) for one in found))
    elif as_json:
        say_json(found[0] if name is not None else {"schema": "fleet.gates/1", "gates": found})
    else:
        from fleet.render.gate import gate_text

        say("\n\n".join(gate_text(one, columns(None)) for one in found))
    raise typer.Exit(0 if all(one["gate"] == "open" for one in found) else 1)


@app.command(rich_help_panel=WATCH)
def conflicts(
    ctx: typer.Context,
    ids: Ids = None,
    as_json: Json = False,
    width: Annotated[int | None, typer.Option(min=40, help="Columns to print in.")] = None,
) -> None:
    """Show which live branches would conflict, with each other and with the base."""
    from fleet.app.conflicts import conflicts as conflicts_now

    found = conflicts_now(here(ctx), ids or [])
    if as_json:
        say_json(found)
    else:
        from fleet.render.conflicts import conflicts_text

        say(conflicts_text(found, columns(width)))
    raise typer.Exit(1 if found["conflicts"] else 0)


@app.command(rich_help_panel=WATCH)
def history(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(help="A run, or a unique prefix.")] = "plan",
    as_json: Json = False,
    width: Annotated[int | None, typer.Option(min=40, help="Columns to print in.")] = None,
) -> None:
    """Show everything that a run has decided."""
    from fleet.app.watching import history as events
    from fleet.render.running import event_text

    for event in events(here(ctx), run):
        if as_json:
            say_json(event)
        else:
            say(event_text(event, columns(width)))


@app.command(rich_help_panel=WATCH)
def report(
    ctx: typer.Context,
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run of a workflow, or a thread.")
    ] = None,
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown.")] = False,
    width: Annotated[int | None, typer.Option(min=40, help="Columns to print in.")] = None,
) -> None:
    """What ran, how long, how it ended and what it cost; of a workflow what determined its end."""
    if run is not None:
        _run_report(ctx, run, as_json=as_json, markdown=markdown, width=width)
        return
    from fleet.app.watching import report as report_now

    found = report_now(here(ctx))
    if as_json:
        say_json(found)
    elif markdown:
        from fleet.render.report import report_markdown

        say(report_markdown(found))
    else:
        from fleet.render.report import report_text

        say(report_text(found, columns(width)))


def _run_report(
    ctx: typer.Context, run: str, *, as_json: bool, markdown: bool, width: int | None
) -> None:
    """Prints what runs of a workflow came to."""
    from fleet.app.runs import run_report
    from fleet.render.run_report import run_report_markdown, run_report_text

    found = run_report(here(ctx), run)
    if as_json:
        say_json(found)
    elif markdown:
        say(run_report_markdown(found))
    else:
        say(run_report_text(found, columns(width)))


@app.command(rich_help_panel=WATCH)
def metrics(ctx: typer.Context, as_json: Json = False) -> None:
    """Show every metric's baseline, target and last measured value."""
    from fleet.app.watching import metrics as measured

    found = measured(here(ctx))
    if as_json:
        say_json(found)
    else:
        from fleet.render.running import metrics_text

        say(metrics_text(found, columns(None)))


@app.command(rich_help_panel=LAND)
def merge(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[PHASE]...", help="Phases.")] = None,
    land_rest: Annotated[
        bool, typer.Option("--land-rest", help="Land what is green without what breaks the rest.")
    ] = False,
    resolver: Annotated[
        str, typer.Option("--resolve", metavar="AGENT", help="Who resolves a conflict, as a task.")
    ] = "",
    push: Annotated[
        bool, typer.Option("--push", help="Push the base and its tag after the landing.")
    ] = False,
    remote: Annotated[
        str,
        typer.Option(
            "--remote", metavar="NAME", help="Push to another remote than the base's own."
        ),
    ] = "",
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Land a phase: gate, trial merge, checks on the whole, then the base moves."""
    from fleet.app.landing import merge as land
    from fleet.app.publishing import Publisher
    from fleet.render.gate import gate_markdown
    from fleet.render.running import landing_text

    place = here(ctx)
    publisher = Publisher(place, gate_markdown, push=push or bool(remote), wanted=remote)
    publisher.require_remote()
    rows = land(
        place,
        names or [],
        dry_run=dry_run,
        land_rest=land_rest,
        resolver=resolver,
        publisher=publisher,
        tell_of=lambda name: tell(f"merging {name} ..."),
    )
    if as_json:
        say_json({"schema": "fleet.merge/1", "phases": [asdict(row) for row in rows]})
    else:
        say("\n".join(landing_text(row, columns(None), would=dry_run) for row in rows))
    raise typer.Exit(0 if dry_run or all(row.done for row in rows) else 1)


@app.command(rich_help_panel=LAND)
def backup(
    ctx: typer.Context,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes.")],
    restore: Annotated[bool, typer.Option(help="Restore the journal from FILE instead.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Copy the journal while it is in use, or restore it from such a copy."""
    from fleet.app.ending import back_up, restore_backup

    place = here(ctx)
    say(
        restore_backup(place, target, dry_run=dry_run)
        if restore
        else back_up(place, target, dry_run=dry_run)
    )
