"""Webhooks: what is sent and signed, and the faults of deliveries."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import pytest

from deploy.local.gitlab import LocalGitLab
from tests.local.gitlab.world import Receiver, Scene

SIGNING_KEY = b"thirty-two bytes of signing key!"


def test_a_push_is_told_with_the_head_before_it(scene: Scene, receiver: Receiver, gl: LocalGitLab) -> None:
    scene.hook(receiver)
    new = scene.seeder.push_change(scene.mr, {"app.py": "three\n"}, "Third")
    (told,) = receiver.wait()
    headers = told.headers
    assert headers["X-Gitlab-Event"] == "Merge Request Hook"
    assert headers["X-Gitlab-Token"] == "s3cret"
    assert headers["X-Gitlab-Instance"] == gl.url
    assert headers["Content-Type"] == "application/json"
    for name in ("X-Gitlab-Webhook-UUID", "X-Gitlab-Event-UUID", "Idempotency-Key"):
        assert len(headers[name]) == 36
    assert "webhook-signature" not in headers
    attributes = told.body["object_attributes"]
    assert attributes["action"] == "update"
    assert attributes["oldrev"] == scene.mr.sha
    assert attributes["last_commit"]["id"] == new
    assert attributes["last_commit"]["message"] == "Third\n"
    assert told.body["user"]["username"] == "dana"
    assert told.body["project"]["path_with_namespace"] == scene.project.path
    assert told.body["project"]["git_http_url"] == scene.project.clone_url
    assert attributes["source_project_id"] == attributes["target_project_id"] == scene.project.id
    assert attributes["source"]["id"] == attributes["target"]["id"] == scene.project.id
    assert attributes["url"] == scene.mr.web_url


def test_only_a_push_has_oldrev(scene: Scene, receiver: Receiver) -> None:
    scene.hook(receiver)
    scene.developer.put(scene.mr_path, json={"title": "Draft: x", "labels": "one"})
    (told,) = receiver.wait()
    assert told.action == "update"
    assert "oldrev" not in told.body["object_attributes"]
    changes = told.body["changes"]
    assert changes["draft"] == {"previous": False, "current": True}
    assert changes["title"]["current"] == "Draft: x"
    assert [label["title"] for label in changes["labels"]["current"]] == ["one"]
    assert told.body["object_attributes"]["draft"] is True
    assert [label["title"] for label in told.body["labels"]] == ["one"]


def test_a_life_is_told_step_by_step(scene: Scene, receiver: Receiver) -> None:
    scene.hook(receiver)
    scene.seeder.close_merge_request(scene.mr)
    receiver.wait(1)
    scene.seeder.reopen_merge_request(scene.mr)
    receiver.wait(2)
    scene.developer.post(f"{scene.mr_path}/approve")
    receiver.wait(3)
    scene.developer.put(f"{scene.mr_path}/merge")
    told = receiver.wait(4)
    assert [item.action for item in told] == ["close", "reopen", "approved", "merge"]
    states = [item.body["object_attributes"]["state"] for item in told]
    assert states == ["closed", "opened", "opened", "merged"]


def test_opening_is_told_for_forks_with_both_projects(scene: Scene, receiver: Receiver) -> None:
    scene.hook(receiver)
    outside = scene.seeder.open_sample_from_fork(scene.mr, owner=f"hook-owner-{scene.project.id}")
    (told,) = receiver.wait()
    attributes = told.body["object_attributes"]
    assert (attributes["action"], attributes["iid"]) == ("open", outside.iid)
    assert attributes["target_project_id"] == scene.project.id
    assert attributes["source_project_id"] != scene.project.id
    assert attributes["source"]["path_with_namespace"].startswith("hook-owner-")


def test_a_comment_is_told_when_written_and_when_changed(scene: Scene, receiver: Receiver) -> None:
    scene.hook(receiver)
    note = scene.developer.post(f"{scene.mr_path}/notes", json={"body": "/preview"}).json()
    receiver.wait(1)
    scene.developer.put(f"{scene.mr_path}/notes/{note['id']}", json={"body": "/preview stop"})
    told = receiver.wait(2)
    assert [item.action for item in told] == ["create", "update"]
    first = told[0].body
    assert told[0].headers["X-Gitlab-Event"] == "Note Hook"
    assert first["object_attributes"]["note"] == "/preview"
    assert first["object_attributes"]["noteable_type"] == "MergeRequest"
    assert first["object_attributes"]["id"] == note["id"]
    assert first["merge_request"]["iid"] == scene.mr.iid
    assert first["merge_request"]["last_commit"]["id"] == scene.mr.sha
    assert first["merge_request"]["source_project_id"] == scene.project.id


def test_a_push_hook_lists_commits_and_files(scene: Scene, receiver: Receiver) -> None:
    scene.hook(receiver, push_events=True, merge_requests_events=False)
    new = scene.seeder.push_change(scene.mr, {"app.py": "three\n", "new.txt": "n"}, "Third")
    (told,) = receiver.wait()
    assert told.headers["X-Gitlab-Event"] == "Push Hook"
    assert (told.body["before"], told.body["after"]) == (scene.mr.sha, new)
    assert told.body["ref"] == "refs/heads/feature"
    (commit,) = told.body["commits"]
    assert (commit["added"], commit["modified"], commit["removed"]) == (["new.txt"], ["app.py"], [])


def test_switches_choose_the_events(scene: Scene, receiver: Receiver) -> None:
    scene.hook(receiver, merge_requests_events=False)
    scene.seeder.push_change(scene.mr, {"app.py": "three\n"}, "Third")
    scene.comment()
    assert [item.body["object_kind"] for item in receiver.wait()] == ["note"]


def test_with_a_signing_token_the_delivery_is_signed(scene: Scene, receiver: Receiver) -> None:
    token = "whsec_" + base64.b64encode(SIGNING_KEY).decode()
    hook = scene.hook(receiver, signing_token=token)
    scene.comment()
    (told,) = receiver.wait()
    assert told.headers["webhook-id"] == told.headers["Idempotency-Key"]
    assert abs(int(told.headers["webhook-timestamp"]) - time.time()) < 10
    signed = f"{told.headers['webhook-id']}.{told.headers['webhook-timestamp']}.".encode() + told.raw
    expected = base64.b64encode(hmac.new(SIGNING_KEY, signed, hashlib.sha256).digest()).decode()
    assert told.headers["webhook-signature"] == f"v1,{expected}"
    shown = scene.service.get(hook).json()
    assert "signing_token" not in shown
    assert shown["signing_token_present"] is True
    (listed,) = scene.deliveries(hook, 1)
    assert told.headers["webhook-signature"] in json.dumps(listed)
    assert token not in json.dumps(listed)


@pytest.mark.parametrize("token", ["plain", "whsec_!", "whsec_c2hvcnQ="])
def test_a_signing_token_is_32_bytes_in_base64(shared_scene: Scene, receiver: Receiver, token: str) -> None:
    body = {"url": receiver.url, "signing_token": token}
    refused = shared_scene.service.post(f"{shared_scene.path}/hooks", json=body)
    assert (refused.status_code, refused.json()["message"]) == (400, {"signing_token": ["is invalid"]})


def test_a_gitlab_that_does_not_sign_yet_ignores_the_token(
    scene: Scene, receiver: Receiver, gl: LocalGitLab
) -> None:
    gl.settings.webhook_signing = False
    try:
        hook = scene.hook(receiver, signing_token="whsec_" + base64.b64encode(SIGNING_KEY).decode())
        assert "signing_token_present" not in scene.service.get(hook).json()
        scene.comment()
        (told,) = receiver.wait()
    finally:
        gl.settings.webhook_signing = True
    assert "webhook-signature" not in told.headers


def test_tests_of_a_webhook_are_limited(scene: Scene, receiver: Receiver, gl: LocalGitLab) -> None:
    assert gl.settings.hook_tests_per_minute == 5
    gl.settings.hook_tests_per_minute = 1
    try:
        hook = scene.hook(receiver)
        # A minute may end between two of them.
        answers = [scene.service.post(f"{hook}/test/push_events") for _ in range(3)]
    finally:
        gl.settings.hook_tests_per_minute = 5
    assert answers[0].status_code == 201
    assert 429 in {answer.status_code for answer in answers[1:]}


def test_the_secret_is_not_in_the_list_of_deliveries(scene: Scene, receiver: Receiver) -> None:
    hook = scene.hook(receiver)
    scene.comment()
    (shown,) = scene.deliveries(hook, 1)
    assert "s3cret" not in json.dumps(shown)
    assert shown["response_status"] == "200"
    assert shown["trigger"] == "note_hooks"


def test_hooks_are_for_maintainers(scene: Scene) -> None:
    body = {"url": "http://127.0.0.1:1/", "merge_requests_events": True}
    assert scene.developer.post(f"{scene.path}/hooks", json=body).status_code == 403
    assert scene.developer.get(f"{scene.path}/hooks").status_code == 403
    assert scene.service.post(f"{scene.path}/hooks", json={"url": "ftp://x"}).status_code == 422
    assert scene.service.post(f"{scene.path}/hooks", json={}).json() == {"error": "url is missing"}


def test_a_hook_is_changed_and_deleted(scene: Scene, receiver: Receiver) -> None:
    hook = scene.hook(receiver)
    assert scene.service.put(hook, json={"note_events": False}).json()["note_events"] is False
    assert scene.service.delete(hook).status_code == 204
    assert scene.service.get(hook).status_code == 404
    assert scene.service.get(f"{scene.path}/hooks").json() == []


def test_gitlab_waits_only_so_long(scene: Scene, receiver: Receiver, gl: LocalGitLab) -> None:
    assert gl.settings.webhook_timeout_seconds == 10
    gl.settings.webhook_timeout_seconds = 0.1
    try:
        receiver.delay = 0.3
        hook = scene.hook(receiver)
        scene.comment()
        (shown,) = scene.deliveries(hook, 1)
    finally:
        gl.settings.webhook_timeout_seconds = 10
    assert shown["response_status"] == "internal error"


def test_a_request_does_not_wait_for_its_webhook(scene: Scene, receiver: Receiver) -> None:
    receiver.delay = 0.5
    scene.hook(receiver)
    started = time.monotonic()
    scene.comment()
    assert time.monotonic() - started < 0.4
    receiver.wait()


def test_a_resent_delivery_has_the_same_key_and_body(scene: Scene, receiver: Receiver) -> None:
    hook = scene.hook(receiver)
    scene.comment()
    (shown,) = scene.deliveries(hook, 1)
    answer = scene.service.post(f"{hook}/events/{shown['id']}/resend")
    assert answer.json() == {"response_status": 200}
    first, second = receiver.wait(2)
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.raw == second.raw


def test_the_event_that_a_caller_passes_on_comes_back(scene: Scene, receiver: Receiver) -> None:
    scene.hook(receiver)
    headers = {"X-Gitlab-Event-UUID": "13792a34-cac6-4fda-95a8-c58e00a3954e"}
    scene.developer.post(f"{scene.mr_path}/notes", json={"body": "x"}, headers=headers)
    scene.comment()
    told = receiver.wait(2)
    uuids = {item.body["object_attributes"]["note"]: item.headers["X-Gitlab-Event-UUID"] for item in told}
    assert uuids["x"] == headers["X-Gitlab-Event-UUID"]
    assert uuids["hello"] != uuids["x"]


def test_what_one_request_sets_off_is_one_event(scene: Scene, receiver: Receiver) -> None:
    scene.hook(receiver)
    scene.developer.put(scene.mr_path, json={"title": "Other", "state_event": "close"})
    update, close = sorted(receiver.wait(2), key=lambda told: told.action, reverse=True)
    assert (update.action, close.action) == ("update", "close")
    assert update.headers["X-Gitlab-Event-UUID"] == close.headers["X-Gitlab-Event-UUID"]
    for name in ("X-Gitlab-Webhook-UUID", "Idempotency-Key"):
        assert update.headers[name] != close.headers[name]


def test_a_delivery_comes_twice_with_the_same_key(scene: Scene, receiver: Receiver, gl: LocalGitLab) -> None:
    scene.hook(receiver)
    gl.faults.add("note", "twice")
    scene.comment()
    first, second = receiver.wait(2)
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_a_delivery_comes_late(scene: Scene, receiver: Receiver, gl: LocalGitLab) -> None:
    scene.hook(receiver)
    gl.faults.add("note", "late", seconds=0.2)
    scene.comment("first")
    scene.comment("second")
    assert [item.body["object_attributes"]["note"] for item in receiver.wait(2)] == ["second", "first"]


def test_deliveries_come_out_of_order(scene: Scene, receiver: Receiver, gl: LocalGitLab) -> None:
    scene.hook(receiver)
    gl.faults.add("merge_request", "reorder")
    scene.seeder.push_change(scene.mr, {"app.py": "three\n"}, "Third")
    scene.seeder.close_merge_request(scene.mr)
    assert [item.action for item in receiver.wait(2)] == ["close", "update"]


def test_a_delivery_is_dropped(scene: Scene, receiver: Receiver, gl: LocalGitLab) -> None:
    scene.hook(receiver)
    gl.faults.add("note", "drop")
    scene.comment("lost")
    scene.comment("found")
    (told,) = receiver.wait()
    assert told.body["object_attributes"]["note"] == "found"
