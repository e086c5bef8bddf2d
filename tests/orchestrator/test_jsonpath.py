"""A JSON path names one place of a document, or is refused."""

from __future__ import annotations

import pytest

from orchestrator.jsonpath import NotThere, find, parse_path

DOCUMENT = {"a": {"b-c": [10, {"d": None}]}, "e f": "text", "0": "zero", "": "empty"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", DOCUMENT),
        ("$.a.b-c[0]", 10),
        ("$.a['b-c'][1].d", None),
        ("$['a'][\"b-c\"][-2]", 10),
        ("$['e f']", "text"),
        ("$['0']", "zero"),
        ("$['']", "empty"),
    ],
)
def test_a_path_finds_what_stands_there(path: str, value: object) -> None:
    assert find(parse_path(path), DOCUMENT) == value


@pytest.mark.parametrize(
    "path", ["$.x", "$.a.b-c[2]", "$.a.b-c[-3]", "$.a[0]", "$['e f'][0]", "$.a.b-c.length", "$.a.b-c[0].d"]
)
def test_what_is_not_there_is_not_found(path: str) -> None:
    with pytest.raises(NotThere):
        find(parse_path(path), DOCUMENT)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        ".a",
        "$a",
        "$.",
        "$..a",
        "$.*",
        "$[*]",
        "$[0:2]",
        "$[?@.a]",
        "$[01]",
        "$.a b",
        "$['a",
        "$" + ".a" * 21,
    ],
)
def test_anything_but_names_and_indexes_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"a path begins with \$|cannot be read"):
        parse_path(path)
