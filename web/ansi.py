"""A line of a log as pieces of text with classes: its colours stay, nothing else that it may do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from orchestrator.markdown import plain

#: Of a longer line, the beginning is shown.
LONGEST_LINE = 4000
_COLOUR = re.compile(r"\x1b\[([0-9;]{0,40})m")
_NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_STYLES: Mapping[int, str] = {1: "ansi-bold", 2: "ansi-faint", 3: "ansi-italic", 4: "ansi-underline"}
_ENDS: Mapping[int, tuple[str, ...]] = {
    22: ("ansi-bold", "ansi-faint"),
    23: ("ansi-italic",),
    24: ("ansi-underline",),
    39: tuple(f"ansi-{name}" for name in _NAMES),
}
#: One piece: its classes, with spaces between, and its text without control characters.
Piece = tuple[str, str]


def pieces(line: str) -> list[Piece]:
    """One line, cut to :data:`LONGEST_LINE` characters; what was cut off is said."""
    found = list(_pieces(line[:LONGEST_LINE]))
    rest = len(line) - LONGEST_LINE
    return [*found, ("ansi-faint", f" … {rest} more characters, in the log as text")] if rest > 0 else found


def _pieces(line: str) -> Iterator[Piece]:
    classes: set[str] = set()
    place = 0
    for match in _COLOUR.finditer(line):
        yield from _piece(classes, line[place : match.start()])
        place = match.end()
        classes = _after(classes, match[1])
    yield from _piece(classes, line[place:])


def _piece(classes: set[str], text: str) -> Iterator[Piece]:
    shown = plain(text).replace("\n", " ")
    if shown:
        yield " ".join(sorted(classes)), shown


def _after(classes: set[str], codes: str) -> set[str]:
    numbers = [int(code or 0) for code in codes.split(";")]
    # Colours of the 256 and of the 16 million take numbers of their own; they are not told apart here.
    if 38 in numbers or 48 in numbers:
        return classes
    for number in numbers:
        if number == 0:
            classes = set()
        elif number in _STYLES:
            classes = classes | {_STYLES[number]}
        elif number in _ENDS:
            classes = classes - set(_ENDS[number])
        elif 30 <= number <= 37 or 90 <= number <= 97:
            classes = (classes - set(_ENDS[39])) | {f"ansi-{_NAMES[number % 10]}"}
    return classes
