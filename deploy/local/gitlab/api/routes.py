"""The table of REST operations: `METHOD /path/:with/:names` to a handler.

Paths are matched segment by segment on the raw URL, so that an encoded path (`group%2Fname`) is one segment
as in GitLab. The text of an operation is its name everywhere: in faults and in counters.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from deploy.local.gitlab.api.call import Call

Handler = Callable[["Call"], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """`who`: `anyone`, `user` or `admin`; `scopes`: which of a token's scopes suffice besides the usual
    ones.
    """

    name: str
    handler: Handler
    who: str
    scopes: frozenset[str]
    status: int


@dataclass(slots=True)
class _Node:
    fixed: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    operations: dict[str, tuple[Operation, tuple[str, ...]]] = field(default_factory=dict)


class Routes:
    """Collects handlers by decorator, and finds the one for a request."""

    def __init__(self) -> None:
        self._root = _Node()

    def route(
        self, name: str, *, who: str = "user", scopes: tuple[str, ...] = (), status: int | None = None
    ) -> Callable[[Handler], Handler]:
        """Register a handler for an operation; `status` is what a plain answer has (POST: 201, else 200)."""
        method, _, path = name.partition(" ")
        usual = 201 if method == "POST" else 200

        def register(handler: Handler) -> Handler:
            operation = Operation(name, handler, who, frozenset(scopes), status or usual)
            node, names = self._root, []
            for segment in path.strip("/").split("/"):
                if segment.startswith(":"):
                    names.append(segment[1:])
                    node.variable = node.variable or _Node()
                    node = node.variable
                else:
                    node = node.fixed.setdefault(segment, _Node())
            node.operations[method] = (operation, tuple(names))
            return handler

        return register

    def find(self, method: str, raw_path: str) -> tuple[Operation, dict[str, str]] | str:
        """The operation and its path's values; else `404` or `405`."""
        segments = [segment for segment in raw_path.split("/") if segment]
        found = self._descend(self._root, segments, 0, [])
        if found is None:
            return "404"
        node, values = found
        entry = node.operations.get(method) or (node.operations.get("GET") if method == "HEAD" else None)
        if entry is None:
            return "405"
        operation, names = entry
        return operation, dict(zip(names, values, strict=True))

    def _descend(
        self, node: _Node, segments: list[str], at: int, values: list[str]
    ) -> tuple[_Node, list[str]] | None:
        if at == len(segments):
            return (node, values) if node.operations else None
        fixed = node.fixed.get(segments[at])
        if fixed is not None:
            found = self._descend(fixed, segments, at + 1, values)
            if found is not None:
                return found
        if node.variable is None:
            return None
        return self._descend(node.variable, segments, at + 1, [*values, unquote(segments[at])])


routes = Routes()
