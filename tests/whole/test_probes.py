"""What the builders have is known without any project, and nobody waits for the builds that show it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.follow import pool_is_clean, wait_for
from deploy.stack import Stack
from orchestrator.preview import Deployment, State
from orchestrator.records import BRANCH_IID
from tests.fresh import Databases
from tests.whole.faults import arm_toolforge, toolforge_hits
from tests.whole.scene import Scene

#: Whatever Toolforge changes is seen within a day.
_OVERRIDES = {
    "probe_days": 1,
    "catch_up_seconds": 3.0,
    "max_concurrent_builds": 1,
    "check_seconds": 2.0,
    "stable_seconds": 0.1,
}


@pytest.fixture(scope="module")
def scene(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Builds are real, and one at a time: whoever asks for one needs the slot of a probe."""
    folder = Path(tmp_path_factory.mktemp("probes"))
    overrides = _OVERRIDES | {"database_url": databases.new()}
    with Stack(folder / "state", tools=("dev-1", "dev-2"), overrides=overrides) as stack:
        yield Scene(stack)


def api(scene: Scene, path: str) -> list[dict[str, Any]]:
    """What anybody may read."""
    answer = httpx.get(f"{scene.stack.places.web_url}/api/v1{path}", trust_env=False, timeout=20)
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def versions(scene: Scene) -> set[tuple[str, str, str, str]]:
    """What is known to be there, and by what."""
    return {
        (one["builder"], one["runtime"], one["wanted"], one["source"])
        for one in api(scene, "/builders")
        if not one["is_refused"]
    }


def tries(scene: Scene) -> list[Deployment]:
    view = scene.stack.parts.views.preview("probes", BRANCH_IID)
    return list(view.deployments) if view else []


def all_have_a_verdict(scene: Scene, *, after: str = "") -> bool:
    shown = api(scene, "/builders/probes")
    is_asked_all = len(shown) == 8
    return is_asked_all and all((one["checked_at"] or "") > after for one in shown)


def test_an_idle_pool_learns_what_the_builders_have_and_delays_nobody(scene: Scene) -> None:
    stack = scene.stack
    rule = arm_toolforge(stack, "build_never_ends", "*", name="mr0-*")
    wait_for("a probe that goes on and on", lambda: toolforge_hits(stack)[rule] == 1)
    (stuck, *_) = tries(scene)
    assert stuck.state is State.BUILDING
    # Who builds and who serves the repository are killed in the middle of it.
    for name in ("worker-builds", "web"):
        stack.kill(name)
    merge_request = scene.opens()
    assert scene.verdict(merge_request).state is State.LIVE, "there is one build slot in all"
    (given_up,) = [one for one in tries(scene) if one.id == stuck.id]
    assert given_up.state is State.CANCELLED
    scene.closes(merge_request)
    wait_for("every probe to have its verdict", lambda: all_have_a_verdict(scene))
    there = versions(scene)
    assert {("default", "Python", "3.13", "probe"), ("latest", "Python", "3.14", "probe")} <= there
    assert ("default", "Python", "3.14", "probe") not in there, "it was asked for, and is refused"
    ended = {(one["name"], one["builder"]): one for one in api(scene, "/builders/probes")}
    assert ended["python", "latest"]["was_built"] is True
    assert "3.14" in ended["python-3.14", "default"]["why"]
    assert ended["go", "default"]["was_built"] is False, "this machine has none"
    wait_for("every account to be free and empty", lambda: pool_is_clean(stack))
    page = httpx.get(f"{stack.places.web_url}/builders", trust_env=False).text
    assert "Tiny repositories" in page
    log = httpx.get(f"{stack.places.web_url}/probes/-/0/{tries(scene)[0].id}/build", trust_env=False)
    assert "buildpacks participating" in log.text
    assert [one["path"] for one in api(scene, "/projects")] == [merge_request.project.path]


def test_a_builder_that_has_changed_is_noticed_and_asked_anew(scene: Scene) -> None:
    stack = scene.stack
    before = max(one["checked_at"] for one in api(scene, "/builders/probes"))
    admin = f"{stack.places.toolforge_admin_url}/builder"
    assert httpx.post(admin, json={"name": "latest"}, trust_env=False).status_code == 200
    merge_request = scene.opens()
    assert scene.verdict(merge_request).state is State.LIVE
    scene.closes(merge_request)
    changes = [one["what"] for one in api(scene, "/builders/changes")]
    assert "heroku/python 2.7.0 instead of 2.5.1" in changes
    wait_for("every probe to be built anew", lambda: all_have_a_verdict(scene, after=before))
    assert ("default", "Python", "3.14", "probe") in versions(scene)
    wait_for("every account to be free and empty", lambda: pool_is_clean(stack))
