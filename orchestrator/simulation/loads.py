"""Made-up loads: people in office hours, and bots that open many merge requests at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush, merge
from random import Random

from orchestrator.simulation.arrivals import Arrival

_DAY = 86400.0
_MIB = 2**20
#: Share of a working day's merge requests in each hour (UTC): Wikimedia's people live in many zones, most of
#: them between California and India.
_HOURS = (1, 1, 1, 1, 1, 2, 3, 5, 7, 8, 8, 7, 7, 8, 9, 9, 8, 6, 5, 4, 3, 2, 2, 1)
_WEEKEND = 0.3


@dataclass(frozen=True)
class Load:
    """What comes; each number is an average. The begin is a Monday, 00:00 UTC."""

    days: float = 7.0
    projects: int = 12
    #: Merge requests that people open on a working day, in all projects.
    people_a_day: float = 40.0
    #: Commits that a person pushes to one, the first included.
    pushes: float = 2.5
    #: Between two of them.
    push_seconds: float = 3600.0
    #: From the last of them until it is closed.
    open_seconds: float = 8 * 3600.0
    #: Bot storms a day, at any hour, and the merge requests of each, spread over the projects.
    storms_a_day: float = 2.0
    storm_size: int = 11
    #: Share of the bots' deployments that want the verdict alone.
    check_only: float = 1.0
    #: Median; one in six takes twice as long, one in six half as long.
    build_seconds: float = 150.0
    image_mib: float = 250.0
    #: Share of the commits that fail, most of them in the build.
    failures: float = 0.25


def made_up(load: Load, seed: int) -> Iterator[Arrival]:
    """The arrivals of `load` in their order; the same `seed` makes the same ones."""
    # Each kind has a source of chance of its own, so that more of one does not change the other.
    people = _people(load, Random(f"people {seed}"), _Projects(load, seed))  # noqa: S311 - no secret
    storms = _storms(load, Random(f"storms {seed}"), _Projects(load, seed))  # noqa: S311
    return merge(people, storms, key=lambda arrival: arrival.at)


class _Projects:
    """Each project builds in its own time, into images of its own size."""

    def __init__(self, load: Load, seed: int) -> None:
        chance = Random(f"projects {seed}")  # noqa: S311 - no secret
        self._load = load
        self._paces = [math.exp(chance.gauss(0.0, 0.5)) for _ in range(load.projects)]
        self._sizes = [math.exp(chance.gauss(0.0, 0.4)) for _ in range(load.projects)]

    def push(
        self, at: float, project: int, merge_request: int, chance: Random, open_seconds: float, **who: bool
    ) -> Arrival:
        return Arrival(
            at=at,
            project=f"project-{project + 1}",
            merge_request=merge_request,
            build_seconds=self._load.build_seconds * self._paces[project] * math.exp(chance.gauss(0.0, 0.45)),
            image_bytes=int(self._load.image_mib * _MIB * self._sizes[project] * chance.uniform(0.97, 1.03)),
            outcome=_outcome(self._load, chance),
            open_seconds=open_seconds,
            **who,
        )


def _outcome(load: Load, chance: Random) -> str:
    if chance.random() >= load.failures:
        return "ok"
    return chance.choices(("build", "start", "check"), (6, 2, 2))[0]


def _people(load: Load, chance: Random, projects: _Projects) -> Iterator[Arrival]:
    pending: list[tuple[float, int, int]] = []
    for number, at in enumerate(_office_hours(load, chance)):
        while pending and pending[0][0] <= at:
            yield _next_push(load, chance, projects, pending)
        heappush(pending, (at, 2 * number, chance.randrange(load.projects)))
    while pending:
        yield _next_push(load, chance, projects, pending)


def _next_push(
    load: Load, chance: Random, projects: _Projects, pending: list[tuple[float, int, int]]
) -> Arrival:
    """The earliest of the pushes that are due; most are followed by another."""
    at, merge_request, project = heappop(pending)
    open_seconds = chance.expovariate(1 / load.open_seconds)
    if chance.random() < 1 - 1 / load.pushes:
        pause = chance.expovariate(1 / load.push_seconds)
        heappush(pending, (at + pause, merge_request, project))
        # It stays open until then.
        open_seconds += pause
    return projects.push(at, project, merge_request, chance, open_seconds, is_bot=False, check_only=False)


def _office_hours(load: Load, chance: Random) -> Iterator[float]:
    """When people open merge requests: by chance, more at some hours than at others."""
    busiest = load.people_a_day / _DAY * max(_HOURS) / (sum(_HOURS) / 24)
    at = 0.0
    while busiest > 0:
        at += chance.expovariate(busiest)
        if at >= load.days * _DAY:
            return
        share = _HOURS[int(at % _DAY // 3600)] * (_WEEKEND if at // _DAY % 7 >= 5 else 1.0)
        if chance.random() < share / max(_HOURS):
            yield at


def _storms(load: Load, chance: Random, projects: _Projects) -> Iterator[Arrival]:
    at, merge_request = 0.0, 1
    while load.storms_a_day > 0:
        at += chance.expovariate(load.storms_a_day / _DAY)
        if at >= load.days * _DAY:
            return
        for _ in range(load.storm_size):
            # Bots' numbers are odd, people's even.
            merge_request += 2
            project = (merge_request // 2) % load.projects
            yield projects.push(
                at,
                project,
                merge_request,
                chance,
                chance.expovariate(1 / load.open_seconds),
                is_bot=True,
                check_only=chance.random() < load.check_only,
            )
