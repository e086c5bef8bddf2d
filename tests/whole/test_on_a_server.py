"""The whole stack on MariaDB and on PostgreSQL, while everything is killed, the database server, too."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.follow import pool_is_clean, wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import Stack
from orchestrator.preview import State
from tests.databases import Server
from tests.whole.scene import Scene
from tests.whole.scene import server as files_of_a_server

_SCENARIO = {
    "builds": [{"duration": {"distribution": "uniform", "low": 10, "high": 60}, "size": "20Mi"}],
    "jobs": [{"start_delay": 5}],
}
_WORKERS = ("worker-builds", "worker-builds-2", "worker-gitlab")
_DATABASE = "database"


@pytest.fixture(params=["mariadb", "postgresql"])
def database(request: pytest.FixtureRequest) -> Server:
    """The server that the stack of this test uses."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def scene(database: Server, tmp_path: Path) -> Iterator[Scene]:
    """Synthetic builds of about a second on two accounts, with three worker processes."""
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps(_SCENARIO))
    url = database.create()
    stack = Stack(
        tmp_path / "state",
        tools=("dev-1", "dev-2"),
        overrides={
            "database_url": url,
            "stable_seconds": 0.2,
            "check_seconds": 2.0,
            "min_live_seconds": 600.0,
        },
        toolforge_options=("--engine", "synthetic", "--scenario", str(scenario), "--time-scale", "0.02"),
        builders=2,
    )
    with stack:
        yield Scene(stack)
    database.drop(url)


def _newest(scene: Scene, merge_request: MergeRequest) -> State | None:
    view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    return view.newest.state if view and view.newest else None


def _is_ready(scene: Scene) -> bool:
    """Whether the web process takes deliveries: GitLab sends none a second time."""
    with_database = f"{scene.stack.places.web_url}/readyz"
    try:
        return httpx.get(with_database, trust_env=False, timeout=2.0).status_code == 200
    except httpx.TransportError:
        return False


def test_whatever_is_killed_every_merge_request_ends_with_the_true_status_and_every_account_empty(
    scene: Scene, database: Server
) -> None:
    stack, moments = scene.stack, random.Random(20261125)
    opened = [scene.opens() for _ in range(6)]
    shas = {merge_request: merge_request.sha for merge_request in opened}
    for merge_request in opened[:2]:
        shas[merge_request] = scene.pushes(merge_request, files_of_a_server("second"))
    waiting = list(opened)
    victims = [*_WORKERS, _DATABASE, "web", "beat", *_WORKERS, _DATABASE]
    deadline = time.monotonic() + 120
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} merge requests never went live"
        time.sleep(moments.uniform(0.1, 0.8))
        if victims:
            _kill(stack, database, victims.pop(0))
            wait_for("the web process", lambda: _is_ready(scene), seconds=30.0)
        for merge_request in [m for m in waiting if _newest(scene, m) is State.LIVE]:
            scene.closes(merge_request)
            waiting.remove(merge_request)
    assert not victims
    wait_for("every account to be free and empty", lambda: pool_is_clean(stack), seconds=60.0)
    for merge_request in opened:
        wait_for("the last note", lambda m=merge_request: "given back clean" in scene.note(m), seconds=60.0)
        assert scene.status(merge_request, shas[merge_request])["status"] == "success"
        assert _doubled_deployments(scene, merge_request) == []


def _kill(stack: Stack, database: Server, name: str) -> None:
    if name == _DATABASE:
        database.kill()
        time.sleep(0.5)
        database.start()
    else:
        stack.kill(name)


def _doubled_deployments(scene: Scene, merge_request: MergeRequest) -> list[str]:
    path = f"/projects/{merge_request.project.id}/deployments"
    shas = Counter(deployment["sha"] for deployment in scene.stack.seeder.api("GET", path))
    return [sha for sha, count in shas.items() if count > 1]
