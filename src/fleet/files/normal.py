"""Normal forms become documents: plain JSON, as the forms put out and the cache keeps, frozen.

What was checked when the normal form was made is not checked again. Nothing of the plain values is
changed or shared in a way that a document could change: lists become tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fleet.files.documents import (
    AccountLimits,
    AgentDocument,
    AgentLimits,
    Assumption,
    Calendar,
    Check,
    Checkpoint,
    Command,
    Decision,
    Deliverable,
    Estimate,
    Evidence,
    Metric,
    Phase,
    Policy,
    Proof,
    Risk,
    Rung,
    Sandbox,
    Settings,
    TaskDocument,
    command_text,
)

Plain = Mapping[str, Any]


def agent_of(plain: Plain) -> AgentDocument:
    """Returns the agent that a validated, defaulted mapping stands for."""
    values = _frozen(plain)
    if "limits" in values:
        values["limits"] = AgentLimits(**values["limits"])
    if "sandbox" in values:
        # Only set keys are in a normal form; whoever names any key of a sandbox wants one.
        box = {"kind": "bwrap", **_frozen(values["sandbox"])}
        places = box.get("network", ())
        if len(places) == 1 and ":" not in places[0]:  # a place has its port; this is a word
            box["network"] = places[0]
        values["sandbox"] = Sandbox(**box)
    if "permissions" in values:
        told = _frozen(values["permissions"])
        values["permissions"] = told.pop("mode", None)
        values["policy"] = Policy(**told)
    return AgentDocument(**values)


def task_of(plain: Plain) -> TaskDocument:
    """Returns the task that a validated, defaulted mapping stands for."""
    values = _frozen(plain)
    days = values.get("days")
    values["estimated"] = days is not None
    if days is not None:
        values["days"] = Estimate(**_frozen(days))
    return TaskDocument(**_built(values, TASK_PARTS))


def phase_of(plain: Plain) -> Phase:
    """Returns the phase that a validated mapping stands for."""
    return Phase(**_built(_frozen(plain), PHASE_PARTS))


def settings_of(plain: Plain) -> Settings:
    """Returns the settings that a validated mapping without `phases` and `defaults` stands for."""
    values = _built(_frozen(plain), SETTINGS_PARTS)
    if "calendar" in values:
        values["calendar"] = _calendar_of(values["calendar"])
    told = values.get("accounts") or {}
    values["accounts"] = {name: AccountLimits(**limits) for name, limits in told.items()}
    return Settings(**values)


def _frozen(plain: Plain) -> dict[str, Any]:
    return {name: tuple(value) if type(value) is list else value for name, value in plain.items()}


def _built(values: dict[str, Any], parts: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Returns the values with each member of the lists that `parts` names made into a document."""
    for name, build in parts.items():
        if name in values:
            values[name] = tuple(map(build, values[name]))
    return values


def _command_of(plain: Any) -> Command:
    return tuple(plain) if isinstance(plain, list) else plain


def _deliverable_of(plain: Plain) -> Deliverable:
    return Deliverable(**_frozen(plain))


def _check_of(plain: Plain) -> Check:
    return Check(**_frozen(plain))


def _metric_of(plain: Plain) -> Metric:
    values = _frozen(plain)
    if values.get("target") is not None:
        values["op"], values["target"] = values["target"]
    return Metric(**values)


def _risk_of(plain: Plain) -> Risk:
    return Risk(**plain)


def _decision_of(plain: Plain) -> Decision:
    return Decision(**plain)


def _rung_of(plain: Plain) -> Rung:
    return Rung(**plain)


def _evidence_of(plain: Plain) -> Evidence:
    values = _frozen(plain)
    text = values.pop("text", None) or values.get("path") or command_text(values.get("command"))
    return Evidence(text=text, **values)


def _judged_of(plain: Plain) -> Check:
    """Returns a check that may measure."""
    values = _frozen(plain)
    if "measure" in values:
        values["command"] = values.pop("measure")
        values["op"], values["target"] = values["target"]
    return Check(**values)


def _assumption_of(plain: Plain) -> Assumption:
    values = _built(_frozen(plain), {"on_failure": _rung_of})
    if values.get("proof") is not None:
        proof = _built(_frozen(values["proof"]), {"evidence": _evidence_of})
        if "days" in proof:
            proof["days"] = Estimate(**_frozen(proof["days"]))
        if "success" in proof:
            proof["success"] = _judged_of(proof["success"])
        values["proof"] = Proof(**proof)
    return Assumption(**values)


def _checkpoint_of(plain: Plain) -> Checkpoint:
    values = _built(_frozen(plain), {"checks": _judged_of, "setup": _command_of})
    listed = values.pop("checklist", {})
    grouped = [_judged_of({**one, "group": name}) for name in listed for one in listed[name]]
    return Checkpoint(**{**values, "checks": (*values.get("checks", ()), *grouped)})


def _calendar_of(plain: Plain) -> Calendar:
    values = _frozen(plain)
    if isinstance(values.get("holidays"), str):  # a code stands for a country's public holidays
        values["country"] = values.pop("holidays")
    return Calendar(**values)


TASK_PARTS: Mapping[str, Callable[[Any], Any]] = {
    "deliverables": _deliverable_of,
    "checks": _check_of,
    "metrics": _metric_of,
    "evidence": _evidence_of,
    "risks": _risk_of,
    "decisions": _decision_of,
    "assumptions": _assumption_of,
    "on_failure": _rung_of,
    "setup": _command_of,
    "teardown": _command_of,
}
PHASE_PARTS: Mapping[str, Callable[[Any], Any]] = {"checks": _check_of, "rollback": _command_of}
SETTINGS_PARTS: Mapping[str, Callable[[Any], Any]] = {
    "metrics": _metric_of,
    "risks": _risk_of,
    "checkpoints": _checkpoint_of,
}
