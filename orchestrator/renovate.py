"""A preset for Renovate: up to which version of each language the builder is known to have it. Pure.

Renovate compares versions by the scheme of the file it found them in (its own for Python, npm's for Node.js
and Go), and falls back to npm's where a range is none of that scheme: lib/workers/repository/process/lookup/
filter.ts. A single upper bound is a range in all of them. Where Renovate finds a version, and under which
name, is in lib/modules/manager: pyenv, npm (`engines`) and gomod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.runtimes import RuntimeSeen, is_plain, there, version_order


@dataclass(frozen=True)
class Rule:
    """Which versions of a language may be proposed."""

    runtime: str
    #: Renovate's manager of the file, and what it calls the language there.
    manager: str
    dependency: str
    #: A range: below the line of versions that follows the newest known one.
    allowed: str


@dataclass(frozen=True)
class _Kind:
    manager: str
    dependency: str
    #: So many numbers name a line of versions of which the builder has all or none.
    numbers: int


#: Of the others no log says with which version a build was made.
_KINDS: Mapping[str, _Kind] = {
    "Python": _Kind("pyenv", "python", 2),
    "Node.js": _Kind("npm", "node", 1),
    "Go": _Kind("gomod", "go", 2),
}


def rules(seen: Iterable[RuntimeSeen], now: float) -> list[Rule]:
    """One for each language of which a version is known to be there; what is not known is not held back."""
    versions = there(seen, now)
    found = []
    for runtime, kind in _KINDS.items():
        lines = [
            version_order(version)[0][: kind.numbers]
            for language, version in versions
            if language == runtime and is_plain(version) and version.count(".") >= kind.numbers - 1
        ]
        if lines:
            *above, last = max(lines)
            bound = ".".join(map(str, [*above, last + 1]))
            found.append(Rule(runtime, kind.manager, kind.dependency, f"<{bound}"))
    return found
