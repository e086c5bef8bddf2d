"""Which Node.js a package.json asks for, and whether the builder has one: npm's version ranges.

`satisfies` knows what `engines` fields use: `||`, comparisons, `^`, `~`, `x` ranges and hyphens; no
prereleases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Version = tuple[int, int, int]
PART = re.compile(r"^v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(?:[-+].*)?$")
COMPARISON = re.compile(r"^(>=|<=|>|<|=|\^|~>?)?\s*(.*)$")


class BadRange(Exception):
    """The text is no version range."""


def resolve(wanted: str, newest_of_each_line: Iterable[str]) -> str | None:
    """The newest release that fits, of a builder of which the newest release of each line is known.

    Every older release of a line counts as there, since the real inventory keeps them. Raises `BadRange`.
    """
    tops = sorted((_full(top) for top in newest_of_each_line), reverse=True)
    mentioned = [_full(text) for text in re.findall(r"\d+(?:\.\d+){0,2}", wanted)]
    for top in tops:
        older = [one for one in mentioned if one[0] == top[0] and one < top]
        edges = [(top[0], top[1], 0), (top[0], 0, 0)]
        for candidate in [top, *sorted(older, reverse=True), *edges]:
            if satisfies(candidate, wanted):
                return ".".join(str(part) for part in candidate)
    return None


def satisfies(version: Version, wanted: str) -> bool:
    """Whether a release is in a range. Raises `BadRange`."""
    return any(_all(version, part) for part in (wanted.strip() or "*").split("||"))


def _all(version: Version, text: str) -> bool:
    hyphen = re.fullmatch(r"\s*(\S+)\s+-\s+(\S+)\s*", text)
    if hyphen:
        return version >= _bounds(hyphen[1])[0] and version < _bounds(hyphen[2])[1]
    joined = re.sub(r"(>=|<=|>|<|=|\^|~>?)\s+", r"\1", text)
    return all(_one(version, word) for word in joined.split() or ["*"])


def _one(version: Version, word: str) -> bool:
    match = COMPARISON.match(word)
    operator, rest = (match[1] or "", match[2]) if match else ("", word)
    low, high = _bounds(rest)
    if operator in ("", "="):
        return low <= version < high
    if operator == "^":
        top = (low[0] + 1, 0, 0) if low[0] else ((0, low[1] + 1, 0) if low[1] else (0, 0, low[2] + 1))
        return low <= version < max(top, high if "." not in rest else top)
    if operator in ("~", "~>"):
        return low <= version < ((low[0], low[1] + 1, 0) if "." in rest else (low[0] + 1, 0, 0))
    return {">=": version >= low, ">": version >= high, "<": version < low, "<=": version < high}[operator]


def _bounds(text: str) -> tuple[Version, Version]:
    """The first version a partial one means, and the first one beyond it: `20` is 20.0.0 up to 21.0.0."""
    match = PART.match(text.strip())
    if not match:
        raise BadRange(text)
    given = [int(part) for part in match.groups() if part is not None and part.isdigit()]
    low = [*given, 0, 0, 0][:3]
    if not given:
        return (0, 0, 0), (10**9, 0, 0)
    high = [*given[:-1], given[-1] + 1, 0, 0][:3]
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _full(text: str) -> Version:
    parts = [int(part) for part in text.split(".")] + [0, 0]
    return (parts[0], parts[1], parts[2])
