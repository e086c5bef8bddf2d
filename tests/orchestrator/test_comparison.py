"""Lost webhooks are made good, and a list that is wrong takes nothing down."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.bootstrap import Parts
from orchestrator.comparison import Known, missed
from orchestrator.errors import Conflict
from orchestrator.merge_request import MergeRequest
from orchestrator.policy import Policy
from orchestrator.preview import State
from orchestrator.quiet import Quiet
from orchestrator.records import Kind
from tests.orchestrator.scene import A, B, World

SHARE = 0.25
commits = st.sampled_from(["", A, B])
known_ones = st.dictionaries(
    st.integers(1, 30), st.tuples(commits, st.booleans(), st.floats(0, 100)), max_size=30
).map(lambda ones: [Known(iid, *values) for iid, values in ones.items()])
lists = st.dictionaries(st.integers(1, 30), commits, max_size=30)
shares = st.floats(0.001, 1.0)


# --- the rule -----------------------------------------------------------------------------------------


@given(known_ones, lists, shares)
def test_all_that_is_new_or_has_moved_is_asked_about(
    known: list[Known], listed: dict[int, str], share: float
) -> None:
    before = {one.iid: one.sha for one in known}
    assert {i for i, sha in listed.items() if before.get(i) != sha} <= set(
        missed(known, listed, share=share).iids
    )


@given(known_ones, lists, shares)
def test_what_is_as_we_know_it_is_not_asked_about(
    known: list[Known], listed: dict[int, str], share: float
) -> None:
    asked = missed(known, listed, share=share).iids
    assert not {one.iid for one in known if listed.get(one.iid) == one.sha} & set(asked)
    assert len(set(asked)) == len(asked)


@given(known_ones, lists, shares)
def test_one_pass_asks_about_no_more_than_a_share_of_what_is_up(
    known: list[Known], listed: dict[int, str], share: float
) -> None:
    found = missed(known, listed, share=share)
    up = {one.iid for one in known if one.is_up}
    gone = up - listed.keys()
    asked = gone & set(found.iids)
    assert len(asked) <= max(share * len(up), 1)
    assert asked or not gone
    assert found.is_all == (asked == gone)


@given(known_ones, shares)
def test_each_has_its_turn_although_the_list_stays_empty(known: list[Known], share: float) -> None:
    now, asked = 1000.0, set()
    for _ in known:
        iids = missed(known, {}, share=share).iids
        asked |= set(iids)
        now += 60.0
        known = [Known(one.iid, one.sha, one.is_up, now) if one.iid in iids else one for one in known]
    assert asked == {one.iid for one in known}


# --- through the lifecycle ----------------------------------------------------------------------------


class Comparing(World):
    """A world in which deliveries are lost, and GitLab's truth is asked for."""

    def __init__(self, parts: Parts, truth: dict[int, MergeRequest]) -> None:
        super().__init__(parts, accounts=8, policy=Policy(quiet=Quiet(0.0, 0.0)))
        self.truth = truth
        self.lifecycle.compare_by(self.now)
        with self.store.write() as tx:
            tx.put_project(gitlab_id=77, due_at=self.now, now=self.now)

    def compares(self, listed: Mapping[int, str] | None = None) -> list[int]:
        """One pass over what GitLab lists, the truth unless told; returns whom it asks about."""
        if listed is None:
            listed = {iid: one.sha for iid, one in self.truth.items() if one.is_open}
        with self.store.read() as tx:
            at = next(d.at for d in tx.due(self.now + 1e9, limit=99) if d.kind is Kind.PROJECT)
        self.now = max(self.now, at)
        dues = self.lifecycle.compared(self.claim(Kind.PROJECT, self.project_id), listed, self.now)
        asked = []
        for due in dues:
            claim = self.claim(Kind.DELIVERY, due.id)
            with self.store.read() as tx:
                delivery = tx.delivery(due.id)
            seen = self.truth.get(delivery.iid)
            if seen is None:
                self.lifecycle.not_found(claim, delivery, self.now, as_of=self.now)
            else:
                self.lifecycle.observe(claim, delivery, seen, self.now, as_of=self.now)
                self.reads(delivery.iid)
            asked.append(delivery.iid)
        return asked

    def next_pass(self) -> float:
        """How long it is until the next one."""
        with self.store.read() as tx:
            return next(d.at for d in tx.due(self.now + 1e9, limit=99) if d.kind is Kind.PROJECT) - self.now


