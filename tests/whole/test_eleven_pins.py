"""The story of eleven repositories: a bot asks all of them for a Python that the builder does not have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from click.testing import CliRunner, Result

from deploy.cli import cli
from deploy.local.seed import MergeRequest
from deploy.stack import settings_environment
from orchestrator.preview import State
from tests.whole.conftest import Stacks
from tests.whole.scene import LACKS_PYTHON, Scene, server

_BOT = "dana"
#: A merge request that asks for it is the first of its project, its correction the second.
_SCENARIO = {
    "builds": [
        {
            "match": {"ref": "refs/merge-requests/1/head"},
            "duration": 20,
            "outcome": "failure",
            "log": LACKS_PYTHON,
        },
        {"duration": 40, "size": "20Mi"},
    ],
}


@pytest.fixture(scope="module")
def scene(stacks: Stacks) -> Iterator[Scene]:
    settings = {"bots": f"{_BOT},preview-service", "check_seconds": 2.0, "stable_seconds": 0.1}
    with stacks("dev-1", "dev-2", "dev-3", scenario=_SCENARIO, time_scale=0.025, **settings) as stack:
        yield Scene(stack)


def command(scene: Scene, *arguments: str) -> Result:
    """What an operator types."""
    return CliRunner().invoke(cli, arguments, env=settings_environment(scene.stack.parts.settings))


def corrections(scene: Scene, merge_request: MergeRequest) -> list[dict[str, object]]:
    """The open merge requests of a project that set its pin."""
    path = f"/projects/{merge_request.project.id}/merge_requests?state=opened"
    listed = scene.stack.seeder.api("GET", path)
    return [one for one in listed if one["source_branch"].startswith("toolforge-preview/")]


def test_eleven_bumps_fail_with_their_cause_are_one_incident_and_are_corrected(scene: Scene) -> None:
    bumps = [scene.opens({**server(), ".python-version": "3.14\n"}) for _ in range(11)]
    built = 0
    for bump in bumps:
        failed = scene.verdict(bump)
        built += failed.build_id is not None
        assert failed.state is State.FAILED
        assert failed.failure is not None
        assert failed.failure.cause == "python-version-missing"
        assert "Python 3.14" in scene.status(bump)["description"]
        assert "What to do:" in scene.note(bump)

    assert built == 1, "one build tells for all of them"

    told = command(scene, "incident", "list")
    assert "11 projects" in told.output
    assert "does not have Python 3.14" in told.output
    (line,) = [line for line in told.output.splitlines() if "11 projects" in line]
    incident_id = line.split()[0]
    page = httpx.get(scene.stack.parts.settings.public_url).text
    assert "One cause, several projects" in page
    assert incident_id in page

    arguments = ("incident", "pins", incident_id, "--to", "3.13")
    only_told = command(scene, *arguments)
    assert (only_told.exit_code, only_told.output.count(" -> 3.13")) == (0, 11)
    assert corrections(scene, bumps[0]) == []
    for _ in range(2):
        opened = command(scene, *arguments, "--open-merge-requests")
        assert (opened.exit_code, opened.output.count("/merge_requests/2")) == (0, 11), opened.output

    for bump in bumps:
        (correction,) = corrections(scene, bump)
        iid, sha = int(str(correction["iid"])), str(correction["sha"])
        passed = scene.verdict(replace(bump, iid=iid, sha=sha))
        assert passed.state is State.STOPPED, passed.failure
