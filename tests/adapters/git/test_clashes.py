"""Which branches would conflict, where, and what that leaves behind: nothing."""

from __future__ import annotations

import itertools
import os

import pytest

from fleet.adapters.git import Repository, clashes, command
from fleet.errors import ToolFailed
from support.git_repo import GitRepo

LINES = [f"line {n}" for n in range(1, 41)]


def text(**changed: str) -> str:
    """Returns the file with lines replaced: `line12="..."`."""
    told = list(LINES)
    for name, line in changed.items():
        told[int(name.removeprefix("line")) - 1] = line
    return "\n".join(told) + "\n"


@pytest.fixture(params=["many at once", "one by one"])
def way(request, monkeypatch):
    """Both ways of asking: git before 2.39 takes one pair at a time."""
    if request.param == "one by one":
        monkeypatch.setattr(clashes, "version", lambda: (2, 38, 1))
    return request.param


@pytest.fixture
def user(tmp_path):
    return GitRepo(tmp_path / 're:po "x"', files={"f.txt": text(), "g.txt": "g\n", "d/h": "h\n"})


def of(user: GitRepo, *pairs: tuple[str, str]):
    repo = Repository.at(user.root)
    wanted = [(user.rev(f"refs/heads/{a}"), user.rev(f"refs/heads/{b}")) for a, b in pairs]
    found = clashes.forecast(repo, wanted)
    return [found[pair] for pair in wanted]


def test_lines_are_those_of_either_side(user, way):
    head = "".join(f"new {n}\n" for n in range(5))
    user.branch("a", {"f.txt": head + text(line12="ours", line30="mine")})
    user.branch("b", {"f.txt": text(line12="theirs", line13="too", line2="apart")})
    user.branch("c", {"f.txt": text(line20="elsewhere"), "new": "c\n"})
    ab, ac, ba = of(user, ("a", "b"), ("a", "c"), ("b", "a"))
    assert ac == ()
    assert ab == (clashes.Clash("f.txt", "contents", (((17, 17), (12, 13)),)),)
    assert ba == (clashes.Clash("f.txt", "contents", (((12, 13), (17, 17)),)),)


def test_lines_that_one_side_took_out_have_a_place(user, way):
    gone = text().replace("line 12\n", "")
    user.branch("a", {"f.txt": gone})
    user.branch("b", {"f.txt": text(line12="theirs")})
    assert of(user, ("a", "b"))[0][0].lines == (((12, 11), (12, 12)),)


def test_a_path_as_a_whole_is_in_conflict(user, way):
    user.branch("gone", {"g.txt": None})
    user.branch("kept", {"g.txt": "g\nmore\n"})
    user.branch("folder", {"d/h": None, "new/x": "x\n"})
    user.branch("file", {"new": "n\n"})
    user.branch("bin1", {"new": "a\0b"})
    both, flat, added = of(user, ("gone", "kept"), ("folder", "file"), ("file", "bin1"))
    assert [(one.path, one.kind, one.lines) for one in both] == [("g.txt", "modify/delete", ())]
    assert [one.kind for one in flat] == ["file/directory"]
    assert [one.path for one in added] == ["new"]
    assert added[0].kind in {"binary", "contents", "add/add"}


def test_nasty_names_survive(user, way):
    names = ["with space", "quo\"te'", "new\nline", "-dash", os.fsdecode(b"\xff\xfe"), "t\tab"]
    user.commit(dict.fromkeys(names, "x\n"))
    user.branch("a", dict.fromkeys(names, "a\n"))
    user.branch("b", dict.fromkeys(names, "b\n"))
    (found,) = of(user, ("a", "b"))
    assert sorted(one.path for one in found) == sorted(names)
    assert all(one.lines == (((1, 1), (1, 1)),) for one in found)


def test_every_pair_is_answered_as_git_answers_it(user, way):
    for n in range(7):
        changed = {f"line{n * 5 + 1}": f"by {n}", f"line{(n * 3) % 11 + 1}": f"and {n}"}
        user.branch(f"b{n}", {"f.txt": text(**changed), f"own{n % 3}": f"{n}\n"})
    pairs = list(itertools.combinations([f"b{n}" for n in range(7)], 2))
    found = of(user, *pairs)
    told = [user.git("merge-tree", "--write-tree", "--name-only", "--no-messages", *pair,
                     check=False).splitlines()[1:] for pair in pairs]  # fmt: skip
    assert [[one.path for one in each] for each in found] == told
    assert any(told)
    assert not all(told)


def test_nothing_is_left_in_the_repository(user, way):
    user.branch("a", {"f.txt": text(line1="a")})
    user.branch("b", {"f.txt": text(line1="b"), "new": "b\n"})
    before = user.git("count-objects", "-v"), user.git("for-each-ref"), user.git("status", "-s")
    of(user, ("a", "b"))
    assert before == (
        user.git("count-objects", "-v"),
        user.git("for-each-ref"),
        user.git("status", "-s"),
    )


def test_branches_without_a_common_past_are_an_answer_too(user, way):
    user.git("switch", "-q", "--orphan", "apart")
    user.commit({"f.txt": "other\n"})
    user.git("switch", "-q", "main")
    (found,) = of(user, ("main", "apart"))
    assert [one.path for one in found] == ["f.txt"]


def test_a_commit_that_is_gone_is_said(user, way):
    repo = Repository.at(user.root)
    with pytest.raises(ToolFailed):
        clashes.forecast(repo, [(user.head(), "1" * 40)])


def test_many_pairs_take_one_process_a_core(user, monkeypatch):
    for n in range(6):
        user.branch(f"b{n}", {"f.txt": text(**{f"line{n + 1}": "x"})})
    ran = []
    real = command.run
    monkeypatch.setattr(command, "run", lambda args, **told: ran.append(args) or real(args, **told))
    of(user, *itertools.combinations([f"b{n}" for n in range(6)], 2))
    merges = [args for args in ran if "merge-tree" in args]
    assert 1 <= len(merges) <= (os.cpu_count() or 1)
