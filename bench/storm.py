"""A storm of merge requests, the same for the same seed, and what no way of working can beat. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

#: Toolforge's seconds: the median build, and what lies between the image and a serving tool.
_BUILD_MEDIAN, _BUILD_SIGMA, _BUILD_LEAST, _BUILD_MOST = 120.0, 0.5, 40.0, 420.0
START_SECONDS = 12.0


@dataclass(frozen=True)
class Job:
    """One merge request of the storm; times are Toolforge's seconds since its begin."""

    project: int
    iid: int
    is_bot: bool
    opens_at: float
    #: When a second commit replaces the first; None: never.
    pushes_at: float | None
    #: What a build of any of its commits takes, and whether it ends well.
    build_seconds: float
    is_good: bool

    @property
    def newest_at(self) -> float:
        """When the commit came that the verdict is about."""
        return self.opens_at if self.pushes_at is None else self.pushes_at


def storm(projects: int, each: int, *, seed: int) -> list[Job]:
    """`each` merge requests in every one of `projects`, in the order in which they open.

    Two of ten are people's, the others a bot's. A fifth of the builds fails, as late as others end; to one in
    eight a second commit is pushed in the middle of the storm.
    """
    moments = random.Random(seed)
    jobs = []
    for iid in range(1, each + 1):
        for project in range(1, projects + 1):
            opens_at = 0.0
            pushed = moments.random() < 0.125
            took = moments.lognormvariate(0.0, _BUILD_SIGMA) * _BUILD_MEDIAN
            jobs.append(
                Job(
                    project=project,
                    iid=iid,
                    is_bot=iid % 5 != 0,
                    opens_at=opens_at,
                    pushes_at=moments.uniform(30.0, 600.0) if pushed else None,
                    build_seconds=min(max(took, _BUILD_LEAST), _BUILD_MOST),
                    is_good=moments.random() >= 0.2,
                )
            )
    return jobs


@dataclass(frozen=True)
class Bound:
    """The seconds that the storm takes at least, by what limits it."""

    #: All builds of the newest commits, spread evenly over the slots; none begins before its commit is there.
    slots: float
    #: All times at an address, spread evenly over the accounts; none begins before its build can have ended.
    places: float
    #: The one that ends last even if it never waits.
    alone: float

    @property
    def seconds(self) -> float:
        """The largest of them: each holds whatever the order."""
        return max(self.slots, self.places, self.alone)


def bound(jobs: Sequence[Job], *, slots: int, accounts: int, review_seconds: float) -> Bound:
    """What no plan can beat, not even one that knows every build time and push beforehand.

    Left out, so that it stays below everything: cleaning, the building of commits that are replaced, and that
    a build in an account keeps others away.
    """
    by_commit = [(job.newest_at, job.build_seconds) for job in jobs]
    at_address = [
        (job.newest_at + job.build_seconds, START_SECONDS + (0.0 if job.is_bot else review_seconds))
        for job in jobs
        if job.is_good
    ]
    return Bound(
        slots=_least(by_commit, slots),
        places=_least(at_address, accounts),
        alone=max(job.newest_at + job.build_seconds + START_SECONDS * job.is_good for job in jobs),
    )


def one_after_the_other(jobs: Sequence[Job], lanes: int, *, review_seconds: float) -> float:
    """Seconds that a CI job takes which holds a lane until its merge request has been looked at.

    A lane is a resource group: a tool of its own for one or some projects. Reckoned, and in its favour: a
    runner is always there, cleaning takes no time, and of a merge request only the newest commit is built.
    """
    ends = [0.0] * lanes
    for job in sorted(jobs, key=lambda job: job.newest_at):
        lane = job.project % lanes
        holds = job.build_seconds + job.is_good * (START_SECONDS + (0.0 if job.is_bot else review_seconds))
        ends[lane] = max(ends[lane], job.newest_at) + holds
    return max(ends)


def scenario(jobs: Iterable[Job], *, group: str) -> Mapping[str, object]:
    """The scenario of the local Toolforge in which the builds are those of `jobs`."""
    return {
        "builds": [
            {
                "match": {
                    "source_url": f"*/{group}-{job.project}.git",
                    "ref": f"refs/merge-requests/{job.iid}/head",
                },
                "duration": job.build_seconds,
                "outcome": "success" if job.is_good else "failure",
                "size": "60Mi",
            }
            for job in jobs
        ],
        "jobs": [{"start_delay": START_SECONDS}],
    }


def _least(work: Iterable[tuple[float, float]], servers: int) -> float:
    """When work that comes in pieces can be done at the earliest, as if all servers shared each piece."""
    done = 0.0
    for comes_at, seconds in sorted(work):
        done = max(done, comes_at) + seconds / servers
    return done
