"""People watch a build: its lines come while it runs, and Toolforge has one stream for all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.follow import pool_is_clean, wait_for
from deploy.stack import Stack
from orchestrator.preview import State
from tests.whole.scene import Scene

_WATCHERS = 10
_LINES = [f"step {number}" for number in range(30)]
#: Six seconds a build, at the scale of time below.
_SCENARIO = {"builds": [{"duration": 120, "log": _LINES}]}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One account, whose builds take a while."""
    folder = Path(tmp_path_factory.mktemp("watching"))
    scenario = folder / "scenario.json"
    scenario.write_text(json.dumps(_SCENARIO))
    options = ("--engine", "synthetic", "--scenario", str(scenario), "--time-scale", "0.05")
    with Stack(folder / "state", tools=("dev-1",), toolforge_options=options) as stack:
        wait_for("the pool", lambda: pool_is_clean(stack))
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


def test_ten_who_watch_a_build_cost_toolforge_one_stream(scene: Scene) -> None:
    merge_request = scene.opens()
    path, iid = merge_request.project.path, merge_request.iid
    views = scene.stack.parts.views

    def builds() -> bool:
        view = views.preview(path, iid)
        newest = view.newest if view else None
        return newest is not None and newest.state is State.BUILDING and newest.build_id is not None

    wait_for("the build", builds)
    view = views.preview(path, iid)
    assert view is not None
    assert view.newest is not None
    address = f"{scene.stack.places.web_url}/{path}/-/{iid}/{view.newest.id}/build/live"
    before = _log_calls(scene)
    with ThreadPoolExecutor(_WATCHERS) as pool:
        told = list(pool.map(_watch, [address] * _WATCHERS))
    calls = _log_calls(scene) - before
    assert all(lines == told[0] for lines in told)
    assert [line.rpartition(" step ")[2] for line in told[0] if " step " in line] == [
        line.removeprefix("step ") for line in _LINES
    ]
    # One follows for all of them; the other is the worker's, which keeps the log when the build has ended.
    assert calls <= 2
    scene.closes(merge_request)
    wait_for("the pool", lambda: pool_is_clean(scene.stack))
