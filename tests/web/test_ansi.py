"""Colours of logs, and nothing else that a log can do to a terminal or a page."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from web.ansi import LONGEST_LINE, pieces


def test_colours_and_weights_become_classes() -> None:
    line = "\x1b[1;32mgreen\x1b[0m plain \x1b[91mred\x1b[39m end"
    assert pieces(line) == [
        ("ansi-bold ansi-green", "green"),
        ("", " plain "),
        ("ansi-red", "red"),
        ("", " end"),
    ]


def test_a_new_colour_takes_the_place_of_the_old_one() -> None:
    assert pieces("\x1b[31ma\x1b[34mb\x1b[22mc") == [
        ("ansi-red", "a"),
        ("ansi-blue", "b"),
        ("ansi-blue", "c"),
    ]


def test_colours_of_the_256_are_left_out_and_their_numbers_not_mistaken() -> None:
    assert pieces("\x1b[38;5;31mtext") == [("", "text")]


def test_what_is_no_colour_is_taken_out() -> None:
    assert pieces("\x1b]8;;javascript:alert(1)\x07click\x1b[2J\x1b[1A\u202egnp") == [
        ("", "8;;javascript:alert(1)clickgnp")
    ]


def test_a_line_of_a_megabyte_is_cut_and_says_so() -> None:
    *shown, rest = pieces("y" * 1_000_000)
    assert sum(len(text) for _, text in shown) == LONGEST_LINE
    assert "996000 more characters" in rest[1]


@given(st.text())
def test_whatever_a_line_says_its_pieces_hold_no_control_character(line: str) -> None:
    for classes, text in pieces(line):
        assert not any(ord(sign) < 32 and sign != "\t" for sign in text)
        assert all(name.startswith("ansi-") and name.replace("-", "").isalpha() for name in classes.split())
