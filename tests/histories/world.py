"""One history: a person, agents in worktrees, and fleet that lands, takes back, cleans up and is
killed; every choice comes from the seed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import pickle
import random
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fleet.adapters import crash, git
from fleet.app.cleaning import clean
from fleet.app.place import FleetPlace
from fleet.core.messages import Outcome
from fleet.core.plan import Need, Step
from fleet.errors import FleetError
from fleet.kinds import Work, merge, undo
from fleet.kinds import World as KindsWorld
from histories import oracle
from histories.agent import Agent
from histories.oracle import Memory, Seen
from support.git_repo import GitRepo

TREES = ["wt/plain", "wt/sp ace'q", "wt/new\nline"]
MARK = "persons.txt"
RANDOM = "now and then"
LAND = [p for p in crash.CRASH_POINTS if p.startswith(("git.trial.", "git.land.", "kinds.merge."))]
UNDO = [p for p in crash.CRASH_POINTS if p.startswith(("git.land.", "kinds.undo."))]
CLEAN = [p for p in crash.CRASH_POINTS if p.startswith(("git.remove.", "git.branch.", "clean."))]
MAKE = [p for p in crash.CRASH_POINTS if p.startswith("git.create.")]


class Broken(AssertionError):
    """A promise that was not kept."""


class Place(FleetPlace):
    """A fleet whose run is not asked: what may go is told by the repository alone."""

    documents = SimpleNamespace(tasks={}, settings=SimpleNamespace(base="main"))  # type: ignore[assignment]

    def run_state(self, run: str = "plan") -> None:
        del run


@dataclass
class Landing:
    """A phase: its merge as the plan has it, and what it put out once it has landed."""

    phase: str
    steps: dict[str, Step]
    merge: str
    landed: Mapping[str, Any] | None = None
    undos: int = 0


@dataclass
class World:
    seed: int
    folder: Path
    tally: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.folder.mkdir(parents=True)
        files = {"a.txt": "a\n", "b.txt": "b\n", "dir/c.txt": "c\n", "crlf.txt": "1\n2\n"}
        files |= {".gitignore": "*.log\nnode_modules/\n", ".gitattributes": "*.txt text=auto\n"}
        self.user = GitRepo(self.folder / "repo", files=files)
        self.repo = git.Repository.at(self.user.root)
        self.judging = self.folder / "judged"
        self.judging.touch()
        self.memory = Memory()
        self.memory.judged.add(self.repo.tree(self.user.head()))
        self.place = Place(self.user.root)
        self.trees = {f"t{n}": self.folder / name for n, name in enumerate(TREES)}
        self.landings: list[Landing] = []
        self.brought = 0
        self.edits: dict[bytes, oracle.Entry] = {}
        self.killing: str | None = RANDOM

    # --- the play -----------------------------------------------------------------------------

    def play(self, turns: int = 14) -> None:
        for _ in range(turns):
            acts = [
                *[self.agent_works] * 6, *[self.land] * 3, *[self.take_back] * 3, *[self.tidy] * 5,
                *[self.person_works] * 2, self.collect, self.bring_back,
            ]  # fmt: skip
            act = self.rng.choice(acts)
            act()
            self.tally[act.__name__] += 1
            self.check()

    def note(self, text: str) -> None:
        self.trace.append(text)

    # --- people and agents ----------------------------------------------------------------------

    def tree(self, name: str) -> Path:
        """Returns a worktree, made anew when it is not there."""
        path = self.trees[name]
        if not (path / ".git").exists():
            start = self.user.rev("refs/heads/main")

            def make() -> object:
                return git.create(
                    self.repo, path=path, branch=f"fleet/{name}", start=start, key=f"plan/{name}"
                )

            try:
                self.fleet(make, MAKE)
            except FleetError as refused:
                self.note(f"make {name}: {refused}")
        return path

    def agent_works(self) -> None:
        agent = self.agent(self.rng.choice(sorted(self.trees)))
        for _ in range(self.rng.randint(1, 4) if agent else 0):
            assert agent is not None
            self.note(f"  {agent.tree.name!r}: {agent.acts()}")

    def agent(self, name: str) -> Agent | None:
        """Returns the agent of a task in its worktree; None when there can be none."""
        tree = self.tree(name)
        if not (tree / ".git").exists():
            return None
        return Agent(self.user, tree, f"fleet/{name}", self.rng, self.memory)

    def person_works(self) -> None:
        """Commits on the base, or leaves something uncommitted in the checkout."""
        if self.rng.random() < 0.5:
            self.person_commits()
            return
        path = self.rng.choice(["a.txt", "mine.txt", "ig.log", "new\nline", "dir/c.txt"])
        self.person_edits(path)

    def person_commits(self) -> None:
        (self.user.root / MARK).write_text(f"{self.rng.random()}\n")
        self.user.git("add", MARK)
        self.user.git("commit", "-q", "--no-verify", "-m", "a person's", "--", MARK)
        self.memory.persons.append(self.user.head())
        self.memory.judged.add(self.repo.tree(self.user.head()))
        self.note("a person commits")

    def person_edits(self, path: str) -> None:
        place = self.user.root / path
        if place.parent.is_dir() and not place.is_dir():
            place.write_text(f"mine {self.rng.random()}\n")
            self.edits.pop(os.fsencode(path), None)
        self.note(f"a person edits {path!r}")

    def collect(self) -> None:
        # The dates of these histories are old, and logs would go by age.
        keep = ("-c", "gc.reflogExpire=never", "-c", "gc.reflogExpireUnreachable=never")
        self.user.git(*keep, "gc", "--prune=now", "-q", check=False)
        self.note("gc")

    # --- fleet ------------------------------------------------------------------------------------

    def fleet(self, act: Callable[[], Any], points: list[str]) -> Any:
        """Carries an act of fleet out; when it is killed, it is called again."""
        point = self.killing
        if point == RANDOM:
            again = ":2" if self.rng.random() < 0.2 else ""
            point = self.rng.choice(points) + again if self.rng.random() < 0.5 else None
        if point is not None:
            done, found = self.in_child(act, point)
            self.note(f"    at {point}: {'went through' if done else 'killed'}")
            self.tally["went through" if done else "killed"] += 1
            if done:
                if isinstance(found, FleetError):
                    raise found
                return found
            self.check_killed()
        return act()

    def in_child(self, act: Callable[[], Any], point: str) -> tuple[bool, Any]:
        told = self.folder / "told"
        told.unlink(missing_ok=True)
        pid = os.fork()
        if not pid:
            try:
                os.environ["FLEET_CRASH_AT"] = point
                crash._passings.clear()  # the child begins to count anew
                try:
                    found = act()
                except FleetError as refused:
                    found = FleetError(refused.text)
                told.write_bytes(pickle.dumps(found))
            except BaseException:  # noqa: BLE001 - said here, for nobody else sees it
                traceback.print_exc()
            finally:
                os._exit(0 if told.exists() else 3)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            return False, None
        assert told.exists(), f"a bug in the child at {point}: {self.trace}"
        return True, pickle.loads(told.read_bytes())

    def work(self, step: Step, steps: Mapping[str, Step], inputs: Mapping[str, Any]) -> Work:
        facts: dict[str, Any] = {}
        return Work(
            run="plan", step=step, attempt=1, inputs=inputs, answers=(), facts=facts,
            siblings=steps, now_ms=0, world=kinds_world(self), report=facts.update,
            plan_step=steps.get,
        )  # fmt: skip

    def checks(self) -> list[dict[str, Any]]:
        """A check that writes down which tree it was asked to judge."""
        command = ["sh", "-c", f"git rev-parse 'HEAD^{{tree}}' >> '{self.judging}'"]
        return [{"text": "judged", "command": command, "timeout_s": 60}]

    def land(self) -> None:
        waiting = [one for one in self.landings if one.landed is None]
        if waiting and self.rng.random() < 0.6:
            self.merge(self.rng.choice(waiting))
            return
        heads = self.repo.heads([f"fleet/{name}" for name in self.trees])
        tasks = [name for name in self.trees if f"fleet/{name}" in heads]
        tasks = [name for name in tasks if self.rng.random() < 0.7]
        if tasks:
            self.land_phase(tasks, self.rng.choice(["merge", "squash", "rebase"]))

    def land_phase(self, tasks: list[str], strategy: str) -> None:
        phase = f"p{len(self.landings)}"
        branches = [{"id": name, "branch": f"fleet/{name}"} for name in tasks]
        gate = Step(id=f"{phase}/gate", kind="gate", params={"tasks": branches}, whole=phase)
        params = {
            "phase": phase, "base": "main", "tasks": tasks, "checks": self.checks(), "tag": phase,
            "strategy": strategy,
        }  # fmt: skip
        step = Step(
            id=f"{phase}/merge", kind="merge", params=params, whole=phase,
            needs=(Need(step=gate.id),),
        )  # fmt: skip
        landing = Landing(phase, {gate.id: gate, step.id: step}, step.id)
        self.landings.append(landing)
        self.merge(landing)

    def merge(self, landing: Landing) -> None:
        step = landing.steps[landing.merge]
        gate = landing.steps[step.needs[-1].step]
        listed: Any = gate.params["tasks"]
        heads = self.repo.heads([one["branch"] for one in listed])
        commits = {one["id"]: heads[one["branch"]] for one in listed if one["branch"] in heads}
        inputs = {gate.id: {"output": {"commits": commits}}}

        def act() -> Outcome:
            return asyncio.run(merge.run(self.work(step, landing.steps, inputs)))

        outcome = self.fleet(act, LAND)
        self.note(f"  merge {step.id}: {outcome.ending} {outcome.text}")
        if outcome.ending == "succeeded":
            landing.landed = outcome.output
            self.tally["landed"] += 1

    def take_back(self) -> None:
        moves = [m for m in git.recorded_moves(self.repo) if m.target == "refs/heads/main"]
        standing = [m for m in moves if git.stands(self.repo, m)]
        if not standing:
            return
        move = standing[-1] if self.rng.random() < 0.7 else self.rng.choice(standing)
        redo = move.act.startswith("taken-back/")
        phase = move.act.split("/")[2 if redo else 1].split(":")[0]
        landing = next(one for one in self.landings if one.phase == phase)
        if redo != (landing.landed is None):
            return  # the run would not offer it: its phase has landed again, or is undone already
        if not redo and (landing.landed or {}).get("undo") != move.undo_ref:
            return
        tags = [m for m in git.recorded_moves(self.repo) if m.act == move.act and m != move]
        meant = [move, *(one for one in tags if git.stands(self.repo, one))]
        landing.undos += 1
        merge_step = landing.steps[landing.merge]
        step = Step(
            id=f"{phase}/undo" + (f".{landing.undos}" if landing.undos > 1 else ""),
            kind="undo",
            whole=phase,
            params={
                "phase": phase, "name": phase, "base": "main", "redo": redo,
                "moves": [
                    {"target": m.target, "old": m.old, "new": m.new, "ref": m.undo_ref}
                    for m in meant
                ],
                "checks": self.checks(), "gate": merge_step.needs[-1].step,
                "merge": landing.merge, "before": [],
            },
        )  # fmt: skip
        landing.steps[step.id] = step

        def act() -> Outcome:
            return asyncio.run(undo.run(self.work(step, landing.steps, {})))

        outcome = self.fleet(act, UNDO)
        self.note(f"  undo {move.act} {'again' * redo}: {outcome.label} {outcome.text}")
        if outcome.label or outcome.ending != "succeeded":
            self.tally["undo refused"] += 1
            return
        self.tally[str(outcome.output["how"])] += 1
        assert outcome.patch is not None
        landing.steps |= {one.id: one for one in outcome.patch.put}
        landing.merge = next(one.id for one in outcome.patch.put if one.kind == "merge")
        landing.landed = None
        if redo:
            self.merge(landing)

    def tidy(self) -> None:
        names = [name for name in self.trees if self.rng.random() < 0.6]
        self.clean(names, force=self.rng.random() < 0.6)

    def clean(self, names: list[str], *, force: bool = False) -> None:
        before = {name: self.look(name) for name in self.trees}
        branches = self.user.git("for-each-ref", "--format=%(refname)", "refs/heads").split("\n")

        def act() -> list[Any]:
            try:
                return list(clean(self.place, names, force=force))
            except FleetError as refused:  # no such task any more
                return [refused.text]

        rows = self.fleet(act, CLEAN)
        self.note(f"  clean {names} force={force}: {rows}")
        for name, seen in before.items():
            self.check_tree(name, seen)
        self.tally["removed"] += sum(getattr(row, "removed", False) for row in rows)
        left = self.user.git("for-each-ref", "--format=%(refname)", "refs/heads").split("\n")
        gone = [one for one in branches if one not in left]
        if bad := [one for one in gone if not one.startswith("refs/heads/fleet/")]:
            raise Broken(f"deleted branches that are not fleet's: {bad}")
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break

    def bring_back(self) -> None:
        known = [one for one in git.all_rescues(self.repo) if one.kind == "files"]
        if not known:
            return
        found = self.rng.choice(known)
        self.brought += 1
        target = self.folder / f"back{self.brought}"
        self.fleet(lambda: git.restore(self.repo, found, target), ["git.restore.after_files"])
        there, wanted = oracle.disk(target), oracle.entries(self.user, found.commit)
        if there != wanted:
            raise Broken(f"{found.name} came back otherwise: {there.items() ^ wanted.items()}")

    # --- what must hold ---------------------------------------------------------------------------

    def look(self, name: str) -> Seen | None:
        tree = self.trees[name]
        return oracle.look(self.user, tree) if (tree / ".git").exists() else None

    def check_tree(self, name: str, seen: Seen | None) -> None:
        tree = self.trees[name]
        if seen is None:
            return
        if tree.exists():
            if oracle.disk(tree) != seen.files:
                raise Broken(f"{name} stayed, and its files have changed")
        elif lost := oracle.lost_files(self.user, seen):
            raise Broken(f"{name} is gone, and with it {lost}")

    def check_killed(self) -> None:
        if lost := oracle.lost_commits(self.user, self.memory):
            raise Broken(f"commits are lost by a kill: {lost}")

    def check(self) -> None:
        memory, user = self.memory, self.user
        if lost := oracle.lost_commits(user, memory):
            raise Broken(f"commits are lost: {lost}")
        memory.judged |= set(self.judging.read_text().split())
        base = user.rev("refs/heads/main")
        if self.repo.tree(base) not in memory.judged:
            raise Broken(f"the base holds a tree that nobody has judged: {base}")
        for sha in memory.persons:
            if not self.repo.is_ancestor(sha, base):
                raise Broken(f"a person's commit left the base: {sha}")
        for ref in memory.foreign:
            if not user.rev(ref):
                raise Broken(f"{ref} is gone, which is not fleet's")
        self.check_checkout()

    def check_checkout(self) -> None:
        """The checkout is at the base, and what a person left uncommitted is as it was."""
        now = oracle.disk(self.user.root)
        base = oracle.entries(self.user, "main")
        changed = {path: entry for path, entry in now.items() if base.get(path) != entry}
        mine = [os.fsencode(p) for p in ("a.txt", "mine.txt", "ig.log", "new\nline", "dir/c.txt")]
        for path, entry in changed.items():
            content = (self.user.root / os.fsdecode(path)).read_bytes()
            text = path.endswith(b".txt") and oracle.blob_of(content.replace(b"\r\n", b"\n"))
            if base.get(path, ("", ""))[1] == text:
                continue
            if path not in mine or not content.startswith(b"mine "):
                raise Broken(f"the checkout does not follow the base in {path!r}: {entry}")
        for path, entry in self.edits.items():
            if now.get(path) != entry and base.get(path) != entry:
                raise Broken(f"a person's uncommitted {path!r} is gone")
        self.edits = {p: e for p, e in changed.items() if p in mine}
        if bad := [p.name for p in (self.user.root / ".git").glob("**/index.lock")]:
            raise Broken(f"locks are left: {bad}")


def kinds_world(world: World) -> KindsWorld:
    async def in_thread(call: Callable[..., Any], *words: Any, **named: Any) -> Any:
        return call(*words, **named)

    nothing: Any = None
    return KindsWorld(
        root=world.user.root, state=world.folder / "state", repository=world.repo, tmux=nothing,
        launch=nothing, wait_for_exit=nothing, resolve=nothing, make_worktree=nothing,
        in_thread=in_thread, soon=in_thread, log=lambda *_, **__: None, left_running=nothing,
        watching=nothing, judge=nothing, run_child=nothing, cancel_run=nothing, servers=nothing,
    )  # fmt: skip


def digest(world: World) -> str:
    return hashlib.sha256("\n".join(world.trace).encode("utf-8", "surrogateescape")).hexdigest()
