"""What becomes of times in the database when a machine's clock is put forward or back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.preview import State
from orchestrator.progress import Patience
from orchestrator.records import Kind
from tests.orchestrator.scene import World
from worker.clock import Clock

_HOUR = 3600.0


@pytest.fixture
def world(any_parts: Parts) -> World:
    """A commit that is just being built."""
    made = World(any_parts)
    made.sees()
    made.step(out.BuildStarted("b"))
    return made


Jump = Callable[[float], bool]
_PATIENCE = Patience()


@pytest.fixture
def jump(world: World) -> Jump:
    """Puts the clock forward or back, and lets it be noticed; whether it was."""
    lifecycle = world.lifecycle
    assert not lifecycle.mind_clock("start", 0.0, world.now)
    ahead = 0.0

    def put(seconds: float) -> bool:
        nonlocal ahead
        world.now += seconds
        ahead += seconds
        return lifecycle.mind_clock("start", ahead, world.now)

    return put


def test_put_back_everything_is_looked_at_as_soon_as_before(world: World, jump: Jump) -> None:
    before = world.deployment()
    assert before.due_at is not None
    wait = before.due_at - world.now
    assert jump(-_HOUR)
    after = world.deployment()
    assert after.due_at == pytest.approx(world.now + wait)
    assert after.step_since == world.now
    with world.store.read() as tx:
        assert all(preview.seen_at <= world.now for preview in [tx.preview(after.preview_id)])


def test_put_back_who_is_at_a_row_has_its_claim_no_longer_than_before(world: World, jump: Jump) -> None:
    due = world.deployment().due_at
    assert due is not None
    world.now = due
    with world.store.write() as tx:
        claim = tx.claim(Kind.DEPLOYMENT, world.deployment().id, now=world.now, seconds=30.0)
    assert claim is not None
    jump(-_HOUR)
    with world.store.write() as tx:
        assert tx.claim(Kind.DEPLOYMENT, claim.id, now=world.now + 29.0, seconds=30.0) is None
        assert tx.claim(Kind.DEPLOYMENT, claim.id, now=world.now + 31.0, seconds=30.0) is not None


def test_put_back_what_is_seen_afterwards_is_the_newer(world: World, jump: Jump) -> None:
    jump(-_HOUR)
    world.later(1.0)
    world.sees(sha="b" * 40)
    assert world.deployment().sha == "b" * 40


def test_put_forward_no_build_took_too_long(world: World, jump: Jump) -> None:
    assert jump(_HOUR)
    world.step(out.BuildGoesOn(has_begun=True))
    assert world.deployment().state is State.BUILDING
    world.later(_PATIENCE.build_seconds + 1.0)
    world.step(out.BuildGoesOn(has_begun=True))
    assert world.deployment().state is State.FAILED


@pytest.mark.parametrize("seconds", [10.0, -10.0])
def test_what_is_set_right_by_a_little_changes_nothing(world: World, jump: Jump, seconds: float) -> None:
    before = world.deployment()
    assert not jump(seconds)
    assert world.deployment() == before


def test_a_jump_is_made_up_for_once_whoever_notices_it(world: World) -> None:
    lifecycle, now = world.lifecycle, world.now
    lifecycle.mind_clock("start", 100.0, now)
    assert lifecycle.mind_clock("start", 100.0 - _HOUR, now - _HOUR)
    assert not lifecycle.mind_clock("start", 100.0 - _HOUR, now - _HOUR)


def test_another_machine_or_another_start_has_a_clock_of_its_own(world: World) -> None:
    lifecycle, before = world.lifecycle, world.deployment()
    for number in range(200):
        assert not lifecycle.mind_clock(f"start {number}", number * _HOUR, world.now)
    assert world.deployment() == before
    with world.store.read() as tx:
        assert 0 < len(tx.switch("clocks")) < 100


def test_a_process_asks_the_database_only_when_there_is_something_to_ask(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(world.lifecycle, "mind_clock", lambda _start, ahead, _now: asked.append(ahead))
    times = {"day": 1000.0, "up": 10.0}
    clock = Clock(world.lifecycle, time_of_day=lambda: times["day"], uptime=lambda: times["up"])
    for day, up in ((1000.0, 10.0), (1500.0, 510.0), (1506.0, 511.0), (5100.0, 512.0), (5101.0, 513.0)):
        times.update(day=day, up=up)
        clock.look()
    assert asked == [990.0, 4588.0]
