"""What people, agents and the world may do to a run at any moment, sensible or not.

Everything is drawn from the world's own seeded dice; nothing here knows whether the kernel will
accept it. A fair world uses `fair_outcome` and `fair_wishes` only.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from fleet.core import messages as m
from fleet.core.plan import (
    FAILED,
    JOIN,
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
    basis_of,
)
from fleet.core.state import Standing, State, StepState, answers_to
from fleet.files.changes.rework import course_of
from fleet.files.changes.rounds import loop_at
from fleet.files.changes.waiting import WAITS_FOR, is_task
from fleet.views.inputs import inputs_of
from support.plans import check_again, fleet, gate_again, join, phase, plan, rework, step, task

LIMITS = {"agents": 2, "checks": 1, "branch:main": 1, "box": 3, "box/min": 2}
LABELS = ("left", "right")
BUDGETED = ("agents", "box")
ROLES = ("architect", "lead")
"""Whose answers are worked out by steps; everybody else is a person."""
TEXTS = ("?", "Which colour has the button?", "Has the button which colour?", "Why?", "Who is ann?")
TOPICS, KINDS, SEVERITIES = ("", "auth", "data"), ("text", "choice", "approval"), ("", "high")


def some_plan(dice: Random) -> Plan:
    """A fleet's plan, or a random graph; some with budgets."""
    found = _some_graph(dice)
    names = [name for name in BUDGETED if dice.random() < 0.3]
    routes = some_routes(dice) if dice.random() < 0.5 else ()
    loops = some_loops(dice) if dice.random() < 0.5 else Loops()
    budgets = {name: some_amounts(dice) for name in names}
    return replace(found, budgets=budgets, routes=routes, loops=loops)


def some_loops(dice: Random) -> Loops:
    """What is a loop, and what follows: changes of the plan, some of which cannot be, or a question
    to somebody.
    """

    def change() -> Revise:
        needs = ("nobody",) if dice.random() < 0.2 else ()
        uses = {"box": 1} if dice.random() < 0.5 else {}
        return Revise(patch=Patch(put=(step("loop", *needs, kind="adapt", uses=uses),)))

    asked = Ask(message="", whom=dice.choice(["person", *ROLES]))
    rungs = [change() if dice.random() < 0.6 else asked for _ in range(dice.randint(0, 2))]
    return Loops(after=dice.randint(2, 4), then=tuple(rungs))


def some_routes(dice: Random) -> tuple[Route, ...]:
    """Where questions go: roles, whose steps answer, and people, in any order."""
    found = []
    for _ in range(dice.randint(0, 4)):
        whom = dice.choice([*ROLES, *ROLES, "ann", "person"])
        found.append(
            Route(
                whom=whom,
                topic=dice.choice(["", *TOPICS]),
                kind=dice.choice(["", "", *KINDS, "escalation", "budget"]),
                severity=dice.choice(["", *SEVERITIES]),
                steps=answering(dice) if whom in ROLES else (),
                limit_ms=dice.choice([None, 1, 400, 3000]),
            )
        )
    return tuple(found)


def answering(dice: Random) -> tuple[Step, ...]:
    """The steps that work at an answer; at times not such as a plan could hold."""
    again = Retry(times=dice.randint(0, 1))
    odd = dice.random() < 0.05
    return (
        step("brief", kind="set"),
        step("work", "nobody" if odd else "brief", uses={"agents": 1}, ladder=(again,)),
        step("answer", "work", kind="answer"),
    )


def some_question(dice: Random, **told: object) -> m.Question:
    """A question of any topic, kind and severity, for anybody or for somebody."""
    severity = dice.choice(SEVERITIES)
    about = {**told.pop("about", {}), **({"severity": severity} if severity else {})}
    return m.Question(
        kind=dice.choice(KINDS),
        topic=dice.choice(TOPICS),
        whom=dice.choice(["person", "person", *ROLES, "ann"]),
        about=about,
        **told,
    )


def some_amounts(dice: Random) -> dict[str, float]:
    """A budget's amounts."""
    return {"usd": dice.randint(1, 6), **({"tokens": 9} if dice.random() < 0.3 else {})}


