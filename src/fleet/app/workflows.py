"""Use cases that run workflows: start one, wait for it, ask in the terminal."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet import codec
from fleet.app.calendars import time_of
from fleet.app.place import FleetPlace
from fleet.app.runs import SEQUENCE, archive_of
from fleet.app.telling import changes, ensure_coordinator, prepare_coordinator, tell
from fleet.core import messages as m
from fleet.core.plan import SUCCEEDED, Need, Plan, Step, check, plan_of
from fleet.errors import FleetError, InvalidPlan, NotFound, Rejected
from fleet.files.escalations import routes_of_run
from fleet.files.flows.bundle import text_of_bundle
from fleet.files.flows.inputs import checked_inputs, read_inputs
from fleet.files.flows.loading import (
    Loaded,
    Loader,
    find_file,
    find_named,
    named_files,
    read_roles,
)
from fleet.files.flows.lowering import Spot, scope_steps
from fleet.files.kept import keep_text
from fleet.files.tasks import Texts
from fleet.files.uses import own_limits
from fleet.views.runs import run_of

if TYPE_CHECKING:
    from fleet.core.state import OpenQuestion, State

Ask = Callable[["OpenQuestion", str, Callable[[], bool]], str | None]

__all__ = ["Ask", "Asked", "follow", "read_pairs", "read_roles", "start_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a command says of a run."""

    inputs: Mapping[str, str]
    roles: Mapping[str, str]
    thread: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Inputs that are values already, no texts to be read as their types say."""
    by_name: bool = False
    """Only a workflow of the fleet's own is meant, whatever files lie where this process works."""


