"""The clock is put forward or back by an hour while everything runs: nothing waits or is given up.

All processes of the product see the jump; Toolforge, GitLab and Redis have clocks of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from deploy.follow import wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import Stack
from orchestrator.preview import State
from tests.whole.clock import Clock
from tests.whole.conftest import Stacks
from tests.whole.scene import Scene, server

_HOUR = 3600
_SCENARIO = {
    "builds": [{"duration": 60, "size": "20Mi"}],
    "jobs": [{"start_delay": 5}],
}
Jump = Callable[[int], None]


@pytest.fixture(scope="module")
def stack(stacks: Stacks, clock: Clock) -> Iterator[Stack]:
    """Builds of some seconds on two accounts."""
    settings = {
        "stable_seconds": 0.2,
        "check_seconds": 2.0,
        "live_seconds": 36_000.0,
        "catch_up_seconds": 4.0,
    }
    given = {"scenario": _SCENARIO, "time_scale": 0.05, "environment": clock.environment}
    with stacks("dev-1", "dev-2", **given, **settings) as made:
        yield made


@pytest.fixture
def jump(scene: Scene, clock: Clock) -> Iterator[Jump]:
    """Puts the clock of all processes forward, or back, until the end of the test."""
    yield clock.set
    clock.set(0)


def is_live(scene: Scene, merge_request: MergeRequest) -> bool:
    view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    return view is not None and view.newest is not None and view.newest.state is State.LIVE


def notices(stack: Stack) -> list[str]:
    """What workers say of jumps."""
    lines = [line for log in stack.logs.glob("worker-*.log") for line in log.read_text().splitlines()]
    return [line for line in lines if "the clock was put" in line]


@pytest.mark.parametrize("seconds", [_HOUR, -_HOUR], ids=["forward", "back"])
def test_a_jump_of_the_clock_neither_ends_nor_delays_anything(scene: Scene, jump: Jump, seconds: int) -> None:
    stack = scene.stack
    live = scene.opens()
    wait_for("it to be live", lambda: is_live(scene, live), seconds=60.0)
    building = scene.opens(beside=live)
    wait_for("an account", lambda: scene.account(building) is not None)
    noticed = len(notices(stack))
    began = time.monotonic()
    jump(seconds)
    wait_for("it to be noticed", lambda: len(notices(stack)) > noticed, seconds=20.0)
    wait_for("the verdict", lambda: is_live(scene, building), seconds=60.0)
    wait_for("GitLab to be told", lambda: scene.status(building)["status"] == "success", seconds=30.0)
    assert is_live(scene, live)
    assert scene.page(live).status_code == 200

    # By a clock that is wrong every delivery is too old, or from the future: who is told nothing asks.
    pushed = scene.pushes(building, server("again"))
    deployment = scene.verdict(building, pushed)
    assert deployment.state is State.LIVE
    scene.closes(live)
    wait_for("its account to be given back", lambda: scene.account(live) is None, seconds=60.0)
    # An hour did not pass.
    assert time.monotonic() - began < _HOUR / 4
