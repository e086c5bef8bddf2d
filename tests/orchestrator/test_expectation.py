"""An answer is held against all that a check names, and what is missed is said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.expectation import MOST_BODY_BYTES, Answer, missed
from orchestrator.repoconfig import Check
from orchestrator.repofile import parse
from orchestrator.repovalues import Bounds


def a_check(**asked: object) -> Check:
    return parse(json.dumps({"checks": [asked]}).encode(), Bounds()).checks[0]


def an_answer(body: object = b"", status: int = 200, **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


@pytest.mark.parametrize(
    ("asked", "answer", "words"),
    [
        ({}, an_answer(status=499), ""),
        ({}, an_answer(status=500), "below 500"),
        ({"status": 204}, an_answer(), "204"),
        ({"status": [201, 204]}, an_answer(), "201 or 204"),
        ({"headers": {"X-Version": "2"}}, an_answer(x_version="v2.1"), ""),
        ({"headers": {"X-Version": "2"}}, an_answer(x_version="v1"), "'2' in the header X-Version"),
        ({"headers": {"X-Version": "2"}}, an_answer(), "'2' in the header X-Version"),
        ({"contains": ["a", "b"]}, an_answer(b"cab"), ""),
        ({"contains": ["a", "d"]}, an_answer(b"cab"), "'d' in the body"),
        ({"contains": "\u00e9"}, an_answer("\u00e9".encode()), ""),
        ({"regex": "^b"}, an_answer(b"a\nb"), "a match of '^b' in the body"),
        ({"regex": "(?m)^b"}, an_answer(b"a\nb"), ""),
        ({"contains": "x"}, an_answer(b"\xff\xfe"), "'x' in the body"),
        ({"json": {"$.a": 1}}, an_answer(b"<html>"), "JSON in the body"),
        ({"json": {"$.a": 1}}, an_answer(b"[" * 100_000), "JSON in the body"),
        ({"json": {"$.a": 1}}, an_answer(b"9" * 10_000), "JSON in the body"),
        ({"json": {"$.a": 1}}, an_answer({"a": 1.0}), ""),
        ({"json": {"$.a": 1}}, an_answer({"a": True}), "1 at $.a, where true is"),
        ({"json": {"$.a": True}}, an_answer({"a": 1}), "true at $.a, where 1 is"),
        ({"json": {"$.a": "1"}}, an_answer({"a": 1}), "'1' at $.a, where 1 is"),
        ({"json": {"$.a": None}}, an_answer({"a": None}), ""),
        ({"json": {"$.a": None}}, an_answer({}), "null at $.a, where nothing is"),
        ({"json": {"$.a": 1}}, an_answer({"a": {}}), "1 at $.a, where an object is"),
        ({"json": {"$.a": 1}}, an_answer({"a": [1]}), "1 at $.a, where a list is"),
        ({"json": {"$": "ok"}}, an_answer("ok"), ""),
    ],
)
def test_what_is_missed_is_said(asked: dict[str, object], answer: Answer, words: str) -> None:
    assert missed(a_check(**asked), answer) == words


def test_the_first_thing_that_is_missed_is_said() -> None:
    wanted = a_check(status=200, contains="x", json={"$.a": 1})
    assert missed(wanted, an_answer(status=404)) == "200"


def test_that_a_body_was_cut_is_said() -> None:
    words = missed(a_check(contains="y"), an_answer(b"x" * MOST_BODY_BYTES))
    assert words == "'y' in the body's first 128 KiB"


@given(st.binary(max_size=200), st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_no_answer_breaks_a_check(body: bytes, headers: dict[str, str]) -> None:
    wanted = a_check(status=[200, 500], contains="a", regex="b", json={"$.c": 1}, headers={"d": "e"})
    assert missed(wanted, Answer(200, headers, body))
