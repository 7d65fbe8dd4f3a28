"""The house's rules, held by machine, and each shown to catch a planted violation.

Which module may import which is import-linter's (pyproject.toml). What it cannot say stands here:
sizes, names, docstrings, and that the pure modules use the standard library only, whatever a new
dependency is called.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "fleet"

MODULE_LINES = 400
FUNCTION_LINES = 60
KERNEL_LINES = 3_000
ARITHMETIC = ("schedule", "placing", "levelling", "risk")
ARITHMETIC_LINES = 1_000

PURE = ("core", "codec", "views", "errors")
IMPURE_STDLIB = frozenset(
    "asyncio concurrent datetime fcntl ftplib glob http io locale logging multiprocessing os"
    " pathlib platform pwd queue random secrets select shutil signal socket sqlite3 ssl subprocess"
    " tempfile threading time urllib uuid".split()
)
VAGUE_NAMES = frozenset(
    "util utils helper helpers manager managers service services common base misc core_utils shared"
    " executor executors handler handlers orchestrator context item items data job jobs".split()
)
REQUIRED_IN_WHEEL = ("ARCHITECTURE.md", "adapters/pane.sh", "py.typed")


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Returns path by dotted name, without the package's own: `core.plan`, `adapters.git.trial`;
    what the examples' fleets work on is none of it, though it lies in the package of an sdist.
    """
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[0] == "examples":
            continue
        found[".".join(part for part in parts if part != "__init__") or "__init__"] = path
    return found


def is_pure(name: str) -> bool:
    return name.partition(".")[0] in PURE


def imported_names(tree: ast.Module) -> set[str]:
    """Returns the dotted names of all imports, at whatever depth of the module they stand."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


def impurities(source: str) -> set[str]:
    """Returns what a pure module imports but may not: hands, clocks, dice, third parties."""
    allowed = (sys.stdlib_module_names - IMPURE_STDLIB) | {"fleet"}
    return {name for name in imported_names(ast.parse(source)) if name.split(".")[0] not in allowed}


def strangers(source: str) -> set[str]:
    """Returns what a module imports beyond the standard library, fleet itself included."""
    names = imported_names(ast.parse(source))
    return {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}


def long_functions(source: str) -> list[str]:
    """Returns `name (lines)` of each function over the limit; decorators are not counted."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        f"{node.name} ({length})"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, functions)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    ]


def vague_parts(name: str) -> set[str]:
    """Returns the words of a module's dotted name that say nothing."""
    return {part for part in name.split(".") if part.strip("_") in VAGUE_NAMES}


ALL_MODULES = [pytest.param(name, path, id=name) for name, path in modules().items()]


@pytest.mark.parametrize(("name", "path"), ALL_MODULES)
def test_a_module_keeps_the_rules_of_the_house(name: str, path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    lines = len(source.splitlines())
    assert ast.get_docstring(tree), "a module's docstring is its law: what lives here, and why"
    assert lines <= MODULE_LINES, f"{lines} lines; the limit is {MODULE_LINES}"
    assert not long_functions(source), f"functions of more than {FUNCTION_LINES} lines"
    assert not vague_parts(name), "a module is named for what lives in it"
    if is_pure(name):
        assert not impurities(source), "the kernel has no clock, no hands, no dice"
    if name == "errors":
        imports = imported_names(tree)
        assert not {each for each in imports if each.startswith("fleet")}, "errors stand lowest"
    if name == "hook":
        assert strangers(source) <= {"fleet.policy.session"}, "it starts in every tool call"
    if name.partition(".")[0] == "policy":
        inner = {one for one in strangers(source) if one.partition(".policy")[0] == "fleet"}
        assert strangers(source) == inner, "the hook judges by it: standard library only"


def test_the_core_stays_small() -> None:
    sizes = {
        name: len(path.read_text().splitlines())
        for name, path in modules().items()
        if name.partition(".")[0] == "core"
    }
    schedule = sum(size for name, size in sizes.items() if name.rpartition(".")[2] in ARITHMETIC)
    assert schedule <= ARITHMETIC_LINES, sizes
    assert sum(sizes.values()) - schedule <= KERNEL_LINES, sizes


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in modules().values()}
    bare = [str(each.relative_to(ROOT)) for each in folders if not (each / "__init__.py").is_file()]
    assert not bare, "import-linter and the wheel see packages only"


