"""Commit statuses: what may follow what, and where they may stand."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.local.gitlab.world import Scene


def post(scene: Scene, state: str, **more: Any) -> httpx.Response:
    body = {"state": state, "name": "preview", "ref": "feature", **more}
    return scene.service.post(f"{scene.path}/statuses/{scene.mr.sha}", json=body)


def test_a_status_goes_from_pending_to_running_to_success_as_one(scene: Scene) -> None:
    answers = [post(scene, state) for state in ("pending", "running", "success")]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert answers[-1].json()["status"] == "success"
    assert answers[-1].json()["finished_at"]


@pytest.mark.parametrize(
    ("states", "event", "at"),
    [
        (("running", "running"), "run", "running"),
        (("pending", "pending"), "enqueue", "pending"),
        (("running", "pending"), "enqueue", "running"),
        (("running", "skipped"), "skip", "running"),
    ],
)
def test_a_step_that_the_state_does_not_allow_is_refused_in_gitlabs_words(
    scene: Scene, states: tuple[str, str], event: str, at: str
) -> None:
    post(scene, states[0])
    answer = post(scene, states[1])
    assert answer.status_code == 400
    assert answer.json() == {
        "message": f"Cannot transition status via :{event} from :{at} "
        f'(Reason(s): Status cannot transition via "{event}")'
    }


def test_a_refused_step_changes_nothing(scene: Scene) -> None:
    post(scene, "running", description="first")
    post(scene, "running", description="second")
    (status,) = scene.service.get(f"{scene.path}/repository/commits/{scene.mr.sha}/statuses").json()
    assert (status["status"], status["description"]) == ("running", "first")


def test_after_an_end_the_same_name_starts_a_new_status(scene: Scene) -> None:
    first, second = post(scene, "success"), post(scene, "success")
    again = post(scene, "pending")
    assert [first.status_code, second.status_code, again.status_code] == [201, 201, 201]
    assert len({first.json()["id"], second.json()["id"], again.json()["id"]}) == 3
    path = f"{scene.path}/repository/commits/{scene.mr.sha}/statuses"
    assert [status["status"] for status in scene.service.get(path).json()] == ["pending"]
    assert len(scene.service.get(path, params={"all": True}).json()) == 3


def test_another_persons_status_of_the_same_name_is_another_one(scene: Scene) -> None:
    mine = post(scene, "running")
    body = {"state": "running", "name": "preview", "ref": "feature"}
    theirs = scene.developer.post(f"{scene.path}/statuses/{scene.mr.sha}", json=body)
    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine.json()["id"]


def test_name_and_ref_tell_statuses_apart(scene: Scene) -> None:
    ids = {post(scene, "running", name=name).json()["id"] for name in ("one", "two")}
    assert len(ids) == 2


def test_an_unknown_commit_is_not_found(scene: Scene) -> None:
    answer = scene.service.post(f"{scene.path}/statuses/{'0' * 39}1", json={"state": "pending"})
    assert (answer.status_code, answer.json()) == (404, {"message": "404 Commit Not Found"})


@pytest.mark.parametrize("field", ["description", "target_url"])
def test_texts_longer_than_255_are_refused(scene: Scene, field: str) -> None:
    fits = {"description": "d" * 255, "target_url": "http://x.example/".ljust(255, "a")}
    assert post(scene, "pending", **{field: fits[field]}).status_code == 201
    answer = post(scene, "running", **{field: fits[field] + "a"})
    assert answer.status_code == 400
    assert answer.json()["message"][field] == ["is too long (maximum is 255 characters)"]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "ftp://x.example/", "not an address"])
def test_a_target_url_must_be_http(scene: Scene, url: str) -> None:
    answer = post(scene, "pending", target_url=url)
    assert answer.status_code == 400
    assert answer.json()["message"]["target_url"][0].startswith("is blocked: ")


def test_state_is_required_and_known(scene: Scene) -> None:
    path = f"{scene.path}/statuses/{scene.mr.sha}"
    assert scene.service.post(path, json={}).json() == {"error": "state is missing"}
    assert post(scene, "done").json() == {"error": "state does not have a valid value"}


def test_reporters_may_not_set_a_status(scene: Scene) -> None:
    answer = scene.reporter.post(f"{scene.path}/statuses/{scene.mr.sha}", json={"state": "pending"})
    assert (answer.status_code, answer.json()) == (403, {"message": "403 Forbidden"})


def test_the_merge_request_shows_its_pipeline(scene: Scene) -> None:
    post(scene, "running")
    assert scene.show()["head_pipeline"]["status"] == "running"
    post(scene, "failed")
    assert scene.show()["head_pipeline"]["status"] == "failed"


def test_a_forks_commit_belongs_to_the_fork(scene: Scene) -> None:
    outside = scene.seeder.open_sample_from_fork(scene.mr, owner=f"owner-{scene.project.id}")
    body = {"state": "pending", "name": "preview"}
    answer = scene.service.post(f"{scene.path}/statuses/{outside.sha}", json=body)
    assert (answer.status_code, answer.json()) == (404, {"message": "404 References for commit Not Found"})
    fork = scene.service.get(f"{scene.path}/merge_requests/{outside.iid}").json()["source_project_id"]
    assert scene.service.post(f"/projects/{fork}/statuses/{outside.sha}", json=body).status_code == 403
    assert scene.root.post(f"/projects/{fork}/statuses/{outside.sha}", json=body).status_code == 201
    assert shown_status(scene, outside.iid) == "pending"


def shown_status(scene: Scene, iid: int) -> str | None:
    """What the merge request shows."""
    pipeline = scene.service.get(f"{scene.path}/merge_requests/{iid}").json()["head_pipeline"]
    return pipeline and str(pipeline["status"])


def test_a_status_on_another_ref_is_taken_but_not_shown(scene: Scene) -> None:
    outside = scene.seeder.open_sample_from_fork(scene.mr, owner=f"ref-owner-{scene.project.id}")
    body = {"state": "failed", "name": "preview", "ref": "from-outside"}
    assert scene.service.post(f"{scene.path}/statuses/{outside.sha}", json=body).status_code == 201
    assert shown_status(scene, outside.iid) is None
    assert post(scene, "failed", ref="elsewhere").status_code == 201
    assert shown_status(scene, scene.mr.iid) is None
    post(scene, "success")
    assert shown_status(scene, scene.mr.iid) == "success"


def test_a_forks_commit_takes_a_status_in_its_merge_request_pipeline(scene: Scene) -> None:
    scene.seeder.push_change(scene.mr, {".gitlab-ci.yml": "test: {script: [true]}\n"}, "Add CI")
    outside = scene.seeder.open_sample_from_fork(scene.mr, owner=f"ci-owner-{scene.project.id}")
    pipeline = scene.service.post(f"{scene.path}/merge_requests/{outside.iid}/pipelines").json()
    assert pipeline["source"] == "merge_request_event"
    body = {"state": "running", "name": "preview", "pipeline_id": pipeline["id"]}
    answer = scene.service.post(f"{scene.path}/statuses/{outside.sha}", json=body)
    assert answer.status_code == 201
    assert answer.json()["ref"] == f"refs/merge-requests/{outside.iid}/head"
    assert shown_status(scene, outside.iid) == "running"
    body["pipeline_id"] = 999999
    assert scene.service.post(f"{scene.path}/statuses/{outside.sha}", json=body).status_code == 404
