"""What comes after a landing: undo, clean, rescue."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.cli.door import LAND, DryRun, Json, app, columns, here, say, say_json, tell

rescue = typer.Typer(rich_markup_mode=None)
app.add_typer(rescue, name="rescue", rich_help_panel=LAND)


@rescue.callback(invoke_without_command=True)
def rescued(ctx: typer.Context) -> None:
    """List what was rescued before a removal, and bring it back."""
    if ctx.invoked_subcommand is None:
        rescue_list(ctx)


@app.command(rich_help_panel=LAND)
def undo(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PHASE|TAG|BRANCH]...", help="The base's last move without one."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Then run the phase's rollback.")
    ] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Take back a landing, a tag or a deleted branch; asks first."""
    from fleet.app.undoing import undo as take_back
    from fleet.render.withdrawing import undoing_text, undone_text

    def agreed(undoing: Any) -> bool:
        (tell if as_json else say)(undoing_text(undoing, columns(None)))
        if dry_run or yes:
            return not dry_run
        if not sys.stdin.isatty():
            raise typer.BadParameter("it asks first, and there is no terminal: --yes")
        return typer.confirm("Do it?", err=as_json)

    rows = take_back(here(ctx), names or [], agreed, rollback=rollback)
    if as_json:
        shown = [{**asdict(row), "failed": row.failed} for row in rows]
        say_json({"schema": "fleet.undo/1", "dry_run": dry_run, "undone": shown})
    elif not dry_run:
        say("\n".join(undone_text(row, columns(None)) for row in rows))
    raise typer.Exit(0 if dry_run or not any(row.failed for row in rows) else 1)


@app.command(rich_help_panel=LAND)
def clean(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[TASK]...", help="All that have landed.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also what has not landed; all of it is rescued first.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="The logs of its attempts too.")] = False,
    runs: Annotated[
        float | None,
        typer.Option(
            "--runs",
            metavar="DAYS",
            min=0,
            help="Archive the workflow runs that ended before that.",
        ),
    ] = None,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Remove worktrees, sessions, ports and branches of what has landed."""
    if runs is not None:
        _archive(ctx, names, runs, as_json=as_json, dry_run=dry_run)
        return
    from fleet.app.cleaning import clean as remove
    from fleet.app.sweeping import sweep
    from fleet.render.withdrawing import cleaned_text, swept_text

    def told(row: Any) -> None:
        if not as_json:
            say(cleaned_text(row, would=dry_run))

    options = {"force": force, "every": every, "dry_run": dry_run}
    rows = remove(here(ctx), names or [], tell_of=told, **options)
    left = [] if names else sweep(here(ctx), dry_run=dry_run)
    if as_json:
        shown = [asdict(row) for row in rows]
        say_json({"schema": "fleet.clean/1", "dry_run": dry_run, "tasks": shown, "left": left})
    elif left:
        say(swept_text(left, would=dry_run))
    elif not rows:
        tell("nothing to clean")
    kept = [row for row in rows if row.reasons and (names or row.merged)]
    raise typer.Exit(1 if kept else 0)


def _archive(
    ctx: typer.Context, names: list[str] | None, days: float, *, as_json: bool, dry_run: bool
) -> None:
    from fleet.app.archiving import archive
    from fleet.render.withdrawing import archived_text

    if names:
        raise typer.BadParameter("with --runs no task is named")
    rows = archive(here(ctx), days, dry_run=dry_run)
    if as_json:
        shown = [asdict(row) for row in rows]
        say_json({"schema": "fleet.archive/1", "dry_run": dry_run, "runs": shown})
    elif rows:
        say(archived_text(rows, would=dry_run))
    else:
        tell("no run of a workflow is that old")


@rescue.command("list")
def rescue_list(ctx: typer.Context, as_json: Json = False) -> None:
    """List what was rescued, latest first."""
    from fleet.app.rescuing import rescues
    from fleet.render.withdrawing import rescues_text

    rows = rescues(here(ctx))
    if as_json:
        say_json({"schema": "fleet.rescue/1", "rescues": rows})
    else:
        say(rescues_text(rows, columns(None)))


@rescue.command("restore")
def rescue_restore(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `rescue list` shows it.")],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="A folder that is not there yet.")
    ] = None,
    branch: Annotated[
        str | None,
        typer.Option("--branch", metavar="B", help="A worktree on a new branch, staged as it was."),
    ] = None,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Write what was rescued into a new folder; nothing is written over."""
    from fleet.app.rescuing import restore
    from fleet.render.withdrawing import restored_text

    row = restore(here(ctx), name, to=to, branch=branch, dry_run=dry_run)
    if as_json:
        say_json({"schema": "fleet.restore/1", "dry_run": dry_run, **asdict(row)})
    else:
        say(restored_text(row, would=dry_run))