def test_sources_name_no_place_of_one_machine() -> None:
    place = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w")
    found = [
        str(path.relative_to(ROOT)) for path in modules().values() if place.search(path.read_text())
    ]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "def f():\n    from random import Random",
        "import yaml",
        "from os import path",
    ],
)
def test_planted_impurity_is_caught(source: str) -> None:
    assert impurities(source)


def test_pure_imports_are_let_through() -> None:
    assert not impurities("from collections.abc import Mapping\nimport heapq\nimport fleet.errors")


def test_planted_stranger_in_the_hook_is_caught() -> None:
    assert strangers("import json\nfrom fleet import errors") == {"fleet"}
    assert strangers("import typer") == {"typer"}


def test_planted_length_is_caught() -> None:
    body = "\n".join(["    pass"] * FUNCTION_LINES)
    assert long_functions(f"class C:\n  def f(self):\n{body}") == [f"f ({FUNCTION_LINES + 1})"]
    assert not long_functions("def f():\n" + "\n".join(["    pass"] * (FUNCTION_LINES - 1)))


def test_planted_vague_name_is_caught() -> None:
    assert vague_parts("kinds.utils") == {"utils"}
    assert vague_parts("core._base") == {"_base"}
    assert not vague_parts("core.plan")


# ------------------------------------------------------------------------------- import contracts

# Contract -> (module to plant it in, its text, what the report must say). Every module is a new one
# or gets the line appended, so the plants do not get in each other's way and one run shows all.
PLANTS: dict[str, list[tuple[str, str, str]]] = {
    "layers of the house": [
        ("utils", "", "fleet.utils"),
        ("errors", "from fleet.core import plan", "fleet.errors -> fleet.core.plan"),
        ("views", "from fleet import codec", "fleet.views -> fleet.codec"),
        (
            "files.planted",
            "from fleet.adapters import planted",
            "fleet.files.planted -> fleet.adapters",
        ),
        ("mcp", "from fleet import web", "fleet.mcp -> fleet.web"),
        ("render", "from fleet import cli", "fleet.render -> fleet.cli"),
    ],
    "layers of the kernel": [
        ("core.helpers", "", "fleet.core.helpers"),
        ("core.plan", "from fleet.core import decide", "fleet.core.plan -> fleet.core.decide"),
        (
            "core.messages",
            "from fleet.core import schedule",
            "fleet.core.messages -> fleet.core.schedule",
        ),
    ],
    "no clock, no hands, no dice": [
        ("core.plan", "import time", "fleet.core.plan -> time"),
        ("core.state", "def f():\n    import random", "fleet.core.state -> random"),
        ("codec", "import yaml", "fleet.codec -> yaml"),
        ("views", "import datetime", "fleet.views -> datetime"),
    ],
    "Pydantic stops at text that others wrote": [
        ("core.plan", "import pydantic", "fleet.core.plan -> pydantic"),
        ("adapters.planted", "import pydantic", "fleet.adapters.planted -> pydantic"),
        ("app", "from pydantic import BaseModel", "fleet.app -> pydantic"),
        ("cli", "import pydantic", "fleet.cli -> pydantic"),
    ],
    "the protocol of MCP is spoken at its two ends only": [
        ("app.planted", "import mcp", "fleet.app.planted -> mcp"),
        ("cli.planted", "from mcp import Client", "fleet.cli.planted -> mcp"),
        ("kinds.planted_server", "import uvicorn", "fleet.kinds.planted_server -> uvicorn"),
    ],
    "templates are compiled for workflows only": [
        ("render.planted", "import jinja2", "fleet.render.planted -> jinja2"),
        ("kinds.planted", "from jinja2 import Template", "fleet.kinds.planted -> jinja2"),
    ],
    "kinds do not know each other": [
        (
            "kinds.planted",
            "from fleet.kinds import other",
            "fleet.kinds.planted -> fleet.kinds.other",
        ),
        ("kinds.other", "", ""),
    ],
    "harnesses do not know each other": [
        ("harnesses.planted", "from fleet.harnesses import other", "fleet.harnesses.planted ->"),
        ("harnesses.other", "", ""),
    ],
    "adapters do not know each other": [
        ("adapters.planted", "from fleet.adapters import other", "fleet.adapters.planted ->"),
        ("adapters.other", "", ""),
    ],
    "front doors open onto app only": [
        ("cli", "from fleet.adapters import planted", "fleet.cli -> fleet.adapters.planted"),
        ("web", "from fleet.kinds import planted", "fleet.web -> fleet.kinds.planted"),
        ("render", "from fleet.files import planted", "fleet.render -> fleet.files.planted"),
    ],
}

