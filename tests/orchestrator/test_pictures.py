"""Which picture is due follows from what is live; the newest is kept, and nothing waits for one."""

from __future__ import annotations

import pytest

from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.pictures import AFTER_SECONDS, AGAIN_SECONDS, MOST_TRIES, Pictures, Wanted
from orchestrator.preview import Step
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import B, World

_WEBP = bytes(range(256)) * 1500
_NEVER = 1e9


@pytest.fixture
def world(any_parts: Parts) -> World:
    return World(any_parts, accounts=2, limits=Limits(max_concurrent_builds=4))


@pytest.fixture
def pictures(any_parts: Parts, world: World) -> Pictures:
    return any_parts.pictures


def _live(world: World, iid: int = 1, sha: str = "a" * 40) -> int:
    """Goes live, and has been for long enough; the deployment's number."""
    world.sees(iid, sha)
    deployment = world.goes_live(iid)
    world.later(AFTER_SECONDS)
    return deployment.id


def _next(world: World, pictures: Pictures) -> Wanted:
    wanted = pictures.next(world.now)
    assert wanted is not None
    return wanted


def _shown(world: World, iid: int = 1) -> int | None:
    """The deployment whose picture the page has."""
    view = world.views.preview("group/tool", iid)
    assert view is not None
    return view.picture.deployment_id if view.picture else None


def test_a_picture_is_due_once_what_is_live_has_none(world: World, pictures: Pictures) -> None:
    world.sees()
    assert pictures.next(world.now + _NEVER) is None
    deployment = world.goes_live()
    assert pictures.next(world.now) is None, "first the verdict is told"
    world.later(AFTER_SECONDS)
    wanted = _next(world, pictures)
    assert (wanted.deployment.id, wanted.tool, wanted.tries) == (deployment.id, "dev-0", 1)
    assert pictures.next(world.now) is None, "somebody takes it already"
    assert pictures.keep(wanted, _WEBP, world.now)
    assert pictures.next(world.now + _NEVER) is None
    assert pictures.of(deployment.id) == _WEBP
    assert _shown(world) == deployment.id


def test_no_picture_changes_what_it_is_of(world: World, pictures: Pictures) -> None:
    _live(world)
    before, events = world.deployment(), len(world.views.history("deployment"))
    wanted = _next(world, pictures)
    pictures.failed(wanted, "it crashed", world.now)
    pictures.keep(wanted, _WEBP, world.now)
    assert world.deployment() == before
    assert len(world.views.history("deployment")) == events


def test_those_who_have_waited_longest_come_first(world: World, pictures: Pictures) -> None:
    first, second = _live(world, 1), _live(world, 2)
    assert [_next(world, pictures).deployment.id for _ in range(2)] == [first, second]


def test_a_try_that_came_to_nothing_is_made_again_and_told_at_last(world: World, pictures: Pictures) -> None:
    deployment_id = _live(world)
    for tries in range(1, MOST_TRIES + 1):
        wanted = _next(world, pictures)
        assert wanted.tries == tries
        pictures.failed(wanted, "it crashed", world.now)
        assert pictures.next(world.now + AGAIN_SECONDS * tries - 1) is None
        told = [event.why for event in world.views.history("deployment") if "picture" in event.why]
        assert len(told) == (tries == MOST_TRIES)
        world.later(AGAIN_SECONDS * tries)
    assert told == ["there is no picture of its page: it crashed"]
    assert pictures.next(world.now + _NEVER) is None
    assert pictures.of(deployment_id) is None
    assert _shown(world) is None


def test_a_try_that_was_cut_off_is_made_again(world: World, pictures: Pictures) -> None:
    _live(world)
    _next(world, pictures)
    world.later(AGAIN_SECONDS)
    wanted = _next(world, pictures)
    assert wanted.tries == 2
    assert pictures.keep(wanted, _WEBP, world.now)


def test_a_picture_that_is_taken_twice_is_kept_once(world: World, pictures: Pictures) -> None:
    deployment_id = _live(world)
    late = _next(world, pictures)
    world.later(AGAIN_SECONDS)
    early = _next(world, pictures)
    assert pictures.keep(early, b"first", world.now)
    assert pictures.keep(late, b"second", world.now)
    assert pictures.of(deployment_id) == b"second"


def test_of_a_preview_the_newest_picture_stays(world: World, pictures: Pictures) -> None:
    first = _live(world)
    pictures.keep(_next(world, pictures), b"first", world.now)
    second = _live(world, sha=B)
    assert _shown(world) == first, "until there is another"
    pictures.keep(_next(world, pictures), b"second", world.now)
    assert _shown(world) == second
    assert pictures.of(first) is None


def test_what_was_replaced_meanwhile_is_no_picture_of_it(world: World, pictures: Pictures) -> None:
    first = _live(world)
    wanted = _next(world, pictures)
    _live(world, sha=B)
    assert not pictures.keep(wanted, _WEBP, world.now)
    assert pictures.of(first) is None


def test_an_account_that_somebody_else_has_by_now_is_not_pictured_for_the_first(
    world: World, pictures: Pictures
) -> None:
    _live(world)
    wanted = _next(world, pictures)
    world.sees(state="closed")
    assert not pictures.keep(wanted, _WEBP, world.now)
    pictures.failed(wanted, "it is gone", world.now)
    assert pictures.next(world.now + _NEVER) is None
    assert _shown(world) is None


def test_while_another_deployment_is_tried_at_the_address_there_is_nothing_to_see(
    world: World, pictures: Pictures
) -> None:
    first = _live(world)
    wanted = _next(world, pictures)
    world.sees(sha=B)
    world.steps(out.BuildStarted("b2"), out.BuildSucceeded("i2"), out.JobStarted(), out.JobReady())
    assert world.deployment().step is Step.PUBLISH
    assert not pictures.keep(wanted, _WEBP, world.now)
    assert pictures.next(world.now + AGAIN_SECONDS) is None
    failure = out.Failure("check", "it is broken", "mend it")
    world.steps(out.JobStarted(), out.StageFailed(failure), out.RolledBack())
    while world.deployment().due_at is not None:
        world.step(out.Tidied())
    world.later(AGAIN_SECONDS)
    assert _next(world, pictures).deployment.id == first


def test_while_everything_is_paused_nothing_is_pictured(world: World, pictures: Pictures) -> None:
    _live(world)
    world.lifecycle.pause("olga", "a hostile page", world.now)
    assert pictures.next(world.now) is None
    world.lifecycle.resume("olga", world.now)
    assert pictures.next(world.now) is not None
