"""Every command's signature, in the groups that `fleet --help` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

PLAN, RUN, WATCH, LAND, TALK, INSIDE, FIRST = (
    "Plan", "Run", "Watch", "Land", "Questions", "Inside an agent", "First steps",
)  # fmt: skip


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
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Tasks or agents.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="A task, an agent, or a unique prefix.")]


@app.callback(invoke_without_command=True)
def fleet(
    ctx: typer.Context,
    directory: Annotated[
        Path | None, typer.Option("-C", metavar="DIR", help="The fleet's root.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Coordinates a fleet of coding agents on one repository: worktrees, sessions, plan, gates,
    merges.
    """
    ctx.obj = directory
    if version:
        from fleet import __version__

        typer.echo(f"fleet {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        from fleet.cli import doors

        raise typer.Exit(doors.overview(directory))


# --- plan -----------------------------------------------------------------------------------------


@app.command(rich_help_panel=FIRST)
def init(
    ctx: typer.Context,
    base: Annotated[str | None, typer.Option(help="Branch that gates merge into.")] = None,
    agents: Annotated[int, typer.Option(min=1, max=50, help="How many agents.")] = 2,
    harness: Annotated[str | None, typer.Option(help="Program of the agents.")] = None,
    test: Annotated[
        str | None, typer.Option("--check", help="Command that checks the work.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Scaffold a fleet in this repository; never overwrites a file."""
    from fleet.cli import doors

    raise typer.Exit(doors.init(ctx.obj, base, agents, harness, test, dry_run))


@app.command(rich_help_panel=FIRST)
def doctor(
    ctx: typer.Context,
    as_json: Json = False,
    repair: Annotated[bool, typer.Option(help="Repair a damaged journal.")] = False,
) -> None:
    """Check git, tmux, Python, disk, the journal and the agents' programs, each with its cure."""
    from fleet.cli import doors

    raise typer.Exit(doors.doctor(ctx.obj, as_json, repair))


@app.command(rich_help_panel=FIRST)
def demo(
    keep: Annotated[bool, typer.Option(help="Keep the demo's folder.")] = False,
) -> None:
    """Run a whole six-agent fleet in a fresh repository, without a key or a network."""
    from fleet.cli import doors

    raise typer.Exit(doors.demo(keep))


@app.command(rich_help_panel=PLAN)
def check(ctx: typer.Context, as_json: Json = False) -> None:
    """Check all documents and print every problem with its place."""
    from fleet.cli import doors

    raise typer.Exit(doors.check(ctx.obj, as_json))


@app.command(rich_help_panel=PLAN)
def plan(
    ctx: typer.Context,
    as_json: Json = False,
    agents: Annotated[
        int | None, typer.Option(min=1, help="At most so many agents at once.")
    ] = None,
    limit: Annotated[list[str] | None, typer.Option(metavar="NAME=N", help="A limit.")] = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="F", help="mermaid, svg, dot, ics or csv.")
    ] = None,
    width: Annotated[int | None, typer.Option(min=40, help="Columns to print in.")] = None,
) -> None:
    """Show the schedule: table, bars, critical path, slack, load and warnings."""
    from fleet.cli import doors

    raise typer.Exit(doors.plan(ctx.obj, as_json, agents, limit or [], form, width))


@app.command(rich_help_panel=PLAN)
def schema(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="fleet, agent or task.")],
) -> None:
    """Print the JSON Schema of a kind of document."""
    from fleet.cli import doors

    raise typer.Exit(doors.schema(kind))


# --- run ------------------------------------------------------------------------------------------


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
    from fleet.cli import doors

    raise typer.Exit(doors.launch(ctx.obj, ids or [], every, phase, when_ready, as_json, dry_run))


