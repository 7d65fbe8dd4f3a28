"""Use cases of clients that work themselves: the next step that is meant for one, its result.

There is no queue: what is offered is what runs anyway. A step of an agent whose harness is `mcp` is
a live attempt that waits in its session; a question to a role is an open question. Who has one is
said by the lease in its folder (`adapters.offers`), which ends by itself, and a result counts once
the journal tells of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from fleet.app.inbox import answer, live_states
from fleet.app.place import FleetPlace
from fleet.app.telling import changes, confined, keep_going, post
from fleet.core import messages as m
from fleet.core.state import Standing
from fleet.errors import FleetError, Rejected

if TYPE_CHECKING:
    from fleet.adapters.offers import Offer
    from fleet.core.state import OpenQuestion, State, StepState

Ended = Literal["done", "failed", "returned"]
LEASE_S: Final = 300.0
"""How long a client has a step, unless it says otherwise."""

POLL_S: Final = 2.0
"""When to ask again after nothing was offered."""

TAKEN_UP_S: Final = 20.0
"""How long it is waited for the journal to tell of a result; it is on disk before."""

CLIENT_CHARS: Final = 80
OUTPUT_CHARS: Final = 65_536
"""An output at most; more belongs into a file that the output names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a client asks for: `playing` are the agents and roles that it plays, none for every
    agent that is a client; `lease` is one that it has and renews.
    """

    client: str
    playing: Sequence[str] = ()
    lasts_s: float = LEASE_S
    lease: str = ""


def next_step(place: FleetPlace, wish: Wish) -> dict[str, Any]:
    """Returns `fleet.step/1`: a step that the client has a lease of now, or of kind `none` when
    nothing is to be had; at once, in either case.

    Raises Rejected where the lease that is to be renewed has gone.
    """
    _require_outside()
    keep_going(place)
    if wish.lease:
        return _renewed(place, wish)
    client = wish.client[:CLIENT_CHARS]
    for state in live_states(place):
        for one in _offered(state, wish.playing):
            offer = _offer(place, state, one)
            if not _is_open(offer):
                continue
            lease = offer.take(client, wish.lasts_s)
            if lease is not None:
                _tell_taken(place, state, one, client)
                return _step(place, state, one, lease.key, lease.left_s)
        for asked in _asked(state, wish.playing):
            lease = _offer_of_question(place, state, asked).take(client, wish.lasts_s)
            if lease is not None:
                return _prompt(state, asked, lease.key, lease.left_s)
    return {"schema": "fleet.step/1", "kind": "none", "poll_s": POLL_S}


def _require_outside() -> None:
    if confined():
        raise Rejected("inside a sandbox no steps are taken: an agent there has its own")


def _offered(state: State, playing: Sequence[str]) -> Iterator[StepState]:
    """Yields the running steps of clients that play one of some roles, the most urgent first."""
    if state.cancelling:
        return
    found = [state.steps[name] for name in state.running]
    found.sort(key=lambda one: (-one.tail_ms, one.started_ms, one.step.id))
    for one in found:
        agent: Any = one.step.params.get("agent") if one.step.kind == "agent" else None
        if agent and agent["harness"] == "mcp" and not one.stopping:
            names = {agent["id"], *agent.get("roles", ())}
            if not playing or names & _names(playing):
                yield one


def _asked(state: State, playing: Sequence[str]) -> Iterator[OpenQuestion]:
    """Yields the open questions to roles that a client says it plays; a person's are no client's
    to take unasked.
    """
    for asked in list(state.questions.values()):
        if asked.question.whom in _names(playing) and asked.question.whom != "person":
            yield asked


def _names(playing: Sequence[str]) -> set[str]:
    return {name.removeprefix("@") for name in playing}


def _offer(place: FleetPlace, state: State, one: StepState) -> Offer:
    from fleet.adapters.layout import attempt_path
    from fleet.adapters.offers import Offer

    return Offer(attempt_path(place.state, state.run, one.step.id, one.attempt))


def _offer_of_question(place: FleetPlace, state: State, asked: OpenQuestion) -> Offer:
    from fleet.adapters.layout import attempt_path
    from fleet.adapters.offers import Offer

    folder = attempt_path(place.state, state.run, asked.step or ".run", asked.attempt)
    return Offer(folder / "asked" / asked.id.replace("/", "%2F"))


def _is_open(offer: Offer) -> bool:
    """Returns whether somebody waits for the result: the session lives and has not ended."""
    from fleet.adapters.attempts import AttemptFolder

    folder = AttemptFolder(offer.folder)
    return folder.claim() is not None and folder.exit_record() is None


def _tell_taken(place: FleetPlace, state: State, one: StepState, client: str) -> None:
    """Has the journal keep who took a step; the lease does not wait for it."""
    told = {"name": client, "at_ms": time.time_ns() // 1_000_000, "attempt": one.attempt}
    facts: dict[str, object] = {"client": told}
    command = m.ReportProgress(step=one.step.id, attempt=one.attempt, facts=facts)
    post(place, [command], run=state.run)


# --- what a client is given -----------------------------------------------------------------------


def _step(
    place: FleetPlace, state: State, one: StepState, key: str, left_s: float
) -> dict[str, Any]:
    params: Any = one.step.params
    tree, call = _made(state, one)
    return {
        "schema": "fleet.step/1",
        "kind": "mcp_call" if call else "delegate",
        "lease": _lease_id(state.run, one.step.id, one.attempt, key),
        "lease_s": round(left_s, 1),
        "run": state.run,
        "step": one.step.whole or one.step.id,
        "attempt": one.attempt,
        "agent": params["agent"]["id"],
        "brief": _brief(place, state, one),
        "notes": _notes(place, state, one),
        "output_schema": params.get("schema")
        if isinstance(params.get("schema"), Mapping)
        else None,
        "tool": str(call["tool"]).partition(".")[2] if call else None,
        "parameters": call["parameters"] if call else None,
        "worktree": tree.get("path"),
        "branch": tree.get("branch") or None,
    }


def _made(state: State, one: StepState) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """Returns where a step is to be done, and the call that it is, if it is one."""
    for need in one.step.needs:
        before = state.known(need.step)
        output: Any = before.output if before is not None else None
        if isinstance(output, Mapping):
            return output.get("worktree") or output, output.get("call")
    return {}, None


def _brief(place: FleetPlace, state: State, one: StepState) -> str:
    path = _offer(place, state, one).folder / "brief.md"
    try:
        return path.read_text(encoding="utf-8")
    except OSError as lost:
        raise FleetError(f"the brief of {one.step.id} cannot be read: {lost.strerror}") from lost


def _notes(place: FleetPlace, state: State, one: StepState) -> list[str]:
    """Returns what was said to whoever works at a step: notes, and answers to its questions."""
    found = _offer(place, state, one).folder.glob("notes/*.md")
    numbered = sorted((path for path in found if path.stem.isdecimal()), key=lambda p: int(p.stem))
    return [path.read_text(encoding="utf-8").rstrip("\n") for path in numbered]


def _prompt(state: State, asked: OpenQuestion, key: str, left_s: float) -> dict[str, Any]:
    question = asked.question
    return {
        "schema": "fleet.step/1",
        "kind": "prompt",
        "lease": _lease_id(state.run, asked.step or ".run", asked.attempt, key),
        "lease_s": round(left_s, 1),
        "run": state.run,
        "step": asked.step.removesuffix(".open"),
        "question": asked.id,
        "input": question.kind,
        "message": question.message,
        "choices": list(question.choices),
        "role": question.whom,
    }


def _lease_id(run: str, step: str, attempt: int, key: str) -> str:
    return f"{run}/{step}/{attempt}/{key}"


# --- what a client hands in -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leased:
    """What a lease is of, as the journal has it now."""

    state: State
    one: StepState | None
    asked: OpenQuestion | None
    offer: Offer
    key: str


def submit(
    place: FleetPlace, lease: str, ended: Ended, *, output: Any = None, note: str = "", client: str
) -> dict[str, Any]:
    """Hands in what a step came to and returns `fleet.handed/1`: how the step stands then.

    `returned` gives it back for another client. Raises Rejected, saying why, when the lease has
    gone or the output is not what the step asks for; the lease of such an output stays.
    """
    _require_outside()
    keep_going(place)
    held = _find(place, lease)
    if ended == "returned":
        held.offer.give_back(held.key)
        return _handed(held, "returned")
    if held.asked is not None:
        return _answered(place, held, ended, output, note=note, client=client)
    assert held.one is not None
    told = {"client": client[:CLIENT_CHARS], "at_ms": time.time_ns() // 1_000_000}
    if ended == "failed":
        told |= {"failed": note or "it said no more"}
    else:
        told |= {"output": _checked(held.one, output)}
    if not _is_open(held.offer):
        raise Rejected("the step waits for nobody any more: its attempt has ended")
    held.offer.hand_in(held.key, told)
    return _handed(held, _taken_up(place, held))


def _find(place: FleetPlace, lease: str) -> _Leased:
    """Returns what a lease is of; a lease is a client's text, so only the journal leads to a
    folder.
    """
    rest, _, key = lease.rpartition("/")
    rest, _, attempt = rest.rpartition("/")
    run, _, step = rest.partition("/")
    state = place.run_state(run) if key and attempt.isdecimal() and step else None
    if state is None:
        raise FleetError(f"{lease[:200]!r} is no lease", hint="give the one of get_next_step")
    found = [
        _Leased(
            state=state,
            one=None,
            asked=asked,
            offer=_offer_of_question(place, state, asked),
            key=key,
        )
        for asked in state.questions.values()
        if (asked.step or ".run") == step and asked.attempt == int(attempt)
    ]
    one = state.known(step)
    if one is not None and one.attempt == int(attempt) and one.standing is Standing.RUNNING:
        offer = _offer(place, state, one)
        found.append(_Leased(state=state, one=one, asked=None, offer=offer, key=key))
    if found:  # whoever has it now, where it is not this one, is told by the offer itself
        return next((held for held in found if held.offer.is_of(key)), found[-1])
    now = f"attempt {one.attempt} is {one.standing}" if one is not None else "it was dropped"
    raise Rejected(f"the lease has gone: nobody waits for it any more, {step}: {now}")


def _renewed(place: FleetPlace, wish: Wish) -> dict[str, Any]:
    held = _find(place, wish.lease)
    lease = held.offer.renew(held.key, wish.lasts_s)
    if held.asked is not None:
        return _prompt(held.state, held.asked, lease.key, lease.left_s)
    assert held.one is not None
    return _step(place, held.state, held.one, lease.key, lease.left_s)


def _checked(one: StepState, output: Any) -> str:
    """Returns an output as the text that is kept; raises Rejected for one that the step does not
    take.
    """
    from fleet.files.flows.answering import answered

    schema: Any = one.step.params.get("schema")
    if output is None and schema is not True:
        raise Rejected("the step has no output", hint="give `output`, or end it as failed")
    text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    if schema:
        text = json.dumps(output, ensure_ascii=False)
        wrong = answered(text, schema)[1]
        if wrong and isinstance(output, str) and not answered(output, schema)[1]:
            text, wrong = output, ""
        if wrong:
            raise Rejected(wrong, hint="mend the output and submit it again; the lease stays")
    if len(text) > OUTPUT_CHARS:
        raise Rejected(
            f"the output has {len(text)} characters, at most {OUTPUT_CHARS} are kept",
            hint="put it into a file and name the file",
        )
    return text


def _answered(
    place: FleetPlace, held: _Leased, ended: Ended, output: Any, *, note: str, client: str
) -> dict[str, Any]:
    assert held.asked is not None
    if ended == "failed":
        raise Rejected("a question is answered or returned, it does not fail")
    if output is None or isinstance(output, list | Mapping):
        raise Rejected("the answer is a text", hint="give it as `output`")
    value = output if isinstance(output, str) else json.dumps(output)
    with held.offer.holding(held.key):
        answer(place, held.asked.id, value, note, by=f"mcp:{client[:CLIENT_CHARS]}")
    return _handed(held, "answered")


def _taken_up(place: FleetPlace, held: _Leased) -> str:
    """Returns how a step stands once the journal tells of its result; `handed-in` before that."""
    assert held.one is not None
    name, attempt = held.one.step.id, held.one.attempt
    for state in changes(place, time.monotonic() + TAKEN_UP_S, held.state.run):
        one = state.known(name)
        if one is None or one.attempt != attempt or one.standing is not Standing.RUNNING:
            return str(one.standing) if one is not None else "gone"
    return "handed-in"


def _handed(held: _Leased, word: str) -> dict[str, Any]:
    step = held.asked.step if held.asked is not None else ""
    if held.one is not None:
        step = held.one.step.whole or held.one.step.id
    return {
        "schema": "fleet.handed/1",
        "run": held.state.run,
        "step": step.removesuffix(".open"),
        "state": word,
    }


def brief_path(place: FleetPlace, run: str, step: str) -> Path | None:
    """Returns where the brief of a step's latest attempt lies; None where there is none."""
    from fleet.adapters.layout import attempt_path

    state = place.run_state(run)
    one = state.known(step) if state is not None else None
    if one is None or not one.attempt or one.step.kind != "agent":
        return None
    return attempt_path(place.state, run, step, one.attempt) / "brief.md"
