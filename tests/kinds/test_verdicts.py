"""Verifiers and checkpoints in random small fleets: whatever is found, moved, answered or skipped,
nothing begins on a commit that its verifier has not passed or that was not signed for, no gate
opens on one, and every run comes to an end.

The documents are lowered and decided upon as ever, and verdicts, gates and rework are the kinds'
own; only worktrees, agents and branches are made up. VERDICT_SEEDS=2000 makes it a long run.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from fleet.core import messages as m
from fleet.core.plan import Failure
from fleet.core.state import Standing, answers_to, wants
from fleet.files.changes.rejudging import asked_rework
from fleet.files.changes.rework import course_of, next_round
from fleet.files.lower import lower
from fleet.files.verifiers import order_of
from fleet.kinds import Work, gate
from fleet.kinds.check import _spent
from fleet.kinds.check.verdict import conclude, outcome_of
from fleet.kinds.worktree import _left, _sent_back
from fleet.views.inputs import inputs_of
from support.lowered_run import LoweredRun, fleet

SEEDS = int(os.environ.get("VERDICT_SEEDS", "60"))
TURNS = 900
ANSWERS = 4  # of people; after so many they have enough


@dataclass
class Repository:
    """Branches with made-up commits."""

    at: dict[str, str] = field(default_factory=dict)
    made: int = 0

    def commit(self, branch: str) -> str:
        self.made += 1
        self.at[branch] = f"{self.made:040x}"
        return self.at[branch]

    def heads(self, branches: Any) -> dict[str, str]:
        return {name: self.at[name] for name in branches if name in self.at}

    def resolve(self, name: str) -> str:
        return "b" * 40

    def is_ancestor(self, one: str, other: str) -> bool:
        return True


class Played:
    """One run of one random fleet."""

    def __init__(self, root: Path, seed: int) -> None:
        self.dice, self.repo = Random(seed), Repository()
        names = [f"t{n}" for n in range(self.dice.randint(2, 5))]
        first = self.dice.choice([0, 0, 1, 2])  # so many land in a phase before the others begin
        told: dict[str, str] = {}
        for number, name in enumerate(names):
            deps = [one for one in names[:number] if self.dice.random() < 0.4]
            told[name] = f"attempts: {self.dice.randint(1, 4)}\ndeps: [{', '.join(deps)}]"
            told[name] += f"\nphase: {'p' if number < first else 'q'}"
        for number in range(self.dice.randint(1, 3)):
            judged = self.dice.sample(names, self.dice.randint(1, min(3, len(names))))
            deps = [one for one in names if one not in judged and self.dice.random() < 0.2]
            front = f"verifies: [{', '.join(judged)}]\ndeps: [{', '.join(deps)}]"
            front += f"\nattempts: {self.dice.randint(1, 4)}"
            early = first and all(one in names[:first] for one in (*judged, *deps))
            front += f"\nphase: {'p' if early and self.dice.random() < 0.5 else 'q'}"
            commands = self.dice.random() < 0.3
            path = root / f"tasks/v{number}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            if commands:
                path.write_text(f"---\n{front}\nchecks: [make]\n---\n")
            else:
                told[f"v{number}"] = front
        phases = "phases: [{id: p, merge: auto}, {id: q}]"
        found = fleet(root, settings=f"{phases}\n{self.checkpoints(names)}", **told)
        self.tasks, self.order = found.tasks, order_of(found)
        self.run = LoweredRun(lower(found)[0])
        self.answered = 0
        self.opened = False
        self.mended = self.signatures = self.again = self.noted = 0
        self.found: dict[str, m.Outcome] = {}

    def checkpoints(self, names: list[str]) -> str:
        """Returns a checkpoint or two between the first and the last tasks, or none."""
        told = []
        for number in range(self.dice.choice([0, 1, 1, 2])):
            cut = self.dice.randint(1, len(names) - 1)
            needs = self.dice.sample(names[:cut], self.dice.randint(1, cut))
            before = self.dice.sample(names[cut:], self.dice.randint(0, len(names) - cut))
            needs += ["c0"] if number and not before and "before: []" in told[0] else []
            told.append(
                f"{{id: c{number}, needs: [{', '.join(needs)}], before: [{', '.join(before)}],"
                f" checks: [make], approve: {self.dice.choice(['true', 'false', '[eve, bob]'])}}}"
            )
        return f"checkpoints: [{', '.join(told)}]" if told else ""

    # --- the world ------------------------------------------------------------------------------

    def play(self) -> None:
        for _ in range(TURNS):
            if not self.turn():
                break
        else:
            raise AssertionError("it does not end")
        left = {
            name: str(one.standing)
            for name, one in self.run.state.steps.items()
            if one.standing in (Standing.WAITING, Standing.RUNNING, Standing.ASKING)
        }
        assert self.opened or not left or self.run.state.ended == "failed", f"stuck: {left}"
        if self.opened:
            assert all(name.endswith("/merge") for name in left), f"stuck: {left}"

    def turn(self) -> bool:
        state = self.run.state
        wanted = [name for found in wants(state, self.run.now).values() for _, name in found]
        wanted = [name for name in wanted if self.fits(name)]
        if wanted and self.dice.random() < 0.6:
            name = self.dice.choice(wanted)
            self.begins(name)
            self.run.grant(name)
        elif state.running:
            self.ends(self.dice.choice(sorted(state.running)))
        elif wanted:
            self.run.grant(self.dice.choice(wanted))
        elif state.alarms:
            self.run.now = max(self.run.now + 1, min(state.alarms.values()))
            self.run.grant()
        elif state.questions:
            self.answer(self.dice.choice(sorted(state.questions)))
        else:
            return False
        if self.dice.random() < 0.02 and self.repo.at:
            self.repo.commit(self.dice.choice(sorted(self.repo.at)))  # somebody's hand
        return True

    def fits(self, name: str) -> bool:
        """The ledger's part: limits of one unit."""
        uses = self.run.state.steps[name].step.uses
        taken = {u for one in self.run.state.running for u in self.run.state.steps[one].step.uses}
        return not any(u in taken for u in uses if u.startswith("verdicts:"))

    def work(self, name: str) -> Work:
        state = self.run.state
        one = state.steps[name]

        async def in_thread(call: Any, *args: Any) -> Any:
            return call(*args)

        world = SimpleNamespace(repository=self.repo, in_thread=in_thread)
        return Work(
            run="plan", step=one.step, attempt=one.attempt, inputs=inputs_of(state, name),
            answers=answers_to(state, name), facts={}, siblings={}, now_ms=0, world=world,
            report=lambda _: None, look=state.known,
            plan_step=lambda other: state.steps[other].step if other in state.steps else None,
            behind=lambda other: [step for step, _ in state.dependents.get(other, ())],
        )  # fmt: skip

    # --- what must hold -------------------------------------------------------------------------

    def begins(self, name: str) -> None:
        """Nothing begins on a commit that its verifiers have not passed."""
        if not name.endswith("/worktree"):
            return
        task = name.partition("/")[0]
        if task not in self.tasks:
            return  # it mends one that has landed
        work, own = self.work(name), self.tasks[task]
        for needed, left in _left(work).items():
            commit = left["commit"]
            for one in self.order.verifiers.get(mended(needed), ()):
                if self.tasks[one].checkpoint is not None:
                    if one in own.behind and self.tasks[one].phase == own.phase:
                        self.signed(one, needed, commit, f"{name} begins")
                    continue
                # who judged it before it landed had their word at that gate
                waits = self.waits(one, task) or self.tasks[one].phase != own.phase
                if mended(needed) in own.dependencies and not waits:
                    self.passed(one, needed, commit, f"{name} begins")

    def signed(self, checkpoint: str, task: str, commit: str, what: str) -> None:
        steps = self.run.state.steps
        named = [n for n in steps if n.startswith((f"{checkpoint}/check", f"{checkpoint}/gate"))]
        if any(steps[name].standing is Standing.SKIPPED for name in named):
            return  # a person does without it
        gates = [steps[name] for name in named if "/gate" in name]
        assert gates[-1].standing is Standing.SUCCEEDED, f"{what}, {checkpoint} is closed"
        seen = gates[-1].output["commits"].get(task)
        assert seen == commit, f"{what} at {commit}, {checkpoint} was signed for {task} at {seen}"
        self.signatures += bool(gates[-1].output["approved"])
        self.again += len(gates) > 1

    def waits(self, verifier: str, task: str) -> bool:
        """Whether a verifier itself waits for a task, which cannot wait for it then."""
        todo, seen = [verifier], {verifier}
        while todo:
            new = set(self.order.needs[todo.pop()]) - seen
            seen |= new
            todo += new
        return task in seen

    def passed(self, verifier: str, task: str, commit: str, what: str) -> None:
        checks = [
            one
            for step, one in self.run.state.steps.items()
            if step == verifier or step.startswith(f"{verifier}/check")
        ]
        if any(one.standing is Standing.SKIPPED for one in checks):
            return  # a person does without its word
        rounds = [
            one.output["verdict"]
            for one in checks
            if one.output and one.standing is Standing.SUCCEEDED
        ]
        seen = rounds[-1]["commits"].get(task) if rounds else "nothing"
        assert seen == commit, f"{what} at {commit}, {verifier} passed {task} at {seen}"

    # --- how steps end --------------------------------------------------------------------------

    def ends(self, name: str) -> None:
        """Ends an attempt, or only finds out how it will: others may be heard before it is."""
        known = self.found.pop(name, None)
        if known is None:
            work = self.work(name)
            known = getattr(self, f"_{work.step.kind}")(work)
            if self.dice.random() < 0.4:
                self.found[name] = known
                return
        self.run.end(name, known)
        text = self.run.state.steps[name].text
        assert "was refused" not in text, text

    def _worktree(self, work: Work) -> m.Outcome:
        task = work.params["task"]
        if self.dice.random() < 0.1 and len(_left(work)) > 1:
            patch = _sent_back(work, self.dice.choice(sorted(_left(work))), "they clash")
            return m.Outcome(ending=m.Ending.FAILED, failure=Failure.TASK, text="clash",
                             patch=patch)  # fmt: skip
        self.repo.at.setdefault(work.params["branch"], "a" * 40)
        place = {"path": f"/w/{task}", "branch": work.params["branch"], "start": "a" * 40,
                 "admin": "/x", "after": _left(work)}  # fmt: skip
        return m.Outcome(ending=m.Ending.SUCCEEDED, output=place)

    def _agent(self, work: Work) -> m.Outcome:
        if self.dice.random() < 0.1 or work.worktree is None:  # as below
            return m.Outcome(ending=m.Ending.FAILED, failure=Failure.TASK, text="it broke")
        self.noted += work.params.get("note") in self.tasks
        output: dict[str, Any] = {"worktree": work.worktree, "attempt": work.attempt}
        assert work.worktree["path"] == f"/w/{work.params['task']}", "everybody works at home"
        self.repo.commit(work.worktree["branch"])
        judged = [one["id"] for one in work.params.get("verifies", ())]
        if judged:
            bad = self.dice.random() < 0.4
            about = [one for one in judged if self.dice.random() < 0.6]
            found = [
                {"severity": "high", "text": "t", "evidence": "e", "task": one} for one in about
            ]
            found = found or [{"severity": "high", "text": "t", "evidence": "e"}]
            output["value"] = {"passed": not bad, "findings": found if bad else []}
        return m.Outcome(ending=m.Ending.SUCCEEDED, output=output)

    def _check(self, work: Work) -> m.Outcome:
        task, (tries, attempts) = work.params["task"], _spent(work)
        if work.worktree is None:  # the work before it was skipped
            return m.Outcome(ending=m.Ending.FAILED, failure=Failure.TASK, text="no worktree")
        commit = self.repo.at[work.params["branch"]]
        told = {"commit": commit, "worktree": dict(work.worktree), "tries": tries,
                "attempts": attempts, "deliverables": [], "checks": [], "metrics": []}  # fmt: skip
        if work.params.get("verifies") or work.params.get("stays"):
            passed = self.dice.random() < 0.8 if work.params["checks"] else True
            checks = [{"text": "make", "passed": passed, "digest": ""}]
            verdict = conclude(work, work.worktree, checks)
            told["verdict"] = verdict.plain()
            if verdict.astray:
                return m.Outcome(ending=m.Ending.FAILED, failure=Failure.TASK, text="astray",
                                 evidence=told)  # fmt: skip
            if not verdict.passed:
                return outcome_of(work, verdict, told, tries=tries)
        elif self.dice.random() < 0.2:
            patch = None
            if tries < work.params["attempts"]:
                before = work.course.waiting_for(work.step.id)
                patch = next_round(work.step, work.rounds(task), reason="", spent=tries,
                                   before=before)  # fmt: skip
            return m.Outcome(ending=m.Ending.FAILED, failure=Failure.TASK, text="red",
                             evidence=told, patch=patch)  # fmt: skip
        return m.Outcome(ending=m.Ending.SUCCEEDED, output=told)

    def _gate(self, work: Work) -> m.Outcome:
        outcome = asyncio.run(gate.run(work))
        if outcome.ending is m.Ending.SUCCEEDED and not work.params.get("checkpoint"):
            self.opened = work.params["phase"] == "q"
            for one, task in self.tasks.items():
                for judged in task.verifies if outcome.output["commits"].get(one) else ():
                    for name, commit in outcome.output["commits"].items():
                        if name == judged and task.checkpoint is not None:
                            self.signed(one, name, commit, "the gate opens")
                        elif mended(name) == judged:
                            self.mended += name != judged
                            self.passed(one, name, commit, "the gate opens")
        return outcome

    def _merge(self, work: Work) -> m.Outcome:
        return m.Outcome(ending=m.Ending.SUCCEEDED, output={"commit": "c" * 40})

    def answer(self, name: str) -> None:
        asked = self.run.state.questions[name]
        self.answered += 1
        choices = [one for one in asked.question.choices if one != "fail"]
        enough = [one for one in asked.question.choices if one in ("skip", "fail", "approve")]
        value = self.dice.choice(choices if self.answered <= ANSWERS else enough)
        course = course_of(self.run.state)
        patch = asked_rework(course, asked.step, "by hand") if value == "rework" else None
        if patch is not None:
            self.found.clear()  # what they found before is not what they would now
        by = asked.question.whom if self.answered > ANSWERS else self.dice.choice(["eve", "bob"])
        note = self.dice.choice(sorted(self.tasks)) if value == "reject" else ""
        self.run.tell(m.AnswerQuestion(id=name, value=value, note=note, by=by, patch=patch))


def mended(task: str) -> str:
    """Returns which task one mends, or itself."""
    return task.partition("-rework")[0]


@pytest.mark.parametrize("block", range(4))
def test_nothing_begins_on_a_commit_that_its_verifier_has_not_passed(tmp_path, block):
    opened = 0
    for seed in range(block, SEEDS, 4):
        played = Played(tmp_path / str(seed), seed)
        try:
            played.play()
        except AssertionError as broken:
            raise AssertionError(f"seed {seed}: {broken}") from broken
        opened += played.opened
    assert opened, "some run comes to its gate"


@pytest.mark.parametrize(
    ("seed", "case"),
    [
        (3, "signatures"),  # somebody signs,
        (3, "again"),  # and once more
        (6, "noted"),  # somebody says why it is rejected
        (4, "mended"),  # what has landed is mended by another task
    ],
)
def test_the_random_runs_hold_every_case(tmp_path, seed, case):
    played = Played(tmp_path, seed)
    played.play()
    assert getattr(played, case), "where the dice fall otherwise now, another seed holds the case"
