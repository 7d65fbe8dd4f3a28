"""Kinds at work without a coordinator: the kernel decides, real git, tmux and processes do the
rest.

`KindWorld.play` tells a run's commands one after another and starts and stops attempts through the
runtime's own `Attempts`, in this process and without a journal.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fleet.adapters.tmux import Tmux
from fleet.core import messages as m
from fleet.core.decide import decide
from fleet.core.evolve import evolve
from fleet.core.plan import JOIN, Ask, Failure, Need, Plan, Retry, Step, plan_of
from fleet.core.state import Standing, State, wants
from fleet.runtimes.attempts import Attempts
from fleet.runtimes.runs import now_ms
from fleet.runtimes.world import Sessions, make_world
from support.git_repo import GitRepo

LIMIT_S = 60.0
IDLE_STANDINGS = (Standing.RUNNING,)


class NoChildren:
    """Runs that no step here has."""

    async def run_child(self, run: str, plan: Plan, parent: tuple[str, str, int]) -> str:
        raise AssertionError(f"nobody starts {run}")

    def cancel_run(self, run: str) -> None:
        raise AssertionError(f"nobody cancels {run}")

    def thread(self, name: str, run: str) -> dict[str, Any]:
        return {}


class KindWorld:
    """A repository with a fleet in it, on a tmux server of its own."""

    def __init__(self, top: Path, socket: str, files: dict[str, str] | None = None) -> None:
        self.repo = GitRepo(top / "project", files=files)
        self.root = self.repo.root
        self.folder = self.root / ".fleet"
        (self.folder / "texts").mkdir(parents=True)
        (self.root / ".git" / "info" / "exclude").write_text("/.fleet/\n")
        self.socket = socket
        self.state: State | None = None
        self.log: list[tuple[str, str, dict[str, Any]]] = []

    def text(self, text: str) -> str:
        """Keeps a long text as lowering does; returns its digest."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        (self.folder / "texts" / digest).write_text(text)
        return digest

    def tree(self, task: str) -> Path:
        return self.root.parent / "trees" / task

    # --- plans ------------------------------------------------------------------------------------

    def task(
        self,
        name: str,
        command: str | list[str],
        *,
        deliverables: Sequence[Any] = (),
        checks: Sequence[Any] = (),
        after: Sequence[str] = (),
        attempts: int = 1,
        agent: dict[str, Any] | None = None,
        worktree: dict[str, Any] | None = None,
        work: dict[str, Any] | None = None,
        check: dict[str, Any] | None = None,
        brief: str = "Do it.",
    ) -> list[Step]:
        """Returns the steps of one task as lowering makes them, its agent a shell command."""
        wanted = [
            one if isinstance(one, dict) else {"path": one, "text": one} for one in deliverables
        ]
        judges = [{"text": str(one), "command": one, "timeout_s": 20} for one in checks]
        common = {"task": name, "branch": f"fleet/{name}", "base": "main"}
        trouble = frozenset({Failure.AGENT, Failure.INFRA})
        return [
            Step(
                id=f"{name}/worktree",
                kind="worktree",
                params={
                    **common,
                    "path": str(self.tree(name)),
                    "after": list(after),
                    **(worktree or {}),
                },
                needs=tuple(Need(step=one) for one in after),
                uses={"agents": 1},
                whole=name,
            ),
            Step(
                id=f"{name}/work",
                kind="agent",
                params={
                    "task": name,
                    "name": name,
                    "phase": "p",
                    "agent": {"id": "ada", "harness": "shell", "args": command, **(agent or {})},
                    "brief": self.text(brief),
                    "rules": self.text("Be kind."),
                    "deliverables": [one["text"] for one in wanted],
                    "checks": [one["text"] for one in judges],
                    "after": list(after),
                    "round": 1,
                    **(work or {}),
                },
                needs=(Need(step=f"{name}/worktree"),),
                uses={"agents": 1},
                ladder=(Retry(times=attempts - 1), Retry(times=1, on=trouble)),
                whole=name,
            ),
            Step(
                id=f"{name}/check",
                kind="check",
                params={
                    **common,
                    "deliverables": wanted,
                    "checks": judges,
                    "metrics": [],
                    "attempts": attempts,
                    "spent": 0,
                    "round": 1,
                    "before": [name],
                    **(check or {}),
                },
                needs=(Need(step=f"{name}/work"),),
                uses={"checks": 1},
                ladder=(Ask(message="not there", choices=("rework", "skip", "fail")),),
                whole=name,
            ),
            Step(
                id=name,
                kind=JOIN,
                params={"task": {"id": name}},
                needs=(Need(step=f"{name}/check"),),
                whole=name,
            ),
        ]

    def phase(
        self,
        tasks: Sequence[str],
        *,
        approve: Any = None,
        checks: Sequence[Any] = (),
        strategy: str = "merge",
        tag: str | None = None,
        auto: bool = True,
    ) -> list[Step]:
        """Returns the gate and the merge of phase `p`, released already."""
        judges = [{"text": str(one), "command": one, "timeout_s": 20} for one in checks]
        branches = [{"id": name, "branch": f"fleet/{name}"} for name in tasks]
        return [
            Step(
                id="p/gate",
                kind="gate",
                params={
                    "phase": "p",
                    "name": "P",
                    "base": "main",
                    "tasks": branches,
                    "approve": approve,
                },
                needs=tuple(Need(step=name) for name in tasks),
                whole="p",
            ),
            Step(
                id="p/merge",
                kind="merge",
                params={
                    "phase": "p",
                    "name": "P",
                    "base": "main",
                    "tasks": list(tasks),
                    "strategy": strategy,
                    "checks": judges,
                    "tag": tag,
                    "auto": auto,
                },
                needs=(Need(step="p/gate"),),
                uses={"branch:main": 1},
                whole="p",
            ),
        ]

    def plan(self, *steps: Step) -> Plan:
        limits = {"agents": 8, "checks": 4, "branch:main": 1}
        return plan_of("fleet", steps, limits=limits)

    # --- playing ----------------------------------------------------------------------------------

    def play(
        self,
        plan: Plan | None = None,
        *commands: m.Command,
        until: Callable[[State], bool] = lambda state: False,
        then: Callable[[Player], None] | None = None,
    ) -> State:
        """Plays a plan (or goes on with the last one) until nothing runs, or `until`; returns the
        state.
        """
        return asyncio.run(self._play(plan, commands, until, then))

    async def _play(
        self,
        plan: Plan | None,
        commands: Sequence[m.Command],
        until: Callable[[State], bool],
        then: Callable[[Player], None] | None,
    ) -> State:
        sessions = Sessions(self.root, self.folder)
        sessions.tmux = Tmux(self.socket)
        world = make_world(self.root, self.folder, sessions, self._note, NoChildren())
        player = Player(self.state, lambda post: Attempts(world, post), sessions.look)
        if plan is not None:
            player.tell(m.StartRun(run="plan", plan=plan, at_ms=now_ms()))
        for command in commands:
            player.tell(command)
        try:
            await asyncio.wait_for(player.play(until, then), LIMIT_S)
        finally:
            await player.attempts.detach()
            await world.servers.close()
            await sessions.close()
        self.state = player.state
        assert self.state is not None
        return self.state

    def _note(self, level: str, text: str, **facts: Any) -> None:
        self.log.append((level, text, facts))


