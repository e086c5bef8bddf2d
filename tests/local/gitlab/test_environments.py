"""Environments and deployments: one name each, a life that goes forward, and the merge request's button."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.local.gitlab.world import Scene


def make(scene: Scene, **more: Any) -> httpx.Response:
    body = {
        "name": "preview/mr-1",
        "external_url": "http://tool.localhost:8080/",
        "tier": "development",
        **more,
    }
    return scene.service.post(f"{scene.path}/environments", json=body)


def deploy(scene: Scene, status: str = "success", **more: Any) -> httpx.Response:
    body = {
        "environment": "preview/mr-1",
        "sha": scene.mr.sha,
        "ref": "feature",
        "tag": False,
        "status": status,
        **more,
    }
    return scene.service.post(f"{scene.path}/deployments", json=body)


def test_an_environment_is_found_by_its_name(scene: Scene) -> None:
    made = make(scene)
    assert made.status_code == 201
    assert made.json()["slug"].startswith("preview-mr-1-")
    make(scene, name="preview/mr-12")
    found = scene.service.get(f"{scene.path}/environments", params={"name": "preview/mr-1"}).json()
    assert [item["id"] for item in found] == [made.json()["id"]]


def test_a_name_is_unique_in_its_project(scene: Scene) -> None:
    make(scene)
    again = make(scene)
    assert (again.status_code, again.json()) == (400, {"message": {"name": ["has already been taken"]}})


def test_the_address_changes_and_the_name_does_not(scene: Scene) -> None:
    path = f"{scene.path}/environments/{make(scene).json()['id']}"
    shown = scene.service.put(path, json={"external_url": "http://b.localhost/", "name": "x"}).json()
    assert (shown["external_url"], shown["name"]) == ("http://b.localhost/", "preview/mr-1")
    refused = scene.service.put(path, json={"external_url": "javascript:alert(1)"})
    assert refused.status_code == 400


def test_only_a_stopped_environment_is_deleted(scene: Scene) -> None:
    path = f"{scene.path}/environments/{make(scene).json()['id']}"
    assert scene.service.delete(path).status_code == 403
    stopped = scene.service.post(f"{path}/stop")
    assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
    assert scene.service.post(f"{path}/stop").status_code == 200
    assert scene.service.delete(path).status_code == 204
    assert scene.service.delete(path).status_code == 404


def test_a_deployment_makes_its_environment(scene: Scene) -> None:
    made = deploy(scene, "running")
    assert made.status_code == 201
    assert made.json()["environment"]["name"] == "preview/mr-1"
    assert make(scene).status_code == 400


@pytest.mark.parametrize(
    ("states", "event"),
    [
        (("running", "running"), "run"),
        (("success", "running"), "run"),
        (("success", "success"), "succeed"),
        (("failed", "failed"), "drop"),
    ],
)
def test_a_deployment_does_not_go_back_or_repeat(scene: Scene, states: tuple[str, str], event: str) -> None:
    made = deploy(scene, states[0]).json()
    answer = scene.service.put(f"{scene.path}/deployments/{made['id']}", json={"status": states[1]})
    assert answer.status_code == 400
    assert answer.json() == {"message": {"status": [f'cannot transition via "{event}"']}}


def test_a_deployment_needs_a_commit_and_a_ref_that_are_known(scene: Scene) -> None:
    assert "sha" in deploy(scene, sha="1" * 40).json()["message"]
    answer = deploy(scene, ref="no-such-branch")
    assert answer.status_code == 400
    assert answer.json() == {"message": {"ref": ["The branch or tag does not exist"]}}
    assert deploy(scene, ref=f"refs/merge-requests/{scene.mr.iid}/head").status_code == 201
    assert deploy(scene, "created").json() == {"error": "status does not have a valid value"}


def test_deployments_are_filtered_and_sorted(scene: Scene) -> None:
    ids = [deploy(scene, status).json()["id"] for status in ("failed", "success", "success")]
    deploy(scene, environment="other")
    path = f"{scene.path}/deployments"
    query = {"environment": "preview/mr-1", "status": "success", "order_by": "id", "sort": "desc"}
    assert [item["id"] for item in scene.service.get(path, params=query).json()] == [ids[2], ids[1]]
    everything = scene.service.get(path).json()
    assert [item["id"] for item in everything[:3]] == ids
    unpaired = scene.service.get(path, params={"updated_after": "2020-01-01T00:00:00Z"})
    assert unpaired.status_code == 400


def test_a_success_opens_a_stopped_environment_again(scene: Scene) -> None:
    path = f"{scene.path}/environments/{make(scene).json()['id']}"
    scene.service.post(f"{path}/stop")
    deploy(scene)
    shown = scene.service.get(path).json()
    assert shown["state"] == "available"
    assert shown["last_deployment"]["sha"] == scene.mr.sha


def test_reporters_look_and_do_not_touch(scene: Scene) -> None:
    assert scene.reporter.get(f"{scene.path}/environments").status_code == 200
    body = {"name": "mine"}
    assert scene.reporter.post(f"{scene.path}/environments", json=body).status_code == 403


def test_the_page_shows_view_app_for_a_commit_of_the_merge_request(scene: Scene) -> None:
    environment = make(scene).json()
    deploy(scene, "running")
    assert "View app" not in httpx.get(scene.mr.web_url).text
    deploy(scene)
    page = httpx.get(scene.mr.web_url).text
    assert "View app" in page
    assert "http://tool.localhost:8080/" in page
    scene.seeder.push_change(scene.mr, {"app.py": "3\n"}, "push")
    assert "not the newest" in httpx.get(scene.mr.web_url).text
    scene.service.post(f"{scene.path}/environments/{environment['id']}/stop")
    assert "View app" not in httpx.get(scene.mr.web_url).text
