"""The whole stack on each database, while everything fails: processes are killed (a database server, too),
Toolforge and GitLab refuse, stumble and lose answers, deliveries are lost, operators freeze the builds."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.follow import pool_is_clean, wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import Stack
from orchestrator.engines import AWAY
from orchestrator.errors import Conflict
from orchestrator.preview import State
from tests.databases import Server
from tests.whole.faults import arm_gitlab, arm_toolforge
from tests.whole.scene import Scene
from tests.whole.scene import server as files_of_a_server

_SCENARIO = {
    "builds": [{"duration": {"distribution": "uniform", "low": 10, "high": 60}, "size": "20Mi"}],
    "jobs": [{"start_delay": 5}],
}
_WORKERS = ("worker-builds", "worker-builds-2", "worker-gitlab")
_DATABASE = "database"
#: So many processes are still to be killed when operators freeze the builds for a moment.
_FREEZE_AT = 5


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
def database(request: pytest.FixtureRequest) -> Server | None:
    """The server that the stack of this test uses; None: SQLite."""
    return None if request.param == "sqlite" else request.getfixturevalue(request.param)


@pytest.fixture
def scene(database: Server | None, tmp_path: Path) -> Iterator[Scene]:
    """Synthetic builds of about a second on two accounts, with three worker processes."""
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps(_SCENARIO))
    url = None if database is None else database.create()
    stack = Stack(
        tmp_path / "state",
        tools=("dev-1", "dev-2"),
        overrides={
            **({} if url is None else {"database_url": url}),
            "stable_seconds": 0.2,
            "check_seconds": 2.0,
            "min_live_seconds": 600.0,
            "janitor_seconds": 1.0,
            # What GitLab could not deliver while there was no web process is made good.
            "catch_up_seconds": 2.0,
        },
        toolforge_options=("--engine", "synthetic", "--scenario", str(scenario), "--time-scale", "0.02"),
        builders=2,
    )
    with stack:
        yield Scene(stack)
    if database is not None and url is not None:
        database.drop(url)


def _newest(scene: Scene, merge_request: MergeRequest) -> State | None:
    view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    return view.newest.state if view and view.newest else None


def test_whatever_is_killed_every_merge_request_ends_with_the_true_status_and_every_account_empty(
    scene: Scene, database: Server | None
) -> None:
    stack, moments = scene.stack, random.Random(20261125)
    opened = [scene.opens() for _ in range(6)]
    shas = {merge_request: merge_request.sha for merge_request in opened}
    for merge_request in opened[:2]:
        shas[merge_request] = scene.pushes(merge_request, files_of_a_server("second"))
    waiting = list(opened)
    _let_the_twins_fail(stack)
    victims = [*_WORKERS, _DATABASE, "web", "beat", *_WORKERS, _DATABASE]
    deadline = time.monotonic() + 120
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} merge requests never went live"
        time.sleep(moments.uniform(0.1, 0.8))
        if victims:
            _kill(stack, database, victims.pop(0))
            if len(victims) == _FREEZE_AT:
                _freeze_for_a_moment(stack)
        for merge_request in [m for m in waiting if _newest(scene, m) is State.LIVE]:
            scene.closes(merge_request)
            waiting.remove(merge_request)
    assert not victims
    wait_for("every account to be free and empty", lambda: pool_is_clean(stack), seconds=60.0)
    for merge_request in opened:
        wait_for("the last note", lambda m=merge_request: "given back clean" in scene.note(m), seconds=60.0)
        assert scene.status(merge_request, shas[merge_request])["status"] == "success"
        assert _doubled_deployments(scene, merge_request) == []


def _let_the_twins_fail(stack: Stack) -> None:
    arm_toolforge(stack, "status", "builds.start", status=429, count=1)
    arm_toolforge(stack, "lost", "builds.start", count=1, after=1)
    arm_toolforge(stack, "status", "builds.get", status=502, count=5, after=3)
    arm_toolforge(stack, "cut_middle", "jobs.get", count=2)
    arm_toolforge(stack, "lost", "jobs.update", count=1)
    arm_toolforge(stack, "clean_fails", "builds.clean", count=1)
    arm_gitlab(stack, "status", "POST /projects/:id/statuses/:sha", status=502, count=3)
    arm_gitlab(stack, "drop", "merge_request", count=2)


def _freeze_for_a_moment(stack: Stack) -> None:
    lifecycle = stack.parts.lifecycle
    wait_for("the freeze", lambda: _is_done(lambda: lifecycle.freeze("olga", "maintenance", time.time())))
    time.sleep(0.5)
    wait_for("the end of the freeze", lambda: _is_done(lambda: lifecycle.resume("olga", time.time())))


def _is_done(order: Callable[[], object]) -> bool:
    """Whether the order could be carried out: the database may be away just now."""
    try:
        order()
    except (*AWAY, Conflict):
        return False
    return True


def _kill(stack: Stack, database: Server | None, name: str) -> None:
    if name == _DATABASE and database is None:
        # SQLite is a file: it can only be held, by somebody who writes.
        with stack.parts.store.write_alone():
            time.sleep(0.5)
    elif name == _DATABASE and database is not None:
        database.kill()
        time.sleep(0.5)
        database.start()
    else:
        stack.kill(name)


def _doubled_deployments(scene: Scene, merge_request: MergeRequest) -> list[str]:
    path = f"/projects/{merge_request.project.id}/deployments"
    shas = Counter(deployment["sha"] for deployment in scene.stack.seeder.api("GET", path))
    return [sha for sha, count in shas.items() if count > 1]
