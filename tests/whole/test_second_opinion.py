"""What the current builder lacks is built once more with the latest one, by real builds."""

from __future__ import annotations

from typing import Any

import httpx

from deploy.follow import pool_is_clean, wait_for
from deploy.local.seed import MergeRequest
from orchestrator.preview import State
from tests.whole.scene import Scene, server


def told(scene: Scene, merge_request: MergeRequest, words: str) -> str:
    """The note, once it says that."""
    wait_for(words, lambda: words in scene.note(merge_request), seconds=90.0)
    return scene.note(merge_request)


def api(scene: Scene, path: str) -> list[dict[str, Any]]:
    """What the API lists."""
    answer = httpx.get(f"{scene.stack.parts.settings.public_url}/api/v1{path}")
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def test_what_the_latest_builder_has_is_told_with_the_way_to_it(scene: Scene) -> None:
    bump = scene.opens({**server(), ".python-version": "3.14\n"})
    failed = scene.verdict(bump)
    assert failed.failure is not None
    assert failed.failure.cause == "python-version-missing"
    note = told(scene, bump, "It will build with the latest builder, which has Python `3.14`")
    assert "toolforge build start --use-latest-versions" in note
    wait_for("the account to be given back clean", lambda: pool_is_clean(scene.stack), seconds=60.0)
    assert scene.status(bump)["status"] == "failed"
    (one,) = [one for one in api(scene, "/deployments") if one["id"] == failed.id]
    assert (one["state"], one["opinion"]["says"]) == (State.FAILED, "builds")
    seen = {
        (row["builder"], row["wanted"]): row for row in api(scene, "/builders") if row["runtime"] == "Python"
    }
    assert seen["default", "3.14"]["is_refused"]
    assert not seen["latest", "3.14"]["is_refused"]
    path = f"{scene.stack.parts.settings.public_url}/{bump.project.path}/-/{bump.iid}"
    assert "It will build with the latest builder" in httpx.get(path).text
    assert "Using Python 3.14" in httpx.get(f"{path}/{failed.id}/latest.log").text


def test_what_no_builder_has_is_told_as_that(scene: Scene) -> None:
    bump = scene.opens({**server(), ".python-version": "3.99\n"})
    scene.verdict(bump)
    note = told(scene, bump, "Not available on Toolforge yet")
    assert "the latest builder does not have Python `3.99`, either" in note
    assert "newest is `3.14`" in note, "from the test before"
