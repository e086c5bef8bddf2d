"""What is old is forgotten, a little at a time, and never what is still needed."""

from __future__ import annotations

import pytest
from sqlalchemy import func, insert, select

from orchestrator import outcome as out
from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.forgetting import PAGE, ROUND_SECONDS
from orchestrator.pictures import AFTER_SECONDS
from orchestrator.preview import State, Step
from orchestrator.records import Kind
from tests.orchestrator.scene import A, B, C, World

_YEARS = 5 * 366 * 86400.0


@pytest.fixture
def world(any_parts: Parts) -> World:
    return World(any_parts)


def _forget(world: World) -> int:
    """A whole round from now on; how many rows went."""
    world.later(ROUND_SECONDS)
    return sum(world.lifecycle.forget(world.now) for _ in range(50))


def _ids(world: World, iid: int = 1) -> list[int]:
    return [deployment.id for deployment in world.deployments(iid)]


def _count(world: World, name: str) -> int:
    with world.store.read() as tx:
        return tx.connection.scalar(select(func.count()).select_from(t.metadata.tables[name])) or 0


def _keep_logs(world: World) -> None:
    with world.store.write() as tx:
        for deployment_id in _ids(world):
            tx.put_log(deployment_id, "build", "text", is_truncated=False, now=world.now)


def _has_logs(world: World, ids: list[int]) -> list[int]:
    with world.store.read() as tx:
        return sorted(number for number, _ in tx.kept_logs(ids))


def _keep_picture(world: World, parts: Parts) -> None:
    """What is live now has a picture."""
    world.later(AFTER_SECONDS)
    wanted = parts.pictures.next(world.now)
    assert wanted is not None
    assert parts.pictures.keep(wanted, b"webp", world.now)


def _tidy(world: World) -> None:
    """Nothing is left of what has ended."""
    for deployment in world.deployments():
        if deployment.step is Step.TIDY:
            claim = world.claim(Kind.DEPLOYMENT, deployment.id)
            world.lifecycle.record(claim, deployment, out.Tidied(), world.now)


def _close(world: World) -> None:
    """The merge request is merged, and its account is clean again."""
    world.sees(sha=C, state="merged")
    _tidy(world)
    world.cleaning(1, out.Cleaned(0, 0))


def test_nothing_that_is_young_is_forgotten(world: World) -> None:
    for sha in (A, B, C):
        world.sees(sha=sha)
    _keep_logs(world)
    _close(world)
    assert _forget(world) == 0


def test_of_a_preview_that_is_long_gone_the_newest_deployment_stays(world: World) -> None:
    for sha in (A, B, C):
        world.sees(sha=sha)
    _keep_logs(world)
    _close(world)
    ids = _ids(world)
    assert len(ids) == 3
    world.later(_YEARS)
    assert _forget(world) > 0
    assert _ids(world) == ids[:1]
    assert _has_logs(world, ids) == []
    assert _count(world, "event") == 1, "no number is given twice"
    assert _count(world, "delivery") == 1


def test_what_is_live_stays_with_its_logs_and_with_all_that_came_under_its_lease(world: World) -> None:
    world.sees(sha=A)
    world.goes_live()
    world.sees(sha=B)
    world.goes_live()
    _tidy(world)
    _keep_logs(world)
    before = _ids(world)
    assert [d.state for d in world.deployments()] == [State.LIVE, State.STOPPED]
    world.later(_YEARS)
    _forget(world)
    assert _ids(world) == before, "the image of the older one may still be on the account"
    assert _has_logs(world, before) == before[:1]
    assert world.deployment().state is State.LIVE


def test_the_log_of_an_open_merge_requests_newest_deployment_stays(world: World) -> None:
    world.sees(sha=A)
    world.sees(sha=B)
    world.steps(out.BuildStarted("b"), out.StageFailed(out.Failure("build", "it failed", "mend it")))
    _tidy(world)
    assert world.deployment().is_settled
    _keep_logs(world)
    ids = _ids(world)
    world.later(_YEARS)
    _forget(world)
    assert _has_logs(world, ids) == [ids[0]]


def test_the_picture_of_what_is_live_stays_and_of_what_is_over_it_goes(
    world: World, any_parts: Parts
) -> None:
    world.sees(sha=A)
    world.goes_live()
    _keep_picture(world, any_parts)
    world.later(_YEARS)
    _forget(world)
    assert _count(world, "picture") == 1
    _close(world)
    world.later(_YEARS)
    _forget(world)
    assert _count(world, "picture") == 0
    assert _ids(world), "the deployment is still there"


def test_a_picture_goes_with_its_deployment(world: World, any_parts: Parts) -> None:
    world.sees(sha=A)
    world.goes_live()
    _keep_picture(world, any_parts)
    _close(world)
    world.sees(sha=B, state="opened")
    _close(world)
    world.later(_YEARS)
    _forget(world)
    assert _count(world, "picture") == 0
    assert len(_ids(world)) == 1


def test_the_log_of_what_is_not_settled_stays(world: World) -> None:
    world.sees(sha=A)
    world.step(out.BuildStarted("b"))
    _keep_logs(world)
    ids = _ids(world)
    world.sees(sha=A, state="closed")
    world.later(_YEARS)
    _forget(world)
    assert _has_logs(world, ids) == ids
    _tidy(world)
    _forget(world)
    assert _has_logs(world, ids) == []


def test_a_delivery_that_is_not_handled_stays_and_one_that_comes_again_soon_counts_once(
    world: World,
) -> None:
    with world.store.read() as tx:
        project = tx.project(world.project_id)

    def takes(key: str) -> int:
        return len(world.lifecycle.receive(project, key, kind="note", iid=1, facts={}, now=world.now))

    takes("lost in an outage")
    (due,) = world.lifecycle.receive(project, "handled", kind="note", iid=1, facts={}, now=world.now)
    world.lifecycle.ignore(world.claim(Kind.DELIVERY, due.id), "ignored", world.now)
    takes("newest")
    world.later(6 * 86400.0)
    _forget(world)
    assert takes("handled") == 0
    world.later(_YEARS)
    _forget(world)
    assert takes("lost in an outage") == 0
    assert takes("handled") == 1


def test_a_step_takes_a_page_at_most_and_a_round_takes_all(world: World) -> None:
    rows = [
        {
            "at": world.now,
            "subject": "switch",
            "subject_id": 0,
            "before": "",
            "after": "set",
            "who": "op",
            "why": "",
        }
    ] * (3 * PAGE)
    with world.store.write() as tx:
        tx.connection.execute(insert(t.event), rows)
    world.later(_YEARS)
    steps = [world.lifecycle.forget(world.now) for _ in range(20)]
    assert max(steps) == PAGE
    assert _count(world, "event") == 1
    assert world.lifecycle.forget(world.now) == 0, "the round is over"


def test_a_round_goes_on_behind_a_page_of_what_stays(world: World) -> None:
    with world.store.write() as tx:
        for number in range(PAGE + 10):
            tx.add_delivery(world.project_id, f"stuck-{number}", kind="note", iid=1, facts={}, now=world.now)
        handled = tx.add_delivery(world.project_id, "done", kind="note", iid=1, facts={}, now=world.now)
        tx.add_delivery(world.project_id, "newest", kind="note", iid=1, facts={}, now=world.now)
    assert handled is not None
    world.lifecycle.ignore(world.claim(Kind.DELIVERY, handled), "ignored", world.now)
    world.later(_YEARS)
    _forget(world)
    assert _count(world, "delivery") == PAGE + 11
