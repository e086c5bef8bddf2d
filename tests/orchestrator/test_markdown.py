"""Foreign text inside a note stays text, in its place."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.markdown import code, fence, one_line, plain

#: Text with more of what breaks out than chance would bring.
hostile = st.lists(
    st.sampled_from(
        ["`", "```", "~~~", "\n", "\r\n", "/merge", "@all", "<b>", "|", "\x1b[31m", "\u2028", "\u202e"]
    )
    | st.text(max_size=5),
    max_size=20,
).map("".join)


@given(hostile)
def test_plain_text_holds_nothing_that_acts_on_a_terminal_or_turns_text_around(text: str) -> None:
    shown = plain(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown)


@given(hostile)
def test_plain_text_made_plain_again_is_the_same(text: str) -> None:
    assert plain(plain(text)) == plain(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=50))
def test_plain_text_keeps_what_is_harmless(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ("a\x1b[1;31mred\x1b[0m", "ared"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("tab\tstays", "tab\tstays"),
        ("\x1b]0;title\x07rest", "0;titlerest"),
        ("bell\x07 null\x00", "bell null"),
    ],
)
def test_colours_and_controls_go_and_line_ends_become_one_kind(given_: str, shown: str) -> None:
    assert plain(given_) == shown


@given(hostile)
def test_inline_code_is_one_span_on_one_line(text: str) -> None:
    span = code(text)
    assert len(span.splitlines()) <= 1
    assert span == "" or (span[0] == span[-1] == "`" and "`" not in span[1:-1] and span != "``")
    assert "|" not in span, "a cell of a table would end there"


@given(hostile, st.integers(2, 40))
def test_inline_code_is_no_longer_than_its_limit(text: str, limit: int) -> None:
    assert len(code(text, limit=limit)) <= limit + 2


def test_what_was_cut_from_inline_code_is_marked() -> None:
    assert code("a" * 11, limit=10) == "`" + "a" * 9 + "\u2026`"
    assert code("a" * 10, limit=10) == "`" + "a" * 10 + "`"


@given(hostile)
def test_nothing_closes_a_fence_but_its_own_end(text: str) -> None:
    first, *inner, last = fence(text).split("\n")
    ticks = first.removesuffix("text")
    assert set(ticks) == {"`"}
    assert last == ticks
    assert not any(line.lstrip().startswith(ticks) for line in inner)
    assert not any(re.match(r"[ \t]*/", line) for line in inner), "GitLab might carry it out"


@given(hostile, st.integers(1, 30))
def test_a_fence_keeps_the_end_of_a_long_text(text: str, limit: int) -> None:
    first, *inner, _ = fence(text, limit=limit).split("\n")
    assert first.endswith("text")
    unbroken = "\n".join(inner).replace("\u200b/", "/")
    assert unbroken == plain(text)[-limit:].replace("\u200b/", "/")


def test_a_sentence_of_a_stranger_mentions_nobody_and_links_nowhere() -> None:
    shown = one_line("stopped by x\n/merge @all **b** [a](http://e.example) #1 <b>")
    assert "\n" not in shown
    assert "@all" not in shown
    assert "://" not in shown
    assert "#1" not in shown
    assert "**" not in shown
    assert "[a]" not in shown
