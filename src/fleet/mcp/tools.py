"""The table of tools: each has a form and one function, which calls one of `app`.

Nothing waits here for a person or an agent: what takes long is a record that is asked for again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fleet.app import deciding, inbox, offering, proposing, remembering, reporting, runs, workflows
from fleet.app.place import FleetPlace
from fleet.app.telling import keep_going
from fleet.errors import Rejected
from fleet.mcp import forms


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls a tool: the fleet that is meant, the client's own name for itself, and whether this
    process is an agent's, whose session then says who speaks.
    """

    place: FleetPlace
    client: str
    inside: bool

    def session(self, form: forms.OfTask) -> reporting.Session:
        """Returns the session that something is said from; raises Rejected when an agent names
        another task than its own, and FleetError when none is named.
        """
        if not self.inside:
            if not form.task:
                raise Rejected(
                    "outside an agent's session the task must be named", hint="give `task`"
                )
            return reporting.session_of(self.place, form.run, form.task)
        own = reporting.session_facts()
        if form.task not in ("", own[1]) or form.run not in ("", own[0]):
            raise Rejected(
                f"this session is of {own[1]} in the run {own[0]}, and speaks for it only"
            )
        return own


Call = Callable[[Caller, Any], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its form, what it calls, and whether it only looks."""

    form: type[forms.Form]
    call: Call
    looks: bool = False


def _start(caller: Caller, form: forms.StartWorkflow) -> Mapping[str, Any]:
    asked = workflows.Asked(
        inputs={},
        values=form.inputs,
        roles=workflows.client_roles(form.client_roles),
        thread=form.thread,
        by_name=True,
    )
    return {"runs": workflows.start_run(caller.place, form.workflow, asked)}


def _next(caller: Caller, form: forms.GetNextStep) -> Mapping[str, Any]:
    wish = offering.Wish(
        client=caller.client, playing=form.roles, lasts_s=form.lease_s, lease=form.lease
    )
    return offering.next_step(caller.place, wish)


def _submit(caller: Caller, form: forms.SubmitResult) -> Mapping[str, Any]:
    return offering.submit(
        caller.place,
        form.lease,
        form.ended,
        output=form.output,
        note=form.note,
        client=caller.client,
    )


def _status(caller: Caller, form: forms.RunStatus) -> Mapping[str, Any]:
    keep_going(caller.place)
    return runs.run_status(caller.place, runs.find_run(caller.place, form.run))


def _answer(caller: Caller, form: forms.Answer) -> Mapping[str, Any]:
    return {"answered": inbox.answer(caller.place, form.question, form.value, form.note)}


def _check_in(caller: Caller, form: forms.CheckIn) -> Mapping[str, Any]:
    run, task, _ = caller.session(form)
    told = reporting.check_in(caller.place, form.done, form.next, form.blockers, task=task, run=run)
    return {"checked_in": told}


def _ask(caller: Caller, form: forms.Ask) -> Mapping[str, Any]:
    name, _ = reporting.ask(
        caller.place,
        form.question,
        topic=form.topic,
        severity=form.severity,
        choices=form.choices,
        expires_s=form.expires_s,
        default=form.default,
        waits_for=form.waits_for,
        session=caller.session(form),
    )
    return {"schema": "fleet.ask/1", "id": name, "answer": None}


def _done(caller: Caller, form: forms.Done) -> Mapping[str, Any]:
    session = caller.session(form)
    reporting.finish(form.output, session, form.evidence)
    return {"done": session[1]}


def _output(caller: Caller, form: forms.Output) -> Mapping[str, Any]:
    session = caller.session(form)
    reporting.put_out(form.output, session)
    return {"noted": session[1]}


def _finding(caller: Caller, form: forms.Finding) -> Mapping[str, Any]:
    session = caller.session(form)
    name = reporting.find(
        caller.place, form.text, severity=form.severity, where=form.where, session=session
    )
    return {"finding": name}


def _propose(caller: Caller, form: forms.ProposePlanChange) -> Mapping[str, Any]:
    task = proposing.session_task() if caller.inside else ""
    return proposing.adapt(caller.place, form.model_dump(exclude_unset=True), task=task)


def _memory(tool: str) -> Call:
    def call(caller: Caller, form: forms.Form) -> Mapping[str, Any]:
        told = form.model_dump()
        found: Mapping[str, Any] = remembering.call_memory(caller.place, tool, told)
        return found

    return call


TOOLS: Final[Mapping[str, Tool]] = {
    "list_workflows": Tool(
        forms.ListWorkflows, lambda caller, _: workflows.workflows(caller.place), looks=True
    ),
    "start_workflow": Tool(forms.StartWorkflow, _start),
    "get_next_step": Tool(forms.GetNextStep, _next),
    "submit_result": Tool(forms.SubmitResult, _submit),
    "run_status": Tool(forms.RunStatus, _status, looks=True),
    "inbox": Tool(forms.Inbox, lambda caller, _: inbox.inbox(caller.place), looks=True),
    "answer": Tool(forms.Answer, _answer),
    "decisions": Tool(
        forms.Decisions, lambda caller, _: deciding.decisions(caller.place), looks=True
    ),
    "checkin": Tool(forms.CheckIn, _check_in),
    "ask": Tool(forms.Ask, _ask),
    "done": Tool(forms.Done, _done),
    "output": Tool(forms.Output, _output),
    "finding": Tool(forms.Finding, _finding),
    "propose_plan_change": Tool(forms.ProposePlanChange, _propose),
    "memory_save": Tool(forms.MemorySave, _memory("save")),
    "memory_get": Tool(forms.MemoryGet, _memory("get"), looks=True),
    "memory_add": Tool(forms.MemoryAdd, _memory("add")),
    "memory_search": Tool(forms.MemorySearch, _memory("search"), looks=True),
}


def is_session(environ: Mapping[str, str] = os.environ) -> bool:
    """Returns whether this process is in the session of an agent."""
    return "FLEET_TASK" in environ and "FLEET_BRIEF" in environ
