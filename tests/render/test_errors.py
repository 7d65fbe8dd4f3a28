"""Errors as a person reads them: one sentence, its cure, every problem with its place."""

from __future__ import annotations

from fleet.errors import InvalidPlan, NotFound, Place, Problem, Rejected, ToolFailed
from fleet.render.errors import error_text, problem_lines


def test_an_error_is_a_sentence_and_its_cure():
    assert error_text(Rejected("it is closed", hint="fleet gate p")) == (
        "error: it is closed\n  fleet gate p\n"
    )
    assert error_text(Rejected("it is closed")) == "error: it is closed\n"


def test_a_wrong_name_comes_with_the_nearest():
    assert error_text(NotFound("task", "agnet-1", ["agent-1", "other"])) == (
        "error: no task 'agnet-1'\n  did you mean 'agent-1'?\n"
    )


def test_all_problems_are_told_with_their_places():
    problems = [
        Problem("needs 'x', which is not there", Place("tasks/a.md", 3, 7), "did you mean 'y'?"),
        Problem("has no base", Place("coordination.md")),
    ]
    assert error_text(InvalidPlan(problems)) == (
        "tasks/a.md:3:7: needs 'x', which is not there (did you mean 'y'?)\n"
        "coordination.md: has no base\n"
        "2 problems; nothing was changed\n"
    )
    assert error_text(InvalidPlan(problems[:1])).endswith("1 problem; nothing was changed\n")


def test_what_a_tool_said_cannot_play_with_the_terminal():
    told = error_text(ToolFailed(["git", "merge"], 1, "\x1b]0;owned\x07\nfatal: \x1b[31mno"))
    assert "\x1b" not in told
    assert "git merge exited with 1: fatal: \\x1b[31mno" in told


def test_problem_lines_are_for_editors():
    rows = [
        {"place": "tasks/a.md:3:7", "text": "is no branch", "hint": ""},
        {"place": "tasks/\x1bb.md", "text": "x", "hint": "write y"},
    ]
    assert problem_lines(rows) == (
        "tasks/a.md:3:7: is no branch\ntasks/\\x1bb.md: x (write y)\n2 problems"
    )
    assert problem_lines(rows[:1]).endswith("\n1 problem")