def spent(dice: Random, outcome: m.Outcome) -> m.Outcome:
    """The outcome, with what the attempt used."""
    usage = {"usd": dice.choice([0.5, 1, 3]), "tokens": dice.randint(0, 4)}
    return replace(outcome, usage=usage)


def crowd(dice: Random) -> Plan:
    """A plan of many steps that use the same thing, each of which is tried again."""
    again = Retry(times=9, backoff_ms=100, on=frozenset({Failure.AGENT, Failure.INFRA}))
    uses = {"box": 1, **({"agents": 1} if dice.random() < 0.5 else {})}
    steps = [step(f"s{n}", uses=uses, ladder=(again,)) for n in range(dice.randint(3, 7))]
    return plan(*steps, **LIMITS)


def _some_graph(dice: Random) -> Plan:
    if dice.random() < 0.45:
        return _fleet_plan(dice)
    size = dice.randint(1, 9)
    steps: list[Step] = []
    for number in range(size):
        steps.append(_some_step(dice, f"s{number}", [one.id for one in steps]))
    return plan(*steps, **LIMITS)


def _fleet_plan(dice: Random) -> Plan:
    parts: list[list[Step]] = []
    before: list[str] = []
    for number in range(dice.randint(1, 2)):
        name = f"P{number}"
        tasks: list[str] = []
        for letter in "AB"[: dice.randint(1, 2)]:
            one = f"{name}{letter}"
            after = [*before, *(tasks if dice.random() < 0.4 else [])]
            attempts, wait = dice.randint(1, 6), dice.choice([0, 1000])
            released = dice.random() < 0.5
            steps = task(one, *after, released=released, attempts=attempts, backoff_ms=wait)
            steps[-1] = replace(steps[-1], params={"task": {"agent": "ann"}})
            parts.append(steps)
            tasks.append(one)
        parts.append(phase(name, tasks, auto=dice.random() < 0.5))
        before = [f"{name}/merge"]
    parts.append([step("report", kind="set", needs=(Need(step=before[0], on="settled"),))])
    return fleet(*parts, agents=LIMITS["agents"], checks=LIMITS["checks"])


def _some_step(dice: Random, name: str, earlier: list[str]) -> Step:
    picked = dice.sample(earlier, min(len(earlier), dice.choice([0, 1, 1, 2, 3])))
    conditions = ["succeeded"] * 6 + ["failed", "settled", "settled", *LABELS]
    needs = tuple(Need(step=one, on=dice.choice(conditions)) for one in picked)
    if picked and dice.random() < 0.25:
        return join(name, needs=needs)
    kind = dice.choice(["work", "work", "ask", "map", "set"])
    free = kind == "set" or dice.random() < 0.4
    uses = {} if free else {dice.choice(["agents", "box", "box"]): dice.choice([1, 1, 2])}
    if "box" in uses and dice.random() < 0.4:
        uses["box/min"] = 1
    return step(
        name,
        kind=kind,
        needs=needs,
        uses=uses,
        span_ms=dice.randint(0, 5),
        released=dice.random() < 0.85,
        ladder=_some_ladder(dice, name),
    )


def _some_ladder(dice: Random, name: str) -> tuple[object, ...]:
    both = frozenset({Failure.TASK, Failure.AGENT, Failure.INFRA})
    fallback = Step(id=f"{name}.b", kind="set", needs=(Need(step=name, on="failed"),))
    rungs = [
        Retry(times=dice.randint(1, 3), backoff_ms=dice.choice([0, 0, 500]), cap_ms=900),
        Retry(times=3, backoff_ms=100, on=frozenset({Failure.AGENT, Failure.INFRA})),
        Swap(
            params={"model": "other"},
            uses=dice.choice([None, {}, {"box": 2}]),
            on=dice.choice([both, frozenset({Failure.TASK})]),
        ),
        Revise(patch=Patch(put=(fallback,), reason="fall back")),
        Ask(message="how on?", whom=dice.choice(["person", *ROLES]), topic=dice.choice(TOPICS)),
    ]
    return tuple(rung for rung in rungs if dice.random() < 0.45)


