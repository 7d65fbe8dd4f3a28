"""The use case before there is a fleet: scaffold one in a repository that is there already.

What the repository shows decides what is written: its branch, its way of running tests, the agent
programs on PATH. A file that is there is kept as it is, nothing is asked, and what was made is
read back through the same door as every other document before anybody is told that it is good.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet.app.diagnosing import diagnose, repair_journal
from fleet.app.place import FleetPlace
from fleet.errors import FleetError, InvalidPlan, NotFound, Problem

if TYPE_CHECKING:
    from fleet.adapters.git import Repository

__all__ = ["Made", "Scaffold", "diagnose", "find_test_command", "repair_journal", "scaffold"]

PROGRAMS: Final = ("claude", "codex", "gemini", "opencode", "copilot", "aider")
"""Agent programs that are looked for, the one to take first; no others are taken unasked."""

SETTINGS: Final = "coordination.md"
FIRST_TASK: Final = "first-steps"
SECOND_TASK: Final = "second-look"
ENDINGS: Final = (".md", ".yaml", ".yml")
_PLACEHOLDER: Final = "no test specified"  # what `npm init` writes


@dataclass(frozen=True, slots=True)
class Made:
    """One file of the scaffold: made, kept as it was, or (dry run) to be made."""

    path: str
    kept: bool


@dataclass(slots=True)
class Scaffold:
    """What `init` found and made; `problems` are those of the documents as they now stand."""

    root: Path
    base: str
    test: str | None
    harness: str
    programs: Mapping[str, str]
    dry_run: bool
    files: list[Made] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: tuple[Problem, ...] = ()
    first: str = ""


def scaffold(
    root: Path,
    *,
    base: str | None = None,
    agents: int = 2,
    harness: str | None = None,
    test: str | None = None,
    dry_run: bool = False,
) -> Scaffold:
    """Writes a fleet's files into the repository around `root` and returns what was found and made.

    Raises FleetError outside a repository, in a bare one, in one without a commit, and for a base
    or a harness that is not there.
    """
    from fleet.adapters.git import Repository

    repo = Repository.at(root.resolve())
    programs = {name: path for name in PROGRAMS if (path := shutil.which(name))}
    made = Scaffold(
        root=repo.root,
        base=_base(repo, base),
        test=test or find_test_command(repo.root),
        harness=_harness(harness, programs),
        programs=programs,
        dry_run=dry_run,
    )
    texts = _documents(made, agents)
    for name, text in texts.items():
        made.files.append(_put(repo.root, name, text, dry_run=dry_run))
    if not dry_run:
        _leave_schemas(repo, made)
        made.problems = _problems(repo.root)
    if made.root != root.resolve():
        made.notes.append(f"a fleet lives at the root of the main worktree: {made.root}")
    _note(made)
    return made


# --- what the repository shows --------------------------------------------------------------------


def _base(repo: Repository, asked: str | None) -> str:
    heads = repo.heads([name for name in (asked, "main", "master") if name])
    if asked is not None:
        if asked not in heads:
            raise FleetError(f"there is no branch {asked!r} here", hint=f"git branch {asked}")
        return asked
    found = repo.current_branch() or next(
        (name for name in ("main", "master") if name in heads), ""
    )
    if not found or repo.resolve(f"refs/heads/{found}") is None:
        raise FleetError(
            "HEAD is on no branch, so it is not clear where work is to be merged",
            hint="fleet init --base BRANCH",
        )
    return found


def _harness(asked: str | None, programs: Mapping[str, str]) -> str:
    from fleet.harnesses import HARNESSES, find_harness

    if asked is not None:
        find_harness(asked)
        if asked == "script":
            raise NotFound("harness to start with", asked, sorted(set(HARNESSES) - {asked}))
        return asked
    return next((name for name in programs if name in HARNESSES), "shell")


def find_test_command(root: Path) -> str | None:
    """Returns the command that runs a repository's tests, as far as its files show one."""
    for look in (_pytest, _npm, _cargo, _make, _go):
        found = look(root)
        if found:
            return found
    return None


