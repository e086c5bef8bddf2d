"""Accounts besides serving previews: whose things are in them, and what operators do to them."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from orchestrator import outcome as out
from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput
from orchestrator.pool import AccountState
from orchestrator.preview import State
from orchestrator.records import Kind
from orchestrator.scheduler import Limits
from orchestrator.store import Store
from tests.orchestrator.scene import PASSED, B, World


@pytest.fixture
def world(parts: Parts) -> World:
    return World(parts)


def had_lease(store: Store, account_id: int, *ids: int) -> list[int]:
    """Those of the deployments that were on the account, by the database."""
    with store.read() as tx:
        return sorted(deployment.id for deployment in tx.leased_deployments(account_id, ids))


# --- whose it is --------------------------------------------------------------------------------------


def test_a_preview_that_had_the_account_is_remembered_and_no_other(any_parts: Parts) -> None:
    world = World(any_parts, accounts=2)
    world.sees(1)
    world.sees(2)
    first, second = world.deployment(1), world.deployment(2)
    assert first.account_id is not None
    assert second.account_id is not None
    ids = (first.id, second.id, 4711)
    assert had_lease(world.store, first.account_id, *ids) == [first.id]
    assert had_lease(world.store, second.account_id, *ids) == [second.id]
    assert had_lease(world.store, first.account_id) == []
    world.sees(1, state="closed")
    world.step(out.Tidied())
    world.cleaning(first.account_id, out.Cleaned(5, 0))
    assert had_lease(world.store, first.account_id, *ids) == [first.id], "also when the lease is over"


def test_who_shared_the_account_is_remembered_even_after_losing_it(any_parts: Parts) -> None:
    world = World(any_parts, accounts=1)
    world.sees(1)
    world.sees(2)
    sharing, elsewhere = world.deployment(1), world.deployment(2)
    assert elsewhere.account_id is None
    with world.store.engine.begin() as connection:
        connection.execute(update(t.lease).values(preview_id=None))
    assert had_lease(world.store, 1, sharing.id) == [sharing.id]
    ended = {"ended_at": world.now + 10}
    with world.store.engine.begin() as connection:
        connection.execute(update(t.lease).values(**ended))
        connection.execute(update(t.deployment).values(account_id=None, fence=None))
    assert had_lease(world.store, 1, sharing.id) == [sharing.id]
    world.later(20)
    world.sees(3)
    assert had_lease(world.store, 1, sharing.id, world.deployment(3).id) == [sharing.id], "it came later"


# --- quarantine ---------------------------------------------------------------------------------------


def test_an_account_that_somebody_else_uses_is_put_away_and_comes_back_by_itself(world: World) -> None:
    world.sees()
    world.step(out.BuildStarted("b"))
    world.sees(state="closed")
    world.steps(out.Tidied())
    reason = "somebody else uses it: found job cronjob"
    put_away = world.cleaning(1, out.FoundForeign(reason))
    assert (put_away.state, put_away.reason) == (AccountState.QUARANTINED, reason)
    with world.store.read() as tx:
        due = [one for one in tx.due(world.now + 7200, limit=9) if one.kind is Kind.ACCOUNT]
    assert due
    pauses = []
    for _ in range(3):
        seen = world.cleaning(1, out.FoundForeign(reason))
        assert seen.due_at is not None
        pauses.append(seen.due_at - world.now)
    assert pauses == sorted(set(pauses)), "ever more slowly"
    back = world.cleaning(1, out.Cleaned(9, 0, 100))
    assert (back.state, back.reason, back.bytes_used, back.bytes_limit) == (AccountState.FREE, "", 0, 100)


# --- what operators do --------------------------------------------------------------------------------


def quarantined(world: World) -> None:
    """The only account is drained, put back, and found to be used by somebody."""
    world.lifecycle.drain("dev-0", "olga", world.now)
    world.lifecycle.drain("dev-0", "olga", world.now, undo=True)
    assert world.cleaning(1, out.FoundForeign("job x")).state is AccountState.QUARANTINED


def events(world: World) -> list[tuple[str, str, str]]:
    with world.store.engine.connect() as connection:
        rows = connection.execute(select(t.event).where(t.event.c.subject == "account"))
        return [(row.after, row.who, row.why) for row in rows]


def test_a_quarantined_account_is_looked_at_again_at_once_when_asked(world: World) -> None:
    quarantined(world)
    world.cleaning(1, out.FoundForeign("job x"))
    (due,) = world.lifecycle.clean("dev-0", "olga", world.now)
    assert (due.kind, due.at) == (Kind.ACCOUNT, world.now)
    asked = world.account()
    assert (asked.attempts, asked.clean_all) == (0, False)
    assert ("quarantined", "olga", "it is to be cleaned now") in events(world)


def test_an_order_to_delete_everything_lasts_until_the_cleaning_is_over(world: World) -> None:
    quarantined(world)
    world.lifecycle.clean("dev-0", "olga", world.now, everything=True)
    assert world.account().clean_all
    assert world.cleaning(1, out.CleaningFailed("HTTP 500")).clean_all
    world.lifecycle.clean("dev-0", "olga", world.now)
    assert world.account().clean_all, "to look again takes nothing back"
    assert not world.cleaning(1, out.Cleaned(5, 0)).clean_all
    assert ("quarantined", "olga", "everything in it is to be deleted") in events(world)


def test_an_account_in_use_or_free_cannot_be_cleaned_by_order(world: World) -> None:
    before = world.account()
    with pytest.raises(BadInput, match="'dev-0' is free"):
        world.lifecycle.clean("dev-0", "olga", world.now, everything=True)
    assert world.account() == before
    world.sees()
    with pytest.raises(BadInput, match="'dev-0' is leased"):
        world.lifecycle.clean("dev-0", "olga", world.now)


def served_and_drained(world: World) -> None:
    """The only account has had a lease, and is out of use."""
    world.sees()
    world.step(out.BuildStarted("b"))
    world.lifecycle.drain("dev-0", "olga", world.now)
    world.sees(state="closed")
    world.step(out.Tidied())
    assert world.cleaning(1, out.Cleaned(5, 0)).state is AccountState.DRAINED


def test_an_account_leaves_the_pool_when_it_is_drained_and_what_it_served_stays_readable(
    any_parts: Parts,
) -> None:
    world = World(any_parts)
    with pytest.raises(BadInput, match="is free: drain it first"):
        world.lifecycle.remove("dev-0", "olga", world.now)
    served_and_drained(world)
    world.lifecycle.remove("dev-0", "olga", world.now)
    removed = world.account()
    assert (removed.state, removed.due_at, removed.drain) == (AccountState.REMOVED, None, False)
    with world.store.read() as tx:
        assert (tx.accounts(), tx.account_named("dev-0"), tx.credentials(1)) == ([], None, {})
        lease = tx.last_lease(world.preview().id)
    assert lease is not None
    assert (lease.name, lease.bytes_before, lease.bytes_after) == ("dev-0", 5, 0)
    for act in (world.lifecycle.drain, world.lifecycle.remove, world.lifecycle.clean):
        with pytest.raises(BadInput, match="no account 'dev-0'"):
            act("dev-0", "olga", world.now)


def test_an_account_that_was_removed_comes_back_by_way_of_a_cleaning_and_its_leases_go_on(
    world: World,
) -> None:
    served_and_drained(world)
    world.lifecycle.remove("dev-0", "olga", world.now)
    world.lifecycle.add_account("dev-0", {"env": "NEW"}, "olga", world.now)
    back = world.account()
    assert (back.state, back.fence, back.due_at) == (AccountState.CLEANING, 1, world.now)
    with world.store.read() as tx:
        assert tx.credentials(1) == {"env": "NEW"}
    with pytest.raises(BadInput, match="in the pool already"):
        world.lifecycle.add_account("dev-0", {"env": "NEW"}, "olga", world.now)
    world.cleaning(1, out.Cleaned(0, 0))
    world.sees(2)
    assert world.account().fence == 2


def test_other_credentials_are_tried_at_once_where_the_old_ones_were_refused(world: World) -> None:
    quarantined(world)
    for _ in range(3):
        world.cleaning(1, out.CleaningFailed("HTTP 403", refused=True))
    world.lifecycle.change_credentials("dev-0", {"env": "NEW"}, "olga", world.now)
    assert world.account().due_at == world.now
    with world.store.read() as tx:
        assert tx.credentials(1) == {"env": "NEW"}
    assert ("quarantined", "olga", "its credentials were changed") in events(world)


def test_an_order_makes_the_cleaning_under_way_void(world: World) -> None:
    quarantined(world)
    world.later(3600)
    before = world.account()
    claim = world.claim(Kind.ACCOUNT, 1)
    world.lifecycle.remove("dev-0", "olga", world.now)
    world.lifecycle.record_cleaning(claim, before, out.Cleaned(5, 0), world.now, bytes_seen=5)
    assert world.account().state is AccountState.REMOVED


# --- inspections --------------------------------------------------------------------------------------


def test_an_inspection_leaves_the_store_alone_while_a_build_is_measured(world: World) -> None:
    world.sees()
    world.step(out.BuildStarted("b"))
    assert world.inspection(1, out.Inspected(700, 1000)).bytes_used == 0
    world.step(out.BuildSucceeded("i", None, 700, 1000))
    world.steps(out.JobStarted(), out.JobReady(), PASSED)
    seen = world.inspection(1, out.Inspected(650, 1000))
    assert (seen.bytes_used, seen.bytes_limit, seen.inspected_at) == (650, 1000, world.now)


def test_a_preview_of_which_nothing_is_left_ends_and_the_next_commit_goes_on(world: World) -> None:
    world.sees()
    live = world.goes_live()
    world.sees(sha=B)
    world.step(out.BuildStarted("b2"))
    world.inspection(1, out.Inspected(5, lost=live.id))
    assert world.states() == ["stopped", "building"]
    assert world.preview().stop_reason == "its job and image are gone"
    assert world.account().state is AccountState.LEASED, "the next commit needs it"


def test_one_round_takes_down_its_share_of_the_previews_and_the_next_goes_on(parts: Parts) -> None:
    world = World(parts, accounts=8, limits=Limits(max_concurrent_builds=9, min_live_seconds=1e6))
    lives = []
    for iid in range(1, 9):
        world.sees(iid)
        lives.append(world.goes_live(iid))

    def a_round() -> int:
        """Every account is inspected, and everything seems to be gone; how many are stopped by now."""
        world.later(world.policy.janitor_seconds + 1)
        for live in lives:
            assert live.account_id is not None
            before = world.account(live.account_id)
            if before.state is AccountState.LEASED:
                claim = world.claim(Kind.ACCOUNT, before.id)
                world.lifecycle.record_inspection(claim, before, out.Inspected(0, lost=live.id), world.now)
        return sum(world.deployment(live.iid).state is State.STOPPED for live in lives)

    assert [a_round() for _ in range(3)] == [2, 3, 4]
