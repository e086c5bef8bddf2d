"""What is wrong with a leased account, and how much of it may be acted on at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import belongings
from orchestrator.belongings import Holdings
from orchestrator.inspection import Findings, compare, may_take_down
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.toolforge_answers import Build, BuildStatus, Job

LOOKED_AT = 1000.0
ACCOUNT = Account(1, "dev-1", AccountState.LEASED, 0.0, None, fence=4, preview_id=3)
LIVE = Deployment(
    id=7,
    preview_id=3,
    iid=12,
    sha="a" * 40,
    state=State.LIVE,
    step=Step.NONE,
    created_at=0.0,
    since=LOOKED_AT - 1,
    step_since=0.0,
    due_at=None,
    trigger="push",
    actor="alice",
    account_id=1,
    fence=4,
    image=f"harbor.example.org/tool-dev-1/mr12-d7:latest@sha256:{'7' * 64}",
    entered={State.BUILDING: 1.0, State.STARTING: 2.0},
)
#: Replaced by it.
OLD = replace(LIVE, id=6, state=State.STOPPED, image=f"h.org/tool-dev-1/mr12-d6:latest@sha256:{'6' * 64}")
#: Of an older lease of the account.
OLDER = replace(OLD, id=2, fence=3, preview_id=2)


def running(name: str, of: Deployment) -> Job:
    return Job(name, True, 0, None, "", str(of.image).partition("/")[2])


def a_build(of: Deployment, *, has_ended: bool) -> Build:
    return Build(f"build-{of.id}", BuildStatus.RUNNING, "", has_ended, of.image_name, "", "")


def wrong(*going: Deployment, **held: object) -> Findings:
    """What is wrong when that is there, and `going` are under way or live."""
    seen = Holdings(**held)  # type: ignore[arg-type]
    known = {one.id: one for one in (OLDER, OLD, LIVE, *going)}
    found = belongings.sort("dev-1", seen, known, was_leased=True)
    return compare(ACCOUNT, seen, found, known, going, LOOKED_AT)


def test_an_account_as_it_should_be_has_nothing_wrong() -> None:
    held = {
        "jobs": [running("preview", LIVE)],
        "builds": [a_build(LIVE, has_ended=True), a_build(OLD, has_ended=True)],
        "images": ["mr12-d7", "mr12-d6"],
        "bytes_used": 5,
    }
    assert wrong(LIVE, **held) == Findings()


@pytest.mark.parametrize("step", [Step.START_BUILD, Step.WATCH_BUILD, Step.TIDY])
def test_a_build_that_somebody_waits_for_is_no_orphan(step: Step) -> None:
    state = State.CANCELLED if step is Step.TIDY else State.BUILDING
    mine = replace(LIVE, id=8, state=state, step=step)
    assert wrong(mine, builds=[a_build(mine, has_ended=False)]).running == ()


def test_builds_that_nobody_waits_for_are_orphans() -> None:
    builds = [a_build(OLD, has_ended=False), a_build(OLDER, has_ended=False)]
    findings = wrong(LIVE, jobs=[running("preview", LIVE)], builds=builds)
    assert findings.running == ("build-6", "build-2")
    ended = wrong(LIVE, builds=[a_build(OLD, has_ended=True), a_build(OLDER, has_ended=True)])
    assert ended.ended == ("build-2",), "one of this lease is a record, which Toolforge prunes itself"


def test_a_candidate_is_an_orphan_once_its_deployment_is_over() -> None:
    mine = replace(LIVE, id=8, state=State.STARTING, step=Step.WATCH_CANDIDATE, image=OLD.image)
    published = running("preview", LIVE)
    jobs = [published, running("candidate-d8", OLD), running("candidate-d6", OLD)]
    assert wrong(LIVE, mine, jobs=jobs).jobs == ("candidate-d6",)


def test_a_published_job_is_an_orphan_when_nobody_is_at_the_address_or_near_it() -> None:
    jobs = [running("preview", OLD)]
    assert wrong(jobs=jobs).jobs == ("preview",)
    building = replace(LIVE, id=8, state=State.BUILDING, step=Step.WATCH_BUILD)
    assert wrong(building, jobs=jobs).jobs == ("preview",)
    for state, step in [
        (State.STARTING, Step.PUBLISH),
        (State.CHECKING, Step.CHECK),
        (State.FAILED, Step.TIDY),
    ]:
        assert wrong(replace(building, state=state, step=step), jobs=jobs).jobs == ()
    assert wrong(LIVE, jobs=jobs).jobs == ()


def test_on_a_shared_account_nothing_is_lost_and_who_has_its_turn_keeps_the_address() -> None:
    turn = replace(LIVE, id=8, check_only=True, state=State.STARTING, step=Step.WATCH_JOB, image=OLD.image)
    waits = replace(turn, id=9, preview_id=4, state=State.BUILDING, step=Step.AWAIT_PLACE)
    over = replace(turn, state=State.STOPPED, step=Step.TIDY)
    jobs = [running("preview", OLD)]
    assert wrong(turn, waits, jobs=jobs) == Findings()
    assert wrong(over, waits, jobs=jobs) == Findings(), "it takes its job away itself"
    assert wrong(waits, jobs=jobs).jobs == ("preview",)
    assert wrong(turn, waits, images=["mr12-d8", "mr12-d9"]).lost is None


def test_foreign_things_and_operators_envvars_are_never_orphans() -> None:
    held = {
        "jobs": [Job("cronjob", True, 0, None, "", "python3.11"), running("preview", LIVE)],
        "builds": [replace(a_build(OLD, has_ended=False), image_name="theirs")],
        "images": ["theirs"],
        "envvars": ["SECRET", "PREVIEW_URL"],
    }
    assert wrong(LIVE, **held) == Findings()


def test_images_of_an_older_lease_are_told() -> None:
    assert wrong(images=["mr12-d2", "mr12-d6"]).images == ("mr12-d2",)


def test_a_live_preview_without_its_job_is_lost_and_comes_back_if_its_image_is_there() -> None:
    back = wrong(LIVE, images=["mr12-d7"])
    assert (back.lost, back.can_be_put_back) == (LIVE, True)
    gone = wrong(LIVE, images=["mr12-d6"])
    assert (gone.lost, gone.can_be_put_back) == (LIVE, False)


def test_a_live_preview_whose_address_shows_another_image_of_ours_is_lost() -> None:
    assert wrong(LIVE, jobs=[running("preview", OLD)], images=["mr12-d7"]).lost == LIVE
    theirs = Job("preview", True, 0, None, "", "python3.11")
    assert wrong(LIVE, jobs=[theirs], images=["mr12-d7"]).lost is None, "theirs to take away"


def test_what_went_live_while_we_looked_is_not_lost() -> None:
    assert wrong(replace(LIVE, since=LOOKED_AT)).lost is None


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (State.STARTING, Step.WATCH_CANDIDATE),
        (State.STARTING, Step.PUBLISH),
        (State.CHECKING, Step.ROLL_BACK),
        (State.FAILED, Step.TIDY),
    ],
)
def test_nothing_is_lost_while_another_is_on_its_way_to_the_address(state: State, step: Step) -> None:
    other = replace(LIVE, id=8, state=state, step=step)
    assert wrong(LIVE, other, jobs=[running("preview", OLD)], images=["mr12-d7"]).lost is None


# --- how much at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("live", "share", "may"),
    [(1, 0.25, 1), (4, 0.25, 1), (8, 0.25, 2), (100, 0.25, 25), (9, 0.0, 1), (4, 1.0, 4)],
)
def test_one_round_takes_down_its_share_and_at_least_one(live: int, share: float, may: int) -> None:
    taken = 0
    while live and may_take_down(taken, live, share):
        taken, live = taken + 1, live - 1
    assert taken == may


@given(st.integers(1, 500), st.floats(0, 1))
def test_never_more_than_the_share_or_one(live: int, share: float) -> None:
    taken, left = 0, live
    while left and may_take_down(taken, left, share):
        taken, left = taken + 1, left - 1
    assert 1 <= taken <= max(1, live * share)


# --- components ---------------------------------------------------------------------------------------


def with_worker(deployment: Deployment) -> Deployment:
    """The same, of a tool that has a worker beside its web part."""
    web = {"run": {"command": "web", "port": 8000, "publish": "/"}}
    return replace(deployment, config={"components": {"web": web, "worker": {"run": {"command": "worker"}}}})


def wrong_of(live: Deployment, old: Deployment, *jobs: Job) -> Findings:
    """What is wrong when those jobs are there, `live` is live, and `old` was before."""
    seen = Holdings(jobs=jobs)
    known = {live.id: live, old.id: old}
    found = belongings.sort("dev-1", seen, known, was_leased=True)
    return compare(ACCOUNT, seen, found, known, [live], LOOKED_AT)


def test_a_component_that_nobody_needs_any_more_is_an_orphan() -> None:
    findings = wrong_of(LIVE, with_worker(OLD), running("preview", LIVE), running("worker", OLD))
    assert (findings.jobs, findings.lost) == (("worker",), None)


def test_a_component_of_the_live_preview_is_none() -> None:
    live = with_worker(LIVE)
    assert wrong_of(live, OLD, running("preview", live), running("worker", live)) == Findings()


@pytest.mark.parametrize("jobs", [(), (running("worker", OLD),)])
def test_a_component_that_is_gone_or_runs_an_old_image_is_lost(jobs: tuple[Job, ...]) -> None:
    live = with_worker(LIVE)
    findings = wrong_of(live, with_worker(OLD), running("preview", live), *jobs)
    assert findings.lost == live


def test_somebody_elses_job_that_is_called_like_a_component_is_theirs() -> None:
    live = with_worker(LIVE)
    theirs = Job("worker", True, 0, None, "", "tool-theirs/image:latest")
    seen = Holdings(jobs=[running("preview", live), theirs])
    found = belongings.sort("dev-1", seen, {live.id: live}, was_leased=True)
    assert list(found.foreign.jobs) == [theirs]
    assert compare(ACCOUNT, seen, found, {live.id: live}, [live], LOOKED_AT) == Findings()
