"""The reference, the glossary and the README are held against the code, so that they cannot rot."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from fleet.files.schema import KINDS as DOCUMENTS
from fleet.files.schema import schema
from fleet.files.unsupported import SETTINGS as LATER
from fleet.harnesses import HARNESSES
from fleet.kinds import KINDS
from fleet.views.tasks import STATES
from support.git_repo import GitRepo

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "fleet"
REFERENCE = PACKAGE / "reference"
ARCHITECTURE = PACKAGE / "ARCHITECTURE.md"
README = ROOT / "README.md"
SOURCES = [path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".sh"}]


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def sections(text: str, level: str) -> dict[str, str]:
    """Returns the text below each heading of a level, up to the next heading of any level."""
    parts = re.split(r"^(#+) (.+)$", text, flags=re.MULTILINE)
    return {
        parts[n + 1].strip("` "): parts[n + 2] for n in range(1, len(parts), 3) if parts[n] == level
    }


def keys_of(text: str) -> list[str]:
    """Returns the words in backticks of the first column of the tables in a text."""
    rows = re.findall(r"^\| (`[^|]*) \|", text, flags=re.MULTILINE)
    return [key for row in rows for key in re.findall(r"`([^`]+)`", row)]


def the_commands():
    from fleet.cli import (  # noqa: F401
        flowing,
        overview,
        planning,
        running,
        serving,
        talking,
        watching,
        withdrawing,
    )
    from fleet.cli.door import app

    return typer.main.get_command(app)


def every_command():
    """Returns all commands by what is typed; those of a group behind its name."""
    found = {}
    for name, one in the_commands().commands.items():
        found[name] = one
        for inner, command in getattr(one, "commands", {}).items():
            found[f"{name} {inner}"] = command
    return found


# --- commands -------------------------------------------------------------------------------------


def test_every_command_has_its_section_and_no_other():
    assert sorted(sections(page("commands"), "###")) == sorted(every_command())


@pytest.mark.parametrize("name", sorted(every_command()))
def test_every_option_of_a_command_is_told_and_no_other(name):
    command = every_command()[name]
    real = {
        word
        for one in command.params
        if one.param_type_name == "option"
        for word in (*one.opts, *one.secondary_opts)
    }
    told = sections(page("commands"), "###")[name]
    heads = re.findall(r"^- (`.*?)(?::|$)", told, flags=re.MULTILINE)
    assert {word for head in heads for word in re.findall(r"`(-{1,2}[\w-]+)", head)} == real


def test_commands_stand_under_the_group_that_help_shows():
    group, told = "", {}
    for level, title in re.findall(r"^(##|###) (.+)$", page("commands"), flags=re.MULTILINE):
        if level == "##":
            group = title
        else:
            told[title.strip("`")] = group
    groups = {name: one.rich_help_panel for name, one in the_commands().commands.items()}
    assert told == {name: groups[name.partition(" ")[0]] for name in every_command()}


# --- documents ------------------------------------------------------------------------------------

FORMS = {
    "AbsentForm": "absent file",
    "AccountForm": "account",
    "AgentLimitsForm": "agent limits", "AssumptionForm": "assumption", "CalendarForm": "calendar",
    "CheckForm": "check", "CheckpointForm": "checkpoint", "DaysForm": "estimate",
    "DecisionForm": "decision", "DefaultsForm": "defaults", "DeliverableForm": "deliverable",
    "EnvelopeForm": "envelope", "EscalationForm": "escalation", "FindForm": "found value",
    "InsertForm": "insertion", "ItemForm": "item", "ModeForm": "mode", "ReadingForm": "reading",
    "UnaskedForm": "unasked",
    "UsageForm": "told usage", "VersionForm": "version",
    "LoopsForm": "loops", "McpServerForm": "mcp server", "MetricForm": "metric",
    "NeedsForm": "changed needs", "NotifyForm": "notification", "PatchForm": "patch",
    "PermissionsForm": "permissions", "PhaseForm": "phase",
    "EvidenceForm": "evidence", "ProofForm": "proof", "SuccessForm": "success",
    "RiskForm": "risk", "RungForm": "rung",
    "SandboxForm": "sandbox",
}  # fmt: skip
HEADS = {
    "fleet": "coordination.md",
    "agent": "agents/ID",
    "task": "tasks/ID",
    "harness": "harnesses/ID",
}


@pytest.mark.parametrize("kind", sorted(DOCUMENTS))
def test_every_key_of_a_document_is_told_and_no_other(kind):
    told = keys_of(sections(page("documents"), "##")[HEADS[kind]])
    assert sorted(told) == sorted(schema(kind)["properties"])


def test_every_part_of_a_document_is_told_and_no_other():
    parts = {name: one for kind in DOCUMENTS for name, one in schema(kind)["$defs"].items()}
    del parts["TaskForm"]  # a task in a patch: told as a document
    told = sections(page("documents"), "###")
    assert sorted(told) == sorted(FORMS[name] for name in parts)
    for name, one in parts.items():
        assert sorted(keys_of(told[FORMS[name]])) == sorted(one["properties"]), name


def test_what_this_version_refuses_is_marked_so():
    text = sections(page("documents"), "##")["coordination.md"]
    marked = re.findall(r"^\| `(\w+)` \| \*later\.\*", text, flags=re.MULTILINE)
    assert sorted(marked) == sorted(LATER)


def test_every_harness_is_named():
    row = re.search(r"^\| `harness` \| (.*)$", page("documents"), flags=re.MULTILINE)
    assert row is not None
    assert set(HARNESSES) <= set(re.findall(r"`(\w+)`", row[1]))


# --- kinds, environment, exit codes ---------------------------------------------------------------


def test_every_kind_has_its_row_and_no_other():
    assert sorted(keys_of(page("kinds"))) == sorted(KINDS)


def test_every_variable_is_told_and_no_other():
    real = {
        name
        for path in SOURCES
        for name in re.findall(r"\bFLEET_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8"))
    }
    assert set(keys_of(page("environment"))) == real


def test_exit_codes_are_those_of_the_command_line():
    from fleet import cli

    assert cli.__doc__ is not None
    real = re.findall(r"(?:^|\s{3,})(\d+) (?=\w)", cli.__doc__, flags=re.MULTILINE)
    assert keys_of(page("exit-codes")) == real


# --- MCP ------------------------------------------------------------------------------------------


def rows_of(text: str) -> list[list[str]]:
    """Returns the cells of the tables in a text."""
    rows = re.findall(r"^\| (.*) \|$", text, flags=re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows]


def test_every_tool_is_told_with_its_arguments_and_no_other():
    from fleet.mcp.tools import TOOLS

    told = {
        row[0].strip("`"): sorted(re.findall(r"`(\w+)`", row[2]))
        for row in rows_of(sections(page("mcp"), "##")["Tools"])
        if row[0].startswith("`")
    }
    assert told == {name: sorted(tool.form.model_fields) for name, tool in TOOLS.items()}


def test_every_resource_is_told_and_no_other():
    from fleet.mcp.resources import PAGES, SCHEME, TEMPLATES

    told = keys_of(sections(page("mcp"), "##")["Resources"])
    assert sorted(told) == sorted(f"{SCHEME}{name}" for name in (*PAGES, *TEMPLATES))


# --- JSON -----------------------------------------------------------------------------------------


def test_every_shape_is_told_and_no_other():
    real = {
        name
        for path in SOURCES
        for name in re.findall(r"\"(fleet\.[a-z]+/\d+)\"", path.read_text(encoding="utf-8"))
    }
    assert set(sections(page("json"), "##")) == real


@pytest.fixture(scope="module")
def scaffolded(tmp_path_factory):
    from fleet.app.starting import scaffold

    root = tmp_path_factory.mktemp("docs") / "shop"
    GitRepo(root)
    scaffold(root)
    task = root / "tasks/first-steps.md"
    task.write_text(
        task.read_text().replace("days: 1\n", "days: {low: 1, likely: 2, high: 4}\n"),
    )
    return root


@pytest.mark.parametrize(
    "name", ["check", "plan", "status", "report", "inbox", "metrics", "doctor", "gate", "conflicts"]
)
def test_a_shape_has_the_keys_that_are_told(name, scaffolded, fleet_cli):
    words = [name, "first"] if name == "gate" else [name]
    printed = fleet_cli(*words, "--json", cwd=scaffolded).json()
    told = sections(page("json"), "##")[printed["schema"]]
    assert sorted(keys_of(told)) == sorted(printed)
    rows = sections(page("json"), "###").get(f"tasks of {printed['schema']}")
    if rows is not None:
        assert sorted(keys_of(rows)) == sorted(printed["tasks"][0])


def test_every_state_of_a_task_is_told():
    text = sections(page("json"), "##")["fleet.status/1"]
    told = text[text.index("A task's `state`") :]
    assert set(STATES) <= set(re.findall(r"`([a-z-]+)`", told))


# --- architecture and README ----------------------------------------------------------------------


def test_every_term_of_the_glossary_names_something_that_is_there():
    text = sections(ARCHITECTURE.read_text(encoding="utf-8"), "##")["Glossary"]
    names = re.findall(r"`(fleet(?:\.\w+)+)`", text)
    assert len(names) >= 20
    for name in names:
        module, _, attribute = name.rpartition(".")
        try:
            found = hasattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError:
            found = False
        if not found:
            importlib.import_module(name)


def test_every_package_and_module_at_the_top_is_in_the_code_map():
    text = sections(ARCHITECTURE.read_text(encoding="utf-8"), "##")["Code map"]
    real = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    } - {"__init__"}
    told = {key.rstrip("/").removesuffix(".py") for key in keys_of(text)}
    assert real <= told
    for name in told:
        assert list(PACKAGE.glob(f"{name}*")), name


def test_the_architecture_stays_readable():
    assert len(ARCHITECTURE.read_text(encoding="utf-8").splitlines()) <= 200


def lines_of_readme() -> list[str]:
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith("fleet ")})


@pytest.mark.parametrize("line", lines_of_readme() or ["(none)"])
def test_every_command_line_of_the_readme_is_one(line):
    words = shlex.split(line.split("   ")[0], comments=True)[1:]
    group = the_commands()
    if words[0].startswith("-"):
        return
    command = group.commands[words[0]]
    command.make_context(words[0], words[1:], resilient_parsing=False)


def test_links_of_the_pages_lead_somewhere():
    for path in (README, ARCHITECTURE, *REFERENCE.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_anchors_of_the_pages_are_headings():
    for path in REFERENCE.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\(([\w.-]*)#([^)]+)\)", text):
            other = text if not target else (path.parent / target).read_text(encoding="utf-8")
            heads = re.findall(r"^#+ (.+)$", other, flags=re.MULTILINE)
            known = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in known, f"{path.name}: #{anchor}"
