"""Finds in a log the signs by which causes are known: line by line, in time that grows with its length only.

Pure. A log is a stranger's text: of a long one the end is read, of a long line the beginning, expressions are
RE2's, and what is answered is short. What the causes are stands in the modules beside this one, as data.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import re2

from orchestrator.markdown import code, plain
from orchestrator.outcome import Evidence

#: Where a failure's words can be expected: so many of a log's last lines are read, each so far.
_MOST_LINES = 20_000
_LONGEST_LINE = 2_000
#: A sign that nothing has to follow counts only among the last lines that say something.
_END_LINES = 150
#: Details stand at most so many lines from their sign.
_DETAIL_LINES = 30
#: Of lines with the same sign, the last ones are kept.
_MOST_HITS = 20
_MOST_EVIDENCE = 5
_LONGEST_EVIDENCE = 300
_LONGEST_VALUE = 80
#: What the expressions of a catalogue may take of memory together; far from needed.
_SET_BYTES = 64 * 2**20

#: The place of words that are Toolforge's own, such as a build's message: no line of a log can claim it.
TOOLFORGE = "Toolforge itself"
#: ``[step-build] 2026-01-01T00:00:00.000000000Z text``
_PREFIX = re.compile(r"^\[(?P<place>[\w-]{1,64})\] (?:\d{4}-\d\d-\d\dT\S{1,40} ?)?")
_NOISE = re.compile(r"^\s*(?:[-=*_.\u2500-\u257f]{3,})?\s*$")


class Confidence(StrEnum):
    """How sure a cause is."""

    #: The program that failed names it itself.
    CERTAIN = "certain"
    #: The log says something from which it follows in most cases.
    LIKELY = "likely"


@dataclass(frozen=True)
class Sign:
    """A line that gives a cause away."""

    #: RE2, from the beginning of a line without colours and prefixes; named groups fill the sentences.
    pattern: str
    #: A line that it fits.
    example: str
    #: RE2 of a line that has to follow, anywhere: with it a program says that it gave up for what it has
    #: said before. Empty: the sign has to stand near the end of the log.
    closed_by: str = ""
    #: The containers of the build in whose output it counts, or `TOOLFORGE`; empty: any.
    places: tuple[str, ...] = ()
    #: Values for the sentences that the line itself does not give.
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cause:
    """Why something failed, for people; and the signs by which it is known, any of which will do."""

    #: Stable: kept with failures, counted, linked to.
    id: str
    #: What happened, in a sentence's middle; ``{name}`` stands for a value.
    summary: str
    #: What to do about it: Markdown, ``{name}`` becomes inline code.
    remedy: str
    signs: tuple[Sign, ...]
    #: The projects in whose source the signs stand.
    source: str
    #: RE2 of lines near a sign that are shown with it, and may give more values.
    details: tuple[str, ...] = ()
    #: What is said in place of a value that the log does not give.
    otherwise: Mapping[str, str] = field(default_factory=dict)
    confidence: Confidence = Confidence.CERTAIN
    #: Toolforge's fault, or a package index's, and no fault of the commit: it may go well another time.
    is_elsewhere: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a log without colours and prefixes."""

    #: In the log as it is kept, from 1; 0: Toolforge's own words.
    number: int
    #: The container that wrote it; empty where there is only one.
    place: str
    text: str


@dataclass(frozen=True)
class Finding:
    """A cause, and where it shows."""

    cause: Cause
    values: Mapping[str, str]
    evidence: tuple[Evidence, ...]

    @property
    def summary(self) -> str:
        """What happened, with its values: plain text, foreign in parts."""
        return self.cause.summary.format_map(self._named(lambda value: value))

    @property
    def remedy(self) -> str:
        """What to do about it, as Markdown in which no value can be markup."""
        return self.cause.remedy.format_map(self._named(lambda value: code(value, limit=_LONGEST_VALUE)))

    def _named(self, shown: Callable[[str], str]) -> Mapping[str, str]:
        return {**self.cause.otherwise, **{name: shown(value) for name, value in self.values.items()}}


def read(log: str, words: Iterable[str] = ()) -> list[Line]:
    """The lines of a log that say something, and after them Toolforge's own `words` about it."""
    # What no UTF-8 can hold, RE2 cannot read.
    raw = _sound(log).split("\n")
    first = max(len(raw) - _MOST_LINES, 0)
    lines = [_line(number, text) for number, text in enumerate(raw[first:], first + 1)]
    own = [Line(0, TOOLFORGE, " ".join(plain(_sound(text)).split())[:_LONGEST_LINE]) for text in words]
    return [line for line in [*lines, *own] if not _NOISE.match(line.text)]


