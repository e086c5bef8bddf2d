"""A project that is disconnected loses its previews, and nothing of it is taken any more."""

from __future__ import annotations

import httpx
from click.testing import CliRunner

from deploy.cli import cli
from deploy.follow import connect, wait_for
from deploy.stack import settings_environment
from orchestrator.preview import State
from tests.whole.scene import Scene


def test_a_project_is_disconnected_and_comes_back(scene: Scene) -> None:
    up = scene.opens()
    assert scene.verdict(up).state is State.LIVE
    waiting = scene.opens_from_fork(up)
    wait_for("it to wait for an approval", lambda: bool(scene.gitlab(waiting, "/notes")))
    assert "a Developer has to look at the commit" in scene.note(waiting)
    settings = scene.stack.parts.settings
    told = CliRunner().invoke(cli, ["project", "remove", up.project.path], env=settings_environment(settings))
    assert told.exit_code == 0, told.output

    wait_for("its preview to be taken down", lambda: scene.environment(up)["state"] == "stopped")
    assert scene.stack.parts.views.preview(up.project.path, up.iid) is None, "no page shows it"
    wait_for("the waiting one to be told", lambda: "the project was disconnected" in scene.note(waiting))
    assert scene.stack.seeder.api("GET", f"/projects/{up.project.id}/hooks") == []
    delivery = {"object_kind": "merge_request", "project": {"id": up.project.id}}
    refused = httpx.post(f"{settings.public_url}/webhook/gitlab", json=delivery)
    assert refused.status_code == 404

    connect(scene.stack, up.project.path, ())
    wait_for("it to be up again", lambda: scene.environment(up)["state"] == "available")
    assert scene.page(up).text == "hello from main\n"
