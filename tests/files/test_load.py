"""Loading: the root, the cache, the places, and what is not imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from fleet.errors import InvalidPlan
from fleet.files import source
from fleet.files.documents import Policy
from fleet.files.load import find_root, load
from fleet.files.schema import KINDS, schema

HERE = Path(__file__).parents[2]


def write(root, **files):
    texts = {"coordination.md": "---\nbase: main\n---\n", "agents/a.md": "---\nrole: x\n---\n"}
    for name, text in {**texts, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_repository_is_a_fleet():
    fleet = load(HERE, use_cache=False)
    assert [task.port for task in fleet.tasks.values()] == list(range(8032, 8038))
    windows = [task.days.window for task in fleet.tasks.values()]
    assert windows == [(1, 3), (4, 11), (12, 18), (19, 21), (19, 21), (22, 25)]
    assert sum(task.days.likely for task in fleet.tasks.values()) == 28
    assert not fleet.warnings


@pytest.mark.parametrize("kind", KINDS)
def test_this_repository_keeps_its_schemas(kind):
    made = schema(kind)
    jsonschema.Draft202012Validator.check_schema(made)
    files = {
        "fleet": ["coordination.md"],
        "agent": HERE.glob("agents/*"),
        "task": HERE.glob("tasks/*"),
        "harness": HERE.glob("tests/files/cases/harness-is-fine/harnesses/*"),
    }
    for path in files[kind]:
        read = source.read_yaml if kind == "harness" else source.read_markdown
        values = read((HERE / path).read_text(), str(path)).values
        jsonschema.validate(source.resolved(values), made)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"nonsense": 1}, made)


def test_a_warm_cache_imports_neither_parser_nor_models(tmp_path):
    write(tmp_path, **{"tasks/a.md": "---\ndays: 2\n---\n"})
    cold = load(tmp_path)
    code = (
        "import sys; from pathlib import Path; from fleet.files.load import load;"
        "fleet = load(Path(sys.argv[1])); assert not {'pydantic', 'yaml'} & set(sys.modules);"
        "print(fleet.digest, fleet.tasks['a'].days.likely)"
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(HERE / "src")}
    out = subprocess.run(argv, check=False, capture_output=True, text=True, env=env)
    assert out.stdout.split() == [cold.digest, "2.0"], out.stderr


def test_the_cache_follows_the_bytes_and_survives_nonsense(tmp_path):
    write(tmp_path, **{"tasks/a.md": "---\ndays: 2\n---\n"})
    assert load(tmp_path) == load(tmp_path)
    write(tmp_path, **{"tasks/a.md": "---\ndays: 3\n---\n"})
    assert load(tmp_path).tasks["a"].days.likely == 3
    for nonsense in ("", "[]", '{"made_by": 1}', "\x00"):
        (tmp_path / ".fleet/cache/documents.json").write_text(nonsense)
        assert load(tmp_path).tasks["a"].days.likely == 3


def test_defaults_fill_what_files_leave_out(tmp_path):
    front = "---\nbase: main\ndefaults: {attempts: 5, limits: {usd: 3, idle: 5m}}\n---\n"
    agent = "---\nlimits: {usd: 1}\n---\n"
    write(
        tmp_path,
        **{"coordination.md": front, "agents/a.md": agent, "tasks/a.md": "---\n---\nGo.\n"},
    )
    fleet = load(tmp_path)
    assert fleet.tasks["a"].attempts == 5
    assert (fleet.agents["a"].limits.usd, fleet.agents["a"].limits.idle_ms) == (1, 300_000)
    assert (fleet.tasks["a"].body, fleet.tasks["a"].agent) == ("Go.", "a")


def test_patterns_of_the_fleet_and_of_an_agent_are_joined(tmp_path):
    front = "defaults: {permissions: {mode: ask, allow: [run], deny: [{run: git push *}]}}"
    agents = {
        "agents/a.md": "---\npermissions: yolo\n---\n",
        "agents/b.md": "---\npermissions: {allow: edit, deny: [Task], expires: 90s}\n---\n",
        "agents/c.md": "---\n---\n",
        "tasks/a.md": "---\n---\nGo.\n",
    }
    write(tmp_path, **{"coordination.md": f"---\nbase: main\n{front}\n---\n", **agents})
    fleet = load(tmp_path)
    found = {one.id: (one.permissions, one.policy) for one in fleet.agents.values()}
    denied = "run: git push *"
    assert found["a"] == ("yolo", Policy(allow=("run",), deny=(denied,)))
    both = Policy(allow=("run", "edit"), deny=(denied, "Task"), expires_ms=90_000)
    assert found["b"] == ("ask", both)
    assert found["c"] == ("ask", Policy(allow=("run",), deny=(denied,)))
    assert load(tmp_path).agents == fleet.agents, "as much from the cache"


def test_holidays_are_dates_or_a_country(tmp_path):
    write(tmp_path, **{"coordination.md": "---\ncalendar: {holidays: DE-BY}\n---\n"})
    calendar = load(tmp_path).settings.calendar
    assert (calendar.country, calendar.holidays) == ("DE-BY", ())
    write(tmp_path, **{"coordination.md": "---\ncalendar: {holidays: [2026-12-24]}\n---\n"})
    calendar = load(tmp_path).settings.calendar
    assert (calendar.country, calendar.holidays) == (None, ("2026-12-24",))


def test_a_place_is_found_for_other_spellings(tmp_path):
    write(tmp_path, **{"tasks/a.md": "---\nneeds: []\ntimeout: 5m\n---\n"})
    fleet = load(tmp_path)
    assert str(fleet.place("task", "a", "dependencies")) == "tasks/a.md:2:8"
    assert str(fleet.place("task", "a", "timeout_ms")) == "tasks/a.md:3:10"


def test_a_linked_worktree_belongs_to_the_main_one(tmp_path):
    root = write(tmp_path / "repo")
    for argv in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "x"],
                 ["worktree", "add", "-q", "../linked"]):  # fmt: skip
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *argv], cwd=root, check=True
        )
    linked = tmp_path / "linked" / "agents"
    assert find_root(linked, None, {}) == root
    assert find_root(linked, None, {"FLEET_ROOT": str(linked.parent)}) == linked.parent
    assert find_root(linked, Path("../../repo"), {"FLEET_ROOT": "/nowhere"}) == root
    with pytest.raises(InvalidPlan):
        find_root(tmp_path, None, {})


def test_worktrees_are_compared_where_links_lead(tmp_path):
    root = write(
        tmp_path / "repo",
        **{
            "tasks/a.md": "---\nagent: a\nworktree: ../one/x\n---\n",
            "tasks/b.md": "---\nagent: a\nworktree: ../two/x\n---\n",
            "tasks/c.md": "---\nagent: a\nworktree: ../two/x/y/z\n---\n",
            "tasks/d.md": "---\nagent: a\nworktree: ../back\n---\n",
            "tasks/e.md": "---\nagent: a\nworktree: ../xx\n---\n",
            "tasks/f.md": "---\nagent: a\nworktree: ../hidden/x\n---\n",
        },
    )
    (tmp_path / "one").mkdir()
    (tmp_path / "two").symlink_to(tmp_path / "one")
    (tmp_path / "back").symlink_to(root)
    (root / ".git").mkdir()
    (tmp_path / "hidden").symlink_to(root / ".git")
    with pytest.raises(InvalidPlan) as caught:
        load(root)
    texts = [problem.text for problem in caught.value.problems]
    assert texts == [
        "worktree is shared with task 'a'",
        "worktree lies inside that of task 'a'",
        "worktree is the repository's root itself",
        "worktree lies inside .git, or holds it",
    ]


def test_a_document_may_be_a_link_that_stays_inside(tmp_path):
    root = write(tmp_path, **{"plans/a.md": "---\ndays: 2\n---\n"})
    (root / "tasks").mkdir()
    (root / "tasks/a.md").symlink_to("../plans/a.md")
    assert load(root).tasks["a"].days.likely == 2


def test_a_document_has_a_largest_size(tmp_path):
    root = write(tmp_path, **{"tasks/a.md": "---\ndays: 2\n---\n" + "x" * (1 << 20)})
    with pytest.raises(InvalidPlan, match="larger than 1024 KiB"):
        load(root)


def test_links_and_pipes_are_refused_without_waiting(tmp_path):
    front = "---\ndeliverables: [out/x.md, in/hooks/x, src/x.md, '*/x.md']\n---\n"
    root = write(tmp_path / "repo", **{"tasks/a.md": front})
    (root / ".git/hooks").mkdir(parents=True)
    (root / "src").mkdir()
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to(".git")
    (root / "tasks/c.md").symlink_to("/etc/hostname")
    os.mkfifo(root / "tasks/d.md")
    (root / "tasks/e.md").mkdir()
    with pytest.raises(InvalidPlan) as caught:
        load(root)
    assert [f"{problem.place} {problem.text}" for problem in caught.value.problems] == [
        "tasks/a.md:2:16 'out/x.md' leads out of the worktree through a link",
        "tasks/a.md:2:26 'in/hooks/x' leads into .git through a link",
        "tasks/c.md cannot be read: it is a link that leads out of the repository",
        "tasks/d.md cannot be read: it is no plain file",
        "tasks/e.md cannot be read: it is no plain file",
    ]
