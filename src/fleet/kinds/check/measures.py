"""What a measuring command printed, read as a number and held against a target."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Any, Final

from fleet.harnesses.commands import Ran

_NUMBER: Final = re.compile(r"[-+]?\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")
_HOLDS: Final = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


def measured(metric: Mapping[str, Any], ran: Ran, commit: str) -> dict[str, Any]:
    """Returns the metric with {value, met, at_commit, why}; `met` is None where there is no target
    or value.
    """
    value = number_in(ran.tail) if ran.passed else None
    target, why = metric.get("target"), ""
    if not ran.passed:
        why = "it ran out of time" if ran.code is None else f"it exited with {ran.code}"
    elif value is None:
        why = "it printed no number"
    met = None
    if value is not None and target is not None:
        met = bool(_HOLDS[str(metric.get("op") or "==")](value, float(target)))
    found = {"value": value, "met": met, "at_commit": commit, "why": why, "digest": ran.digest}
    return {**metric, **found}


def missed(wanted: Mapping[str, Any], ran: Ran) -> str:
    """Returns why a command that has passed does not meet its target, nothing when it does."""
    found = bound_of(wanted, ran)
    value, met = found["value"], found["met"]
    if met is not False:
        return "" if met else "it printed no number"
    unit = f" {wanted['unit']}" if wanted.get("unit") else ""
    return f"it measured {value:g}{unit}; {wanted['op']} {float(wanted['target']):g} is wanted"


def bound_of(wanted: Mapping[str, Any], ran: Ran | None) -> dict[str, Any]:
    """Returns the measured value of a check, its bound, and whether it is met; None where nothing
    was measured.
    """
    value = number_in(ran.tail) if ran is not None and ran.passed else None
    met = None if value is None else _HOLDS[str(wanted["op"])](value, float(wanted["target"]))
    kept = {name: wanted[name] for name in ("op", "target", "unit")}
    return {"value": value, "met": met, **kept}


def number_in(text: str) -> float | None:
    """Returns the last number of the last line that holds one, or None."""
    for line in reversed(text.splitlines()):
        found = _NUMBER.findall(line)
        if found:
            return float(found[-1].replace("_", ""))
    return None
