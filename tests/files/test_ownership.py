"""Globs that meet, held against real paths; and tasks that write side by side."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.adapters.git.tree import _pattern
from fleet.files.load import load
from fleet.files.ownership import clashes, meet

FOLDERS = ["a", "b", "ab"]
FILES = [*FOLDERS, "a.py", "b.py"]
PATHS = ["/".join((*parts, name)) for n in (0, 1, 2) for name in FILES
         for parts in itertools.product(FOLDERS, repeat=n)]  # fmt: skip
PARTS = st.sampled_from(["a", "b", "ab", "a*", "*.py", "*", "?", "**", "[ab]", "a?"])
GLOBS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)


@given(GLOBS, GLOBS)
def test_globs_that_share_a_path_meet(one, other):
    fits = [{p for p in PATHS if _pattern(glob).fullmatch(p)} for glob in (one, other)]
    if fits[0] & fits[1]:
        assert meet(one, other)
        assert meet(other, one)


@pytest.mark.parametrize(
    ("one", "other", "met"),
    [
        ("src/a.py", "src/a.py", True),
        ("src/", "src/a.py", True),
        ("src/**", "src/x/y", True),
        ("src/**/a.py", "src/a.py", True),
        ("**/*.py", "docs/*.md", False),
        ("src/*.py", "src/sub/*.py", False),
        ("a*c", "ab*", True),
        ("a*c", "b*", False),
        ("[ab]x", "cx", True),  # a set is any character: warned of too much, never too little
        ("./src", "src/x", True),
        ("tests/**", "src/**", False),
    ],
)
def test_some_globs(one, other, met):
    assert (meet(one, other), meet(other, one)) == (met, met)


def fleet_of(root, tasks, agents):
    (root / "coordination.md").write_text("---\nfleet: f\nbase: main\n---\n")
    for folder, files in (("tasks", tasks), ("agents", agents)):
        (root / folder).mkdir()
        for name, text in files.items():
            (root / folder / f"{name}.yaml").write_text(text)
    return load(root, use_cache=False)


def test_only_tasks_that_may_run_side_by_side_are_told(tmp_path):
    agents = {n: f"harness: shell\nargs: 'true'\nowns: [src/**, {n}.md]\n" for n in "abc"}
    fleet = fleet_of(
        tmp_path, {"a": "days: 1", "b": "days: 1", "c": "{days: 1, deps: [a]}"}, agents
    )
    assert [(one, other) for one, other, *_ in clashes(fleet)] == [("a", "b"), ("b", "c")]
    assert [str(one) for one in fleet.warnings] == [
        f"agents/{one}.yaml:3:8: {one} and {other} may run side by side, and both are to write "
        f"'src/**' (let one depend on the other, or part what they own)"
        for one, other in (("a", "b"), ("b", "c"))
    ]


def test_many_tasks_with_paths_of_their_own_are_looked_up(tmp_path):
    agent = "harness: shell\nargs: 'true'\n"
    tasks = {f"t{n}": f"{{days: 1, agent: a, deliverables: [out/{n}.md]}}" for n in range(300)}
    assert list(clashes(fleet_of(tmp_path, tasks, {"a": agent}))) == []
