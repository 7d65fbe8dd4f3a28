"""A fleet's documents written, loaded and lowered, and a run of that plan told by hand.

    told = LoweredRun(fleet(tmp_path, a="days: 3", b="dependencies: [a]"))
    told.through("a")       # worktree, work and check of a, green

Outcomes are told as the kinds would tell them; nothing is started.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fleet.core import messages as m
from fleet.core.decide import decide
from fleet.core.evolve import evolve
from fleet.core.plan import Failure, Patch, Plan
from fleet.core.state import State, wants
from fleet.files.changes.rework import next_round
from fleet.files.fleet import Fleet
from fleet.files.load import load
from fleet.files.lower import lower
from fleet.views.status import Clock

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def fleet(root: Path, /, settings: str = "", agents: str = "a", **tasks: str) -> Fleet:
    """Writes documents (tasks as front matter, by agent `a` where none is named); loads them."""
    texts = {"coordination.md": f"---\nbase: main\n{settings}\n---\nBe kind.\n"}
    for name in agents.split():
        texts[f"agents/{name}.md"] = "---\nharness: shell\nargs: 'true'\n---\n"
    for name, front in tasks.items():
        agent = "" if front.startswith("agent:") else "agent: a\n"
        texts[f"tasks/{name}.md"] = f"---\n{agent}{front}\n---\nDo {name}.\n"
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load(root, use_cache=False)


def plan(root: Path, /, **told: str) -> Plan:
    """Returns the lowered plan of documents."""
    return lower(fleet(root, **told))[0]


def sha(text: str) -> str:
    """Returns a commit's id that a person can recognise."""
    return (text.encode().hex() + "0" * 40)[:40]


class LoweredRun:
    """A run of the fleet's plan in memory; `now` is its clock in milliseconds."""

    def __init__(self, plan: Plan, *, now: int = DAY_MS, release: bool = True) -> None:
        self.now = now
        state: State | None = None
        for event in decide(None, m.StartRun(run="plan", plan=plan, at_ms=now)):
            state = evolve(state, event)
        assert state is not None
        self.state = state
        if release:
            self.release(*[n for n, one in state.steps.items() if n.endswith("/worktree")])

    def tell(self, command: m.Command) -> LoweredRun:
        for event in decide(self.state, replace(command, at_ms=self.now)):
            self.state = evolve(self.state, event)
        return self

    def release(self, *steps: str) -> LoweredRun:
        return self.tell(m.ReleaseStep(steps=steps))

    def revise(self, patch: Patch) -> LoweredRun:
        return self.tell(m.RevisePlan(patch=patch))

    def grant(self, *steps: str) -> LoweredRun:
        """Lets steps start (all that want to, without names)."""
        wanted = [name for found in wants(self.state, self.now).values() for _, name in found]
        return self.tell(m.Tick(grants=steps or tuple(wanted)))

    def start(self, step: str) -> LoweredRun:
        if step not in self.state.running:
            self.grant(step)
        assert step in self.state.running, f"{step} is {self.state.steps[step].standing}"
        return self

    def end(self, step: str, outcome: m.Outcome) -> LoweredRun:
        self.start(step)
        attempt = self.state.running[step]
        return self.tell(m.ReportOutcome(step=step, attempt=attempt, outcome=outcome))

    def ok(self, step: str, output: object = None, **rest: Any) -> LoweredRun:
        return self.end(step, m.Outcome(ending=m.Ending.SUCCEEDED, output=output, **rest))

    def fail(self, step: str, failure: Failure = Failure.TASK, **rest: Any) -> LoweredRun:
        return self.end(step, m.Outcome(ending=m.Ending.FAILED, failure=failure, **rest))

    def report(self, step: str, **facts: object) -> LoweredRun:
        attempt = self.state.steps[step].attempt
        return self.tell(m.ReportProgress(step=step, attempt=attempt, facts=facts))

    def standing(self, step: str) -> str:
        return str(self.state.steps[step].standing)

    # --- as the kinds tell ------------------------------------------------------------------------

    def begin(self, task: str) -> LoweredRun:
        """The worktree is made and the agent lives."""
        place = {"path": f"/w/{task}", "branch": f"fleet/{task}", "start": sha("s"), "admin": "/x"}
        self.ok(f"{task}/worktree", place)
        self.start(f"{task}/work")
        return self.report(f"{task}/work", session=f"{task}-1", pid=7)

    def green(self, check: str, commit: str = "") -> LoweredRun:
        task = check.partition("/")[0]
        commit = commit or sha(task)
        return self.ok(check, {"commit": commit, **self._findings(check, commit, met=True)})

    def red(self, check: str, spent: int, *, rework: bool = True, **rest: Any) -> LoweredRun:
        """The check finds everything wanting; with `rework` its outcome carries the next round."""
        one = self.state.steps[check].step
        whole = check.partition("/")[0]
        steps = {n: s.step for n, s in self.state.steps.items() if s.step.whole == whole}
        patch = next_round(one, steps, reason="red", spent=spent) if rework else None
        evidence = {"commit": sha(whole), **self._findings(check, sha(whole), met=False)}
        text = f"{whole} is not there yet"
        return self.fail(check, text=text, evidence=evidence, patch=patch, **rest)

    def _findings(self, check: str, commit: str, *, met: bool) -> dict[str, Any]:
        params: Any = self.state.steps[check].step.params
        seen = {"met": met, "commit": commit if met else None, "why": "" if met else "missing"}
        why = "" if met else "it exited with 1"
        ran = {"passed": met, "at_commit": commit, "why": why, "tail": ""}
        return {
            "deliverables": [{"text": one["text"], **seen} for one in params["deliverables"]],
            "checks": [{"text": one["text"], **ran} for one in params["checks"]],
            "metrics": [],
        }  # fmt: skip

    def verify(self, task: str) -> LoweredRun:
        """From the running work to the green check."""
        usage = {
            "usd": 0.5, "input_tokens": 10, "output_tokens": 5, "cached_tokens": 100, "tokens": 15,
        }  # fmt: skip
        self.ok(f"{task}/work", {"head": sha(task)}, usage=usage)
        return self.green(f"{task}/check")

    def through(self, task: str) -> LoweredRun:
        return self.begin(task).verify(task)

    def open_gate(self, phase: str, *tasks: str, gate: str = "gate") -> LoweredRun:
        commits = {task: sha(task) for task in tasks}
        return self.ok(f"{phase}/{gate}", {"commits": commits, "base": sha("base")})

    def land(self, phase: str, *tasks: str) -> LoweredRun:
        self.release(f"{phase}/merge")
        landed = {
            "commit": sha("merged"),
            "before": sha("base"),
            "tasks": {t: sha(t) for t in tasks},
        }
        return self.ok(f"{phase}/merge", landed)

    def clock(self) -> Clock:
        """A clock that counts days from the run's start, every day a working day."""
        first = self.state.started_ms

        def day_of(at_ms: int) -> float:
            return (at_ms - first) / DAY_MS

        return Clock(
            now=f"t{self.now}",
            now_ms=self.now,
            now_day=day_of(self.now),
            day_of=day_of,
            date_of=lambda day: f"day {day}",
            time_of=lambda at_ms: f"t{at_ms}",
        )
