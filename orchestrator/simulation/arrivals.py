"""What a simulation is fed with: commits that arrive, each with what will come of it; read from CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from orchestrator.errors import BadInput


class Arrival(NamedTuple):
    """A commit that is pushed to a merge request; times are seconds."""

    #: Since the begin of the trace.
    at: float
    project: str
    merge_request: int
    is_bot: bool
    #: Wanted is the verdict alone.
    check_only: bool
    build_seconds: float
    image_bytes: int
    #: ``ok``, or the stage that fails: ``build``, ``start`` or ``check``.
    outcome: str = "ok"
    #: The merge request is closed so long after this commit, unless another is pushed before; None: never.
    open_seconds: float | None = None


OUTCOMES = ("ok", "build", "start", "check")


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError
    return value


def _name(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return parse


#: By column: what it has to be, in words, and how it is read.
_COLUMNS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "at": ("a number of seconds, zero or more", _number),
    "project": ("a name", _name),
    "merge_request": ("a whole number", int),
    "who": ("person or bot", lambda text: _one_of("person", "bot")(text) == "bot"),
    "check_only": ("yes or no", lambda text: _one_of("yes", "no")(text) == "yes"),
    "build_seconds": ("a number of seconds, zero or more", _number),
    "image_bytes": ("a whole number of bytes, zero or more", lambda text: int(_number(text))),
    "outcome": (f"empty or one of {', '.join(OUTCOMES)}", lambda text: _one_of(*OUTCOMES)(text or "ok")),
    "open_seconds": (
        "empty or a number of seconds, zero or more",
        lambda text: _number(text) if text else None,
    ),
}
#: These may be left out, which is the same as empty.
_OPTIONAL = {"outcome": "", "open_seconds": ""}


def read_csv(lines: Iterable[str], name: str) -> Iterator[Arrival]:
    """The arrivals of a trace whose first line names the columns; `name` is that of the file, for messages.

    Raises :class:`BadInput` with the number of the line that cannot be read, or that is earlier than the one
    before it.
    """
    reader = csv.reader(lines, strict=True)
    header = [column.strip() for column in next(reader, [])]
    _check_header(header, name)
    latest = 0.0
    try:
        for row in reader:
            if not row:
                continue
            arrival = _arrival(header, row, f"{name}, line {reader.line_num}")
            if arrival.at < latest:
                raise BadInput(
                    f"{name}, line {reader.line_num}: at is {arrival.at:g}, but the line before is of "
                    f"{latest:g}; sort the lines by at."
                )
            latest = arrival.at
            yield arrival
    except csv.Error as error:
        raise BadInput(f"{name}, line {reader.line_num}: this is no CSV: {error}.") from None


def write_csv(arrivals: Iterable[Arrival]) -> Iterator[list[str]]:
    """The rows of a trace, its header first."""
    yield list(_COLUMNS)
    for arrival in arrivals:
        yield [
            f"{arrival.at:.3f}",
            arrival.project,
            str(arrival.merge_request),
            "bot" if arrival.is_bot else "person",
            "yes" if arrival.check_only else "no",
            f"{arrival.build_seconds:.3f}",
            str(arrival.image_bytes),
            arrival.outcome,
            "" if arrival.open_seconds is None else f"{arrival.open_seconds:.3f}",
        ]


def _check_header(header: list[str], name: str) -> None:
    missing = [column for column in _COLUMNS if column not in header and column not in _OPTIONAL]
    unknown = [column for column in header if column not in _COLUMNS]
    if missing or unknown or len(set(header)) < len(header):
        wrong = f"lacks {', '.join(missing)}" if missing else "has columns that are unknown or given twice"
        raise BadInput(f"{name}, line 1: the header {wrong}; the columns are {', '.join(_COLUMNS)}.")


def _arrival(header: list[str], row: list[str], place: str) -> Arrival:
    if len(row) != len(header):
        raise BadInput(f"{place}: {len(row)} values, but the header names {len(header)} columns.")
    texts = _OPTIONAL | dict(zip(header, row, strict=True))
    values = []
    for column, (meaning, parse) in _COLUMNS.items():
        text = texts[column].strip()
        try:
            values.append(parse(text))
        except (ValueError, OverflowError):
            raise BadInput(f"{place}: {column} is '{text[:40]}'; it has to be {meaning}.") from None
    return Arrival(*values)
