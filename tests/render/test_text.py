"""Text for a terminal: nothing that others wrote reaches it raw, nothing is wider than asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.render.text import ascii_only, cut, line, pad, plain, table, width, wrapped

HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\x00\x07\x1b\x7f\x9b\r\n\t\u202e\u200b\u2028\ufeff\ud800\udcff漢é́"),
    ),
    max_size=60,
)


@pytest.fixture(autouse=True)
def glyphs(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setattr("sys.stdout", type("Out", (), {"encoding": "utf-8"})())


# --- neutral --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("bell\x07 del\x7f csi\x9b1m", "bell\\x07 del\\x7f csi\\x9b1m"),
        ("over\rwrite", "over\\x0dwrite"),
        ("left\u202eright", "left\\u202eright"),
        ("zero\u200bwidth \ufeff", "zero\\u200bwidth \\ufeff"),
        ("bytes \udcff\udc80", "bytes \\udcff\\udc80"),
        ("soft\xadhyphen", "soft\\xadhyphen"),
        ("tag\U000e0041 \u180e", "tag\\U000e0041 \\u180e"),
        ("a\tb", "a    b"),
        ("two\nlines", "two\nlines"),
        ("漢字 é ✔", "漢字 é ✔"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert plain(text) == shown


@given(HOSTILE)
def test_nothing_hostile_is_left(text):
    shown = plain(text)
    assert not set(shown) & set("\x00\x07\x1b\x7f\x9b\r\u202e\u200b\u2028\ufeff")
    shown.encode("utf-8")
    assert "\n" not in line(text)


def test_a_line_is_one_line_and_keeps_its_spaces():
    assert line("  a  b\n c \t ") == "  a  b  c"


# --- widths ---------------------------------------------------------------------------------------


def test_widths_are_columns_and_not_letters():
    assert [width(one) for one in ("abc", "漢字", "e\u0301", "")] == [3, 4, 1, 0]
    assert pad("漢", 4) + "|" == "漢  |"
    assert pad("7", 3, right=True) == "  7"


def test_what_is_cut_says_so():
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcde…"
    assert cut("漢字漢字", 5) == "漢字…"
    assert cut("漢字漢字", 1) == ""
    assert cut("abc", 0) == ""


@given(HOSTILE, st.integers(0, 30))
def test_a_cut_fits(text, columns):
    assert width(cut(line(text), columns)) <= columns


@given(HOSTILE, st.integers(20, 60), st.sampled_from(["", "  ", "      "]))
def test_wrapped_lines_fit_and_lose_no_letter(text, columns, indent):
    lines = wrapped(text, columns, indent)
    assert all(width(one) <= max(columns, 20 + len(indent)) for one in lines)
    letters = "".join(plain(text.replace("\r\n", "\n")).split())
    assert "".join("".join(lines).split()) == letters


def test_wrapping_breaks_between_words_and_long_words_where_it_must():
    assert wrapped("one two three four five six", 20, "") == ["one two three four", "five six"]
    assert wrapped("x" * 45, 20, "") == ["x" * 20, "x" * 20, "x" * 5]
    assert wrapped("漢" * 15, 20, "") == ["漢" * 10, "漢" * 5]
    assert wrapped("a\n\nb\r\nc", 40, "  ") == ["  a", "", "  b", "  c"]
    assert wrapped("", 40, "  ") == []


# --- tables ---------------------------------------------------------------------------------------


def test_a_table_is_aligned_and_its_growing_column_gives_way_first():
    rows = [["one", "x" * 30, "7"], ["三", "y", "12"]]
    assert table(rows, ["ID", "TEXT", "N"], 24, 1) == [
        "ID   TEXT             N",
        "one  xxxxxxxxxxxxxx…  7",
        "三   y                12",
    ]


@given(st.lists(st.lists(HOSTILE, min_size=3, max_size=3), max_size=4), st.integers(30, 90))
def test_a_table_is_never_too_wide(rows, columns):
    assert all(width(one) <= columns for one in table(rows, ["A", "B", "C"], columns, 2))


# --- ASCII ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "encoding", "expected"),
    [
        ({"LC_ALL": "C.UTF-8"}, "utf-8", False),
        ({"LC_ALL": "", "LANG": "en_GB.UTF-8"}, "utf-8", False),
        ({"LC_ALL": "C"}, "utf-8", True),
        ({"LC_ALL": "POSIX"}, "utf-8", True),
        ({"LC_ALL": "", "LANG": "C", "LC_CTYPE": "C.UTF-8"}, "utf-8", True),
        ({"LC_ALL": "", "LANG": "", "LC_CTYPE": "C.UTF-8"}, "utf-8", False),
        ({"LC_ALL": "C.UTF-8"}, "ascii", True),
        ({"LC_ALL": "C.UTF-8"}, None, True),
        ({"LC_ALL": "C.UTF-8", "FLEET_ASCII": "1"}, "utf-8", True),
    ],
)
def test_when_output_is_ascii(monkeypatch, environ, encoding, expected):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", type("Out", (), {"encoding": encoding})())
    assert ascii_only() is expected


def test_ascii_marks_what_is_cut_with_dots(monkeypatch):
    monkeypatch.setenv("FLEET_ASCII", "1")
    assert cut("abcdefg", 6) == "abcd.."
