"""Accounts besides serving previews: whose things are in them, and what operators do to them."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from orchestrator import outcome as out
from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.pool import AccountState
from orchestrator.records import Kind
from orchestrator.store import Store
from tests.orchestrator.scene import World


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
