"""From a log to a cause and a remedy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnosis import BUILD_RULES, Rule, excerpt, explain_build, explain_crash

STAMP = "[step-build] 2026-01-01T00:00:00.123456789Z "


@pytest.mark.parametrize("rule", BUILD_RULES, ids=lambda rule: rule.needle[:40])
def test_each_known_text_has_its_cause_and_remedy(rule: Rule) -> None:
    log = f"{STAMP}\x1b[0;31m{rule.needle}\x1b[0m\n{STAMP}more words"
    failure = explain_build(log, "")
    assert (failure.stage, failure.summary, failure.remedy) == ("build", rule.summary, rule.remedy)


def test_no_known_text_hides_another() -> None:
    assert not [
        (one, other)
        for one in BUILD_RULES
        for other in BUILD_RULES
        if one is not other and one.needle in other.needle
    ]


def test_an_unknown_failure_is_told_in_toolforges_words() -> None:
    failure = explain_build("whatever", "Tasks failed: build. Check the logs with `toolforge build logs x`")
    assert failure.summary == "Tasks failed: build"
    assert failure.remedy


def test_a_failure_without_any_words_is_still_told() -> None:
    failure = explain_build("", "")
    assert (failure.summary, failure.excerpt) == ("the build failed", "")


def test_a_command_that_is_not_there_is_told_with_the_line_to_add() -> None:
    failure = explain_crash("", 127, "web")
    assert "'web' was not found" in failure.summary
    assert "`Procfile`" in failure.remedy


@pytest.mark.parametrize(
    ("exit_code", "words"), [(1, "(exit code 1)"), (0, "(exit code 0)"), (None, "start")]
)
def test_a_crash_is_told_with_its_exit_code(exit_code: int | None, words: str) -> None:
    failure = explain_crash("Traceback", exit_code, "web")
    assert failure.stage == "start"
    assert failure.summary.endswith(words)
    assert failure.excerpt == "Traceback"


def test_an_excerpt_is_the_end_without_prefixes_and_empty_lines() -> None:
    log = "\n".join([f"{STAMP}line {number}" for number in range(40)] + [STAMP, "-----", "   ", "====="])
    assert excerpt(log).splitlines() == [f"line {number}" for number in range(25, 40)]


def test_a_line_that_only_looks_like_a_prefix_stays() -> None:
    assert excerpt("[Error: no prefix] text") == "[Error: no prefix] text"
    assert excerpt("[step-build] 12 bottles") == "12 bottles"


@given(st.text(max_size=400))
def test_whatever_a_log_holds_an_excerpt_is_short_and_says_something(log: str) -> None:
    lines = excerpt(log).split("\n")
    assert len(lines) <= 15
    assert all(len(line) <= 400 for line in lines)


@given(log=st.text(max_size=300), message=st.text(max_size=100))
def test_whatever_a_build_says_its_failure_can_be_told(log: str, message: str) -> None:
    failure = explain_build(log, message)
    assert failure.stage == "build"
    assert failure.summary
    assert failure.remedy
