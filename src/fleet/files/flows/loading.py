"""A workflow file and all that a run of it can reach: other workflows, agents of its roles,
functions. Every problem is found here, with its place, before anything starts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet.core.plan import circle
from fleet.errors import FleetError, InvalidPlan, NotFound, Place, Problem, did_you_mean
from fleet.files import cache
from fleet.files.documents import AgentDocument
from fleet.files.flows.documents import Where, Workflow, step_at, walk
from fleet.files.flows.inputs import wrong_inputs
from fleet.files.flows.lowering import CLIENT, is_client_call, seconds
from fleet.files.servers import server_params, tool_problem
from fleet.files.tasks import Texts, agent_params
from fleet.files.uses import agent_starts, agent_uses

if TYPE_CHECKING:
    from fleet.files.fleet import Fleet
    from fleet.files.flows.checking import Check
    from fleet.files.flows.reading import Page

FOLDER: Final = "workflows"
ENDINGS: Final = (".yaml", ".yml", ".json")
BY_CLIENT: Final = AgentDocument(id=CLIENT, harness="mcp")
"""Who plays a role whose command is empty: whichever client of `fleet mcp` takes its steps."""

TOOLS: Final = frozenset({"memory.save", "memory.get", "memory.add", "memory.search"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """One document of a file, ready to run: its bundle, and the texts that this names."""

    workflow: Workflow
    bundle: Mapping[str, Any]
    texts: Mapping[str, str]


@dataclass(slots=True)
class _Known:
    """A document with what is needed to say where something stands in it."""

    key: str
    workflow: Workflow
    check: Check


@dataclass(slots=True)
class Loader:
    """Reads workflows of one fleet; `roles` are commands that play roles for this run, an empty one
    for clients of `fleet mcp`.
    """

    fleet: Fleet
    roles: Mapping[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    vacant: set[str] | None = None
    """Gathers the roles of delegates that nobody has, in the place of problems, if it is a set."""

    def load(self, path: Path) -> list[Loaded]:
        """Returns the documents of a file in their order; raises InvalidPlan with all problems.

        A file in which nothing was found to say is not read again while nothing that it was made
        of has changed.
        """
        name, key = self._known_as(path)
        gathers = self.vacant is not None  # what is gathered is in no cache
        before = None if gathers else cache.recall(self.fleet.root, name, key)
        if before is not None:
            return [Loaded(Workflow(form=form), bundle, texts) for form, bundle, texts in before]
        found = self._documents(path)
        loaded = [self._bundle(one, path) for one in found] if not self.problems else []
        if self.problems:
            raise InvalidPlan(dict.fromkeys(self.problems))
        if not self.warnings and not gathers:
            told = [(one.workflow.form, one.bundle, dict(one.texts)) for one in loaded]
            cache.keep(self.fleet.root, name, key, told)
        return loaded

    def _known_as(self, path: Path) -> tuple[str, str]:
        """Returns the name under which a file is kept, and a digest of all that it can be made of:
        the fleet's documents, this run's roles, and every workflow that it might call.
        """
        made_of = hashlib.sha256()
        told = (str(self.fleet.root), self.fleet.digest, sorted(self.roles.items()))
        made_of.update(json.dumps(told).encode())
        for file in (path, *_files(path.parent, self.fleet.root / FOLDER)):
            try:
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
            except OSError as error:
                digest = str(error)
            made_of.update(f"{file}\0{digest}\n".encode("utf-8", "surrogateescape"))
        place = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()
        return f"workflow-{place[:16]}.json", made_of.hexdigest()

    def _documents(self, path: Path) -> list[_Known]:
        from fleet.files.flows.reading import read_pages
        from fleet.files.source import Unreadable

        shown = self._shown(path)
        try:
            pages = read_pages(path.read_bytes(), shown)
        except OSError as error:
            self.problems.append(Problem(f"cannot be read: {error.strerror}", Place(shown)))
            return []
        except Unreadable as error:
            self.problems.append(error.problem)
            return []
        found = []
        for number, page in enumerate(pages):
            stem = path.stem if len(pages) == 1 else f"{path.stem}-{number + 1}"
            known = self._known(page, stem, f"{shown}#{number}")
            if known is not None:
                found.append(known)
        return found

    def _known(self, page: Page, stem: str, key: str) -> _Known | None:
        from fleet.files.flows.checking import Check

        check = Check(page, stem, frozenset(self.fleet.settings.functions))
        workflow = check.workflow()
        self.problems += check.problems
        self.warnings += page.warnings
        return _Known(key, workflow, check) if workflow is not None else None

    def _shown(self, path: Path) -> str:
        try:
            return path.resolve().relative_to(self.fleet.root.resolve()).as_posix()
        except ValueError:
            return str(path)

    # --- what a document reaches ------------------------------------------------------------------

    def _bundle(self, main: _Known, path: Path) -> Loaded:
        texts = Texts()
        workflows, links = {main.key: main}, dict[str, str]()
        agents, servers, patches = dict[str, Any](), dict[str, Any](), dict[str, Any]()
        todo = [(main, "")]
        needs: dict[str, dict[str, Where]] = {}
        while todo:
            one, agent = todo.pop()
            needs[one.key] = {}
            self._roles(one, agent, agents, texts)
            servers |= self._servers(one)
            patches |= self._patches(one)
            for at, name in _called(one.workflow):
                called = self._find(name, path, one, at)
                if called is None:
                    continue
                links[name] = called.key
                self._given(one, at, called.workflow.form["inputs"])
                needs[one.key].setdefault(called.key, at)
                if called.key not in workflows:
                    workflows[called.key] = called
                    step = _step(one.workflow, at)
                    todo.append((called, str(step.get("agent") or agent)))
        ring = circle(needs)
        if ring:
            names = " -> ".join(workflows[key].workflow.name for key in ring)
            first, text = ring[0], f"workflows call each other in a circle: {names}"
            self._say(workflows[first], text, needs[first][ring[1]], "take one of these calls out")
        settings = self.fleet.settings
        bundle = {
            "main": main.key,
            "workflows": {key: one.workflow.form for key, one in workflows.items()},
            "links": links,
            "agents": agents,
            "functions": dict(settings.functions),
            "servers": servers,
            "patches": patches,
            "base": settings.base,
            "trees": f"{self.fleet.root}.worktrees",
            "rules": texts.keep(settings.rules) if settings.rules else "",
        }
        return Loaded(main.workflow, bundle, texts)

    def _find(self, name: str, path: Path, one: _Known, at: Where) -> _Known | None:
        """Returns the workflow that a step calls: a file's name, or what a workflow is called."""
        files = list(dict.fromkeys(_files(path.parent, self.fleet.root / FOLDER)))
        near = [file for file in files if name in (file.stem, file.name)]
        before = len(self.problems)
        for file in near or files:
            found = self._documents(file)
            for known in found:
                if (near and len(found) == 1) or known.workflow.name == name:
                    return known
            if not near:  # a file that is only looked into says nothing of its own problems
                del self.problems[before:]
        if len(self.problems) == before:
            hint = did_you_mean(name, [file.stem for file in files])
            one.check.say(f"no workflow {name!r}", at, hint)
            self.problems += one.check.problems[-1:]
        return None

    def _given(self, one: _Known, at: Where, declared: Mapping[str, Mapping[str, Any]]) -> None:
        """Notes what a step gives wrongly to the workflow that it calls."""
        step = _step(one.workflow, at)
        given = step.get("inputs")
        if given is None and step["type"] == "workflow":
            given = {}
        if isinstance(given, Mapping):  # else an expression, or the items say it
            for name, text, hint in wrong_inputs(declared, given):
                self._say(one, text, (*at[:-1], "inputs", name) if name else at, hint)

    def _roles(self, one: _Known, fallback: str, agents: dict[str, Any], texts: Texts) -> None:
        for at, step in walk(one.workflow.steps):
            said = _role(one.workflow, at, step) or fallback
            if step["type"] == "delegate" and not said:
                self._say(one, f"step {step['id']!r} names no agent", at, "give `agent`")
            if step["type"] == "foreach" and said:
                self._agent(said.removeprefix("@"), agents, texts)
            if is_client_call(step):
                self._client(one, at, step["tool"], agents, texts)
            if step["type"] not in ("delegate", "escalate", "verify") or not said:
                continue
            role = said.removeprefix("@")
            found = self._agent(role, agents, texts)
            if found is None and step["type"] != "escalate" and self.vacant is not None:
                self.vacant.add(role)
            elif found is None and step["type"] != "escalate":
                given = f"--role {role}=COMMAND or --client {role} is one"
                hint = did_you_mean(role, self._all_roles()) or given
                self._say(one, f"no agent has the role {role!r}", (*at, "agent"), hint)
            elif found is not None:
                self._workable(one, at, step, found)

    def _say(self, one: _Known, text: str, at: Where, hint: str = "") -> None:
        one.check.say(text, at, hint)
        self.problems.append(one.check.problems[-1])

    def _servers(self, one: _Known) -> dict[str, Any]:
        """Returns the MCP servers that a document calls, and notes tools that are not there."""
        settings, found = self.fleet.settings, {}
        for at, step in walk(one.workflow.steps):
            if step["type"] != "mcp_call" or is_client_call(step):
                continue
            name = step["tool"]
            text, hint = tool_problem(settings, name, TOOLS)
            if text:
                self._say(one, text, (*at, "tool"), hint)
            server = name.partition(".")[0]
            if server in settings.mcp_servers and name not in settings.functions:
                found[server] = server_params(settings, server)
        return found

    def _patches(self, one: _Known) -> dict[str, Any]:
        """Returns the patches of coordination.md that a document names, and notes unknown ones."""
        known = self.fleet.settings.patches
        named = [(at, s["patch"]) for at, s in walk(one.workflow.steps) if s["type"] == "adapt"]
        for at, name in named:
            if isinstance(name, str) and name not in known:
                hint = did_you_mean(name, known) or "set it under patches: in coordination.md"
                self._say(one, f"no patch {name!r}", (*at, "patch"), hint)
        return {name: known[name] for _, name in named if isinstance(name, str) and name in known}

    def _client(
        self, one: _Known, at: Where, tool: str, agents: dict[str, Any], texts: Texts
    ) -> None:
        """Notes the agent that a client's own tools belong to."""
        if tool in self.fleet.settings.functions:
            text = f"{tool!r} is a function of the fleet and a client's tool"
            self._say(one, text, (*at, "tool"), "give the function another name")
        found = self._agent(CLIENT, agents, texts)
        if found is not None and found.harness != BY_CLIENT.harness:
            text = f"the agent {found.id!r} has the tools of clients, and is none"
            self._say(one, text, (*at, "tool"), "harness: mcp")

    def _workable(
        self, one: _Known, at: Where, step: Mapping[str, Any], agent: AgentDocument
    ) -> None:
        form, judges = one.workflow.form, step["type"] == "verify"
        alone = judges or (step.get("workspace") or form["workspace"]) != "worktree"
        if alone and agent.sandbox.kind != "none":
            text = f"the sandboxed agent {agent.id!r} outside of a worktree"
            hint = "another agent" if judges else "workspace: worktree"
            self._say(one, f"{text} is not carried out by this version", at, hint)

    def _all_roles(self) -> list[str]:
        roles = [role for agent in self.fleet.agents.values() for role in agent.roles]
        return [*self.roles, *self.fleet.agents, *roles]

    def _agent(self, role: str, agents: dict[str, Any], texts: Texts) -> AgentDocument | None:
        """Returns who plays a role, noted among `agents`: as this run says, else the agent of that
        id, else the first agent, by id, that has the role.
        """
        found: AgentDocument | None
        if role in self.roles:
            command = self.roles[role]
            found = AgentDocument(id=role, harness="shell", args=command) if command else None
            found = found or replace(BY_CLIENT, id=role)
        else:
            playing = [one for one in self.fleet.agents.values() if role in one.roles]
            found = self.fleet.agents.get(role) or next(iter(playing), None)
            found = found or (BY_CLIENT if role == CLIENT else None)
        if found is not None and role not in agents:
            uses = {"agents": 1, **agent_uses(found), **agent_starts(self.fleet, found)}
            agents[role] = {
                "agent": agent_params(self.fleet, found, texts),
                "uses": uses,
                "timeout_s": seconds(found.limits.timeout_ms),
                "idle_s": seconds(found.limits.idle_ms),
            }
        return found