# --- outcomes -------------------------------------------------------------------------------------


def fair_outcome(dice: Random, state: State, one: StepState, mark: str) -> m.Outcome:
    """How an attempt ends where nobody is hostile: failures are few, rework is bounded."""
    special = _by_kind(dice, state, one, mark)
    if special is not None:
        return special
    if dice.random() < 0.1:
        return m.Outcome(ending=m.Ending.FAILED, failure=Failure.TASK, text="red")
    label = dice.choice(LABELS) if dice.random() < 0.5 else ""
    return m.Outcome(ending=m.Ending.SUCCEEDED, output={"by": mark}, label=label)


def hostile_outcome(dice: Random, state: State, one: StepState, mark: str) -> m.Outcome:
    """How an attempt ends anywhere: all endings, all classes of failure, odd ones too."""
    chance = dice.random()
    later = state.at_ms + dice.randint(-50, 2000)
    if chance < 0.45:
        return fair_outcome(dice, state, one, mark)
    if chance < 0.75:
        failure = dice.choice([*Failure, Failure.ACCOUNT, Failure.TASK, None])
        account = next(iter(one.step.uses), "") if failure is Failure.ACCOUNT else ""
        until_ms = later if failure is Failure.ACCOUNT and dice.random() < 0.7 else None
        judged = failure is Failure.TASK and dice.random() < 0.3
        patch = some_patch(dice, state) if judged else None
        return m.Outcome(
            ending=m.Ending.FAILED, failure=failure, text=mark, account=account,
            until_ms=until_ms, patch=patch,
        )  # fmt: skip
    if chance < 0.85:
        then = dice.choice(list(m.Then))
        expires = later if dice.random() < 0.3 else None
        question = some_question(
            dice, message="so?", choices=("yes", "no"), refusals=("no",), then=then,
            expires_at_ms=expires, default=dice.choice([None, "yes"]),
        )  # fmt: skip
        asked = question if dice.random() < 0.9 else None
        return m.Outcome(ending=m.Ending.ASKED, question=asked)
    if chance < 0.95:
        return m.Outcome(
            ending=m.Ending.DEFERRED, until_ms=later if dice.random() < 0.7 else None,
            hold=dice.random() < 0.3,
            patch=some_patch(dice, state) if dice.random() < 0.3 else None,
        )  # fmt: skip
    return m.Outcome(ending=m.Ending.STOPPED, text="killed by somebody")


def _by_kind(dice: Random, state: State, one: StepState, mark: str) -> m.Outcome | None:
    kind, name = one.step.kind, one.step.id
    if kind == "check" and dice.random() < 0.35:
        return _red(dice, state, one)
    if kind == "gate":
        values = [answer.value for answer in answers_to(state, name)]
        if "approve" not in values:
            question = m.Question(
                message="open?", kind="approve", choices=("approve", "reject"),
                refusals=("reject",), then=m.Then.AGAIN,
            )  # fmt: skip
            return m.Outcome(ending=m.Ending.ASKED, question=question)
        if one.step.params.get("tasks") and dice.random() < 0.2:
            return _moved(state, one)
    if kind == "merge" and dice.random() < 0.3:
        return _conflict(state, one)
    if kind == "map" and dice.random() < 0.4 and f"{name}/0" not in state.steps:
        put = [step(f"{name}/{n}", name, kind="set") for n in range(dice.randint(1, 3))]
        done = join(f"{name}/all", *[child.id for child in put])
        return m.Outcome(
            ending=m.Ending.SUCCEEDED, output={"by": mark}, patch=Patch(put=(*put, done))
        )
    return None


def _red(dice: Random, state: State, one: StepState) -> m.Outcome:
    number = int(one.step.params["round"]) + 1
    works = [key for key in inputs_of(state, one.step.id) if "/work" in key]
    items = [{"text": text, "met": dice.random() < 0.3, "why": "no"} for text in "ab"]
    items.append({"text": "c", "met": False, "why": dice.choice(["none", "wrong"])})
    found = {"commit": dice.choice(["c1", "c2"]), "deliverables": items}
    loop = loop_at(course_of(state), one.step, found, state.loops.after)
    patch = None
    if works and loop is None and number <= int(one.step.params["attempts"]):
        patch = rework(one.step, state.steps[works[0]].step, number)
    return m.Outcome(
        ending=m.Ending.FAILED,
        failure=Failure.TASK,
        text="deliverables missing",
        patch=patch,
        evidence={**found, **({"loop": loop.plain()} if loop else {})},
    )


