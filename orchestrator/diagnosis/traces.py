"""The place in the tool's own code at which it broke, from a traceback in its log. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.diagnosis.engine import Line

#: A trace's lines and the error that belongs to it.
_LONGEST_TRACE = 200
# The repetitions are limited, so that a line that almost fits takes no long time.
#: Paths of code that is not the tool's own: packages, the languages themselves.
_FOREIGN = re.compile(
    r"site-packages|dist-packages|node_modules|/vendor/|/gems/|/layers/|/lib/python\d|^/usr/|^<|^node:|^internal/"
)
_PYTHON_BEGIN = re.compile(r"\s*Traceback \(most recent call last\):")
_PYTHON_FRAME = re.compile(r'\s*File "(?P<file>[^"]{1,300})", line (?P<line>\d{1,9})')
_PYTHON_ERROR = re.compile(r"(?P<error>[A-Za-z_][\w.]{0,100}(?::.{0,200})?)$")
_NODE_ERROR = re.compile(
    r"(?:Uncaught )?(?P<error>(?:\w{0,40}Error|AssertionError)\b(?: \[\w{1,60}\])?: .{1,200})"
)
_NODE_FRAME = re.compile(
    r"\s+at (?:[^(]{0,200} \()?(?:file://)?(?P<file>[^():]{1,300}):(?P<line>\d{1,9}):\d{1,9}\)?$"
)
_RUBY_ERROR = re.compile(
    r"(?P<file>[^\s:]{1,300}):(?P<line>\d{1,9}):in [`'][^`']{1,200}': "
    r"(?P<error>.{1,200} \([A-Z][\w:]{1,100}\))"
)
_PHP_ERROR = re.compile(
    r"(?:PHP )?Fatal error: +Uncaught (?P<error>.{1,200}?) in (?P<file>/[^\s:]{1,300}):(?P<line>\d{1,9})"
)
_GO_ERROR = re.compile(r"(?P<error>panic: .{1,200})")
_GO_FRAME = re.compile(r"\s+(?P<file>/[^\s:]{1,300}\.go):(?P<line>\d{1,9})")


@dataclass(frozen=True)
class Trace:
    """Where it broke: the lines that show it, and ``error``, ``file`` and ``line``."""

    lines: tuple[Line, ...]
    values: Mapping[str, str]


def last(lines: Sequence[Line]) -> Trace | None:
    """The last trace in a log with a frame in the tool's own code; None: there is none."""
    found = [trace for find in (_python, _node, _ruby, _php, _go) if (trace := find(lines)) is not None]
    return max(found, key=lambda trace: trace.lines[-1].number, default=None)


def _python(lines: Sequence[Line]) -> Trace | None:
    begin = _last(lines, lambda text: _PYTHON_BEGIN.match(text) is not None)
    if begin is None:
        return None
    indent = len(lines[begin].text) - len(lines[begin].text.lstrip())
    own: tuple[Line, re.Match[str]] | None = None
    for line in lines[begin + 1 : begin + 1 + _LONGEST_TRACE]:
        frame = _PYTHON_FRAME.match(line.text)
        if frame is not None:
            own = own if _FOREIGN.search(frame["file"]) else (line, frame)
            continue
        error = _PYTHON_ERROR.match(line.text[indent:])
        if error is not None and own is not None:
            return _trace(own[0], line, own[1], error["error"])
    return None


def _node(lines: Sequence[Line]) -> Trace | None:
    return _newest_first(lines, _NODE_ERROR, _NODE_FRAME)


def _go(lines: Sequence[Line]) -> Trace | None:
    return _newest_first(lines, _GO_ERROR, _GO_FRAME)


def _newest_first(lines: Sequence[Line], error: re.Pattern[str], frame: re.Pattern[str]) -> Trace | None:
    """Where the frames follow the error, that in which it broke first."""
    begin = _last(lines, lambda text: error.match(text) is not None)
    if begin is None:
        return None
    for line in lines[begin + 1 : begin + 1 + _LONGEST_TRACE]:
        match = frame.match(line.text)
        if match is not None and not _FOREIGN.search(match["file"]):
            words = error.match(lines[begin].text)
            assert words is not None
            return _trace(line, lines[begin], match, words["error"])
    return None


def _ruby(lines: Sequence[Line]) -> Trace | None:
    return _in_one_line(lines, _RUBY_ERROR)


def _php(lines: Sequence[Line]) -> Trace | None:
    return _in_one_line(lines, _PHP_ERROR)


def _in_one_line(lines: Sequence[Line], error: re.Pattern[str]) -> Trace | None:
    at = _last(lines, lambda text: error.match(text) is not None)
    match = error.match(lines[at].text) if at is not None else None
    if at is None or match is None or _FOREIGN.search(match["file"]):
        return None
    return _trace(lines[at], lines[at], match, match["error"])


def _trace(frame: Line, error: Line, place: re.Match[str], words: str) -> Trace:
    lines = tuple(sorted({frame, error}, key=lambda line: line.number))
    # Where in the container the code lies says nothing to its author.
    file = place["file"].removeprefix("/workspace/").removeprefix("./")
    return Trace(lines, {"error": " ".join(words.split()), "file": file, "line": place["line"]})


def _last(lines: Sequence[Line], fits: Callable[[str], bool]) -> int | None:
    return next((at for at in range(len(lines) - 1, -1, -1) if fits(lines[at].text)), None)
