"""What a project may ask for: deliveries in a minute, and deployments that wait. Nothing is lost by it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput
from orchestrator.lifecycle import Lifecycle
from orchestrator.policy import Policy
from orchestrator.preview import State
from orchestrator.quiet import Quiet
from orchestrator.records import Due, Kind
from orchestrator.report import desired
from tests.orchestrator.scene import B, World

_BOT = "project_7_bot"


def a_world(parts: Parts, **policy: int) -> World:
    world = World(parts, accounts=0, policy=replace(Policy(quiet=Quiet(0.0, 0.0)), **policy))  # type: ignore[arg-type]
    world.lifecycle = Lifecycle(parts.store, world.policy)
    return world


# --- deliveries ---------------------------------------------------------------------------------------


class Deliveries:
    """A project of which five deliveries are looked at in a minute."""

    def __init__(self, parts: Parts) -> None:
        self.world = a_world(parts, deliveries_per_minute=5)
        self._number = 0

    def sends(self, iid: int = 1, kind: str = "merge_request", who: str = "alice") -> Due:
        self._number += 1
        with self.world.store.read() as tx:
            project = tx.project(self.world.project_id)
        (due,) = self.world.lifecycle.receive(
            project,
            f"key-{self._number}",
            kind=kind,
            iid=iid,
            facts={"username": who},
            now=self.world.now,
        )
        return due

    def waits(self, due: Due) -> float:
        return round(due.at - self.world.now, 3)


@pytest.fixture
def deliveries(any_parts: Parts) -> Deliveries:
    return Deliveries(any_parts)


def test_what_comes_beyond_the_limit_is_looked_at_in_turn(deliveries: Deliveries) -> None:
    waits = [deliveries.waits(deliveries.sends(iid)) for iid in range(1, 9)]
    assert waits == [0.0, 0.0, 0.0, 0.0, 0.0, 12.0, 24.0, 36.0]


def test_of_changes_of_one_merge_request_that_wait_one_is_looked_at(deliveries: Deliveries) -> None:
    for iid in range(1, 6):
        deliveries.sends(iid)
    first = deliveries.sends(9)
    assert deliveries.sends(9) == first
    assert deliveries.sends(9, who="bob") != first, "who acted decides whether a bot is at work"
    assert deliveries.sends(10) != first
    with deliveries.world.store.read() as tx:
        assert len([due for due in tx.due(1e12, limit=100) if due.kind is Kind.DELIVERY]) == 8


def test_what_is_looked_at_just_now_stands_for_nothing_that_comes_later(deliveries: Deliveries) -> None:
    for iid in range(1, 6):
        deliveries.sends(iid)
    first = deliveries.sends(9)
    deliveries.world.now = first.at
    deliveries.world.claim(Kind.DELIVERY, first.id)
    deliveries.world.now -= 1.0
    assert deliveries.sends(9) != first


def test_comments_do_not_hold_changes_up_and_each_counts(deliveries: Deliveries) -> None:
    comments = [deliveries.sends(kind="note") for _ in range(7)]
    assert len({due.id for due in comments}) == 7
    assert deliveries.waits(comments[-1]) == 24.0
    assert deliveries.waits(deliveries.sends()) == 0.0


def test_other_projects_are_not_held_up_and_a_minute_later_nobody_is(deliveries: Deliveries) -> None:
    for iid in range(1, 8):
        deliveries.sends(iid)
    with deliveries.world.another_project():
        assert deliveries.waits(deliveries.sends()) == 0.0
    deliveries.world.later(61.0)
    assert deliveries.waits(deliveries.sends(8)) == 0.0


def test_a_key_that_comes_again_beyond_the_limit_counts_once(deliveries: Deliveries) -> None:
    for iid in range(1, 7):
        deliveries.sends(iid)
    deliveries._number -= 1
    world = deliveries.world
    with world.store.read() as tx:
        project = tx.project(world.project_id)
    again = {"kind": "note", "iid": 6, "facts": {}, "now": world.now}
    assert world.lifecycle.receive(project, "key-6", **again) == []  # type: ignore[arg-type]


# --- deployments that wait ----------------------------------------------------------------------------


@pytest.fixture
def world(any_parts: Parts) -> World:
    """A project of which three deployments may wait; there is no account."""
    return a_world(any_parts, waiting_per_project=3)


def bot_opens(world: World, *iids: int) -> None:
    for iid in iids:
        world.sees(iid, author=_BOT, who=_BOT)


def test_beyond_the_limit_a_bots_commit_fails_and_says_what_to_do(world: World) -> None:
    bot_opens(world, 1, 2, 3, 4)
    assert [world.deployment(iid).state for iid in (1, 2, 3, 4)] == [State.QUEUED] * 3 + [State.FAILED]
    report = desired(world.views.subject(world.preview(4).id, world.now)[1])
    assert [(s.state, "3 deployments of this project wait" in s.description) for s in report.statuses] == [
        ("failed", True)
    ]
    assert "no fault of the commit" in report.note
    assert "`/preview`" in report.note


def test_bots_leave_people_their_room(world: World) -> None:
    bot_opens(world, 1, 2, 3)
    for iid in (4, 5, 6, 7):
        world.sees(iid)
    assert [world.deployment(iid).state for iid in (4, 5, 6, 7)] == [State.QUEUED] * 3 + [State.FAILED]


def test_a_push_to_what_waits_takes_its_own_place(world: World) -> None:
    for iid in (1, 2, 3):
        world.sees(iid)
    world.sees(2, B)
    assert world.states(2) == ["superseded", "queued"]


def test_other_projects_have_their_own_room(world: World) -> None:
    for iid in (1, 2, 3):
        world.sees(iid)
    with world.another_project():
        world.sees(1)
        assert world.deployment(1).state is State.QUEUED


def test_what_waits_for_an_approval_takes_no_room_and_is_approved_when_there_is_some(world: World) -> None:
    for iid in (1, 2, 3):
        world.sees(iid)
    world.sees(4, fork=True)
    assert world.deployment(4).state is State.QUEUED
    with pytest.raises(BadInput, match="try again when some are done"):
        world.lifecycle.approve_or_redeploy(world.preview(4).id, "dana", world.now)
    world.sees(1, state="closed")
    world.lifecycle.approve_or_redeploy(world.preview(4).id, "dana", world.now)
    assert world.deployment(4).step == "read file"


def test_what_failed_for_want_of_room_is_built_on_demand(world: World) -> None:
    for iid in (1, 2, 3, 4):
        world.sees(iid)
    world.sees(1, state="closed")
    world.lifecycle.approve_or_redeploy(world.preview(4).id, "dana", world.now)
    assert world.states(4) == ["failed", "queued"]


def test_a_good_preview_stays_up_when_its_next_commit_finds_no_room(any_parts: Parts) -> None:
    world = World(any_parts, accounts=1, policy=Policy(quiet=Quiet(0.0, 0.0), waiting_per_project=1))
    world.sees(1)
    world.goes_live(1)
    world.sees(2)
    world.sees(1, B)
    assert world.states(1) == ["live", "failed"]
