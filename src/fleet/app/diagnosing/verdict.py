"""What a trial of an agent program proves, as one sentence with its cure. It judges what was seen,
and looks at nothing.
"""

from __future__ import annotations

import re
from typing import Final

from fleet.app.diagnosing.findings import Finding, finding
from fleet.app.diagnosing.proof import Evidence

SIGNS: Final = {
    "turn": "the end of its turn is not told",
    "session": "its session is not named",
    "stop": "the answer to its ended turn does not reach it",
    "permission": "a permission that it wants is not asked for",
}
_TRUSTING = re.compile(r"\btrust", re.IGNORECASE)
_UPDATING = re.compile(r"\b(?:updat|upgrad)(?:ed?|es|ing)\b", re.IGNORECASE)
_UNKNOWN = re.compile(
    r"\b(?:not logged in|log ?in|sign(?:ed)? in|/login|authenticat\w+|unauthori[sz]ed|"
    r"api[ _-]?key|credentials?|40[13])\b",
    re.IGNORECASE,
)


def judge(name: str, seen: Evidence, *, stale: str = "", silencers: str = "") -> Finding:
    """Returns the finding of one program; `stale` is what is wrong with its version, `silencers`
    who could keep its hooks from being called.
    """
    level, text, cure = _judged(name, seen, silencers)
    if level == "error" and stale:
        cure = f"update {name} first: it is {stale}; then {cure}"
    return finding(f"{name} hooks", level, text, cure)


def _judged(name: str, seen: Evidence, silencers: str) -> tuple[str, str, str]:
    if seen.changed:
        text = f"it replaced itself while it ran; it is {seen.changed} now"
        return "error", text, f"turn its own updates off, and see with fleet doctor {name} again"
    if seen.bound:
        text = "it does not start in a home of its own, so its hooks could not be tried"
        cure = f"put {name} itself before the shim of a version manager in PATH"
        return "warning", f"{text}: {seen.said}" if seen.said else text, cure
    if seen.ended is None:
        return _stuck(name, seen)
    if not seen.turns:
        return _mute(name, seen)
    if not seen.report.ok:
        text = f"its turn failed: {seen.report.text}"
        return (
            "error",
            text,
            f"see whether this version keeps its word: fleet agents; {name} --help",
        )
    if not seen.wanted:
        return "ok", f"it answers in {seen.seconds:.1f} s; it has no hooks", ""
    if not seen.seen:
        told = f", or whether {silencers} keeps them off" if silencers else ""
        text = "its hooks were skipped: it ran a turn and called none of them"
        return "error", text, f"see whether {name} has the version that was tested{told}"
    missing = [words for sign, words in SIGNS.items() if sign in seen.wanted - seen.seen]
    if missing:
        cure = f"install the version of {name} that was tested: fleet agents"
        return "error", f"its hooks work only in part: {', '.join(missing)}", cure
    fired = ", ".join(sign for sign in SIGNS if sign in seen.wanted and sign != "session")
    return "ok", f"hooks fire ({fired}) in {seen.seconds:.1f} s", ""


def _stuck(name: str, seen: Evidence) -> tuple[str, str, str]:
    """Judges a program that had to be ended."""
    shown = f"; it showed: {seen.said}" if seen.said else "; it showed nothing"
    if _TRUSTING.search(seen.said):
        text = f"it asks whether to trust the folder, and waits{shown}"
        return "error", text, f"start `{name}` once in the main checkout and say yes"
    if not seen.turns and _UNKNOWN.search(seen.said):
        return "error", f"it waits to be logged in{shown}", f"start `{name}` once and log in"
    asked = "after its model had answered" if seen.turns else "and never asked its model"
    text = f"it did not end within {seen.limit_s:g} s {asked}{shown}"
    return "error", text, f"try it by hand, or give it longer: fleet doctor {name} --timeout 180"


def _mute(name: str, seen: Evidence) -> tuple[str, str, str]:
    """Judges a program that ended without a word to its model."""
    assert seen.ended is not None
    code = seen.ended.code
    shown = f": {seen.said}" if seen.said else ", and showed nothing"
    if seen.ended.reason == "not-found":
        return "error", f"it could not be started{shown}", f"see whether `{name} --version` works"
    if _UPDATING.search(seen.said):
        text = f"it updated itself instead of working, and ended with {code}{shown}"
        return "error", text, f"turn its own updates off, and see with fleet doctor {name} again"
    if _TRUSTING.search(seen.said):
        text = f"it does not work in a folder that it does not trust, and ended with {code}{shown}"
        return "error", text, f"start `{name}` once in the main checkout and say yes"
    if _UNKNOWN.search(seen.said):
        text = f"it says that it is not logged in, and ended with {code}{shown}"
        return "error", text, f"start `{name}` once and log in"
    text = f"it ended with {code} without asking its model{shown}"
    return "error", text, f"see whether `{name}` on PATH is the program that is meant"