class Player:
    """The smallest loop around the kernel: told, decided, evolved, reconciled."""

    def __init__(
        self, state: State | None, make: Callable[..., Attempts], look: Callable[[], None]
    ) -> None:
        self.state, self.look = state, look
        self.told: deque[m.Command] = deque()
        self.heard = asyncio.Event()
        self.attempts = make(self._post)

    def _post(self, run: str, command: m.Command) -> None:
        self.told.append(command)
        self.heard.set()

    def tell(self, command: m.Command) -> None:
        """Tells the run a command and draws its consequences."""
        for event in decide(self.state, command):
            self.state = evolve(self.state, event)

    async def play(
        self, until: Callable[[State], bool], then: Callable[[Player], None] | None = None
    ) -> None:
        while True:
            while self.told:
                self.tell(self.told.popleft())
            assert self.state is not None
            self._grant()
            for step in list(self.state.running):
                self.attempts.reconcile(self.state, step)
            if until(self.state):
                if then is None:
                    return
                then(self)
                then, until = None, lambda state: False
                continue
            if not self.state.running and not self.told and not self.state.alarms:
                return
            self.heard.clear()
            self.look()
            if not self.told:
                try:
                    await asyncio.wait_for(self.heard.wait(), 0.1)
                except TimeoutError:
                    self.tell(m.Tick(at_ms=now_ms()))

    def _grant(self) -> None:
        assert self.state is not None
        wanted = [name for steps in wants(self.state, now_ms()).values() for _, name in steps]
        if wanted:
            self.tell(m.Tick(at_ms=now_ms(), grants=tuple(wanted)))


def standings(state: State) -> dict[str, str]:
    """Returns how each step stands."""
    return {name: str(one.standing) for name, one in state.steps.items()}
