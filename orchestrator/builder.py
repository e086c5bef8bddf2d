"""How it is noticed that Toolforge's builder has changed. Pure.

Toolforge does not announce it in a way that can be read. But each build log names the buildpacks that took
part, with their versions (buildpacks/lifecycle prints them after ``N of M buildpacks participating``), and
those change with the builder. And a version of a language that was refused and is there, or the other way
round, shows the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from orchestrator.outcome import Pin
from orchestrator.runtimes import RuntimeSeen, version_order

#: So many changes are remembered.
_MOST_CHANGES = 20
#: So many buildpacks are; Heroku's builder has about thirty.
_MOST_BUILDPACKS = 100
#: A line of the list, behind what builds-api puts before each line.
_BUILDPACK = re.compile(r"(?:^|\s)(heroku/[a-z][a-z-]{0,40})[ \t]+v?(\d{1,5}(?:\.\d{1,5}){1,2})[ \t]*$")
_BEGIN = "buildpacks participating"
#: The list follows at once.
_LIST_LENGTH = 4000


@dataclass(frozen=True)
class Noticed:
    """One change of the builder."""

    at: float
    #: ``heroku/python 2.1.0 instead of 2.0.0``.
    what: str


@dataclass(frozen=True)
class Builder:
    """What is known of a builder beside its versions of languages."""

    #: Versions of its buildpacks, by their names.
    buildpacks: Mapping[str, str] = field(default_factory=dict)
    #: The newest first.
    changes: Sequence[Noticed] = ()

    @property
    def changed_at(self) -> float:
        """When it was last noticed to have changed, in seconds since the epoch; 0: never."""
        return self.changes[0].at if self.changes else 0.0


def buildpacks(log: str) -> Mapping[str, str]:
    """The versions of the buildpacks that took part in a build, by their names, where its log says so."""
    begin = log.find(_BEGIN)
    _, *lines = log[begin : begin + _LIST_LENGTH].split("\n") if begin >= 0 else [""]
    listed = takewhile(bool, (_BUILDPACK.search(line) for line in lines))
    return {match[1]: match[2] for match in listed if match}


def noticed(
    before: Builder,
    log: str,
    refused: Iterable[Pin],
    used: Iterable[tuple[str, str]],
    known: Mapping[tuple[str, str], RuntimeSeen],
    now: float,
) -> Builder:
    """What is known after a build with that log, which `used` or was `refused` versions of languages.

    What is seen for the first time is no change: nobody may have asked for it before.
    """
    found = buildpacks(log)
    what = [
        f"{name} {version} instead of {before.buildpacks[name]}"
        for name, version in sorted(found.items())
        if before.buildpacks.get(name, version) != version
    ]
    for runtime, wanted in sorted({*used}, key=lambda one: (one[0], version_order(one[1]))):
        one = known.get((runtime, wanted))
        if one is not None and one.is_refused(now):
            what.append(f"it has {runtime} {wanted}, which it refused before")
    for pin in refused:
        one = known.get((pin.runtime, pin.wanted))
        if one is not None and one.seen_at is not None and not one.is_refused(now):
            what.append(f"it refuses {pin.runtime} {pin.wanted}, which it had before")
    together = dict(list({**before.buildpacks, **found}.items())[-_MOST_BUILDPACKS:])
    changes = [*(Noticed(now, words) for words in what), *before.changes][:_MOST_CHANGES]
    return Builder(together, tuple(changes))