def _moved(state: State, one: StepState) -> m.Outcome | None:
    name = str(one.step.params["tasks"][0])
    if f"{name}/check" not in state.steps:
        return None  # a patch has dropped it
    number = 10 + sum(key.startswith(f"{name}/check.1") for key in state.steps)
    if number > 12:
        return None
    patch = check_again(one.step, name, number, state.steps[f"{name}/check"].step)
    return m.Outcome(ending=m.Ending.DEFERRED, patch=patch)


def _conflict(state: State, one: StepState) -> m.Outcome | None:
    gates = [need.step for need in one.step.needs if "/gate" in need.step]
    number = 2 + sum(key.startswith(f"{one.step.whole}/gate.") for key in state.steps)
    if number > 4 or len(gates) != 1:
        return None
    patch = gate_again(one.step, state.steps[gates[0]].step, number)
    return m.Outcome(ending=m.Ending.DEFERRED, hold=True, patch=patch)


# --- wishes ---------------------------------------------------------------------------------------


def some_patch(dice: Random, state: State) -> Patch:
    """A change of the plan that may or may not be possible."""
    names = list(state.steps)
    tried = [n for n, one in state.steps.items() if one.attempt and n not in state.running]
    put: list[Step] = []
    for _ in range(dice.choice([0, 1, 1, 2])):
        old = dice.random() < 0.35
        name = dice.choice(tried or names) if old and names else f"n{dice.randint(0, 30)}"
        put.append(_some_step(dice, name, dice.sample(names, min(3, len(names)))))
        if dice.random() < 0.1:
            put.append(put[-1])
    changed: dict[str, NeedsChange] = {}
    for name in dice.sample(names, min(len(names), dice.choice([0, 0, 1, 2]))):
        own = [need.step for need in state.steps[name].step.needs]
        add = tuple(
            Need(
                step=dice.choice([*names, *[one.id for one in put]]),
                on=dice.choice(["succeeded", "settled"]),
            )
            for _ in range(dice.choice([0, 1, 1]))
        )  # fmt: skip
        remove = tuple(one for one in own if dice.random() < 0.5)
        changed[name] = NeedsChange(add=add, remove=remove)
    drop = tuple(dice.choice(tried or names) for _ in range(dice.choice([0, 0, 0, 1, 2])) if names)
    running = list(state.running)
    stop = (dice.choice(running),) if running and dice.random() < 0.2 else ()
    limits = {"agents": dice.randint(0, 3)} if dice.random() < 0.05 else {}
    budgets = {}
    if dice.random() < 0.4:
        budgets = {dice.choice(BUDGETED): some_amounts(dice) if dice.random() < 0.8 else {}}
    routes = some_routes(dice) if dice.random() < 0.1 else None
    loops = some_loops(dice) if dice.random() < 0.1 else None
    return Patch(
        put=tuple(put), needs=changed, drop=drop, stop=stop, limits=limits, budgets=budgets,
        routes=routes, loops=loops,
    )  # fmt: skip


