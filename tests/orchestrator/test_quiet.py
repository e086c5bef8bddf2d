"""Promises of the rule that makes one build of many pushes, and what the lifecycle makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.bootstrap import Parts
from orchestrator.merge_request import Verb
from orchestrator.policy import Policy
from orchestrator.preview import State
from orchestrator.quiet import Push, Quiet, ready_at
from orchestrator.records import Kind
from orchestrator.report import desired
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import A, B, C, World

QUIET = Quiet(people_seconds=10.0, bot_seconds=60.0)
BOT = "project_77_bot_1a2b3c"
gaps = st.lists(st.floats(0.01, 200.0), max_size=40)


def builds(gaps: Sequence[float], *, is_bot: bool) -> list[tuple[float, float]]:
    """Pushes so many seconds apart, where there is room: each build as (when its push came, its begin)."""
    now, earlier, begun = 0.0, [], []
    waits_until: float | None = None
    for gap in [0.0, *gaps, 1e9]:
        now += gap
        if waits_until is not None and waits_until < now:
            begun.append((earlier[0].at, waits_until))
            earlier[0] = Push(earlier[0].at, was_built=True)
            waits_until = None
        if gap == 1e9:
            break
        at = ready_at(now, earlier, is_bot=is_bot, quiet=QUIET)
        earlier.insert(0, Push(now, was_built=at is None))
        waits_until = at
        if at is None:
            begun.append((now, now))
    return begun


# --- the rule -----------------------------------------------------------------------------------------


def test_a_persons_first_push_is_built_at_once() -> None:
    assert ready_at(5.0, [], is_bot=False, quiet=QUIET) is None


def test_a_persons_push_soon_after_another_waits_until_no_more_comes() -> None:
    assert ready_at(109.0, [Push(100.0, was_built=True)], is_bot=False, quiet=QUIET) == 119.0
    assert ready_at(110.0, [Push(100.0, was_built=True)], is_bot=False, quiet=QUIET) is None


def test_even_a_bots_first_push_waits() -> None:
    assert ready_at(5.0, [], is_bot=True, quiet=QUIET) == 65.0


def test_without_quiet_to_wait_for_everything_is_built_at_once() -> None:
    for is_bot in (False, True):
        assert ready_at(5.0, [Push(5.0, was_built=False)], is_bot=is_bot, quiet=Quiet(0.0, 0.0)) is None


@given(gaps, st.booleans())
def test_the_last_push_is_built_and_waits_no_longer_than_the_quiet(gaps: list[float], is_bot: bool) -> None:
    pushed_at, begun_at = builds(gaps, is_bot=is_bot)[-1]
    assert pushed_at == pytest.approx(sum(gaps))
    assert begun_at - pushed_at <= (QUIET.bot_seconds if is_bot else QUIET.people_seconds) + 1e-6


@given(st.lists(st.floats(0.01, 59.0), max_size=10))
def test_a_bots_pushes_without_a_pause_are_one_build(gaps: list[float]) -> None:
    assert len(builds(gaps, is_bot=True)) == 1


@given(st.lists(st.floats(0.01, 9.9), max_size=9))
def test_a_persons_pushes_without_a_pause_are_two_builds_at_most(gaps: list[float]) -> None:
    assert len(builds(gaps, is_bot=False)) <= 2


@given(st.lists(st.floats(0.5, 50.0), min_size=30, max_size=80), st.booleans())
def test_pushes_without_end_are_built_all_the_same(gaps: list[float], is_bot: bool) -> None:
    begun = [at for _, at in builds(gaps, is_bot=is_bot)]
    longest = 11 * (QUIET.bot_seconds if is_bot else QUIET.people_seconds) + max(gaps)
    assert all(later - sooner <= longest for sooner, later in pairwise(begun))


@given(
    st.floats(-1e6, 1e6),
    st.lists(st.builds(Push, at=st.floats(-1e6, 1e6), was_built=st.booleans())),
    st.booleans(),
)
def test_nothing_waits_longer_than_the_quiet_even_when_the_clock_jumps(
    now: float, earlier: list[Push], is_bot: bool
) -> None:
    at = ready_at(now, earlier, is_bot=is_bot, quiet=QUIET)
    assert at is None or now < at <= now + (QUIET.bot_seconds if is_bot else QUIET.people_seconds)


# --- through the lifecycle ----------------------------------------------------------------------------


@pytest.fixture
def world(parts: Parts) -> World:
    limits = Limits(max_concurrent_builds=20, builds_per_account=4)
    return World(parts, accounts=10, policy=Policy(limits=limits, quiet=QUIET))


def passes(world: World, seconds: float) -> None:
    world.later(seconds)
    world.lifecycle.sweep(world.now)


def test_what_waits_for_quiet_is_built_when_its_time_has_come(world: World) -> None:
    world.sees(sha=A)
    assert world.deployment().state is State.BUILDING
    passes(world, 5.0)
    world.sees(sha=B)
    assert world.states() == ["superseded", "queued"]
    passes(world, 9.0)
    assert world.deployment().state is State.QUEUED
    passes(world, 1.5)
    assert world.deployment().state is State.BUILDING


def test_a_bot_that_rebases_all_after_each_merge_costs_one_build_each(world: World) -> None:
    for iid in range(1, 11):
        world.sees(iid, sha=f"{iid:040x}", author=BOT)
    for merged in range(1, 6):
        passes(world, 20.0)
        world.sees(merged, sha=f"{merged:040x}", state="merged", author=BOT)
        for iid in range(merged + 1, 11):
            world.sees(iid, sha=f"{100 * merged + iid:040x}", author=BOT)
    passes(world, 61.0)
    built = [d for iid in range(1, 11) for d in world.deployments(iid) if State.BUILDING in (d.entered or {})]
    assert sorted(d.iid for d in built) == [6, 7, 8, 9, 10]


def test_a_command_ends_the_waiting_and_never_waits_itself(world: World) -> None:
    world.sees(sha=A)
    world.sees(sha=B)
    assert world.deployment().state is State.QUEUED
    assert world.comments(Verb.PREVIEW, under=B, head=B)
    assert world.deployment().state is State.BUILDING
    assert world.states() == ["superseded", "building"]


def test_an_approved_commit_does_not_wait_for_quiet(world: World) -> None:
    world.sees(sha=A, fork=True)
    world.sees(sha=B, fork=True)
    assert world.comments(Verb.PREVIEW, under=B, head=B, fork=True)
    assert world.deployment().state is State.BUILDING


def test_the_note_says_that_quiet_is_awaited_and_then_the_place_in_the_queue(parts: Parts) -> None:
    world = World(parts, policy=Policy(limits=Limits(), quiet=QUIET))
    world.sees(1)
    world.sees(2, author=BOT)

    def note() -> str:
        return desired(world.views.subject(world.preview(2).id, world.now)[1]).note

    assert "quiet moment" in note()
    world.tells_gitlab()
    passes(world, 61.0)
    passes(world, 2.0)
    assert "number 1 in the queue" in note()
    with world.store.read() as tx:
        assert (Kind.REPORT, world.preview(2).id) in {(d.kind, d.id) for d in tx.due(world.now, limit=9)}


def test_a_live_preview_whose_next_commit_waits_for_quiet_does_not_give_way(parts: Parts) -> None:
    world = World(parts, policy=Policy(limits=Limits(min_live_seconds=0.0), quiet=QUIET))
    world.sees(1)
    world.goes_live(1)
    world.later(20.0)
    world.sees(1, sha=B)
    world.sees(1, sha=C)
    world.sees(2)
    assert world.states(1) == ["live", "superseded", "queued"]
