"""Serving: mcp."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from fleet.cli.door import SERVE, app, here, usage


@app.command(rich_help_panel=SERVE)
def mcp(
    ctx: typer.Context,
    http: Annotated[bool, typer.Option("--http", help="Over HTTP, not standard input.")] = False,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, max=65_535, help="The port; any free one if left out."),
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Where to listen, not on loopback.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="REF", help="A secret reference; else a token is made and kept."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A further name of this server.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A further origin of pages.")
    ] = None,
) -> None:
    """Serve this fleet to programs that speak the Model Context Protocol."""
    from fleet.app.serving import Settings, server_argv

    place = here(ctx)
    if not http and any((port is not None, host, token, allow_host, allow_origin)):
        with usage():
            raise typer.BadParameter("these options belong to --http")
    settings = Settings(
        root=str(place.root),
        http=http,
        host=host or "127.0.0.1",
        port=port or 0,
        token=token or "",
        hosts=tuple(allow_host or ()),
        origins=tuple(allow_origin or ()),
    )
    argv = server_argv(settings)
    os.execv(argv[0], argv)  # noqa: S606  no shell is wanted
