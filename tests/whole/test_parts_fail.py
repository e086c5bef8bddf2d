"""A part of the whole stands still, is there twice, or comes back late: nothing is lost or done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select

from deploy.follow import get, toolforge_state, wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import Stack, settings_environment
from orchestrator import tables as t
from orchestrator.preview import State
from tests.whole.conftest import Stacks
from tests.whole.scene import Scene

_SCENARIO = {
    "builds": [{"duration": 60, "size": "20Mi"}],
    "jobs": [{"start_delay": 5}],
}


@pytest.fixture(scope="module")
def stack(stacks: Stacks) -> Iterator[Stack]:
    """Builds of some seconds on two accounts, by two processes that build."""
    settings = {"stable_seconds": 0.2, "check_seconds": 2.0, "min_live_seconds": 600.0}
    with stacks("dev-1", "dev-2", scenario=_SCENARIO, time_scale=0.05, builders=2, **settings) as made:
        yield made


@contextmanager
def frozen(stack: Stack, *names: str) -> Iterator[None]:
    """Processes that stand still while the block runs."""
    pids = [stack.pid(name) for name in names]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def is_live(scene: Scene, merge_request: MergeRequest) -> bool:
    view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    return view is not None and view.newest is not None and view.newest.state is State.LIVE


def is_done_once(scene: Scene, merge_request: MergeRequest) -> None:
    """It is live, was built once, and GitLab was told so once."""
    wait_for("the verdict", lambda: is_live(scene, merge_request), seconds=90.0)
    view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    assert view is not None
    wait_for("GitLab to be told", lambda: scene.is_told(view.preview.id), seconds=60.0)
    assert len(view.deployments) == 1
    assert scene.status(merge_request)["status"] == "success"
    assert scene.note(merge_request)
    path = f"/projects/{merge_request.project.id}/deployments?environment=preview/mr-{merge_request.iid}"
    assert len(scene.stack.seeder.api("GET", path)) == 1
    builds = toolforge_state(scene.stack)["tools"][scene.account(merge_request)]["builds"]
    assert len(builds) == 1


@pytest.mark.parametrize("name", ["worker-builds", "worker-builds-2"])
def test_a_worker_that_is_frozen_past_its_claims_is_replaced_and_does_no_harm_when_it_thaws(
    scene: Scene, name: str
) -> None:
    merge_request = scene.opens()
    wait_for("an account", lambda: scene.account(merge_request) is not None)
    with frozen(scene.stack, name):
        wait_for("the verdict", lambda: is_live(scene, merge_request), seconds=90.0)
    another = scene.opens(beside=merge_request)
    is_done_once(scene, merge_request)
    is_done_once(scene, another)


def test_all_workers_that_are_frozen_past_their_claims_go_on_where_they_were(scene: Scene) -> None:
    merge_request = scene.opens()
    wait_for("an account", lambda: scene.account(merge_request) is not None)
    with frozen(scene.stack, "worker-builds", "worker-builds-2", "worker-gitlab"):
        wait_for("the claims to end", lambda: not claimed(scene.stack), seconds=30.0)
    is_done_once(scene, merge_request)


def claimed(stack: Stack) -> bool:
    """Whether anybody may still act on what is due."""
    with stack.parts.store.read() as tx:
        until = tx.connection.scalars(select(t.deployment.c.claimed_until)).all()
    return any(at is not None and at > time.time() for at in until)


def test_a_redis_that_does_not_answer_keeps_no_delivery_waiting_for_longer_than_gitlab_does(
    scene: Scene,
) -> None:
    first = scene.opens()
    with frozen(scene.stack, "redis"):
        # The local GitLab waits for ten seconds, as GitLab does, and shows what it was answered.
        merge_request = scene.opens(beside=first)
        wait_for("the delivery", lambda: 202 in answers(scene, merge_request), seconds=30.0)
        assert set(answers(scene, merge_request)) == {202}
    is_done_once(scene, merge_request)


def answers(scene: Scene, merge_request: MergeRequest) -> list[int | None]:
    """What the web process answered to the newest deliveries about the project."""
    (hook,) = scene.stack.seeder.api("GET", f"/projects/{merge_request.project.id}/hooks")
    path = f"/projects/{merge_request.project.id}/hooks/{hook['id']}/events"
    events = scene.stack.seeder.api("GET", path)
    about = [e for e in events if e["request_data"]["object_attributes"]["iid"] == merge_request.iid]
    return [int(event["response_status"]) for event in about if str(event["response_status"]).isdigit()]


def test_a_second_beat_changes_nothing(scene: Scene) -> None:
    command = [sys.executable, "-m", "celery", "--app", "worker.app", "beat", "--pidfile", ""]
    environment = {**os.environ, **settings_environment(scene.stack.parts.settings)}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as second:
        merge_request = scene.opens()
        is_done_once(scene, merge_request)
        assert get(f"{scene.stack.places.web_url}/readyz").status_code == 200
        assert second.poll() is None
        second.terminate()
