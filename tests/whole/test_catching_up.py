"""Webhooks that GitLab never delivers are made good, through the whole stack."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from deploy.follow import verdict_on, wait_for
from deploy.stack import Stack
from orchestrator.preview import State
from tests.whole.conftest import Stacks
from tests.whole.faults import arm_gitlab, gitlab_still_to_fail
from tests.whole.scene import Scene

_LISTING = "GET /projects/:id/merge_requests"
_SCENARIO = {"builds": [{"duration": 5, "size": "20Mi"}], "jobs": [{"start_delay": 5}]}


@pytest.fixture(scope="module")
def stack(stacks: Stacks) -> Iterator[Stack]:
    """Synthetic builds, and a comparison every few seconds."""
    settings = {"catch_up_seconds": 4.0, "stable_seconds": 0.2, "check_seconds": 2.0}
    with stacks("dev-1", "dev-2", scenario=_SCENARIO, time_scale=0.02, **settings) as made:
        yield made


def lose(scene: Scene, count: int = 1) -> None:
    """GitLab does not deliver the next events of merge requests."""
    arm_gitlab(scene.stack, "drop", "merge_request", count=count)


def test_whatever_happens_to_a_merge_request_without_a_webhook_is_found_out(scene: Scene) -> None:
    first = scene.opens()
    verdict_on(scene.stack, first.project.path, first.iid, first.sha, seconds=60.0)
    lose(scene)
    second = scene.opens(beside=first)
    assert scene.verdict(second).state is State.LIVE
    lose(scene)
    pushed = scene.pushes(second, {"more.txt": "more\n"})
    assert scene.verdict(second, pushed).state is State.LIVE
    assert scene.status(second, pushed)["status"] == "success"
    lose(scene, 2)
    scene.closes(first)
    scene.closes(second)
    for closed in (first, second):
        wait_for("the last note", lambda m=closed: "given back clean" in scene.note(m), seconds=60.0)


def test_a_gitlab_that_cannot_list_its_merge_requests_takes_nothing_down(scene: Scene) -> None:
    opened = scene.opens()
    scene.verdict(opened)
    arm_gitlab(scene.stack, "status", _LISTING, status=502)
    wait_for("the comparison", lambda: gitlab_still_to_fail(scene.stack) == [], seconds=30.0)
    time.sleep(1.0)
    assert scene.page(opened).status_code == 200


def test_what_happened_while_there_was_no_web_process_is_found_out_at_its_start(scene: Scene) -> None:
    first = scene.opens()
    scene.verdict(first)
    with scene.stack.parts.store.write() as tx:
        project = next(p for p in tx.projects() if p.path == first.project.path)
        tx.put_project(gitlab_id=project.gitlab_id, due_at=time.time() + 3600, now=time.time())
    scene.stack.kill("web", and_keep_down=True)
    second = scene.opens(beside=first)
    time.sleep(1.0)
    scene.stack.start_again("web")
    assert scene.verdict(second).state is State.LIVE