def read_pairs(texts: Sequence[str]) -> dict[str, str]:
    """Returns the values of `K=V` texts by key; raises FleetError for anything else."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise FleetError(f"{text!r} is no input", hint="write it as NAME=VALUE")
        found[name] = value
    return found


def client_roles(names: Sequence[str]) -> dict[str, str]:
    """Returns roles that clients of `fleet mcp` play, as `Asked` takes them: without a command."""
    return {name.removeprefix("@"): "" for name in names}


def loaded(
    place: FleetPlace, name: str, roles: Mapping[str, str], *, by_name: bool = False
) -> tuple[list[Loaded], Loader]:
    """Returns the documents of a workflow file, and the loader with its warnings; raises
    InvalidPlan with every problem, and NotFound.
    """
    from fleet.harnesses import demands

    fleet = place.documents
    demands.require(fleet)
    loader = Loader(fleet, roles)
    file = find_named(place.root, name) if by_name else find_file(place.root, Path.cwd(), name)
    return loader.load(file), loader


def workflows(place: FleetPlace) -> dict[str, Any]:
    """Returns `fleet.workflows/1`: the fleet's own workflows, each with the inputs that it takes
    and the roles that no agent has, or with what keeps it from being run.
    """
    rows = []
    fleet = place.documents
    for file in named_files(place.root):
        told: dict[str, Any] = {"name": file.stem, "file": f"{file.parent.name}/{file.name}"}
        vacant: set[str] = set()
        try:
            found = Loader(fleet, vacant=vacant).load(file)
        except InvalidPlan as invalid:
            told |= {"documents": [], "problems": [str(problem) for problem in invalid.problems]}
        else:
            told |= {"documents": [_told_of(one) for one in found], "problems": []}
        rows.append({**told, "vacant_roles": sorted(vacant)})
    return {"schema": "fleet.workflows/1", "workflows": rows}


def _told_of(one: Loaded) -> dict[str, Any]:
    form = one.workflow.form
    return {
        "name": one.workflow.name,
        "dialect": "graph" if form["dialect"] == "graph" else "step",
        "steps": len(one.workflow.steps),
        "inputs": dict(form["inputs"]),
    }


def start_run(place: FleetPlace, name: str, asked: Asked) -> list[str]:
    """Starts the runs of a workflow file and returns their ids, in the order of its documents.

    Raises InvalidPlan with every problem, of the file and of the inputs: nothing has started then.
    """
    prepare_coordinator(place)
    found, inputs = _asked_for(place, name, asked)
    place.state.mkdir(mode=0o700, exist_ok=True)
    run = _new_run(place, found[0].workflow.name if len(found) == 1 else Path(name).stem)
    if len(found) == 1:
        plan = _plan(place, found[0], inputs[0], run, asked)
        tell(place, [m.StartRun(run=run, plan=plan)], run=run)
        return [run]
    children = [f"{run}.{number}" for number in range(1, len(found) + 1)]
    plans = [
        _plan(place, one, told, child, asked)
        for one, told, child in zip(found, inputs, children, strict=True)
    ]
    plan = _sequence(run, children, plans)
    tell(place, [m.StartRun(run=run, plan=plan)], run=run)
    return children


def _asked_for(
    place: FleetPlace, name: str, asked: Asked
) -> tuple[list[Loaded], list[dict[str, Any]]]:
    """Returns the documents of a file, each with its inputs; raises as `start_run` does."""
    found, _ = loaded(place, name, asked.roles, by_name=asked.by_name)
    inputs = [
        checked_inputs(
            told, {**read_inputs(told, asked.inputs), **asked.values}, one.workflow.form["file"]
        )
        for one in found
        for told in (one.workflow.form["inputs"],)
    ]
    return found, inputs


def _new_run(place: FleetPlace, name: str) -> str:
    """Returns an id that no run has, nor one that was archived."""
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:32] or "run"
    reader = place.reader()
    with closing(reader) if reader is not None else nullcontext():
        while True:
            run = f"{slug}-{secrets.token_hex(3)}"
            known = reader is not None and reader.last_seq(run)
            if not known and not archive_of(place, run).exists():
                return run


def _plan(
    place: FleetPlace, one: Loaded, inputs: Mapping[str, Any], run: str, asked: Asked
) -> Plan:
    """Returns the plan of one document, its texts kept."""
    digest = kept(place, one)
    form = one.workflow.form
    thread = asked.thread or form["thread"]
    spot = Spot(bundle=digest, of=one.bundle["main"], run=run)
    names = {"outer": None, "inputs": dict(inputs), "thread": thread}
    settings, texts = place.documents.settings, Texts()
    routes = routes_of_run(place.documents, one.bundle, texts)
    for name, text in texts.items():
        keep_text(place.state, name, text)
    plan = plan_of(
        one.workflow.name,
        scope_steps(one.bundle, spot, (), names),
        limits={**own_limits(place.documents), **settings.limits},
        about={
            "workflow": one.workflow.name,
            "thread": thread,
            "dialect": form["dialect"],
            "file": form["file"],
            "roles": dict(asked.roles),
        },
        routes=routes,
    )
    check(plan)
    return plan


def kept(place: FleetPlace, one: Loaded) -> str:
    """Keeps a bundle with its texts and returns its digest."""
    for digest, text in one.texts.items():
        keep_text(place.state, digest, text)
    bundle = Texts()
    kept_as: str = bundle.keep(text_of_bundle(one.bundle))
    keep_text(place.state, kept_as, bundle[kept_as])
    return kept_as


def _sequence(run: str, children: Sequence[str], plans: Sequence[Plan]) -> Plan:
    """Returns the plan that has the documents of one file run in order, each a run of its own."""
    steps = [
        Step(
            id=str(number),
            kind="subplan",
            params={"plan": codec.dump_plan(plan), "run": child},
            needs=(Need(step=str(number - 1), on=SUCCEEDED),) if number > 1 else (),
        )
        for number, (child, plan) in enumerate(zip(children, plans, strict=True), 1)
    ]
    return plan_of(run, steps, about={"workflow": SEQUENCE})


# --- following ---------------------------------------------------------------------------------


def foreseen(place: FleetPlace, name: str, asked: Asked) -> list[str]:
    """Returns what a run of a file would begin with, in words; raises what `start_run` does."""
    found, _ = _asked_for(place, name, asked)
    return [f"would run {one.workflow.name}: {len(one.workflow.steps)} steps" for one in found]


def follow(place: FleetPlace, run: str, ask: Ask | None = None) -> dict[str, Any]:
    """Returns `fleet.run/1` once a run has ended. `ask` puts an open question to whoever is at the
    terminal, with what was wrong with the answer before and a function that says whether it is
    open still, and returns the answer; None leaves it open.
    """
    while place.run_state(run) is None:  # the run before it in its file goes on
        if _will_never_start(place, run):
            raise Rejected(f"{run} did not start: the document before it failed")
        time.sleep(0.05)
        ensure_coordinator(place)
    left: set[str] = set()
    for state in changes(place, run=run, poll_s=0.02):
        if state.ended:
            return run_of(state, time_of)
        if ask is not None:
            _put(place, state, ask, left)
    raise AssertionError("changes end with their run")


def _will_never_start(place: FleetPlace, run: str) -> bool:
    whole, _, number = run.rpartition(".")
    state = place.run_state(whole)
    return state is not None and bool(state.ended) and state.known(number) is not None


def _put(
    place: FleetPlace,
    state: State,
    ask: Ask,
    left: set[str],
) -> None:
    """Puts the open questions of a run, each until an answer fits or somebody else gave one."""
    from fleet.app.inbox import answer

    for asked in [one for one in state.questions.values() if not one.steps]:
        wrong, is_open = "", partial(_is_open, place, state.run, asked.id)
        while asked.id not in left:
            value = ask(asked, wrong, is_open)
            if value is None:
                left.add(asked.id)
                break
            try:
                answer(place, asked.id, value)
                break
            except NotFound:
                break  # it is closed
            except Rejected as refusal:
                if not is_open():
                    break  # somebody else was quicker
                wrong = "; ".join(filter(None, (refusal.text, refusal.hint)))


def _is_open(place: FleetPlace, run: str, question: str) -> bool:
    now = place.run_state(run)
    return now is not None and question in now.questions
