"""`fleet` without a command: the status and what to type next, or how to begin; its own options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.door import app, here, say
from fleet.cli.watching import status


@app.callback(invoke_without_command=True)
def fleet(
    ctx: typer.Context,
    directory: Annotated[
        Path | None, typer.Option("-C", metavar="DIR", help="The fleet's root.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Coordinates coding agents on one repository: worktrees, sessions, plan, gates, merges."""
    ctx.obj = directory
    if version:
        from fleet import __version__

        typer.echo(f"fleet {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        overview(ctx)


def overview(ctx: typer.Context) -> None:
    """Bare `fleet`: the status, or what to do first where there is no fleet."""
    from fleet.errors import FleetError

    try:
        here(ctx)
    except FleetError:
        say(NOTHING_YET)
        return
    status(ctx)


NOTHING_YET = """\
no fleet here yet

  fleet init     scaffold one in this repository
  fleet demo     watch one run
  fleet --help   all commands"""
