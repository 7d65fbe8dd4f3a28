"""First steps and planning: init, doctor, demo, check, plan, schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.door import (
    FIRST,
    PLAN,
    Clients,
    DryRun,
    Json,
    Roles,
    app,
    columns,
    here,
    say,
    say_json,
    tell,
    usage,
)

if TYPE_CHECKING:
    from fleet.app.place import FleetPlace


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
    from fleet.app.starting import scaffold
    from fleet.render.starting import scaffold_text

    made = scaffold(
        ctx.obj or Path.cwd(),
        base=base,
        agents=agents,
        harness=harness,
        test=test,
        dry_run=dry_run,
    )
    say(scaffold_text(made))
    raise typer.Exit(2 if made.problems else 0)


@app.command(rich_help_panel=FIRST)
def doctor(
    ctx: typer.Context,
    programs: Annotated[
        list[str] | None, typer.Argument(metavar="[PROGRAM]...", help="Agent programs, too.")
    ] = None,
    as_json: Json = False,
    every: Annotated[
        bool, typer.Option("--all-programs", help="All agent programs that are installed.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave the trials of programs out.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="S", min=1, help="Seconds that a program has for its trial.")
    ] = 90.0,
    repair: Annotated[bool, typer.Option(help="Repair a damaged journal.")] = False,
) -> None:
    """Check the machine, the fleet and the agents' programs, proving their hooks by firing them."""
    from fleet.app.starting import diagnose, repair_journal
    from fleet.render.starting import diagnosis_text

    if repair:
        (tell if as_json else say)(repair_journal(here(ctx)))
    found = diagnose(
        ctx.obj or Path.cwd(), names=programs or (), every=every, quick=quick, limit_s=timeout
    )
    if as_json:
        say_json(found)
    else:
        say(diagnosis_text(found))
    raise typer.Exit(0 if found["ok"] else 1)


@app.command(rich_help_panel=FIRST)
def demo(
    name: Annotated[
        str,
        typer.Argument(help="shop (the first), rest-endpoint, authentication or saas-migration."),
    ] = "",
    keep: Annotated[bool, typer.Option(help="Keep the demo's folder.")] = False,
) -> None:
    """Run a whole fleet of scripted agents in a fresh repository, without a key or a network."""
    from fleet.app.demo import run_demo

    raise typer.Exit(run_demo(name, tell=say, keep=keep))


agents_app = typer.Typer(add_completion=False, rich_markup_mode=None)


@agents_app.callback(invoke_without_command=True)
def agents(ctx: typer.Context, as_json: Json = False) -> None:
    """Show the agent programs that are there, the versions that were tested, and who uses them."""
    if ctx.invoked_subcommand is not None:
        return
    from fleet.app.programs import programs
    from fleet.render.starting import agents_text

    found = programs(_near(ctx))
    if as_json:
        say_json(found)
    else:
        say(agents_text(found, columns(None)))


@agents_app.command()
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A harness.")],
    as_json: Json = False,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="The harness as a document.")] = False,
) -> None:
    """Show how a program is driven; as YAML to be saved in harnesses/ and changed."""
    from fleet.app.programs import program, program_yaml
    from fleet.render.harness import harness_text

    found = program(_near(ctx), name)
    if as_json:
        say_json(found)
    else:
        say(program_yaml(found) if as_yaml else harness_text(found, columns(None)))


app.add_typer(agents_app, name="agents", rich_help_panel=PLAN)


def _near(ctx: typer.Context) -> FleetPlace | None:
    """Returns the fleet that a command is about, None outside of any."""
    from fleet.errors import FleetError

    try:
        return here(ctx)
    except FleetError:
        return None


@app.command(rich_help_panel=PLAN)
def check(
    ctx: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A workflow; all documents without one.")
    ] = None,
    role: Roles = None,
    client: Clients = None,
    as_json: Json = False,
) -> None:
    """Check all documents, or a workflow, and print every problem with its place."""
    from fleet.app.planning import check as check_documents
    from fleet.app.planning import check_workflow
    from fleet.render.errors import problem_lines

    place = here(ctx)
    if file is None:
        found = check_documents(place)
    else:
        found = check_workflow(place, file, role or [], client or [])
    if as_json:
        say_json(found)
    elif found["problems"]:
        tell(problem_lines(found["problems"]))
    else:
        for warning in found["warnings"]:
            tell(f"{warning['place']}: warning: {warning['text']}")
        for one in found.get("workflows", ()):
            count = f"{one['steps']} step{'s' if one['steps'] != 1 else ''}"
            say(f"{one['name']}: {one['dialect']} dialect, {count}")
        counts = ", ".join(
            f"{found[what]} {what.removesuffix('s') if found[what] == 1 else what}"
            for what in ("tasks", "agents", "phases")
            if what in found
        )
        say(f"{counts}: no problems" if counts else "no problems")
    raise typer.Exit(2 if found["problems"] else 0)


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
    revision: Annotated[
        int | None, typer.Option(metavar="N", help="The plan as it was then.")
    ] = None,
    width: Annotated[int | None, typer.Option(min=40, help="Columns to print in.")] = None,
) -> None:
    """Show the schedule: table, bars, critical path, slack, load and warnings."""
    from fleet.app.planning import plan as plan_of
    from fleet.app.planning import read_limits

    with usage():
        limits = read_limits(limit or [], agents)
    if revision is not None:
        from fleet.app.revisions import plan_at

        view = plan_at(here(ctx), revision, limits)
    else:
        view = plan_of(here(ctx), limits)
    if as_json:
        from fleet.views.plan import plain

        say_json(plain(view))
    elif form is not None:
        from fleet.render.exports import export_plan

        with usage():
            text = export_plan(view, form)
        say(text)
    else:
        from fleet.render.plan import render_plan
        from fleet.render.text import ascii_only

        say(render_plan(view, columns=columns(width), plain_ascii=ascii_only()))


@app.command(rich_help_panel=PLAN)
def adapt(
    ctx: typer.Context,
    change: Annotated[
        str, typer.Argument(metavar="CHANGE", help="A file of a change, or a patch's name.")
    ],
    yes: Annotated[
        bool, typer.Option("--yes", help="Apply it, inside of the envelope or not.")
    ] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    width: Annotated[int | None, typer.Option(min=40, help="Columns to print in.")] = None,
) -> None:
    """Change the plan while it runs: shown as a diff, then applied or asked about."""
    from fleet.app.proposing import adapt as change_plan
    from fleet.app.proposing import read_wanted, session_task
    from fleet.render.adapting import adapting_text

    task = session_task(yes=yes)
    found = change_plan(here(ctx), read_wanted(change), task=task, yes=yes, dry_run=dry_run)
    if as_json:
        say_json(found)
    else:
        say(adapting_text(found, columns(width)))


@app.command(rich_help_panel=PLAN)
def schema(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="fleet, agent, task, harness or workflow.")
    ],
) -> None:
    """Print the JSON Schema of a kind of document."""
    from fleet.app.planning import schema as schema_of

    with usage():
        found = schema_of(kind)
    say(json.dumps(found, indent=2))
