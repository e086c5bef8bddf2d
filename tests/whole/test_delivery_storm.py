"""A storm of deliveries in any order, through real processes: what GitLab says now is what counts."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
from sqlalchemy import select

from deploy.follow import wait_for
from deploy.local.seed import MergeRequest
from orchestrator import tables as t
from orchestrator.signing import digest
from tests.whole.scene import Scene, server

_DELIVERIES = 1000
_SECRET = "of the storm"


def test_of_a_thousand_shuffled_deliveries_nothing_is_lost_and_nothing_done_twice(scene: Scene) -> None:
    moments = random.Random(20261129)
    merge_requests = quiet_merge_requests(scene, 12)
    stays, pushed, closed = merge_requests[:4], merge_requests[4:8], merge_requests[8:]
    heads = {one.iid: one.sha for one in stays}
    heads |= {one.iid: scene.pushes(one, {"app.py": "print('another')\n"}) for one in pushed}
    for one in closed:
        scene.closes(one)
    wait_for("GitLab's own deliveries to be handled", lambda: not unhandled(scene))

    keys = [f"storm-{number}" for number in range(_DELIVERIES)]
    sent = [*keys, *moments.sample(keys, _DELIVERIES // 5)]
    moments.shuffle(sent)
    assert deliver(scene, merge_requests, sent) == {202: len(sent)}
    wait_for("every delivery to be handled", lambda: not unhandled(scene))

    assert handled(scene) == dict.fromkeys(keys, 1)
    for one in merge_requests:
        view = scene.stack.parts.views.preview(one.project.path, one.iid)
        assert view is not None
        going = [(d.sha, d.is_pending) for d in view.deployments if d.is_pending]
        assert going == ([(heads[one.iid], True)] if one.iid in heads else []), one.iid
        wait_for("GitLab to be told", lambda number=view.preview.id: scene.is_told(number))
        note = scene.note(one)
        assert heads.get(one.iid, one.sha)[:12] in note
        # Once for each commit that was a head: what was said again changed nothing.
        assert len(view.deployments) == (2 if one in pushed else 1)


def quiet_merge_requests(scene: Scene, count: int) -> list[MergeRequest]:
    """So many merge requests of a project in which nothing is planned, whose deliveries anybody can sign."""
    first = scene.opens()
    parts = scene.stack.parts
    scene.verdict(first)
    with parts.store.write() as tx:
        project = tx.project_at(first.project.path)
        assert project is not None
        digests = [digest(_SECRET), *project.secret_digests]
        tx.put_project(
            gitlab_id=project.gitlab_id,
            now=time.time(),
            secret_digests=digests,
            signing=[],
            old_secrets_until=time.time() + 3600,
        )
    parts.lifecycle.pause("operator", "a storm", time.time(), project_id=project.id)
    return [scene.opens(server(f"number-{number}"), beside=first) for number in range(count)]


def deliver(scene: Scene, merge_requests: list[MergeRequest], keys: list[str]) -> Counter[int]:
    """Deliver each of them, as GitLab might have meant it at some time; how often which status came."""
    actions = ("open", "update", "close", "reopen", "merge")

    def one(key: str) -> int:
        number = int(key.split("-")[1])
        about = merge_requests[number % len(merge_requests)]
        event = {
            "object_kind": "merge_request",
            "user": {"username": "dana"},
            "project": {"id": about.project.id},
            "object_attributes": {"iid": about.iid, "action": actions[number % len(actions)]},
        }
        headers = {"X-Gitlab-Token": _SECRET, "Idempotency-Key": key}
        return client.post("/webhook/gitlab", json=event, headers=headers).status_code

    base_url = scene.stack.parts.settings.public_url
    with (
        httpx.Client(base_url=base_url, trust_env=False, timeout=30.0) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        return Counter(pool.map(one, keys))


def unhandled(scene: Scene) -> int:
    """How many deliveries are not handled."""
    with scene.stack.parts.store.engine.connect() as connection:
        query = select(t.delivery.c.id).where(t.delivery.c.handled_at.is_(None))
        return len(connection.execute(query).all())


def handled(scene: Scene) -> Counter[str]:
    """How often each delivery of the storm was handled."""
    with scene.stack.parts.store.engine.connect() as connection:
        query = select(t.delivery.c.key).where(
            t.delivery.c.key.startswith("storm-"), t.delivery.c.handled_at.is_not(None)
        )
        return Counter(connection.scalars(query))
