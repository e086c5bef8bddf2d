"""Processes are killed, Redis is emptied, answers are lost: everything still ends as it should."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deploy.follow import pool_is_clean, toolforge_state, verdict_on, wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import Stack
from orchestrator.preview import State
from tests.fresh import Databases
from tests.whole.faults import arm_gitlab, arm_toolforge
from tests.whole.scene import Scene

_SCENARIO = {
    "builds": [{"duration": {"distribution": "uniform", "low": 5, "high": 40}, "size": "20Mi"}],
    "jobs": [{"start_delay": 5}],
}


def make_stack(state: Path, database_url: str) -> Stack:
    """Synthetic builds of a fraction of a second on two accounts."""
    scenario = state / "scenario.json"
    scenario.write_text(json.dumps(_SCENARIO))
    return Stack(
        state / "state",
        tools=("dev-1", "dev-2"),
        overrides={
            "database_url": database_url,
            "stable_seconds": 0.2,
            "check_seconds": 2.0,
            "min_live_seconds": 600.0,
        },
        toolforge_options=("--engine", "synthetic", "--scenario", str(scenario), "--time-scale", "0.02"),
    )


@pytest.fixture(scope="module")
def stack(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with make_stack(Path(tmp_path_factory.mktemp("fast")), databases.new()) as made:
        yield made


def live(scene: Scene, merge_request: MergeRequest) -> bool:
    view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    return view is not None and view.newest is not None and view.newest.state is State.LIVE


def test_workers_killed_at_any_moment_lose_nothing_and_double_nothing(scene: Scene) -> None:
    stack = scene.stack
    moments = random.Random(20261125)
    opened = [scene.opens() for _ in range(5)]
    waiting = list(opened)
    deadline = time.monotonic() + 150
    kills = 0
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} merge requests never went live"
        if kills < 6:
            time.sleep(moments.uniform(0.2, 1.2))
            for name in ("worker-builds", "worker-gitlab"):
                stack.kill(name)
            kills += 1
        else:
            time.sleep(0.2)
        for merge_request in [m for m in waiting if live(scene, m)]:
            scene.closes(merge_request)
            waiting.remove(merge_request)
    wait_for("every account to be free and empty", lambda: pool_is_clean(stack), seconds=60.0)
    assert kills == 6
    for merge_request in opened:
        wait_for("the last note", lambda m=merge_request: "given back clean" in scene.note(m))
        assert scene.status(merge_request)["status"] == "success"


def test_a_killed_worker_costs_seconds(scene: Scene) -> None:
    merge_request = scene.opens()
    wait_for("the build", lambda: scene.account(merge_request) is not None)
    scene.stack.kill("worker-builds")
    started = time.monotonic()
    wait_for("the verdict", lambda: live(scene, merge_request), seconds=60.0)
    # One claim, one sweep, and the time that the build and the start take by themselves.
    assert time.monotonic() - started < 20.0


def test_redis_emptied_and_restarted_delays_and_loses_nothing(scene: Scene) -> None:
    stack = scene.stack
    first = scene.opens()
    client = redis.Redis.from_url(stack.parts.settings.redis_url)
    for _ in range(5):
        client.flushall()
        time.sleep(0.1)
    client.close()
    wait_for("the first verdict", lambda: live(scene, first), seconds=30.0)
    second = scene.opens()
    stack.kill("redis")
    wait_for("the second verdict", lambda: live(scene, second), seconds=60.0)


def test_a_webhook_while_redis_is_away_is_taken_and_done_later(scene: Scene) -> None:
    stack = scene.stack
    stack.kill("redis", and_keep_down=True)
    merge_request = scene.opens()

    def is_taken() -> bool:
        with stack.parts.store.read() as tx:
            return any(due.kind == "delivery" for due in tx.due(time.time(), limit=10))

    wait_for("the delivery in the database, although nobody could be told", is_taken, seconds=15.0)
    stack.start_again("redis")
    wait_for("the verdict", lambda: live(scene, merge_request), seconds=60.0)


def test_started_again_it_goes_on_where_it_was(tmp_path: Path, database_url: str) -> None:
    with make_stack(tmp_path, database_url) as first:
        scene = Scene(first)
        merge_request = scene.opens()
        verdict_on(first, merge_request.project.path, merge_request.iid, merge_request.sha)
        address = first.parts.views.preview(merge_request.project.path, merge_request.iid)
        on_the_way = scene.opens()
        # Everything dies at once, in the middle of the second one.
        for name in ("worker-builds", "worker-gitlab", "web", "beat", "redis", "toolforge", "gitlab"):
            first.kill(name, and_keep_down=True)
    with make_stack(tmp_path, database_url) as second:
        again = Scene(second)
        view = second.parts.views.preview(merge_request.project.path, merge_request.iid)
        assert view is not None
        assert address is not None
        assert view.address == address.address
        wait_for("the page", lambda: again.page(merge_request).status_code == 200)
        wait_for("the second verdict", lambda: live(again, on_the_way), seconds=60.0)
        for opened in (merge_request, on_the_way):
            again.closes(opened)
        wait_for("every account to be free and empty", lambda: pool_is_clean(second), seconds=60.0)


def test_a_build_whose_answer_was_lost_is_adopted_and_not_started_twice(scene: Scene) -> None:
    arm_toolforge(scene.stack, "lost", "builds.start", count=1)
    merge_request = scene.opens()
    wait_for("the verdict", lambda: live(scene, merge_request), seconds=60.0)
    account = scene.account(merge_request)
    assert len(toolforge_state(scene.stack)["tools"][account]["builds"]) == 1


def test_a_note_and_a_deployment_whose_answers_were_lost_are_not_made_twice(scene: Scene) -> None:
    arm_gitlab(scene.stack, "lost", "POST /projects/:id/merge_requests/:iid/notes", count=1)
    arm_gitlab(scene.stack, "lost", "POST /projects/:id/deployments", count=1)
    arm_gitlab(scene.stack, "lost", "POST /projects/:id/statuses/:sha", count=1)
    merge_request = scene.opens()
    wait_for("the verdict", lambda: live(scene, merge_request), seconds=60.0)
    wait_for("the status", lambda: scene.status(merge_request)["status"] == "success", seconds=60.0)
    wait_for("the note", lambda: "Preview is live" in scene.note(merge_request), seconds=60.0)

    def deployments() -> list[dict[str, object]]:
        path = f"/projects/{merge_request.project.id}/deployments"
        return list(scene.stack.seeder.api("GET", path))

    wait_for("the deployment", lambda: bool(deployments()), seconds=60.0)
    time.sleep(1.0)
    assert len(deployments()) == 1


@pytest.mark.parametrize(
    ("kind", "operation", "settings"),
    [
        ("status", "builds.start", {"status": 409}),
        ("status", "builds.get", {"status": 502}),
        ("cut_before", "jobs.update", {}),
        ("status", "jobs.get", {"status": 500}),
        ("status", "builds.clean", {"status": 500}),
    ],
)
def test_toolforge_failing_for_a_moment_is_waited_out(
    scene: Scene, kind: str, operation: str, settings: dict[str, object]
) -> None:
    arm_toolforge(scene.stack, kind, operation, count=2, **settings)
    merge_request = scene.opens()
    wait_for("the verdict", lambda: live(scene, merge_request), seconds=60.0)
    scene.closes(merge_request)
    wait_for("every account to be free and empty", lambda: pool_is_clean(scene.stack), seconds=60.0)
