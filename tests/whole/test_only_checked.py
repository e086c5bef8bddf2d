"""Bots' merge requests through the real processes: checked side by side on few accounts, and not kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.follow import pool_is_clean, wait_for
from deploy.local.seed import MergeRequest
from orchestrator.preview import State
from tests.whole.conftest import Stacks
from tests.whole.scene import Scene, server

_AUTHOR = "dana"


@pytest.fixture(scope="module")
def scene(stacks: Stacks) -> Iterator[Scene]:
    """A stack with two accounts, on which whoever opens merge requests counts as a bot."""
    settings = {
        "bots": _AUTHOR,
        "max_concurrent_builds": 8,
        "check_seconds": 2.0,
        "stable_seconds": 0.5,
    }
    with stacks("dev-1", "dev-2", **settings) as stack:
        yield Scene(stack)


def opened(scene: Scene) -> dict[int, MergeRequest]:
    """Six merge requests, the last of which answers with an error."""
    files = [server(f"number {number}", status=500 if number == 5 else 200) for number in range(6)]
    return {number: scene.opens(one) for number, one in enumerate(files)}


def test_more_merge_requests_than_accounts_get_their_own_verdicts_and_leave_nothing(scene: Scene) -> None:
    merge_requests = opened(scene)
    for number, merge_request in merge_requests.items():
        deployment = scene.verdict(merge_request)
        assert deployment.check_only
        expected = State.FAILED if number == 5 else State.STOPPED
        assert deployment.state is expected, deployment.failure
        assert scene.status(merge_request)["status"] == ("failed" if number == 5 else "success")
    assert "Preview was checked" in scene.note(merge_requests[0])
    assert "`/preview` brings a preview to look at" in scene.note(merge_requests[0])
    wait_for("every account to be free and empty", lambda: pool_is_clean(scene.stack), seconds=60.0)
    wait_for("the receipt", lambda: "given back clean" in scene.note(merge_requests[0]))


def test_an_account_that_was_shared_goes_to_a_preview_that_stays(scene: Scene) -> None:
    merge_request = scene.opens(server("to look at"))
    assert scene.verdict(merge_request).state is State.STOPPED
    scene.stack.seeder.comment(merge_request, "/preview")
    assert page_once_live(scene, merge_request) == "hello from to look at\n"
    scene.closes(merge_request)
    wait_for("every account to be free and empty", lambda: pool_is_clean(scene.stack), seconds=60.0)


def page_once_live(scene: Scene, merge_request: MergeRequest) -> str:
    """What the preview's address answers, once a deployment is live."""

    def newest_is_live() -> bool:
        view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
        return view is not None and view.newest is not None and view.newest.state is State.LIVE

    wait_for("the preview to be live", newest_is_live, seconds=60.0)
    return scene.page(merge_request).text
