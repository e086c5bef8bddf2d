"""The same change in merge requests of several projects: one is built, the others wait for its result. Pure.

A bot proposes the same version of a language to many projects at once. Whether Toolforge's builder has it,
one build tells for all of them. People never wait for that: who asks for a build by a command gets it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from orchestrator.outcome import Failure, Pin, PinChange
from orchestrator.preview import Deployment, State, Step
from orchestrator.runtimes import REFUSALS, RuntimeSeen


def changed(before: Iterable[Pin], after: Iterable[Pin]) -> PinChange | None:
    """What a merge request makes of the version that it asks for; None: nothing, or of more than one."""
    old = {one.runtime: one.wanted for one in before}
    found = [
        PinChange(one.runtime, one.file, old.get(one.runtime, ""), one.wanted)
        for one in after
        if old.get(one.runtime, "") != one.wanted
    ]
    return found[0] if len(found) == 1 else None


def is_open(change: PinChange, seen: Iterable[RuntimeSeen], now: float) -> bool:
    """Whether it is worth waiting for another build: not where the version is known to be there."""
    known = next((one for one in seen if (one.runtime, one.wanted) == (change.runtime, change.after)), None)
    return known is None or known.seen_at is None or known.is_refused(now)


def held(
    going: Iterable[tuple[Deployment, int]], now: float, seconds: float, paused: Container[int] = ()
) -> Mapping[int, int]:
    """Which deployments wait for which: by their ids, for at most `seconds` each.

    The one that is waited for is under way, or else the first that can be. `going` are the deployments that
    are unfinished, each with its project's id; those of projects that are `paused` are waited for by nobody.
    """
    if seconds <= 0:
        return {}
    groups: dict[PinChange, list[Deployment]] = defaultdict(list)
    for one, project_id in going:
        if one.change is not None and one.is_on_its_way and project_id not in paused:
            groups[one.change].append(one)
    waits: dict[int, int] = {}
    for group in groups.values():
        first = min(group, key=lambda one: (one.state is State.QUEUED, (one.ready_at or now) > now, one.id))
        for one in group:
            since = max(one.step_since, one.ready_at or 0.0)
            if one is not first and one.step is Step.AWAIT_SLOT and now - since < seconds:
                waits[one.id] = first.id
    return waits


def answer(change: PinChange, failure: Failure | None, name: str) -> Failure | None:
    """How the same change fails elsewhere, where it failed so in `name`; None: that says nothing of it.

    `name` may be empty: what is known of the version is known from some build.
    """
    if failure is None or REFUSALS.get(failure.cause) != change.runtime:
        return None
    if failure.facts.get("version", change.after) != change.after:
        return None
    shown = (
        f", as the build of the same change in {name} has shown" if name else ", as a build has just shown"
    )
    return replace(
        failure,
        summary=f"{failure.summary}{shown}",
        remedy=f"{failure.remedy} `/preview` builds it all the same.",
        evidence=(),
        excerpt="",
        log="",
    )
