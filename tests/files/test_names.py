"""Names are judged as git judges them, or more strictly."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.files.names import path_problem, ref_problem

REFUSED = (
    "-x --force @ a..b a.lock .a a/.b a. a/ /a a//b a~1 a^ a:b a?b a* a[b a\\b a@{b HEAD".split()
)
TAKEN = "a a/b feature/x-1 release/v2.0.0 a.b a@b a+b a=b ä/ö a.locked".split()


def git_takes(name):
    argv = ["git", "check-ref-format", "--branch", name]
    done = subprocess.run(argv, check=False, capture_output=True)
    return done.returncode == 0


@pytest.mark.parametrize("name", ["", "a b", "a\tb", "a\nb", "a\x7f", *REFUSED])
def test_what_git_refuses_is_refused(name):
    assert ref_problem(name)
    assert name == "@" or not git_takes(name)  # git takes @ for the branch that is checked out


@pytest.mark.parametrize("name", TAKEN)
def test_plain_names_are_taken(name):
    assert git_takes(name)
    assert not ref_problem(name)


@settings(max_examples=150, deadline=None)
@given(st.text("ab./-@{~^:?*[\\ #é", min_size=1, max_size=8))
def test_no_name_that_git_refuses_passes(name):
    if not ref_problem(name):
        assert git_takes(name)


@pytest.mark.parametrize(
    "path", ["\u200d.g\u200cit/x", ".git ", "a/.Git/b", "a\u202eb", "x" * 1025, ".", "~x"]
)
def test_paths_that_lead_elsewhere_are_refused(path):
    assert path_problem(path)