def _sound(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _line(number: int, raw: str) -> Line:
    prefix = _PREFIX.match(raw)
    text = raw[prefix.end() :] if prefix else raw
    # A terminal shows what follows the last carriage return; before it are steps of a progress bar.
    shown = text.rstrip("\r").rpartition("\r")[2]
    return Line(number, prefix["place"] if prefix else "", plain(shown[:_LONGEST_LINE]).rstrip())


class Catalogue:
    """Causes in their order: the first that shows is the answer, so specific ones come first."""

    def __init__(self, causes: Iterable[Cause]) -> None:
        self.causes = tuple(causes)
        signs = [sign for cause in self.causes for sign in cause.signs]
        patterns = [sign.pattern for sign in signs] + [sign.closed_by for sign in signs if sign.closed_by]
        self._patterns = list(dict.fromkeys(patterns))
        options = re2.Options()
        options.max_mem = _SET_BYTES
        options.log_errors = False
        self._set = re2.Set.MatchSet(options)
        for pattern in self._patterns:
            self._set.Add(pattern)
        self._set.Compile()

    def find(
        self,
        lines: Sequence[Line],
        known: Mapping[str, str] | None = None,
        *,
        accepts: Callable[[Finding], bool] = lambda _: True,
    ) -> Finding | None:
        """The first cause of which there is a sign, and that is accepted; None: there is none.

        `known` are values for the sentences that no line has to give.
        """
        hits: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=_MOST_HITS))
        for at, line in enumerate(lines):
            for index in self._set.Match(line.text) or ():
                hits[self._patterns[index]].append(at)
        shown = (cause for cause in self.causes if any(sign.pattern in hits for sign in cause.signs))
        found = (_finding(cause, lines, hits, known or {}) for cause in shown)
        return next((one for one in found if one is not None and accepts(one)), None)


def _finding(
    cause: Cause, lines: Sequence[Line], hits: Mapping[str, deque[int]], known: Mapping[str, str]
) -> Finding | None:
    for sign in cause.signs:
        there = [at for at in hits.get(sign.pattern, ()) if _counts(sign, at, lines, hits)]
        if there:
            # The last is the one after which it was given up.
            details = _details(cause, lines, there[-1])
            values = {**known, **sign.values, **_values(sign.pattern, lines[there[-1]].text)}
            for _, more in details:
                values = {**more, **values}
            shown = [lines[at] for at in sorted({*there, *(at for at, _ in details)})]
            return Finding(cause, values, evidence(shown))
    return None


def _counts(sign: Sign, at: int, lines: Sequence[Line], hits: Mapping[str, deque[int]]) -> bool:
    if sign.places and lines[at].place not in sign.places:
        return False
    if sign.closed_by:
        closed = hits.get(sign.closed_by)
        return closed is not None and closed[-1] > at
    return at >= len(lines) - _END_LINES


def _details(cause: Cause, lines: Sequence[Line], at: int) -> list[tuple[int, Mapping[str, str]]]:
    """For each expression of a detail, the first line from a sign on that it fits, else the last before."""
    found = []
    after = range(at, min(at + _DETAIL_LINES, len(lines)))
    before = range(at - 1, max(at - _DETAIL_LINES, 0) - 1, -1)
    for pattern in cause.details:
        near = (*after, *before)
        hit = next((one for one in near if re2.match(pattern, lines[one].text)), None)
        if hit is not None:
            found.append((hit, _values(pattern, lines[hit].text)))
    return found


def _values(pattern: str, text: str) -> Mapping[str, str]:
    match = re2.match(pattern, text)
    named = match.groupdict() if match else {}
    cut = {name: " ".join(value.split())[:_LONGEST_VALUE] for name, value in named.items() if value}
    return {name: value for name, value in cut.items() if value}


def evidence(lines: Iterable[Line]) -> tuple[Evidence, ...]:
    """Lines to be shown, the last ones; of those that say the same the last."""
    by_text = {line.text.strip()[:_LONGEST_EVIDENCE]: line.number for line in lines}
    shown = [Evidence(number, text) for text, number in by_text.items()]
    # Toolforge's own words come after the log.
    return tuple(sorted(shown, key=lambda one: (one.line == 0, one.line)))[-_MOST_EVIDENCE:]
