"""Which projects will break with the builder as it is now, or could move up to a newer version. Pure.

Only what was seen is said: which versions the repositories asked for when their files were last read, and
with which ones builds were made or refused. A range of versions is compared with nothing but refusals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.outcome import Pin
from orchestrator.runtimes import RuntimeSeen

_Numbers = tuple[int, ...]
_VERSION = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,3}")


class Outlook(StrEnum):
    """What is to be expected of a version that a project asks for."""

    #: The builder refuses it: the next build fails.
    REFUSED = "refused"
    #: Since the builder changed builds used other versions of the language, and none used this one.
    UNSEEN = "not seen since"
    #: It is there, and so is a newer one.
    CAN_MOVE_UP = "can move up"


@dataclass(frozen=True)
class Asked:
    """A version that a project asks for."""

    path: str
    pin: Pin
    #: When the file was read, in seconds since the epoch.
    at: float
    #: Where: ``@main``, or ``!12`` for a merge request that was merged.
    reference: str


@dataclass(frozen=True)
class Advice:
    """One version that one project asks for, and what is to be expected of it."""

    asked: Asked
    outlook: Outlook
    #: The newest version of the language that a build was made with; empty where none is known.
    newest: str


def advice(
    asked: Iterable[Asked], seen: Sequence[RuntimeSeen], changed_at: float, now: float
) -> list[Advice]:
    """What is worth a look: what breaks first, then what may, then what could move up; each by project.

    `changed_at` is when the builder was last seen to change, 0 for never: what was seen before says nothing.
    """
    there = _there(seen, changed_at, now)
    refused = {(one.runtime, one.wanted) for one in seen if one.is_refused(now)}
    found = []
    for one in asked:
        versions = there.get(one.pin.runtime, {})
        outlook = _outlook(one.pin, versions, refused, is_changed=changed_at > 0)
        if outlook is not None:
            found.append(Advice(one, outlook, versions[max(versions)] if versions else ""))
    order = list(Outlook)
    return sorted(found, key=lambda one: (order.index(one.outlook), one.asked.path, one.asked.pin.runtime))


def _there(
    seen: Iterable[RuntimeSeen], changed_at: float, now: float
) -> Mapping[str, Mapping[_Numbers, str]]:
    """The versions of each language that builds were made with since then, in words and numbers."""
    there: dict[str, dict[_Numbers, str]] = {}
    for one in seen:
        numbers = _numbers(one.wanted)
        if numbers and (one.seen_at or -1.0) >= changed_at and not one.is_refused(now):
            there.setdefault(one.runtime, {})[numbers] = one.wanted
    return there


def _outlook(
    pin: Pin,
    versions: Mapping[_Numbers, str],
    refused: Iterable[tuple[str, str]],
    *,
    is_changed: bool,
) -> Outlook | None:
    if (pin.runtime, pin.wanted) in refused:
        return Outlook.REFUSED
    wanted = _numbers(pin.wanted)
    if not wanted or not versions:
        return None
    if is_changed and not any(numbers[: len(wanted)] == wanted for numbers in versions):
        return Outlook.UNSEEN
    return Outlook.CAN_MOVE_UP if max(versions)[: len(wanted)] > wanted else None


def _numbers(version: str) -> _Numbers:
    """A version as numbers; empty for a range, or anything else."""
    return tuple(map(int, version.split("."))) if _VERSION.fullmatch(version) else ()
