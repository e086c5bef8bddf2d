"""Many at once on one database, of each kind: nobody gets what another has, and nothing is lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.errors import Conflict
from orchestrator.pool import AccountState
from orchestrator.records import Due, Kind
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import GOOD, A, B, World

_THREADS = 8


@contextmanager
def _crowd() -> Iterator[Callable[[Callable[[int], Any]], list[Any]]]:
    """Lets every one of several threads do the same at the same moment; gives what came of each."""
    gate = threading.Barrier(_THREADS)
    with ThreadPoolExecutor(_THREADS) as pool:

        def at_once(act: Callable[[int], Any]) -> list[Any]:
            def one(number: int) -> Any:
                gate.wait(30)
                return act(number)

            return list(pool.map(one, range(_THREADS)))

        yield at_once


@pytest.fixture
def world(any_parts: Parts) -> World:
    return World(any_parts, accounts=3, limits=Limits(max_concurrent_builds=3))


def test_a_row_is_claimed_by_one_only(world: World) -> None:
    world.sees()
    deployment = world.deployment()
    with _crowd() as at_once:
        for _ in range(10):

            def claim(_: int) -> object:
                with world.store.write() as tx:
                    return tx.claim(Kind.DEPLOYMENT, deployment.id, now=world.now, seconds=8.0)

            winners = [one for one in at_once(claim) if one is not None]
            assert len(winners) == 1
            with world.store.write() as tx:
                assert tx.holds(winners[0], world.now)
            world.later(9.0)


def test_a_delivery_that_comes_many_times_at_once_is_taken_once(world: World) -> None:
    with world.store.read() as tx:
        project = tx.project(world.project_id)
    with _crowd() as at_once:
        for number in range(10):
            key = f"same-{number}"
            taken = at_once(
                lambda _, key=key: world.lifecycle.receive(
                    project, key, kind="merge_request", iid=1, facts={}, now=world.now
                )
            )
            assert sorted(len(dues) for dues in taken) == [0] * (_THREADS - 1) + [1]


def test_the_first_line_of_a_merge_request_is_written_by_one_only(world: World) -> None:
    with _crowd() as at_once:
        for iid in range(1, 6):

            def write(_: int, iid: int = iid) -> str:
                try:
                    with world.store.write() as tx:
                        tx.put_preview(world.project_id, world.merge_request(iid), as_of=world.now)
                except Conflict:
                    return "too late"
                return "written"

            # Who comes after the first has committed finds the line there, and writes the same again.
            assert set(at_once(write)) <= {"written", "too late"}
            assert world.preview(iid).head_sha == A


def test_no_account_is_leased_twice_by_plans_at_the_same_moment(world: World) -> None:
    with _crowd() as at_once:
        at_once(lambda number: world.sees(number + 1))
    with world.store.read() as tx:
        accounts, leases = tx.accounts(), [tx.last_lease(world.preview(n + 1).id) for n in range(_THREADS)]
    assert {account.state for account in accounts} == {AccountState.LEASED}
    assert len({account.preview_id for account in accounts}) == 3
    assert {account.fence for account in accounts} == {1}
    assert sum(lease is not None for lease in leases) == 3


def test_workers_and_webhooks_at_the_same_moment_are_never_in_each_others_way_for_good(world: World) -> None:
    """Eight at once push, close, build, check, clean and sweep; in the end all is free."""
    luck = [random.Random(number) for number in range(_THREADS)]

    def live(number: int) -> None:
        for _ in range(25):
            try:
                _act(world, luck[number], number)
            except Conflict as error:
                # A claim that ran out meanwhile is somebody else's; but nobody may be in a deadlock.
                if error.__cause__ is not None:
                    raise

    with _crowd() as at_once:
        at_once(live)
    for iid in range(1, _THREADS + 1):
        world.sees(iid, state="closed")
    for _ in range(200):
        world.later(60.0)
        for due in world.lifecycle.sweep(world.now):
            _look(world, due)
        with world.store.read() as tx:
            if all(account.state is AccountState.FREE for account in tx.accounts()):
                return
    pytest.fail("an account never came back")


def _act(world: World, luck: random.Random, number: int) -> None:
    world.later(1.0)
    if luck.random() < 0.3:
        world.sees(number + 1, luck.choice([A, B]), luck.choice(["opened", "opened", "opened", "closed"]))
        return
    for due in world.lifecycle.sweep(world.now):
        if luck.random() < 0.5:
            _look(world, due)


def _look(world: World, due: Due) -> None:
    """Take the row's step as a worker would, if nobody else does; deliveries have their own."""
    if due.kind is Kind.DELIVERY:
        return
    now = world.now
    with world.store.write() as tx:
        claim = tx.claim(due.kind, due.id, now=now, seconds=8.0)
    if claim is None:
        return
    if due.kind is Kind.DEPLOYMENT:
        with world.store.read() as tx:
            deployment = tx.deployment(due.id)
        world.lifecycle.record(claim, deployment, GOOD[deployment.step], now)
    elif due.kind is Kind.ACCOUNT:
        with world.store.read() as tx:
            account = tx.account(due.id)
        if account.state in {AccountState.FREE, AccountState.LEASED}:
            world.lifecycle.record_inspection(claim, account, out.Inspected(5), now)
        else:
            world.lifecycle.record_cleaning(claim, account, out.Cleaned(5, 0), now, bytes_seen=5)
    elif due.kind is Kind.REPORT:
        with world.store.read() as tx:
            _, version, _ = tx.told(due.id)
        with world.store.write() as tx:
            tx.put_told(claim, {"note_id": 1})
            tx.close_report(claim, version, error="")