def small_patch(dice: Random, state: State) -> Patch:
    """A change of one thing: a step that stays is stopped or put again with other params, one that
    was tried is dropped, a budget is another.
    """
    over = [n for n, one in state.steps.items() if one.attempt and n not in state.running]
    if over and dice.random() < 0.2:
        return Patch(drop=(dice.choice(over),))
    if dice.random() < 0.2:
        return Patch(budgets={dice.choice(BUDGETED): some_amounts(dice)})
    if dice.random() < 0.15:  # two that were worked out against one plan: the second is late
        basis = dice.choice([basis_of(state.about), f"b{state.revision - 1}"])
        return Patch(about={"basis": f"b{state.revision}"}, basis=basis)
    asking = [one.step for one in state.questions.values() if one.question.then is m.Then.LADDER]
    if asking and dice.random() < 0.3:
        name = dice.choice(asking)
        again = replace(
            state.steps[name].step,
            id=f"{name}x{state.revision}",
            needs=(Need(step=name, on=FAILED),),
        )
        return Patch(put=(again,), stop=(name,), reason="begins again")
    open_ones = [one for one in state.steps.values() if not one.settled]
    if not open_ones:
        return Patch()
    tried = [one for one in open_ones if one.attempt] or open_ones
    step = dice.choice(tried).step
    stop = (step.id,) if step.id in state.running else ()
    put = () if stop and dice.random() < 0.5 else (replace(step, params={**step.params, "new": 1}),)
    return Patch(put=put, stop=stop)


def asking(dice: Random, state: State) -> m.Command:
    """A question of a step that runs, or other ways for all questions to go."""
    if dice.random() < 0.2:
        return m.RevisePlan(patch=Patch(routes=some_routes(dice)))
    tasks = [name for name in state.steps if is_task(state, name)]
    about = {WAITS_FOR: dice.choice(tasks)} if tasks and dice.random() < 0.4 else {}
    choices = ("yes", "no") if dice.random() < 0.5 else ()
    question = some_question(dice, message=dice.choice(TEXTS), choices=choices, about=about)
    return m.RaiseQuestion(question=question, step=dice.choice([*state.running, ""]))


def forged(dice: Random, state: State, question: m.Question) -> m.RaiseQuestion:
    """A question that is said to be a loop, of whatever was asked and of what was not."""
    known = [*state.questions, *state.answers, "r.q9"]
    like = tuple(dice.choice(known) for _ in range(dice.randint(0, 3)))
    about = {"rounds": [dice.choice(known)], "loop": dice.choice(known)}
    loop = replace(question, about=about) if dice.random() < 0.5 else None
    if dice.random() < 0.3:
        question = replace(question, kind="loop", about={**question.about, **about})
    step = dice.choice([*state.running, ""])
    return m.RaiseQuestion(question=question, step=step, like=like, loop=loop)


def words_of(dice: Random, state: State, one: StepState) -> list[m.Command]:
    """What a step that answers says before it ends: nothing, an answer that fits or not, once or
    twice, late for a question that has closed, or that somebody else is to be asked.
    """
    name = str(one.step.params["question"])
    chance = dice.random()
    if chance < 0.15:
        return []
    if chance < 0.3:
        return [m.EscalateQuestion(id=name, reason="no idea")]
    told = some_answer(dice, state, name)
    return [told] * dice.choice([1, 1, 2])


def account_closed(dice: Random, state: State, one: StepState) -> m.Outcome:
    """An account's limit is reached; it opens after a while."""
    account = next(iter(one.step.uses), "")
    until_ms = state.at_ms + dice.randint(500, 5000)
    return m.Outcome(
        ending=m.Ending.FAILED, failure=Failure.ACCOUNT, account=account, until_ms=until_ms
    )


def crashed(dice: Random, one: StepState) -> m.Outcome:
    """A program that crashes at once; what it blames may be nothing that the step uses."""
    blames = tuple(sorted(one.step.uses)) or ("nobody",)
    if dice.random() < 0.3:
        blames = tuple(dice.sample([*blames, "nobody"], dice.randint(0, len(blames))))
    return m.Outcome(ending=m.Ending.FAILED, failure=Failure.AGENT, blames=blames)


def used_so_far(dice: Random, step: str, attempt: int) -> m.ReportProgress:
    """What a running attempt is said to have used; figures may fall, or come too late."""
    usage = {"usd": dice.choice([0, 0.5, 1, 2]), "tokens": dice.randint(0, 4)}
    share = {"context_share": dice.random()} if dice.random() < 0.3 else {}
    return m.ReportProgress(step=step, attempt=attempt, usage={**usage, **share})


