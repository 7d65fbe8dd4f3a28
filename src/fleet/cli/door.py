"""What every command shares: the Typer app and its groups, common options, and how it speaks.

Standard output holds what was asked for and nothing else; the rest goes to standard error.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command_name

if TYPE_CHECKING:
    from typer.models import CommandInfo

    from fleet.app.place import FleetPlace

PLAN, RUN, FLOW, WATCH, LAND, TALK, INSIDE, SERVE, FIRST = (
    "Plan", "Run", "Workflows", "Watch", "Land", "Questions", "Inside an agent", "Serve",
    "First steps",
)  # fmt: skip


HELP_OPTIONS = ["-h", "--help"]
LEAST_COLUMNS, USUAL_COLUMNS = 40, 100

TIMED_OUT = 124
"""The exit code of a wait that took too long, as of timeout(1)."""


class Groups(TyperGroup):
    """Lists commands under the group that each names, in the order in which they are written."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Returns the names of all commands as they were declared."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes one section for each group."""
        del ctx
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            if not command.hidden:
                panel = str(getattr(command, "rich_help_panel", "") or PLAN)
                sections.setdefault(panel, []).append((name, command.get_short_help_str(70)))
        for panel, rows in sections.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


app = typer.Typer(
    cls=Groups,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
    context_settings={"help_option_names": HELP_OPTIONS, "max_content_width": 100},
)


def door_for(argv: Sequence[str]) -> typer.Typer:
    """Returns the app with no more of its commands than a command line needs: to read the
    signatures of all takes longer than most commands run.
    """
    words = argv[2 * (argv[:1] == ["-C"]) :]
    first = words[0] if words else ""
    door = copy(app)
    named = [one for one in app.registered_commands if _name_of(one) == first]
    groups = [one for one in app.registered_groups if one.name == first]
    if named or groups:
        door.registered_commands, door.registered_groups = named, groups
    elif first in HELP_OPTIONS:
        door.registered_commands = [_listed(one) for one in app.registered_commands]
    return door


def _name_of(command: CommandInfo) -> str:
    return command.name or get_command_name(getattr(command.callback, "__name__", ""))


def _listed(command: CommandInfo) -> CommandInfo:
    """Returns what a list tells of a command: its name and what it is for, not its options."""
    told = copy(command)
    told.name, told.help = _name_of(command), inspect.getdoc(command.callback)
    told.callback = lambda: None
    return told


Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Roles = Annotated[
    list[str] | None, typer.Option("--role", metavar="NAME=COMMAND", help="A command for a role.")
]
Clients = Annotated[
    list[str] | None,
    typer.Option("--client", metavar="ROLE", help="A role that clients of `fleet mcp` play."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Tasks or agents.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="A task, an agent, or a unique prefix.")]
Session = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="A task, an agent, RUN/STEP of a workflow, or a question being answered."
    ),
]


def here(ctx: typer.Context) -> FleetPlace:
    """Returns the fleet that a command is about."""
    from fleet.app.place import find_place

    return find_place(ctx.obj)


@contextmanager
def usage() -> Iterator[None]:
    """Makes what is refused inside a matter of the command line's words: exit 2."""
    from fleet.errors import FleetError

    try:
        yield
    except FleetError as wrong:
        hint = f"; {wrong.hint}" if wrong.hint else ""
        raise typer.BadParameter(f"{wrong.text}{hint}") from wrong


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
    told = os.environ.get("COLUMNS", "")
    return int(told) if told.isdecimal() and int(told) >= LEAST_COLUMNS else USUAL_COLUMNS
