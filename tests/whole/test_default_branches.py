"""Default branches through the real processes: tried when the pool is idle, and told when they break."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from deploy.cli import cli
from deploy.follow import pool_is_clean, wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import settings_environment
from orchestrator.preview import State
from orchestrator.records import BRANCH_IID
from tests.whole.conftest import Stacks
from tests.whole.scene import Scene, server

#: Builds take a while, so that a merge request can come in the middle of one.
_SCENARIO = {
    "builds": [
        {"match": {"ref": "refs/heads/main", "source_url": "*broken*"}, "duration": 20, "outcome": "failure"},
        {"match": {"ref": "refs/heads/main", "source_url": "*slow*"}, "duration": 4000},
        {"duration": 20, "size": "20Mi"},
    ],
}


@pytest.fixture(scope="module")
def scene(stacks: Stacks) -> Iterator[Scene]:
    settings = {"check_seconds": 2.0, "stable_seconds": 0.1, "max_concurrent_builds": 1}
    with stacks("dev-1", "dev-2", scenario=_SCENARIO, time_scale=0.025, **settings) as stack:
        yield Scene(stack)


def watched(scene: Scene, name: str) -> str:
    """The path of a project of which an operator wants to know whether its default branch deploys."""
    seeder = scene.stack.seeder
    project = seeder.project(name)
    files = {**server(), ".python-version": "3.11\n"}
    seeder.push_to_branch(project, "main", {name: str(text) for name, text in files.items()}, "First")
    command(scene, "add", project.path)
    command(scene, "set", project.path, "--watch-main", "issue", "--refused-versions", "fail")
    return str(project.path)


def command(scene: Scene, *arguments: str) -> str:
    """What an operator types, and reads."""
    environment = settings_environment(scene.stack.parts.settings)
    done = CliRunner().invoke(cli, ["project", *arguments], env=environment)
    assert done.exit_code == 0, done.output
    return done.output


def told(scene: Scene, path: str) -> dict[str, Any]:
    """What the API says of the default branch."""
    url = f"{scene.stack.parts.settings.public_url}/api/v1/projects"
    items = httpx.get(url, trust_env=False).json()["items"]
    found: dict[str, Any] = next(item["default_branch"] for item in items if item["path"] == path)
    return found


def issues(scene: Scene, path: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = scene.stack.seeder.api(
        "GET", f"/projects/{path.replace('/', '%2F')}/issues"
    )
    return listed


def test_a_branch_that_deploys_is_seen_to_and_nobody_is_told(scene: Scene) -> None:
    path = watched(scene, "good-tool")
    wait_for("the verdict", lambda: told(scene, path)["deploys"] is not None, seconds=60.0)
    assert told(scene, path)["deploys"] is True
    wait_for("every account to be free and empty", lambda: pool_is_clean(scene.stack), seconds=60.0)
    assert issues(scene, path) == []
    page = httpx.get(f"{scene.stack.parts.settings.public_url}/{path}/-/", trust_env=False).text
    assert "Last seen to deploy" in page
    tries = httpx.get(f"{scene.stack.parts.settings.public_url}/{path}/-/{BRANCH_IID}", trust_env=False)
    assert "build log" in tries.text
    view = scene.stack.parts.views.preview(path, BRANCH_IID)
    assert view is not None
    assert view.newest is not None
    assert [pin.wanted for pin in view.newest.pins] == ["3.11"], "remembered for when the builder changes"
    shown = command(scene, "show", path)
    assert "watch-main  issue" in shown
    assert "refused-versions  fail" in shown
    assert "default branch  deploys" in shown


def test_one_that_does_not_is_told_once_with_a_cause_and_a_date(scene: Scene) -> None:
    path = watched(scene, "broken-tool")
    wait_for("the issue", lambda: issues(scene, path), seconds=60.0)
    (issue,) = issues(scene, path)
    assert "What happened:" in issue["description"]
    known = told(scene, path)
    assert (known["deploys"], known["good_at"]) == (False, None)
    assert known["broken_at"] is not None
    metrics = httpx.get(f"{scene.stack.parts.settings.public_url}/metrics", trust_env=False).text
    assert 'toolforge_preview_default_branches{deploys="no"} 1.0' in metrics
    wait_for("every account to be free and empty", lambda: pool_is_clean(scene.stack), seconds=60.0)


def test_a_merge_request_does_not_wait_for_a_branch_that_is_being_tried(scene: Scene) -> None:
    path = watched(scene, "slow-tool")

    def newest() -> State | None:
        view = scene.stack.parts.views.preview(path, BRANCH_IID)
        return view.newest.state if view and view.newest else None

    wait_for("the try", lambda: newest() is State.BUILDING, seconds=60.0)
    merge_request: MergeRequest = scene.opens()
    assert scene.verdict(merge_request).state is State.LIVE, "there is one build slot in all"
    assert newest() is State.CANCELLED
    scene.closes(merge_request)
