"""The storm of the benchmarks: the same for the same seed, and a bound that nothing beats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.storm import START_SECONDS, Job, bound, one_after_the_other, scenario, storm
from deploy.local.toolforge.scenario import Scenario
from orchestrator.scheduler import Limits
from orchestrator.simulation.arrivals import Arrival
from orchestrator.simulation.run import Pool, Simulation

_REVIEW = 120.0


def a_job(number: int, seconds: float, **changes: object) -> Job:
    values: dict[str, object] = {
        "project": 1,
        "iid": number,
        "is_bot": True,
        "opens_at": 0.0,
        "pushes_at": None,
        "build_seconds": seconds,
        "is_good": False,
    }
    return Job(**(values | changes))  # type: ignore[arg-type]


def test_the_same_seed_makes_the_same_storm() -> None:
    assert storm(11, 10, seed=1) == storm(11, 10, seed=1) != storm(11, 10, seed=2)


def test_a_storm_is_mixed() -> None:
    jobs = storm(11, 10, seed=20261125)
    assert len({(job.project, job.iid) for job in jobs}) == len(jobs) == 110
    for kind in (
        [job.is_bot for job in jobs],
        [job.is_good for job in jobs],
        [job.pushes_at is None for job in jobs],
    ):
        assert 0 < sum(kind) < len(jobs)


def test_builds_are_spread_over_the_slots() -> None:
    least = bound([a_job(n, 100.0) for n in range(6)], slots=3, accounts=9, review_seconds=_REVIEW)
    assert least.slots == least.seconds == pytest.approx(200.0)


def test_nothing_begins_before_its_commit_is_there() -> None:
    late = a_job(2, 100.0, pushes_at=500.0)
    least = bound([a_job(1, 100.0), late], slots=2, accounts=9, review_seconds=_REVIEW)
    assert (least.slots, least.alone) == (550.0, 600.0)


def test_people_need_an_address_for_as_long_as_they_look() -> None:
    jobs = [a_job(n, 10.0, is_bot=False, is_good=True) for n in range(4)]
    least = bound(jobs, slots=4, accounts=2, review_seconds=_REVIEW)
    assert least.places == least.seconds == 10.0 + 2 * (START_SECONDS + _REVIEW)


def test_a_resource_group_holds_its_lane_until_the_review_is_over() -> None:
    jobs = [a_job(n, 10.0, is_bot=False, is_good=True) for n in range(3)]
    assert one_after_the_other(jobs, 1, review_seconds=_REVIEW) == 3 * (10.0 + START_SECONDS + _REVIEW)


def test_the_local_toolforge_builds_what_the_storm_says() -> None:
    jobs = storm(3, 4, seed=1)
    told = Scenario(dict(scenario(jobs, group="storm")))
    for job in jobs:
        entry = told.build_entry(
            source_url=f"http://127.0.0.1:1/tools/storm-{job.project}.git",
            ref=f"refs/merge-requests/{job.iid}/head",
        )
        assert told.build(entry, identity="").seconds == job.build_seconds


@given(seed=st.integers(0, 1000), slots=st.integers(1, 8), accounts=st.integers(1, 12))
def test_the_scheduler_never_beats_the_bound(seed: int, slots: int, accounts: int) -> None:
    jobs = storm(4, 5, seed=seed)
    arrivals = sorted(
        Arrival(
            at=at,
            project=str(job.project),
            merge_request=job.iid,
            is_bot=job.is_bot,
            check_only=job.is_bot,
            build_seconds=job.build_seconds,
            image_bytes=60 * 2**20,
            outcome="ok" if job.is_good else "build",
        )
        for job in jobs
        for at in {job.opens_at, job.newest_at}
    )
    pool = Pool(
        accounts=accounts,
        limits=Limits(max_concurrent_builds=slots, min_live_seconds=_REVIEW),
        check_seconds=START_SECONDS,
    )
    least = bound(jobs, slots=slots, accounts=accounts, review_seconds=0.0)
    assert Simulation(pool).run(arrivals).makespan >= least.seconds * (1 - 1e-9)
