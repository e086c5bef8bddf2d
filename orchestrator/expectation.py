"""Whether an answer is what a smoke check expects. Pure.

The answer is a stranger's, and so is the check: the body has been cut, and expressions are RE2's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.jsonpath import NotThere, find, parse_path
from orchestrator.repoconfig import Check
from orchestrator.repovalues import pattern

#: Of a body so much is read.
MOST_BODY_BYTES = 128 * 1024
_SHOWN = 60


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    #: By their names in lower case.
    headers: Mapping[str, str]
    #: Cut to the limit; empty where no check asks for it.
    body: bytes = b""


def needs_body(check: Check) -> bool:
    """True when `check` cannot be judged by status and headers."""
    return bool(check.contains or check.regex or check.json_values)


def is_wanted_status(check: Check, status: int) -> bool:
    """True for a status that `check` names, or for one below 500 where it names none."""
    return status in check.status if check.status else status < 500


def missed(check: Check, answer: Answer) -> str:
    """The first thing that `check` expects and `answer` is not; empty when it is as expected."""
    return next(_missed(check, answer), "")


def _missed(check: Check, answer: Answer) -> Iterator[str]:
    if not is_wanted_status(check, answer.status):
        yield " or ".join(str(status) for status in check.status) or "below 500"
    for name, text in check.headers.items():
        if text not in answer.headers.get(name.lower(), ""):
            yield f"{_quoted(text)} in the header {name}"
    body = answer.body.decode("utf-8", "replace")
    for text in check.contains:
        if text not in body:
            yield f"{_quoted(text)} in the body{_cut(answer)}"
    for expression in check.regex:
        if pattern(expression).search(body) is None:
            yield f"a match of {_quoted(expression)} in the body{_cut(answer)}"
    if check.json_values:
        yield from _missed_values(check, body)


def _missed_values(check: Check, body: str) -> Iterator[str]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        yield "JSON in the body"
        return
    for path, expected in check.json_values.items():
        try:
            found = find(parse_path(path), document)
        except NotThere:
            yield f"{_told(expected)} at {path}, where nothing is"
            continue
        # To Python, true is 1.
        if found != expected or isinstance(found, bool) is not isinstance(expected, bool):
            yield f"{_told(expected)} at {path}, where {_told(found)} is"


def _cut(answer: Answer) -> str:
    is_cut = len(answer.body) >= MOST_BODY_BYTES
    return f"'s first {MOST_BODY_BYTES // 1024} KiB" if is_cut else ""


def _quoted(text: str) -> str:
    return f"'{text}'" if len(text) <= _SHOWN else f"'{text[:_SHOWN]}\u2026'"


def _told(value: object) -> str:
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return _quoted(value)
    # Numbers may have thousands of digits, which Python refuses to write.
    return "a large number" if isinstance(value, int) and abs(value) > 10**20 else json.dumps(value)
