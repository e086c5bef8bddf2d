"""What is kept neither expires nor gives way, within the project's limit; and shares of projects."""

from __future__ import annotations

import pytest

from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput
from orchestrator.preview import State
from orchestrator.report import desired
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import A, B, World

DAY = 86400.0


@pytest.fixture
def world(any_parts: Parts) -> World:
    return World(any_parts, accounts=3, limits=Limits(min_live_seconds=0.0))


def keeps(world: World, iid: int = 1, seconds: float = DAY) -> None:
    world.lifecycle.keep(world.preview(iid).id, seconds, "olga", world.now)


def goes_live(world: World, *iids: int) -> None:
    for iid in iids:
        world.sees(iid)
        world.goes_live(iid)


def note(world: World, iid: int = 1) -> str:
    return desired(world.views.subject(world.preview(iid).id, world.now)[1]).note


def test_a_kept_preview_stays_up_beyond_its_usual_time(world: World) -> None:
    goes_live(world, 1)
    keeps(world)
    assert "kept until" in note(world)
    world.later(DAY - 1.0)
    world.lifecycle.sweep(world.now)
    assert world.deployment().state is State.LIVE
    world.later(2.0)
    world.lifecycle.sweep(world.now)
    assert world.deployment().state is State.STOPPED
    assert world.preview().keep_until is None


def test_to_keep_it_for_less_than_it_has_anyhow_shortens_nothing(world: World) -> None:
    goes_live(world, 1)
    expires_at = world.preview().expires_at
    keeps(world, seconds=60.0)
    assert world.preview().expires_at == expires_at


def test_a_kept_preview_does_not_give_way_and_the_next_one_does(world: World) -> None:
    goes_live(world, 1, 2, 3)
    keeps(world, 1)
    world.sees(4)
    assert [world.deployment(iid).state for iid in (1, 2, 3)] == [State.LIVE, State.STOPPED, State.LIVE]


def test_it_gives_way_again_when_it_is_released_or_its_time_is_over(world: World) -> None:
    goes_live(world, 1, 2, 3)
    keeps(world, 1, seconds=100.0)
    keeps(world, 2, seconds=3000.0)
    world.later(200.0)
    world.sees(4)
    assert world.deployment(1).state is State.STOPPED
    world.lifecycle.release(world.preview(2).id, "olga", world.now)
    assert "kept" not in note(world, 2)
    world.sees(5)
    assert world.deployment(2).state is State.STOPPED


def test_a_released_preview_lives_as_long_as_others_do(world: World) -> None:
    goes_live(world, 1)
    expires_at = world.preview().expires_at
    keeps(world)
    world.lifecycle.release(world.preview().id, "olga", world.now)
    assert world.preview().expires_at == pytest.approx(expires_at)


def test_a_push_to_a_kept_preview_leaves_it_kept(world: World) -> None:
    goes_live(world, 1)
    keeps(world)
    keep_until = world.preview().keep_until
    world.sees(1, sha=B)
    world.goes_live(1)
    assert (world.preview().keep_until, world.preview().expires_at) == (keep_until, keep_until)


def test_only_so_many_of_a_project_are_kept_and_the_refusal_names_them(world: World) -> None:
    goes_live(world, 1, 2, 3)
    keeps(world, 1)
    keeps(world, 2)
    with pytest.raises(BadInput, match=r"2 previews at once; kept are: !1 until .* UTC, !2 until .* UTC"):
        keeps(world, 3)
    keeps(world, 2, seconds=2 * DAY)
    world.sees(1, state="closed")
    keeps(world, 3)


def test_what_other_projects_keep_does_not_count(world: World) -> None:
    goes_live(world, 1, 2)
    keeps(world, 1)
    keeps(world, 2)
    with world.another_project():
        goes_live(world, 1)
        keeps(world, 1)
        assert world.preview(1).keep_until is not None


@pytest.mark.parametrize("seconds", [0.0, -1.0, 7 * DAY + 1.0, float("nan")])
def test_a_time_out_of_bounds_is_refused(world: World, seconds: float) -> None:
    goes_live(world, 1)
    with pytest.raises(BadInput, match="168 hours at most"):
        keeps(world, seconds=seconds)


def test_what_is_not_up_cannot_be_kept_or_released(world: World) -> None:
    world.sees(1, sha=A)
    with pytest.raises(BadInput, match="nothing to keep"):
        keeps(world)
    world.goes_live(1)
    with pytest.raises(BadInput, match="not kept"):
        world.lifecycle.release(world.preview().id, "olga", world.now)


def test_who_kept_it_stands_in_the_timeline(world: World) -> None:
    goes_live(world, 1)
    keeps(world)
    view = world.views.preview("group/tool", 1)
    assert view is not None
    assert [(e.subject, e.after, e.who) for e in view.events][-1] == ("preview", "kept", "olga")


def test_a_project_with_twice_the_weight_gets_twice_the_turns(any_parts: Parts) -> None:
    world = World(any_parts, accounts=0)
    world.lifecycle.weigh(world.project_id, 2.0, "olga", world.now)
    for iid in range(1, 7):
        world.sees(iid)
        world.later(1.0)
    with world.another_project() as other:
        for iid in range(1, 4):
            world.sees(iid)
        theirs = [world.views.subject(world.preview(iid).id, world.now)[1].position for iid in range(1, 4)]
        assert world.project_id == other
    assert theirs == [2, 5, 8]
