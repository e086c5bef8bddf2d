"""People watch a build: its lines come while it runs, and Toolforge has one stream for all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from deploy.follow import pool_is_clean, wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import settings_environment
from orchestrator.preview import Deployment, State
from tests.whole.conftest import Stacks
from tests.whole.scene import Scene

_WATCHERS = 10
_LINES = [f"step {number}" for number in range(30)]
#: Six seconds a build, at the scale of time below.
_SCENARIO = {"builds": [{"duration": 120, "log": _LINES}]}


@pytest.fixture(scope="module")
def scene(stacks: Stacks) -> Iterator[Scene]:
    """One account, whose builds take a while."""
    with stacks("dev-1", scenario=_SCENARIO, time_scale=0.05) as stack:
        yield Scene(stack)


def _watch(address: str) -> list[str]:
    """The lines that one who watches is told, until the build has ended."""
    lines: list[str] = []
    name = ""
    with httpx.stream("GET", address, timeout=60, trust_env=False) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            if line.startswith("data: ") and name == "lines":
                told: list[Any] = json.loads(line.removeprefix("data: "))
                lines += ["".join(text for _, text in pieces) for _, pieces in told]
    assert name == "end"
    return lines


def _log_calls(scene: Scene) -> int:
    by_operation = httpx.get(f"{scene.stack.places.toolforge_admin_url}/calls", trust_env=False).json()
    calls: dict[str, int] = by_operation["by_operation"]
    return sum(count for operation, count in calls.items() if "log" in operation)


def _build_of(scene: Scene, merge_request: MergeRequest) -> int:
    """The number of its deployment, once that is being built."""
    path, iid = merge_request.project.path, merge_request.iid

    def newest() -> Deployment | None:
        view = scene.stack.parts.views.preview(path, iid)
        return view.newest if view else None

    def builds() -> bool:
        found = newest()
        return found is not None and found.state is State.BUILDING and found.build_id is not None

    wait_for("the build", builds)
    found = newest()
    assert found is not None
    return found.id


def _steps(lines: Iterable[str]) -> list[str]:
    return [f"step {line.rpartition(' step ')[2]}" for line in lines if " step " in line]


def test_ten_who_watch_a_build_cost_toolforge_one_stream(scene: Scene) -> None:
    merge_request = scene.opens()
    path, iid = merge_request.project.path, merge_request.iid
    number = _build_of(scene, merge_request)
    address = f"{scene.stack.places.web_url}/{path}/-/{iid}/{number}/build/live"
    before = _log_calls(scene)
    with ThreadPoolExecutor(_WATCHERS) as pool:
        told = list(pool.map(_watch, [address] * _WATCHERS))
    calls = _log_calls(scene) - before
    assert all(lines == told[0] for lines in told)
    assert _steps(told[0]) == _LINES
    # One follows for all of them; the other is the worker's, which keeps the log when the build has ended.
    assert calls <= 2
    scene.closes(merge_request)
    wait_for("the pool", lambda: pool_is_clean(scene.stack))


@pytest.mark.parametrize("is_remote", [True, False], ids=["by a server", "in the database"])
def test_a_build_is_watched_from_a_terminal(scene: Scene, is_remote: bool) -> None:
    merge_request = scene.opens()
    _build_of(scene, merge_request)
    name = f"{merge_request.project.path}!{merge_request.iid}"
    where = ["--server", scene.stack.places.web_url] if is_remote else []
    settings = {} if is_remote else settings_environment(scene.stack.parts.settings)
    command = [sys.executable, "-m", "deploy", "preview", "logs", "--follow", name, *where]
    done = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, timeout=90, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert _steps(done.stdout.splitlines()) == _LINES
    scene.closes(merge_request)
    wait_for("the pool", lambda: pool_is_clean(scene.stack))
