"""The second opinion: when it is asked for, what ends it, and that it changes nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator import opinion, report
from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.diagnosis import explain_build
from orchestrator.outcome import Failure, KeptLog, Opinion, Pin, Says
from orchestrator.pool import Account, AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.records import Kind
from orchestrator.runtimes import DEFAULT, LATEST, RuntimeSeen
from orchestrator.scheduler import (
    Ceiling,
    DropOpinion,
    Limits,
    MakeRoom,
    Place,
    Showing,
    Snapshot,
    Start,
    has_time_to_spare,
    plan,
)
from tests.orchestrator.scene import B, World
from tests.orchestrator.test_report import a_deployment
from tests.orchestrator.test_scheduler import NOW, a_waiting

PIN = Pin("Python", "3.99", ".python-version")
LINES = "[Error: The requested Python version isn't recognised]\nThe requested Python version 3.99 isn't"
MISSING = explain_build(LINES, "Tasks failed")
OTHER = explain_build("[Error: Unable to install dependencies using pip]", "Tasks failed")
REFUSED = out.StageFailed(MISSING, KeptLog(LINES), (PIN,))
BUILT = KeptLog("Using Python 3.99 specified in .python-version")
BUILDS = out.OpinionGiven(Says.BUILDS, BUILT, bytes_used=70, bytes_limit=1000)
LACKS = out.OpinionGiven(Says.LACKS, KeptLog(LINES), MISSING)
FAILS = out.OpinionGiven(Says.FAILS, KeptLog("x"), OTHER)


# --- when it is of use --------------------------------------------------------------------------------


def test_it_is_wanted_of_a_version_that_is_surely_missing_and_of_nothing_else() -> None:
    built = a_deployment(State.BUILDING, Step.WATCH_BUILD)
    assert opinion.is_wanted(built, MISSING)
    assert not opinion.is_wanted(built, OTHER)
    assert not opinion.is_wanted(built, replace(MISSING, confidence="likely"))
    assert not opinion.is_wanted(built, replace(MISSING, cause="python-version-eol"))
    assert not opinion.is_wanted(replace(built, image="tool-a/i@sha256:1"), MISSING), "a component's build"
    latest = {"components": {"web": {"build": {"use_latest_versions": True}, "run": _RUN}}}
    assert not opinion.is_wanted(replace(built, config=latest), MISSING), "that one was asked already"


_RUN = {"command": "run", "port": 8000, "publish": "/"}


def test_the_newest_version_is_one_that_a_build_was_made_with() -> None:
    seen = [
        RuntimeSeen("Python", "3.9.2", seen_at=NOW),
        RuntimeSeen("Python", "3.13.1", seen_at=NOW, builder=LATEST),
        RuntimeSeen("Python", ">=3.99", seen_at=NOW),
        RuntimeSeen("Python", "3.14", NOW, "python-version-missing"),
        RuntimeSeen("Node.js", "22.1.0", seen_at=NOW),
    ]
    assert opinion.newest("Python", seen, NOW) == "3.13"
    assert opinion.newest("Node.js", seen, NOW) == "22.1.0"
    assert opinion.newest("Go", seen, NOW) == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Opinion("b", Says.BUILDS), "will build with the latest builder"),
        (Opinion("b", Says.BUILDS), "--use-latest-versions"),
        (Opinion("b", Says.LACKS, "3.13"), "Not available on Toolforge yet"),
        (Opinion("b", Says.LACKS, "3.13"), "newest is `3.13`"),
        (Opinion("b", Says.FAILS, why="no `wheel`"), "another reason: `no 'wheel'`"),
    ],
)
def test_it_is_told_in_words(given: Opinion, words: str) -> None:
    failed = a_deployment(State.FAILED, Step.NONE, failure=MISSING, opinion=given)
    assert words in opinion.told(failed)


def test_nothing_is_told_where_it_did_not_answer() -> None:
    failed = a_deployment(State.FAILED, Step.NONE, failure=MISSING)
    assert opinion.told(failed) == ""
    assert opinion.told(replace(failed, opinion=Opinion("b"))) == ""


# --- whose turn it is: the last -----------------------------------------------------------------------

_LIMITS = Limits(max_concurrent_builds=2, min_live_seconds=0)
_HELD = Place(1, 5, builds=1, bytes_used=10, bytes_limit=100)
#: One build runs: that which has just failed.
_IDLE = Snapshot([], [_HELD], building={1: 1})


def test_there_is_time_to_spare_only_while_nobody_waits_and_a_slot_is_free() -> None:
    assert has_time_to_spare(_IDLE, _LIMITS, 1, 50)
    assert has_time_to_spare(replace(_IDLE, building={1: 1, 2: 1}), _LIMITS, 1, 50)
    assert not has_time_to_spare(replace(_IDLE, building={1: 1, 2: 2}), _LIMITS, 1, 50)
    assert not has_time_to_spare(replace(_IDLE, building={1: 2}, ceiling=Ceiling(1)), _LIMITS, 1, 50)
    assert not has_time_to_spare(replace(_IDLE, waiting=[a_waiting(9)]), _LIMITS, 1, 50)
    assert not has_time_to_spare(replace(_IDLE, frozen=True), _LIMITS, 1, 50)
    assert not has_time_to_spare(_IDLE, _LIMITS, 1, 91), "no room in the store"
    assert not has_time_to_spare(_IDLE, _LIMITS, 2, 1), "no such account"
    shared = replace(_IDLE, places=[replace(_HELD, preview_id=None, is_shared=True)])
    assert has_time_to_spare(shared, _LIMITS, 1, 60)
    assert not has_time_to_spare(shared, _LIMITS, 1, 61), "a shared store is left open for others"


def test_who_gets_nothing_ends_every_second_opinion_before_a_preview_gives_way() -> None:
    waiting = a_waiting(9, preview_id=9)
    busy = Snapshot([waiting], [_HELD], building={1: 1}, asking=[7], cleaning=1, showing=[Showing(3, 0.0)])
    assert plan(busy, _LIMITS, NOW) == [DropOpinion(7)], "its account is about to be free"
    without = replace(busy, asking=[], cleaning=0)
    assert plan(without, _LIMITS, NOW) == [MakeRoom(3)]
    room = replace(busy, places=[_HELD, Place(2, None)])
    (start,) = plan(room, _LIMITS, NOW)
    assert isinstance(start, Start)


# --- through the database -----------------------------------------------------------------------------


@pytest.fixture
def world(any_parts: Parts) -> World:
    return World(any_parts, accounts=2, limits=Limits(max_concurrent_builds=1, min_live_seconds=3600))


def fails(world: World, iid: int = 1, **seen: object) -> Deployment:
    world.sees(iid, **seen)  # type: ignore[arg-type]
    return world.steps(out.BuildStarted(f"b{iid}"), REFUSED, iid=iid)


def note(world: World, iid: int = 1) -> str:
    return report.note(world.views.subject(world.preview(iid).id, world.now)[1])


def log(world: World, deployment: Deployment, kind: str) -> str | None:
    with world.store.read() as tx:
        return tx.log(deployment.id, kind)


def account_of(world: World, deployment: Deployment) -> Account:
    assert deployment.account_id is not None
    return world.account(deployment.account_id)


def test_it_is_had_under_the_same_lease_and_leaves_the_verdict_alone(world: World) -> None:
    failed = fails(world)
    assert (failed.state, failed.step) == (State.FAILED, Step.START_OPINION)
    assert failed.holds_build_slot
    assert "being built once more" in note(world)
    asked = world.step(out.OpinionStarted("b1-latest"))
    assert (asked.state, asked.step) == (State.FAILED, Step.WATCH_OPINION)
    assert account_of(world, asked).state is AccountState.LEASED
    given = world.steps(out.OpinionGoesOn(), BUILDS)
    assert (given.state, given.step, given.failure) == (State.FAILED, Step.TIDY, failed.failure)
    settled = world.step(out.Tidied())
    assert settled.is_settled
    assert account_of(world, settled).state is AccountState.CLEANING
    assert account_of(world, settled).bytes_used == 70
    assert log(world, settled, "latest") == BUILT.text
    assert log(world, settled, "build") == LINES
    assert "It will build with the latest builder, which has Python `3.99`" in note(world)
    _, subject = world.views.subject(world.preview().id, world.now)
    told = report.desired(subject)
    assert [(one.state, len(told.statuses)) for one in told.statuses] == [("failed", 1)]
    assert [one.status for one in told.deployments] == ["failed"]


def test_what_it_saw_is_known_of_the_latest_builder_alone(world: World) -> None:
    fails(world)
    world.steps(out.OpinionStarted("x"), BUILDS, out.Tidied())
    with world.store.read() as tx:
        (default,), (latest,) = tx.runtimes(DEFAULT), tx.runtimes(LATEST)
    assert (default.wanted, default.is_refused(world.now)) == ("3.99", True)
    assert (latest.wanted, latest.seen_at is not None, latest.is_refused(world.now)) == ("3.99", True, False)


def test_what_the_latest_builder_lacks_is_told_with_the_newest_that_there_is(world: World) -> None:
    with world.store.write_alone() as tx:
        tx.put_runtime(RuntimeSeen("Python", "3.13.7", seen_at=world.now), world.now)
    fails(world)
    given = world.steps(out.OpinionStarted("x"), LACKS, out.Tidied())
    assert given.opinion == Opinion("x", Says.LACKS, "3.13")
    assert "Not available on Toolforge yet" in note(world)
    with world.store.read() as tx:
        assert [one.is_refused(world.now) for one in tx.runtimes(LATEST)] == [True]


def test_another_failure_of_the_latest_builder_is_told_as_one(world: World) -> None:
    fails(world)
    given = world.steps(out.OpinionStarted("x"), FAILS, out.Tidied())
    assert given.opinion is not None
    assert given.opinion.why == OTHER.summary
    assert "fails, too, for another reason" in note(world)
    with world.store.read() as tx:
        assert tx.runtimes(LATEST) == []


def test_a_strangers_opinion_teaches_nothing(world: World) -> None:
    world.sees(1, fork=True)
    world.lifecycle.approve_or_redeploy(world.preview().id, "dana", world.now)
    world.step(out.FileRead({}))
    world.steps(out.BuildStarted("b"), REFUSED, out.OpinionStarted("x"), BUILDS)
    with world.store.read() as tx:
        assert tx.runtimes(None) == []


def test_it_is_not_asked_for_while_somebody_waits(world: World) -> None:
    world.sees(1)
    world.sees(2)
    assert world.deployment(2).step is Step.AWAIT_SLOT
    failed = world.steps(out.BuildStarted("b"), REFUSED)
    assert (failed.step, failed.opinion) == (Step.TIDY, None)


def test_it_is_not_asked_for_beside_something_that_is_up(world: World) -> None:
    world.sees(1)
    world.goes_live()
    failed = fails(world, sha=B)
    assert (failed.step, failed.opinion) == (Step.TIDY, None)


@pytest.mark.parametrize("begun", [False, True])
def test_somebody_who_waits_ends_it_at_once(world: World, begun: bool) -> None:
    fails(world)
    if begun:
        world.step(out.OpinionStarted("x"))
    world.sees(2)
    dropped = world.deployment()
    assert (dropped.state, dropped.step, dropped.opinion) == (State.FAILED, Step.TIDY, None)
    assert world.deployment(2).step is Step.AWAIT_SLOT, "the slot comes back once its build is cancelled"
    world.step(out.Tidied())
    assert world.deployment(2).step is Step.START_BUILD
    assert "Second opinion" not in note(world)


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("what", ["pushed", "closed", "stopped", "asked for"])
def test_a_push_a_close_and_every_command_end_it_at_once(world: World, begun: bool, what: str) -> None:
    first = fails(world)
    if begun:
        world.step(out.OpinionStarted("x"))
    match what:
        case "pushed":
            world.sees(1, B)
        case "closed":
            world.sees(1, state="closed")
        case "stopped":
            world.lifecycle.stop(world.preview().id, "dana", "stopped", world.now)
        case _:
            world.lifecycle.approve_or_redeploy(world.preview().id, "dana", world.now, rebuild=True)
    (ended,) = [one for one in world.deployments() if one.id == first.id]
    assert (ended.state, ended.step, ended.opinion) == (State.FAILED, Step.TIDY, None)
    assert ended.due_at == world.now


@pytest.mark.parametrize(
    "outcome",
    [
        out.OpinionDropped("another head"),
        out.NotNow("409", seconds=1.0, throttled=True),
        out.NotNow("no answer", may_have_happened=True),
    ],
)
def test_whatever_stands_in_its_way_ends_it(world: World, outcome: out.Outcome) -> None:
    fails(world)
    dropped = world.step(outcome)
    assert (dropped.state, dropped.step, dropped.opinion) == (State.FAILED, Step.TIDY, None)
    is_unsure = isinstance(outcome, out.NotNow) and outcome.may_have_happened
    assert (dropped.unsure_until is not None) == is_unsure


def test_one_without_end_is_ended(world: World) -> None:
    fails(world)
    world.step(out.OpinionStarted("x"))
    world.later(world.policy.patience.build_seconds + 1)
    assert world.step(out.OpinionGoesOn()).step is Step.TIDY


def test_an_account_that_is_lost_takes_it_along(world: World) -> None:
    fails(world)
    lost = world.step(out.AccountUnusable("refused"))
    assert (lost.state, lost.is_settled) == (State.FAILED, True)
    assert account_of(world, lost).state is AccountState.QUARANTINED


def test_what_a_worker_brings_back_of_one_that_was_ended_counts_no_more(world: World) -> None:
    before = fails(world)
    claim = world.claim(Kind.DEPLOYMENT, before.id)
    world.sees(2)
    world.lifecycle.record(claim, before, out.OpinionStarted("x"), world.now)
    assert world.deployment().step is Step.TIDY


def test_a_failure_without_a_version_has_words() -> None:
    bare = Failure("build", "x", "y", cause="php-version-missing", confidence="certain")
    failed = a_deployment(State.FAILED, Step.NONE, failure=bare, opinion=Opinion("b", Says.LACKS))
    assert "does not have that PHP" in opinion.told(failed)