def _pytest(root: Path) -> str | None:
    project = _toml(root / "pyproject.toml")
    tests = next((name for name in ("tests", "test") if (root / name).is_dir()), None)
    named = (
        (root / "pytest.ini").is_file()
        or "pytest" in project.get("tool", {})
        or (root / "conftest.py").is_file()
        or (tests is not None and any((root / tests).glob("**/test_*.py")))
        or any(root.glob("test_*.py"))
    )
    if not named:
        return None
    if (root / "uv.lock").is_file():
        return "uv run pytest -q"
    if (root / "poetry.lock").is_file():
        return "poetry run pytest -q"
    return "pytest -q" if shutil.which("pytest") else "python3 -m pytest -q"


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _npm(root: Path) -> str | None:
    try:
        scripts = json.loads((root / "package.json").read_text(encoding="utf-8"))["scripts"]
        test = str(scripts["test"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if _PLACEHOLDER in test:
        return None
    runners = {"pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn", "bun.lock": "bun run"}
    runner = next((run for lock, run in runners.items() if (root / lock).is_file()), "npm")
    return f"{runner} test"


def _cargo(root: Path) -> str | None:
    return "cargo test" if (root / "Cargo.toml").is_file() else None


def _make(root: Path) -> str | None:
    for name in ("GNUmakefile", "makefile", "Makefile"):
        try:
            rules = (root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for target in ("test", "check"):
            if re.search(rf"^{target}\s*:(?!=)", rules, re.MULTILINE):
                return f"make {target}"
        return None
    return None


def _go(root: Path) -> str | None:
    return "go test ./..." if (root / "go.mod").is_file() else None


# --- what is written ------------------------------------------------------------------------------


def _documents(made: Scaffold, agents: int) -> dict[str, str]:
    """Returns the scaffold's files by path; what is there stands for the examples."""
    texts = {SETTINGS: _settings_text(made)}
    names = _there(made, "agents")
    if not names:
        names = [f"agent-{number}" for number in range(1, agents + 1)]
        for number, name in enumerate(names, start=1):
            texts[f"agents/{name}.yaml"] = _agent_text(made.harness, number)
    tasks = _there(made, "tasks")
    if tasks:
        made.first = tasks[0]
        return texts
    made.first = FIRST_TASK
    texts[f"tasks/{FIRST_TASK}.md"] = _first_task_text(made, names[0])
    if len(names) > 1:
        texts[f"tasks/{SECOND_TASK}.md"] = _second_task_text(made, names[1])
    return texts


def _there(made: Scaffold, folder: str) -> list[str]:
    """Returns the ids of the documents that a folder holds already, and notes them as kept."""
    top = made.root / folder
    paths = sorted(path for path in top.iterdir() if _is_document(path)) if top.is_dir() else []
    made.files += [Made(f"{folder}/{path.name}", kept=True) for path in paths]
    return [path.stem for path in paths]


def _is_document(path: Path) -> bool:
    return (
        path.suffix in ENDINGS and not path.name.startswith(".") and path.stem.lower() != "readme"
    )


def _put(root: Path, name: str, text: str, *, dry_run: bool) -> Made:
    path = root / name
    if os.path.lexists(path):
        return Made(name, kept=True)
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise FleetError(f"{path.parent} leads out of the repository", hint="remove that link")
    if not dry_run:
        path.parent.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return Made(name, kept=False)


def _leave_schemas(repo: Repository, made: Scaffold) -> None:
    """Writes the schemas that the modelines name; they follow fleet, so they are replaced."""
    from fleet.adapters.git.copies import exclude
    from fleet.files.schema import ALL, schema

    exclude(repo, [])
    state = FleetPlace(repo.root).state
    state.mkdir(mode=0o700, exist_ok=True)
    folder = state / "schema"
    folder.mkdir(exist_ok=True)
    for kind in ALL:
        (folder / f"{kind}.json").write_text(json.dumps(schema(kind), indent=1), encoding="utf-8")
    shown = folder.relative_to(repo.root)
    made.files.append(Made(f"{shown}/*.json", kept=False))


def _problems(root: Path) -> tuple[Problem, ...]:
    from fleet.files.load import load
    from fleet.files.lower import lower

    try:
        lower(load(root))
    except InvalidPlan as invalid:
        return invalid.problems
    return ()


def _note(made: Scaffold) -> None:
    if made.test is None:
        made.notes.append("no test command was found: add `checks` to tasks, or --check COMMAND")
    elif not shutil.which(made.test.split()[0]):
        made.notes.append(f"{made.test.split()[0]} is not on PATH: `{made.test}` cannot pass yet")
    if made.harness == "shell":
        made.notes.append(
            "no agent program that fleet drives is on PATH: the agents are shell commands"
        )


def _modeline(kind: str) -> str:
    up = "" if kind == "fleet" else "../"
    return f"# yaml-language-server: $schema={up}.fleet/schema/{kind}.json"


def _settings_text(made: Scaffold) -> str:
    checks = f"    checks: [{json.dumps(made.test)}]\n" if made.test else ""
    return f"""\
---
{_modeline("fleet")}
fleet: {json.dumps(made.root.name)}
base: {json.dumps(made.base)}
phases:
  - id: first
    name: First steps
{checks}# limits: {{agents: 4}}    at most so many agents at once
---

# How this fleet works

Rules that every agent is given with its task:

- Work only in your own worktree, and commit only on your own branch.
- Commit small and often, with messages that say why.
- Check in with `fleet checkin --done "..." --next "..."`; report a blocker at once.
- You are done when every deliverable is committed and the checks pass. Saying so is not enough.
- When you must choose and the brief does not decide, ask: `fleet ask "..."`.
- Never write a secret into a file.
"""


def _agent_text(harness: str, number: int) -> str:
    lines = [
        _modeline("agent"),
        f"name: Agent {number}",
        "role: [developer]",
        f"harness: {harness}",
    ]
    if harness == "shell":
        lines += [
            "# A shell command in the agent's place: it runs in the task's worktree, its brief is",
            '# the file $FLEET_BRIEF, and exit 0 says "done". Put your agent\'s command here.',
            "args: |",
            '  name=$(printf %s "$FLEET_TASK" | tr a-z- A-Z_).md',
            '  { echo "# Written by $FLEET_AGENT"; echo; git log -5 --format="- %s"; } > "$name"',
            '  git add "$name"',
            '  git commit -q -m "Add $name"',
        ]
    else:
        if not _keeps_to_edits(harness):
            lines.append("mode: interactive     # headless it keeps to `permissions: yolo` only")
        lines.append("permissions: edits    # ask | edits | auto | plan | deny | yolo")
    lines += ["prompt: |", "  You are careful: read before you write, and prove what you claim."]
    return "\n".join(lines) + "\n"


def _keeps_to_edits(name: str) -> bool:
    """Returns whether a program can be held to `permissions: edits` without a person."""
    from fleet.harnesses import find_harness

    profile = getattr(find_harness(name), "profile", None)
    return profile is None or "edits" in profile.permitted("headless")


def _first_task_text(made: Scaffold, agent: str) -> str:
    return f"""\
---
{_modeline("task")}
name: First steps
agent: {agent}
{_phase_text(made)}days: 1
deliverables:
  - FIRST_STEPS.md
{_checks_text(made)}---

An example, to be replaced by your own tasks.

Write `FIRST_STEPS.md`: what this repository is, how its tests are run, and the three changes that
would help most, each with its reason. Commit it on your branch.
"""


def _second_task_text(made: Scaffold, agent: str) -> str:
    return f"""\
---
{_modeline("task")}
name: Second look
agent: {agent}
{_phase_text(made)}days: 0.5
dependencies: [{FIRST_TASK}]
deliverables:
  - SECOND_LOOK.md
{_checks_text(made)}---

An example, to be replaced by your own tasks. It starts when `{FIRST_TASK}` is verified, and finds
its commits in its worktree.

Read `FIRST_STEPS.md`, try what it says, and write what is wrong or missing into `SECOND_LOOK.md`.
"""


def _phase_text(made: Scaffold) -> str:
    """Names the scaffold's own phase; settings that were there have phases of their own."""
    return "" if os.path.lexists(made.root / SETTINGS) else "phase: first\n"


def _checks_text(made: Scaffold) -> str:
    return f"checks:\n  - {json.dumps(made.test)}\n" if made.test else ""