@app.command(rich_help_panel=RUN)
def up(
    ctx: typer.Context,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the coordinator in the foreground, until interrupted."""
    from fleet.cli import doors

    raise typer.Exit(doors.up(ctx.obj, log_level))


@app.command(rich_help_panel=RUN)
def down(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="The agents' sessions too.")] = False,
    dry_run: DryRun = False,
) -> None:
    """End the coordinator; agents live on unless --all."""
    from fleet.cli import doors

    raise typer.Exit(doors.down(ctx.obj, every, dry_run))


@app.command(rich_help_panel=RUN)
def stop(
    ctx: typer.Context,
    ids: Ids = None,
    every: Annotated[bool, typer.Option("--all", help="Everything that runs.")] = False,
    dry_run: DryRun = False,
) -> None:
    """End tasks' attempts, spend no retry, and hold the tasks."""
    from fleet.cli import doors

    raise typer.Exit(doors.hold(ctx.obj, "stop", ids or [], every, dry_run))


@app.command(rich_help_panel=RUN)
def pause(ctx: typer.Context, ids: Ids = None, dry_run: DryRun = False) -> None:
    """Start nothing more, of tasks or of the whole run; what runs goes on."""
    from fleet.cli import doors

    raise typer.Exit(doors.hold(ctx.obj, "pause", ids or [], False, dry_run))


@app.command(rich_help_panel=RUN)
def resume(ctx: typer.Context, ids: Ids = None, dry_run: DryRun = False) -> None:
    """Lift a pause, and go on with what was stopped or held."""
    from fleet.cli import doors

    raise typer.Exit(doors.hold(ctx.obj, "resume", ids or [], False, dry_run))


@app.command(rich_help_panel=RUN)
def retry(ctx: typer.Context, ids: Ids = None, dry_run: DryRun = False) -> None:
    """Try failed, asking or waiting tasks again now."""
    from fleet.cli import doors

    raise typer.Exit(doors.hold(ctx.obj, "retry", ids or [], False, dry_run))


@app.command(rich_help_panel=RUN)
def skip(
    ctx: typer.Context,
    ids: Ids = None,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Count tasks as succeeded for what depends on them."""
    from fleet.cli import doors

    raise typer.Exit(doors.skip(ctx.obj, ids or [], reason, dry_run))


@app.command(rich_help_panel=RUN)
def send(
    ctx: typer.Context, name: Id, text: Annotated[str, typer.Argument(help="What to say.")]
) -> None:
    """Send a note to a running agent."""
    from fleet.cli import doors

    raise typer.Exit(doors.send(ctx.obj, name, text))


@app.command(rich_help_panel=RUN)
def attach(ctx: typer.Context, name: Id) -> None:
    """Attach this terminal to a running agent's session; leave it with C-b d."""
    from fleet.cli import doors

    raise typer.Exit(doors.attach(ctx.obj, name))


@app.command(rich_help_panel=RUN)
def logs(
    ctx: typer.Context,
    name: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as more comes.")] = False,
    lines: Annotated[int, typer.Option("-n", min=1, help="Last lines to show.")] = 200,
    attempt: Annotated[
        int | None, typer.Option(help="Which attempt; the latest by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what an agent put out."""
    from fleet.cli import doors

    raise typer.Exit(doors.logs(ctx.obj, name, follow, lines, attempt, as_json))


# --- watch ----------------------------------------------------------------------------------------


@app.command(rich_help_panel=WATCH)
def status(
    ctx: typer.Context,
    as_json: Json = False,
    width: Annotated[int | None, typer.Option(min=40, help="Columns to print in.")] = None,
) -> None:
    """The daily check-in: what needs you, the table, since yesterday, today, drift."""
    from fleet.cli import doors

    raise typer.Exit(doors.status(ctx.obj, as_json, width))


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
    """Wait until tasks come to a state, or a later one."""
    from fleet.cli import doors

    raise typer.Exit(doors.wait(ctx.obj, ids or [], state, timeout, any_one, as_json))


@app.command(rich_help_panel=WATCH)
def gate(
    ctx: typer.Context,
    phase: Annotated[str | None, typer.Argument(help="A phase; all without one.")] = None,
    as_json: Json = False,
) -> None:
    """Show each condition of a phase's gate with its evidence."""
    from fleet.cli import doors

    raise typer.Exit(doors.gate(ctx.obj, phase, as_json))


@app.command(rich_help_panel=WATCH)
def history(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(help="A run.")] = "plan",
    as_json: Json = False,
) -> None:
    """Show everything that a run has decided."""
    from fleet.cli import doors

    raise typer.Exit(doors.history(ctx.obj, run, as_json))


@app.command(rich_help_panel=WATCH)
def metrics(ctx: typer.Context, as_json: Json = False) -> None:
    """Show every metric's baseline, target and last measured value."""
    from fleet.cli import doors

    raise typer.Exit(doors.metrics(ctx.obj, as_json))


# --- land -----------------------------------------------------------------------------------------


@app.command(rich_help_panel=LAND)
def merge(
    ctx: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[PHASE]...", help="Phases.")] = None,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Land a phase: gate, trial merge, checks on the whole, then the base moves."""
    from fleet.cli import doors

    raise typer.Exit(doors.merge(ctx.obj, names or [], as_json, dry_run))


@app.command(rich_help_panel=LAND)
def backup(
    ctx: typer.Context,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes.")],
    restore: Annotated[bool, typer.Option(help="Restore the journal from FILE instead.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Copy the journal while it is in use, or restore it from such a copy."""
    from fleet.cli import doors

    raise typer.Exit(doors.backup(ctx.obj, target, restore, dry_run))


# --- questions ------------------------------------------------------------------------------------


@app.command(rich_help_panel=TALK)
def inbox(ctx: typer.Context, as_json: Json = False) -> None:
    """Show open questions, what costs most slack first."""
    from fleet.cli import doors

    raise typer.Exit(doors.inbox(ctx.obj, as_json))


@app.command(rich_help_panel=TALK)
def answer(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(metavar="ID", help="A question.")],
    value: Annotated[str, typer.Argument(help="The answer.")],
    note: Annotated[str, typer.Option(help="A word beside it.")] = "",
) -> None:
    """Answer a question."""
    from fleet.cli import doors

    raise typer.Exit(doors.answer(ctx.obj, question, value, note))


@app.command(rich_help_panel=TALK)
def approve(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(metavar="ID", help="A question.")],
    note: Annotated[str, typer.Option(help="A word beside it.")] = "",
) -> None:
    """Approve what a question asks approval of."""
    from fleet.cli import doors

    raise typer.Exit(doors.decide(ctx.obj, question, True, note))


@app.command(rich_help_panel=TALK)
def reject(
    ctx: typer.Context,
    question: Annotated[str, typer.Argument(metavar="ID", help="A question.")],
    reason: Annotated[str, typer.Option(help="Why; it goes into the rework's brief.")],
) -> None:
    """Reject what a question asks approval of."""
    from fleet.cli import doors

    raise typer.Exit(doors.decide(ctx.obj, question, False, reason))


# --- inside an agent ------------------------------------------------------------------------------


@app.command(rich_help_panel=INSIDE)
def checkin(
    ctx: typer.Context,
    done: Annotated[str, typer.Option(help="What is done.")] = "",
    following: Annotated[str, typer.Option("--next", help="What comes next.")] = "",
    blocker: Annotated[list[str] | None, typer.Option(help="What is in the way.")] = None,
    task: Annotated[str, typer.Option(help="The task, outside a session.")] = "",
) -> None:
    """Report the day's work of this session's task."""
    from fleet.cli import doors

    raise typer.Exit(doors.checkin(ctx.obj, done, following, blocker or [], task))


@app.command(rich_help_panel=INSIDE)
def ask(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="The question.")],
    topic: Annotated[str, typer.Option(help="What it is about.")] = "",
    choice: Annotated[list[str] | None, typer.Option(help="A possible answer.")] = None,
    wait_s: Annotated[
        float | None,
        typer.Option("--wait", metavar="S", help="Wait so many seconds for the answer."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask a person; the answer comes into the session or the next brief."""
    from fleet.cli import doors

    raise typer.Exit(doors.ask(ctx.obj, text, topic, choice or [], wait_s, as_json))


@app.command(rich_help_panel=INSIDE)
def done(
    output: Annotated[Path | None, typer.Option(help="A file with the task's output.")] = None,
) -> None:
    """Say that the work is done, and give its output."""
    from fleet.cli import doors

    raise typer.Exit(doors.done(output))


@app.command(rich_help_panel=INSIDE)
def brief() -> None:
    """Print this session's brief."""
    from fleet.cli import doors

    raise typer.Exit(doors.brief())