# What must not be caught: an allowed import that a contract written too wide would refuse.
ALLOWED = [
    ("adapters.crash", "", ""),
    (
        "adapters.other",
        "from fleet.adapters import crash",
        "fleet.adapters.other -> fleet.adapters.crash",
    ),
    ("files.planted", "import pydantic", "fleet.files.planted -> pydantic"),
    ("app", "from fleet.adapters import planted", "fleet.app -> fleet.adapters.planted"),
]


LINT = "from importlinter.cli import lint_imports_command as run; run()"


def declared_contracts() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]


def plant(package: Path, name: str, text: str) -> None:
    """Appends `text` to the module, which is made, with its packages, when it is not there."""
    path = package.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent != package:
        path.parent.joinpath("__init__.py").touch()
    with path.open("a") as module:
        module.write(f"\n\n{text}\n")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What import-linter says about each contract of a copy of the tree with everything planted."""
    top = tmp_path_factory.mktemp("planted")
    shutil.copy(ROOT / "pyproject.toml", top)
    shutil.copytree(PACKAGE, top / "fleet", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text, _ in [*(each for plants in PLANTS.values() for each in plants), *ALLOWED]:
        plant(top / "fleet", name, text)
    done = subprocess.run(
        [sys.executable, "-c", LINT, "--config", "pyproject.toml", "--no-cache"],
        cwd=top,
        env={**os.environ, "PYTHONPATH": str(top), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    summary, _, details = done.stdout.partition("Broken contracts\n")
    sections = {"summary": summary}
    names = "|".join(map(re.escape, declared_contracts()))
    parts = re.split(rf"^({names})\n-+$", details, flags=re.MULTILINE)
    return sections | dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_contract_has_a_plant() -> None:
    assert sorted(PLANTS) == sorted(declared_contracts())


@pytest.mark.parametrize("contract", PLANTS)
def test_a_contract_catches_its_planted_violations(contract: str, report: dict[str, str]) -> None:
    assert f"{contract} BROKEN" in report["summary"]
    missed = [said for _, _, said in PLANTS[contract] if said not in report[contract]]
    assert not missed, report[contract]


@pytest.mark.parametrize("said", [said for _, _, said in ALLOWED if said])
def test_a_contract_lets_through_what_is_allowed(said: str, report: dict[str, str]) -> None:
    assert not [name for name, text in report.items() if f"{said} " in text]


# ------------------------------------------------------------------------------------------ wheel


def built(what: str, root: Path) -> Path:
    """Builds the `wheel` or the `sdist` of a tree, and returns its path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", what, "-d", str(root / what)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (archive,) = (root / what).iterdir()
    return archive


def in_package(root: Path) -> set[str]:
    """Returns the files of a tree's package, those behind its link to the examples as well."""
    package = root / "src" / "fleet"
    return {
        str(path.relative_to(package))
        for folder in (package, package / "examples")
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", ".fleet"} & set(path.parts)
    }


def test_wheels_of_the_tree_and_of_its_sdist_hold_every_file_of_the_package(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    unwanted = shutil.ignore_patterns("__pycache__", ".fleet")
    shutil.copytree(ROOT / "src", tree / "src", ignore=unwanted, symlinks=True)
    if (PACKAGE / "examples").is_symlink():  # not in an sdist
        shutil.copytree(ROOT / "examples", tree / "examples", ignore=unwanted)
    for name in ("pyproject.toml", "LICENSE", ".gitignore", "README.md"):
        shutil.copy(ROOT / name, tree)
    sdist = built("sdist", tree)
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
        assert len(names) == len(set(names)), "nothing is in it twice"
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    wanted = in_package(ROOT) | set(REQUIRED_IN_WHEEL)
    for root in (tree, unpacked):
        with zipfile.ZipFile(built("wheel", root)) as archive:
            packed = {name.removeprefix("fleet/") for name in archive.namelist()}
        assert sorted(wanted - packed) == []
    with tarfile.open(built("sdist", unpacked)) as archive:
        assert sorted(archive.getnames()) == sorted(names), "an sdist of the sdist is the same"