def hostile_wish(dice: Random, state: State) -> m.Command:
    """Any command, at any moment."""
    names = [*state.steps, "nobody"] if dice.random() < 0.05 else list(state.steps) or ["nobody"]
    name = dice.choice(list(state.running) or names) if dice.random() < 0.4 else dice.choice(names)
    some = (name, *dice.sample(names, dice.randint(0, 1)))
    attempt = state.steps[name].attempt if name in state.steps else 1
    asked = list(state.questions) or ["r.q9"]
    asked += [str(one.question.about["request"]) for one in state.questions.values()
              if "request" in one.question.about]  # fmt: skip
    note = some_question(
        dice,
        message="?",
        expires_at_ms=dice.choice([None, state.at_ms + 300, 5]),
        then=dice.choice([m.Then.NOTE, m.Then.REPLY]),
        about={"request": f"req{state.asked}"},
    )
    wishes: list[tuple[float, m.Command]] = [
        (2, m.PauseRun()),
        (2, m.ResumeRun()),
        (2, m.HoldStep(step=name, stop=dice.random() < 0.5)),
        (3, m.ReleaseStep(steps=some)),
        (1, m.SkipStep(steps=some)),
        (9 if state.quarantined else 1, m.RetryStep(step=name)),
        (3, m.RevisePlan(patch=some_patch(dice, state))),
        (0.25, m.CancelRun()),
        (1, m.RaiseQuestion(question=note, step=dice.choice([name, ""]))),
        (1, forged(dice, state, note)),
        (3, some_answer(dice, state, dice.choice(asked))),
        (2, m.EscalateQuestion(id=dice.choice(asked), reason="hurry")),
        (1, m.CheckIn(step=name, done="a", next="b", blockers=("c", dice.choice(names)))),
        (2, m.SendNote(step=name, text="hurry")),
        (1, m.ReportProgress(step=name, attempt=attempt, facts={"head": dice.random()})),
        (1, m.ReportOutcome(
            step=name, attempt=attempt + dice.choice([-1, 1, 2]),
            outcome=m.Outcome(ending=m.Ending.SUCCEEDED, output="forged"),
        )),
        (0.5, m.Tick()),
    ]  # fmt: skip
    return dice.choices([wish for _, wish in wishes], [weight for weight, _ in wishes])[0]


def some_answer(dice: Random, state: State, name: str) -> m.AnswerQuestion:
    """An answer, mostly one of the choices, now and then with a change of the plan."""
    asked = state.questions.get(name)
    choices = asked.question.choices if asked else ()
    value = dice.choice([*choices, *choices, *choices, "perhaps"])
    patch = some_patch(dice, state) if dice.random() < 0.1 else None
    return m.AnswerQuestion(id=name, value=value, patch=patch, by="ann")


def fair_wishes(dice: Random, state: State) -> list[m.Command]:
    """What is needed of people for a run to end: resume, release, answer."""
    wishes: list[m.Command] = []
    if state.ended or state.cancelling:
        return wishes
    if state.paused:
        wishes.append(m.ResumeRun())
    for name, one in state.steps.items():
        if not one.may_start and not one.settled and one.step.kind != JOIN:
            wishes.append(m.ReleaseStep(steps=(name,)))
    for name, asked in state.questions.items():
        if asked.steps:
            continue  # a role is at it, and whether anything comes of that is the kernel's affair
        choices = asked.question.choices or ("fine",)
        good = ("approve", "raise", *(["retry"] if asked.question.kind == "quarantine" else []))
        told = [one for one in good if one in choices]
        value = told[0] if told else dice.choice(choices)
        wishes.append(m.AnswerQuestion(id=name, value=value))
    for name in sorted(state.shut):
        budget = state.budgets[name]
        if budget.asked and budget.asked not in state.questions:  # somebody had said stop
            more = {kind: amount + 50 for kind, amount in budget.amounts.items()}
            wishes.append(m.RevisePlan(patch=Patch(budgets={name: more})))
    for name, asked in sorted(state.quarantined.items()):
        rests = (Standing.READY, Standing.BACKOFF)
        held = [n for n, one in state.steps.items() if name in one.step.uses
                and one.standing in rests]  # fmt: skip
        if held and asked and asked not in state.questions:  # somebody had said stop
            wishes.append(m.RetryStep(step=dice.choice(held)))
    return wishes