@pytest.fixture
def world(any_parts: Parts) -> Comparing:
    return Comparing(any_parts, {})


def opened(world: Comparing, *iids: int) -> None:
    for iid in iids:
        world.truth[iid] = world.merge_request(iid)
        world.sees(iid)
        world.goes_live(iid)


def test_what_was_opened_pushed_and_closed_unheard_is_made_good(world: Comparing) -> None:
    opened(world, 1, 2)
    world.truth[1] = world.merge_request(1, sha=B)
    world.truth[2] = world.merge_request(2, state="merged")
    world.truth[3] = world.merge_request(3)
    assert world.compares() == [1, 3, 2]
    assert world.deployment(1).sha == B
    assert world.deployment(2).state is State.STOPPED
    assert world.deployment(3).state is State.BUILDING
    assert world.next_pass() == 900.0
    assert world.compares() == []


def test_what_was_reopened_unheard_is_made_good(world: Comparing) -> None:
    opened(world, 1)
    world.sees(1, state="closed")
    assert world.compares() == [1]
    assert world.deployment(1).state is not State.STOPPED


def test_a_list_that_is_empty_by_mistake_takes_nothing_down(world: Comparing) -> None:
    opened(world, *range(1, 9))
    for _ in range(4):
        assert len(world.compares({})) == 2
        assert world.next_pass() == 60.0
    assert [world.deployment(iid).state for iid in range(1, 9)] == [State.LIVE] * 8


def test_what_was_closed_all_at_once_is_taken_down_a_share_at_a_time(world: Comparing) -> None:
    opened(world, *range(1, 9))
    world.truth = {iid: world.merge_request(iid, state="closed") for iid in world.truth}
    live = [8]
    while live[-1]:
        world.compares()
        live.append(sum(world.deployment(iid).state is State.LIVE for iid in range(1, 9)))
    assert live == [8, 6, 5, 4, 3, 2, 1, 0]
    assert world.next_pass() == 900.0


def test_a_merge_request_that_gitlab_does_not_know_keeps_nobody_from_being_asked_about(
    world: Comparing,
) -> None:
    opened(world, 1, 2)
    world.truth = {2: world.merge_request(2, state="closed")}
    assert world.compares() == [1]
    assert world.compares() == [2]
    assert [world.deployment(iid).state for iid in (1, 2)] == [State.LIVE, State.STOPPED]


def test_a_comparison_that_somebody_else_has_taken_over_changes_nothing(world: Comparing) -> None:
    claim = world.claim(Kind.PROJECT, world.project_id)
    world.later(61.0)
    world.claim(Kind.PROJECT, world.project_id)
    with pytest.raises(Conflict):
        world.lifecycle.compared(claim, {1: A}, world.now)


def test_a_comparison_is_brought_forward_and_never_put_off(world: Comparing) -> None:
    assert world.compares() == []
    world.lifecycle.compare_by(world.now + 30.0)
    assert world.next_pass() == 30.0
    world.lifecycle.compare_by(world.now + 60.0)
    assert world.next_pass() == 30.0


def test_lost_webhooks_are_made_good_while_everything_is_paused(world: Comparing) -> None:
    world.lifecycle.pause("olga", "something is wrong", world.now)
    world.truth[1] = world.merge_request(1)
    assert world.compares() == [1]
    assert world.deployment(1).state is State.QUEUED
