"""Workflows: run, runs, memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.door import (
    FLOW,
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
from fleet.render.text import plain

if TYPE_CHECKING:
    from fleet.app.place import FleetPlace
    from fleet.app.workflows import Ask, Asked
    from fleet.core.state import OpenQuestion


@app.command(rich_help_panel=FLOW)
def run(
    ctx: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A workflow: a file, or its name.")
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--input", metavar="K=V", help="An input.")
    ] = None,
    thread: Annotated[str, typer.Option(metavar="T", help="The thread that it belongs to.")] = "",
    role: Roles = None,
    client: Clients = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a run that has failed.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended.")] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="In a throw-away fleet, with scripted agents.")
    ] = False,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Run a workflow, or go on with a run that has failed."""
    from fleet.app import runs as looking
    from fleet.app import workflows

    with usage():
        inputs = workflows.read_pairs(given or [])
        roles = {**workflows.read_roles(role or []), **workflows.client_roles(client or [])}
        if (file is None) == (resume is None):
            raise typer.BadParameter("give a FILE, or --resume RUN")
        if demo and resume is not None:
            raise typer.BadParameter("--demo begins anew: give a FILE")
    asked = workflows.Asked(inputs=inputs, roles=roles, thread=thread)
    if demo:
        raise typer.Exit(_rehearsed(ctx, str(file), asked, as_json=as_json, dry_run=dry_run))
    place = here(ctx)
    if resume is not None:
        from fleet.app.redoing import resume_run

        names = [resume_run(place, resume, roles, dry_run=dry_run)]
        if dry_run:
            say(f"would go on with {names[0]}")
            return
    elif dry_run:
        say("\n".join(workflows.foreseen(place, str(file), asked)))
        return
    else:
        names = workflows.start_run(place, str(file), asked)
    if not wait:
        for name in names:
            if as_json:
                say_json(looking.run_begun(place, name))
            else:
                say(name)
        return
    raise typer.Exit(_waited(place, names, _asking(), as_json=as_json))


def _rehearsed(ctx: typer.Context, file: str, asked: Asked, *, as_json: bool, dry_run: bool) -> int:
    """Runs a workflow in a throw-away fleet, and says where that is."""
    from fleet.app import rehearsal, workflows

    scene = rehearsal.rehearsal_of(file, asked, ctx.obj)
    if dry_run:
        say("\n".join(workflows.foreseen(scene.place, scene.name, scene.asked(asked))))
        scene.remove()
        return 0

    def answer(question: OpenQuestion, wrong: str, _: Callable[[], bool]) -> str | None:
        value = scene.answer(question) if not wrong else None
        told = f"no scripted answer fits: {wrong}" if value is None else f"{value} (scripted)"
        tell(_wrapped(f"? {question.question.message.strip()}\n> {told}"))
        return value

    try:
        names = workflows.start_run(scene.place, scene.name, scene.asked(asked))
    except BaseException:
        scene.remove()
        raise
    tell(f"a throw-away fleet with scripted agents: {scene.place.root}")
    fleet = f"fleet -C {scene.place.root}"
    try:
        asking = _asking(fleet) or answer
        code = _waited(scene.place, names, asking, as_json=as_json, fleet=fleet)
    except BaseException:
        scene.end()
        raise
    name = names[0] if len(names) == 1 else names[0].rpartition(".")[0]
    tell(f"\nlook at it:     {fleet} report {name}")
    tell(f"throw it away:  rm -rf {scene.top}")
    return code


LOOK_S = 0.5
"""How often a terminal that waits for an answer looks whether somebody else has given one."""


def _asking(fleet: str = "fleet") -> Ask | None:
    """Returns how questions of the fleet that is called so are put to whoever is at the terminal,
    None when nobody is.
    """
    return partial(_ask, fleet=fleet) if sys.stdin.isatty() else None


def _waited(
    place: FleetPlace, names: list[str], ask: Ask | None, *, as_json: bool, fleet: str = "fleet"
) -> int:
    from fleet.app import workflows
    from fleet.render.flows import run_text

    code = 0
    for number, name in enumerate(names):
        found = workflows.follow(place, name, ask)
        if as_json:
            say_json(found)
        else:
            say(("\n" if number else "") + run_text(found, columns(None), fleet))
        code = max(code, 0 if found["state"] == "succeeded" else 1)
    return code


def _ask(asked: OpenQuestion, wrong: str, is_open: Callable[[], bool], *, fleet: str) -> str | None:
    """Puts a question to whoever is at the terminal, and what is wrong with the last answer; None
    when the terminal is left, or when the question is answered elsewhere meanwhile.
    """
    import select

    question = asked.question
    tell(_wrapped(wrong or question.message))
    listed = plain("/".join(question.choices))
    usual = "" if question.default is None else f"({plain(_usual(asked))}) "
    sys.stderr.write(f"[{listed}] {usual}" if listed else f"{usual}> ")
    sys.stderr.flush()
    while not select.select([sys.stdin], [], [], LOOK_S)[0]:
        if not is_open():
            tell("\nanswered elsewhere")
            return None
    line = sys.stdin.readline()
    if not line:
        from fleet.render.flows import how_to

        shown = {"id": asked.id, "kind": question.kind, "choices": question.choices}
        told = [f"    {how}" for how in how_to(shown, columns(None), fleet)]
        tell("\n".join(["", "left open:", *told]))
        return None
    return _read(line.strip(), asked)


def _read(line: str, asked: OpenQuestion) -> str:
    """Returns the answer that a line stands for: nothing for the usual one, `y` for `yes`."""
    if not line and asked.question.default is not None:
        return _usual(asked)
    if asked.question.kind == "confirm":
        word = line.lower()
        return {"y": "yes", "n": "no"}.get(word, word)
    return line


def _usual(asked: OpenQuestion) -> str:
    """Returns the answer that a question takes where nobody gives one."""
    value = asked.question.default or ""
    if asked.question.kind == "confirm":
        return "yes" if value.lower() in ("yes", "true") else "no"
    return value


def _wrapped(text: str) -> str:
    from fleet.render.text import wrapped

    return "\n".join(wrapped(text, columns(None)))


@app.command(rich_help_panel=FLOW)
def runs(ctx: typer.Context, as_json: Json = False) -> None:
    """List the runs of workflows."""
    from fleet.app.runs import runs as all_runs
    from fleet.render.flows import runs_text

    found: dict[str, Any] = all_runs(here(ctx))
    if as_json:
        say_json(found)
    else:
        say(runs_text(found["runs"], columns(None)))


memory_app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="Export and import what workflows remember."
)


@memory_app.command("export")
def export(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Else printed.")] = None,
) -> None:
    """Write all that workflows remember as JSON."""
    from fleet.app.remembering import export_memory, memory_text

    if file is None:
        say(memory_text(here(ctx)))
    else:
        export_memory(here(ctx), file)


@memory_app.command("import")
def import_(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `memory export` wrote.")],
    dry_run: DryRun = False,
) -> None:
    """Keep what was exported beside what is there; the same key is replaced."""
    from fleet.app.remembering import restore_memory

    count = restore_memory(here(ctx), file, dry_run=dry_run)
    say(f"{'would keep' if dry_run else 'kept'} {count} entries")


app.add_typer(memory_app, name="memory", rich_help_panel=FLOW)
