"""Messages and states as plain JSON values, and back: the only door between the core and bytes.

Law: a tag is for ever. A type that is renamed keeps its tag, a shape that changes gets an upcast in
UPCASTS, and the golden journals of every released version prove both. Fields that hold their
default are left out. No input or output happens here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, cast

from fleet.codec.fitting import default_of, fit
from fleet.core import messages as m
from fleet.core.plan import (
    Ask,
    Failure,
    Loops,
    Need,
    NeedsChange,
    Patch,
    Plan,
    Retry,
    Revise,
    Route,
    Step,
    Swap,
)
from fleet.core.spending import Budget
from fleet.core.state import Answered, Note, OpenQuestion, Standing, State, StepState, uses_of

TAGS: dict[str, type] = {
    "start-run": m.StartRun,
    "revise-plan": m.RevisePlan,
    "release-step": m.ReleaseStep,
    "hold-step": m.HoldStep,
    "pause-run": m.PauseRun,
    "resume-run": m.ResumeRun,
    "cancel-run": m.CancelRun,
    "retry-step": m.RetryStep,
    "skip-step": m.SkipStep,
    "raise-question": m.RaiseQuestion,
    "answer-question": m.AnswerQuestion,
    "escalate-question": m.EscalateQuestion,
    "check-in": m.CheckIn,
    "send-note": m.SendNote,
    "report-progress": m.ReportProgress,
    "report-outcome": m.ReportOutcome,
    "tick": m.Tick,
    "run-started": m.RunStarted,
    "plan-revised": m.PlanRevised,
    "step-released": m.StepReleased,
    "step-held": m.StepHeld,
    "run-paused": m.RunPaused,
    "run-resumed": m.RunResumed,
    "cancel-requested": m.CancelRequested,
    "attempt-started": m.AttemptStarted,
    "attempt-progressed": m.AttemptProgressed,
    "stop-requested": m.StopRequested,
    "attempt-ended": m.AttemptEnded,
    "retry-scheduled": m.RetryScheduled,
    "params-swapped": m.ParamsSwapped,
    "question-raised": m.QuestionRaised,
    "question-routed": m.QuestionRouted,
    "question-answered": m.QuestionAnswered,
    "checked-in": m.CheckedIn,
    "note-sent": m.NoteSent,
    "step-settled": m.StepSettled,
    "run-ended": m.RunEnded,
    "retry": Retry,
    "swap": Swap,
    "revise": Revise,
    "ask": Ask,
}

UPCASTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Tag -> what makes today's shape of a shape that an older release wrote."""

_NAMES = {kind: tag for tag, kind in TAGS.items()}
_Plain = dict[str, Any]


def _same(value: Any) -> Any:
    return value


