"""Broken and odd documents as data: cases/<name>/ is a fleet, with what is to be said of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fleet.errors import InvalidPlan
from fleet.files.load import load

CASES = Path(__file__).parent / "cases"
EXPECTED = "expected.problems.txt"


def told(root: Path) -> str:
    try:
        fleet = load(root, use_cache=False)
    except InvalidPlan as error:
        return "".join(f"{problem}\n" for problem in error.problems)
    return "".join(f"warning: {problem}\n" for problem in fleet.warnings)


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir()))
def test_a_case_is_told_as_expected(name, tmp_path):
    root = tmp_path / "fleet"
    shutil.copytree(CASES / name, root)
    (root / EXPECTED).unlink(missing_ok=True)
    said = told(root)
    assert said == (CASES / name / EXPECTED).read_text(encoding="utf-8")


def test_there_are_enough_cases():
    assert sum(1 for _ in CASES.iterdir()) >= 60
