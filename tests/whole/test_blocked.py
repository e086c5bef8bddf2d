"""What Toolforge's builder does not have yet is waited for, as GitLab shows it, and built by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from deploy.cli import cli
from deploy.follow import pool_is_clean, wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import settings_environment
from orchestrator.preview import Deployment, State
from orchestrator.report import STATUS_NAME
from tests.whole.conftest import Stacks
from tests.whole.scene import Scene, server

_LACKS = [
    "Using Python 3.14 specified in .python-version",
    "[Error: The requested Python version isn't recognised]",
    "ERROR: failed to build: exit status 1",
]
#: Until the first build, and its second opinion, are over no builder has it; from then on they do.
_SCENARIO = {
    "builds": [
        {"match": {"image_name": "mr1-d1*"}, "duration": 20, "outcome": "failure", "log": _LACKS},
        {"duration": 20, "size": "20Mi", "log": ["Using Python 3.14 specified in .python-version"]},
    ],
}
_WAITING = "Waiting for Toolforge: Python 3.14 is not in the builder yet"


@pytest.fixture(scope="module")
def scene(stacks: Stacks) -> Iterator[Scene]:
    settings = {"check_seconds": 2.0, "stable_seconds": 0.1}
    with stacks("dev-1", "dev-2", scenario=_SCENARIO, time_scale=0.025, **settings) as stack:
        yield Scene(stack)


def newest(scene: Scene, merge_request: MergeRequest) -> Deployment:
    view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    assert view is not None
    assert view.newest is not None
    return view.newest


def statuses(scene: Scene, merge_request: MergeRequest) -> list[tuple[str, str]]:
    """All that GitLab has of the commit, the oldest first: the words and what they stand for."""
    path = f"/projects/{merge_request.project.id}/repository/commits/{merge_request.sha}/statuses?all=true"
    ours = [one for one in scene.stack.seeder.api("GET", path) if one["name"] == STATUS_NAME]
    return [(one["status"], one["description"]) for one in sorted(ours, key=lambda one: one["id"])]


def waits(scene: Scene, merge_request: MergeRequest) -> None:
    """Until it is blocked, GitLab was told, and nothing of it is left."""

    def is_so() -> bool:
        return statuses(scene, merge_request)[-1:] == [("pending", _WAITING)]

    wait_for("it to be blocked", is_so, seconds=60.0)
    wait_for("the pool to be clean", lambda: pool_is_clean(scene.stack), seconds=60.0)


def test_it_waits_pending_and_is_built_when_another_projects_build_has_shown_the_version(
    scene: Scene,
) -> None:
    asking = {**server(), ".python-version": "3.14\n"}
    connected = scene.stack.seeder.project("waiting")
    scene.stack.seeder.push_to_branch(connected, "main", {"README.md": "A tool.\n"}, "First")
    environment = settings_environment(scene.stack.parts.settings)

    def command(*arguments: str) -> None:
        result = CliRunner().invoke(cli, arguments, env=environment)
        assert result.exit_code == 0, result.output

    command("project", "add", connected.path)
    command("project", "set", connected.path, "--refused-versions", "wait")
    scene.stack.seeder.push_to_branch(connected, "change", asking, "A change")
    bump = scene.stack.seeder.open_merge_request(connected, "change", "Python 3.14")
    waits(scene, bump)
    assert newest(scene, bump).state is State.BLOCKED
    assert "takes nothing until then" in scene.note(bump)

    beside = scene.opens(asking, beside=bump)
    waits(scene, beside)
    assert newest(scene, beside).account_id is None, "what is known now is not even built"
    assert {state for state, _ in statuses(scene, beside)} == {"pending", "canceled"}
    scene.closes(beside)
    wait_for("its end", lambda: scene.status(beside)["status"] == "canceled", seconds=30.0)
    assert newest(scene, beside).state is State.CANCELLED

    other = scene.opens(asking)
    assert scene.verdict(other).state is State.LIVE
    assert scene.verdict(bump).state is State.LIVE
    assert scene.status(bump)["status"] == "success"
