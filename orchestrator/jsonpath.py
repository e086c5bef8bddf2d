"""A place within a JSON document: RFC 9535's singular queries, such as ``$.items[0].id`` or ``$['a b']``.

Pure. Queries with wildcards, ``..``, slices and filters are refused: they can take time without end, and what
would one value of many be compared with?
"""

from __future__ import annotations

import re

_STEP = re.compile(
    r"""\.(?P<name>[^\W\d][\w-]*)
    | \[(?P<index>-?(?:0|[1-9][0-9]{0,8}))\]
    | \['(?P<single>[^'\\]*)'\]
    | \["(?P<double>[^"\\]*)"\]""",
    re.VERBOSE,
)
_MOST_STEPS = 20

#: Names of members and indexes of elements, from the root on.
JsonPath = tuple[str | int, ...]


class NotThere(LookupError):
    """The document has nothing at that place."""


def parse_path(text: str) -> JsonPath:
    """The steps of a query; ValueError for what is none of the simple kind."""
    if not text.startswith("$"):
        raise ValueError("a path begins with $")
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None or len(steps) == _MOST_STEPS:
            raise ValueError(f"cannot be read from {text[at : at + 20]!r} on")
        index, named = match["index"], [match["name"], match["single"], match["double"]]
        steps.append(int(index) if index is not None else next(name for name in named if name is not None))
        at = match.end()
    return tuple(steps)


def find(path: JsonPath, document: object) -> object:
    """What stands at `path` in a document that was read from JSON; raises :class:`NotThere`."""
    value = document
    for step in path:
        match value:
            case dict() if isinstance(step, str) and step in value:
                value = value[step]
            case list() if isinstance(step, int) and -len(value) <= step < len(value):
                value = value[step]
            case _:
                raise NotThere
    return value