def _tuple(value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        raise TypeError(f"{value!r} is no list")
    return tuple(value)


def _each(decode_one: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: tuple([decode_one(value) for value in values])


def _maybe(decode_one: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else decode_one(value)


def _values(decode_one: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: {name: decode_one(value) for name, value in values.items()}


def _of(kind: type) -> Callable[[Any], Any]:
    return lambda value: _decode_as(kind, value)


_DECODERS: dict[tuple[type, str], Callable[[Any], Any]] = {
    (Step, "needs"): _each(_of(Need)),
    (Step, "ladder"): _each(lambda value: decode(value)),  # noqa: PLW0108  stands below
    (Loops, "then"): _each(lambda value: decode(value)),  # noqa: PLW0108  stands below
    (Plan, "steps"): lambda steps: {s["id"]: _decode_as(Step, s) for s in steps},
    (Plan, "routes"): _each(_of(Route)),
    (Patch, "put"): _each(_of(Step)),
    (Patch, "routes"): _maybe(_each(_of(Route))),
    (Route, "steps"): _each(_of(Step)),
    (Patch, "needs"): _values(_of(NeedsChange)),
    (NeedsChange, "add"): _each(_of(Need)),
    (Revise, "patch"): _of(Patch),
    (m.Outcome, "ending"): m.Ending,
    (m.Outcome, "failure"): _maybe(Failure),
    (m.Outcome, "patch"): _maybe(_of(Patch)),
    (m.Outcome, "question"): _maybe(_of(m.Question)),
    (m.Question, "then"): m.Then,
    (StepState, "step"): _of(Step),
    (StepState, "standing"): Standing,
    (StepState, "failure"): _maybe(Failure),
    (StepState, "used"): _each(_tuple),
    (OpenQuestion, "question"): _of(m.Question),
    (Answered, "question"): _of(m.Question),
}
_BY_FIELD: dict[str, Callable[[Any], Any]] = {
    "plan": _of(Plan),
    "patch": _maybe(_of(Patch)),
    "outcome": _of(m.Outcome),
    "loops": _maybe(_of(Loops)),
    "loop": _maybe(_of(m.Question)),
    "like": _tuple,
    "question": _of(m.Question),
    "on": lambda value: value if isinstance(value, str) else frozenset(map(Failure, value)),
    "parent": _maybe(_tuple),
    "steps": _tuple,
    "drop": _tuple,
    "remove": _tuple,
    "stop": lambda value: value if isinstance(value, bool) else tuple(value),
    "choices": _tuple,
    "refusals": _tuple,
    "grants": _tuple,
    "blames": _tuple,
    "passed": _tuple,
    "delivered": _tuple,
    "blockers": lambda value: tuple(value) if isinstance(value, list) else value,
}


def _shape(kind: type) -> list[tuple[str, Any, Callable[[Any], Any]]]:
    shape = []
    for one in fields(kind):
        decoder = _DECODERS.get((kind, one.name)) or _BY_FIELD.get(one.name, _same)
        shape.append((one.name, default_of(one), decoder))
    return shape


_SHAPES: dict[type, list[tuple[str, Any, Callable[[Any], Any]]]] = {}


def _shape_of(kind: type) -> list[tuple[str, Any, Callable[[Any], Any]]]:
    shape = _SHAPES.get(kind)
    if shape is None:
        shape = _SHAPES[kind] = _shape(kind)
    return shape


_FIELDS: dict[type, dict[str, Callable[[Any], Any] | None]] = {}


def _fields_of(kind: type) -> dict[str, Callable[[Any], Any] | None]:
    """Returns what each field of a type is read by, None for what JSON holds as it is."""
    found = {name: None if read is _same else read for name, _, read in _shape_of(kind)}
    return _FIELDS.setdefault(kind, found)


def encode(message: object) -> _Plain:
    """Returns a tagged message (a command, an event, a rung) as plain JSON values."""
    return {"is": _NAMES[type(message)], **_encode_fields(message)}


def _encode_fields(value: object) -> _Plain:
    plain: _Plain = {}
    for name, default, _ in _SHAPES.get(type(value)) or _shape_of(type(value)):
        found = getattr(value, name)
        if found is not default and found != default:
            plain[name] = found if type(found) in _ATOMS else _plain(found)
    return plain


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict:
        return {
            str(name): one if type(one) in _ATOMS else _plain(one) for name, one in value.items()
        }
    if kind is tuple or kind is list:
        return [one if type(one) in _ATOMS else _plain(one) for one in value]
    if kind is Plan:
        return {
            **_encode_fields(replace(value, steps={})),
            "steps": [_encode_fields(step) for step in value.steps.values()],
        }
    if kind in _NAMES:
        return encode(value)
    if isinstance(value, str):
        return str(value)
    if kind is frozenset:
        return sorted(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return _encode_fields(value)


_ATOMS = frozenset({str, int, float, bool, type(None)})


def decode(plain: _Plain) -> Any:
    """Returns the message that a tagged JSON object stands for; raises KeyError on an unknown
    tag.
    """
    tag = plain["is"]
    if tag in UPCASTS:
        plain = UPCASTS[tag](plain)
    return _decode_as(TAGS[tag], plain)


def _decode_as(kind: type, plain: _Plain) -> Any:
    if type(plain) is not dict:
        raise TypeError(f"a {kind.__name__} is an object, not {plain!r:.60}")
    decoders = _FIELDS.get(kind) or _fields_of(kind)
    values = {}
    for name, value in plain.items():
        if name in decoders:
            decoder = decoders[name]
            values[name] = value if decoder is None else decoder(value)
    return kind(**values)


def dump_plan(plan: Plan) -> _Plain:
    """Returns a plan as plain JSON values, as a step's params may hold one."""
    found: _Plain = _plain(plan)
    return found


def load_plan(plain: _Plain) -> Plan:
    """Returns the plan that `dump_plan` wrote."""
    return cast("Plan", _decode_as(Plan, plain))


def dumps(message: object) -> str:
    """Returns a message as one line of JSON."""
    return _line(encode(message))


_LINE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def _line(plain: _Plain) -> str:
    text = _LINE.encode(plain)
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, as a file name that is no UTF-8 leaves it
        return json.dumps(plain, separators=(",", ":"))
    return text


def loads_command(text: str | bytes) -> m.Command:
    """Returns the command that a line of JSON stands for, proved to the last field; or ValueError.

    Anybody may write into the mailbox, so nothing else may come out of here.
    """
    try:
        return load_command(json.loads(text))
    except RecursionError as odd:
        raise ValueError(f"this is no command: {odd}") from odd


def load_command(plain: _Plain) -> m.Command:
    """Returns the same for the plain JSON object that such a line holds."""
    try:
        found = decode(plain)
        if isinstance(found, m.Command) and fit(cast("Any", type(found)))(found):
            return found
    except (KeyError, TypeError, AttributeError, RecursionError) as odd:
        raise ValueError(f"this is no command: {type(odd).__name__}: {odd}") from odd
    raise ValueError(f"a {type(found).__name__} with such values is no command")


def loads_event(text: str | bytes) -> m.Event:
    """Returns the event that a journal line stands for; raises ValueError or KeyError."""
    return cast("m.Event", decode(json.loads(text)))


# --- snapshots ------------------------------------------------------------------------------------

_DERIVED = frozenset({"steps", "dependents", "ready", "agenda", "failures", "notes", "shut"})


def dump_state(state: State) -> str:
    """Returns a state as JSON; what follows from its steps is left out and made again on
    loading.
    """
    plain = {
        name: _plain(getattr(state, name))
        for name, default, _ in _shape_of(State)
        if name not in _DERIVED and getattr(state, name) != default
    }
    plain["steps"] = [_encode_fields(one) for one in state.steps.values()]
    plain["notes"] = [
        [n, note.step, note.text, *([dict(note.about)] if note.about else [])]
        for n, note in state.notes.items()
    ]
    return _line(plain)


def load_state(text: str | bytes) -> State:
    """Returns the state that `dump_state` wrote."""
    plain = json.loads(text)
    state = State(run=plain["run"])
    for name, _, _ in _shape_of(State):
        if name in plain and name not in _DERIVED:
            setattr(state, name, plain[name])
    state.loops = _of(Loops)(plain.get("loops", {}))
    state.parent = tuple(plain["parent"]) if plain.get("parent") else None
    state.questions = _values(_of(OpenQuestion))(plain.get("questions", {}))
    state.routes = _each(_of(Route))(plain.get("routes", ()))
    state.answers = _values(_of(Answered))(plain.get("answers", {}))
    state.budgets = _values(_of(Budget))(plain.get("budgets", {}))
    state.shut = {name for name, budget in state.budgets.items() if budget.gone}
    state.notes = {n: Note(step, text, *about) for n, step, text, *about in plain["notes"]}
    for one in plain["steps"]:
        found = cast("StepState", _decode_as(StepState, one))
        state.steps[found.step.id] = found
    for found in state.steps.values():
        for need in found.step.needs:
            state.dependents.setdefault(need.step, []).append((found.step.id, need.on))
        if found.standing is Standing.FAILED:
            state.failures.add(found.step.id)
        if found.standing is Standing.READY and found.may_start:
            state.ready.setdefault(uses_of(found.step), []).append((-found.tail_ms, found.step.id))
    for edges in state.dependents.values():
        edges.sort()
    for steps in state.ready.values():
        steps.sort()
    return state