def find_file(root: Path, here: Path, name: str) -> Path:
    """Returns the file that a command's FILE means: a path, which may lack its ending, or a name in
    the fleet's workflows.
    """
    endings = ("", *ENDINGS) if "/" in name else ("",)
    paths = (here / f"{name}{ending}" for ending in endings)
    return next((path for path in paths if path.is_file()), None) or find_named(root, name)


def named_files(root: Path) -> list[Path]:
    """Returns the files of the fleet's own workflows, by name."""
    return list(_files(root / FOLDER))


def find_named(root: Path, name: str) -> Path:
    """Returns the fleet's own workflow of that name, of a file or of what it holds; raises
    NotFound.
    """
    files = named_files(root)
    for file in files:
        if name in (file.stem, file.name):
            return file
    from fleet.files.flows.reading import read_pages
    from fleet.files.source import Unreadable

    for file in files:
        try:
            names = [page.values.get("name") for page in read_pages(file.read_bytes(), file.name)]
        except (OSError, Unreadable):
            continue
        if name in names:
            return file
    raise NotFound("workflow", name, [file.stem for file in files])


def read_roles(texts: list[str]) -> dict[str, str]:
    """Returns the commands of `--role NAME=COMMAND`; raises FleetError for anything else."""
    found = {}
    for text in texts:
        name, equals, command = text.partition("=")
        if not (name and equals and command.strip()):
            raise FleetError(f"{text!r} is no role", hint="write it as NAME=COMMAND")
        found[name.removeprefix("@")] = command
    return found


def _files(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        if folder.is_dir():
            yield from sorted(one for one in folder.iterdir() if one.suffix in ENDINGS)


def _called(workflow: Workflow) -> Iterator[tuple[Where, str]]:
    """Yields the workflows that a document's steps call, each with its place."""
    for at, step in walk(workflow.steps):
        if step["type"] == "foreach" and step.get("task"):
            yield (*at, "task"), step["task"]
        if step["type"] == "workflow":
            key = "workflow" if step.get("workflow") else "file"
            yield (*at, key), step[key]


def _step(workflow: Workflow, at: Where) -> Mapping[str, Any]:
    return next(step for where, step in walk(workflow.steps) if where == at[:-1])


def _role(workflow: Workflow, at: Where, step: Mapping[str, Any]) -> str:
    """Returns the role that a step says, else that of a foreach around it."""
    if step["type"] in ("escalate", "verify"):
        return str(step.get("to" if step["type"] == "escalate" else "agent") or "")
    said = str(step.get("agent") or "")
    for length in range(2, len(at), 2):  # a path goes list, place, list, place, ...
        other = step_at(workflow.form, at[:length])
        if not said and other["type"] == "foreach":
            said = str(other.get("agent") or "")
    return said
