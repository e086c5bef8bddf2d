"""The REST API as such: tokens, scopes, errors, paging, ids."""

from __future__ import annotations

import re

import httpx
import pytest

from deploy.local.gitlab import LocalGitLab
from tests.local.gitlab.world import Scene


def token_with(scene: Scene, *scopes: str) -> dict[str, str]:
    path = f"/users/{scene.seeder.service.id}/personal_access_tokens"
    made = scene.root.post(path, json={"name": "t", "scopes": list(scopes)}).json()
    return {"PRIVATE-TOKEN": made["token"], "id": str(made["id"])}


def test_nobody_is_401_and_an_unknown_token_too(gl: LocalGitLab) -> None:
    for headers in ({}, {"PRIVATE-TOKEN": "wrong"}, {"Authorization": "Bearer wrong"}):
        answer = httpx.get(f"{gl.url}/api/v4/user", headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"message": "401 Unauthorized"})


def test_a_token_works_as_header_and_as_bearer(gl: LocalGitLab) -> None:
    for headers in ({"PRIVATE-TOKEN": gl.root_token}, {"Authorization": f"Bearer {gl.root_token}"}):
        assert httpx.get(f"{gl.url}/api/v4/user", headers=headers).json()["username"] == "root"


def test_a_token_tells_its_own_scopes(shared_scene: Scene) -> None:
    headers = token_with(shared_scene, "read_repository")
    shown = shared_scene.root.get("/personal_access_tokens/self", headers=headers)
    assert (shown.status_code, shown.json()["scopes"]) == (200, ["read_repository"])


def test_reading_needs_read_api_and_writing_api(shared_scene: Scene) -> None:
    read, none = token_with(shared_scene, "read_api"), token_with(shared_scene, "read_repository")
    assert shared_scene.root.get(shared_scene.mr_path, headers=read).status_code == 200
    for answer in (
        shared_scene.root.post(f"{shared_scene.mr_path}/notes", json={"body": "x"}, headers=read),
        shared_scene.root.get(shared_scene.mr_path, headers=none),
    ):
        assert answer.status_code == 403
        assert answer.json()["error"] == "insufficient_scope"
    raw = f"{shared_scene.path}/repository/files/app.py/raw?ref=feature"
    assert shared_scene.root.get(raw, headers=none).text == "two\n"


def test_a_revoked_token_says_so(shared_scene: Scene) -> None:
    headers = token_with(shared_scene, "api")
    shared_scene.root.delete(f"/personal_access_tokens/{headers['id']}")
    answer = shared_scene.root.get("/user", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


def test_a_token_may_lose_its_scopes(shared_scene: Scene, gl: LocalGitLab) -> None:
    headers = token_with(shared_scene, "api")
    gl.set_token_scopes(headers["PRIVATE-TOKEN"], ["read_api"])
    refused = shared_scene.root.post(f"{shared_scene.mr_path}/notes", json={"body": "x"}, headers=headers)
    assert refused.status_code == 403
    body = {"token": headers["PRIVATE-TOKEN"], "scopes": []}
    admin = {"PRIVATE-TOKEN": gl.root_token}
    httpx.post(f"{gl.url}/-/local/token_scopes", json=body, headers=admin).raise_for_status()
    assert shared_scene.root.get("/user", headers=headers).status_code == 403


def test_a_project_has_a_number_and_an_encoded_path(shared_scene: Scene) -> None:
    by_path = shared_scene.service.get(f"/projects/{shared_scene.project.path.replace('/', '%2F')}")
    assert by_path.json()["id"] == shared_scene.project.id
    assert by_path.json()["path_with_namespace"] == shared_scene.project.path
    missing = shared_scene.service.get("/projects/no%2Fsuch")
    assert (missing.status_code, missing.json()) == (404, {"message": "404 Project Not Found"})


def test_a_private_project_is_not_found_by_others(scene: Scene, gl: LocalGitLab) -> None:
    scene.service.put(scene.path, json={"visibility": "private"})
    assert httpx.get(f"{gl.url}/api/v4{scene.path}").status_code == 404
    assert scene.reporter.get(scene.path).status_code == 200


def test_unknown_addresses_and_methods_are_refused(shared_scene: Scene) -> None:
    nowhere = shared_scene.service.get(f"{shared_scene.path}/no_such_thing")
    assert (nowhere.status_code, nowhere.json()) == (404, {"error": "404 Not Found"})
    assert shared_scene.service.delete("/user").status_code == 405


@pytest.mark.parametrize("content", [b"{", b"[]", b'"x"'])
def test_a_body_that_is_no_object_is_a_400(shared_scene: Scene, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = shared_scene.service.post(f"{shared_scene.mr_path}/notes", content=content, headers=headers)
    assert answer.status_code == 400


def test_forms_are_as_good_as_json(shared_scene: Scene) -> None:
    answer = shared_scene.service.post(f"{shared_scene.mr_path}/notes", data={"body": "from a form"})
    assert answer.json()["body"] == "from a form"


def test_numbers_that_are_none_are_a_400(shared_scene: Scene) -> None:
    answer = shared_scene.service.get(f"{shared_scene.path}/merge_requests/x")
    assert (answer.status_code, answer.json()) == (400, {"error": "iid is invalid"})


def test_lists_come_in_pages_with_links(scene: Scene) -> None:
    for number in range(5):
        scene.service.post(f"{scene.mr_path}/notes", json={"body": str(number)})
    first = scene.service.get(f"{scene.mr_path}/notes", params={"per_page": 2, "sort": "asc"})
    assert [note["body"] for note in first.json()] == ["0", "1"]
    assert first.headers["x-total-pages"] == "3"
    seen, url = [], str(first.url)
    while url:
        answer = scene.service.get(url)
        seen += [note["body"] for note in answer.json()]
        following = re.search(r'<([^>]+)>; rel="next"', answer.headers["Link"])
        url = following.group(1) if following else ""
    assert seen == list("01234")


def test_projects_are_listed_by_keyset_too(shared_scene: Scene) -> None:
    shared_scene.seeder.project("one-more-a")
    shared_scene.seeder.project("one-more-b")
    query: dict[str, str | int] = {"pagination": "keyset", "order_by": "id", "sort": "asc", "per_page": 1}
    first = shared_scene.service.get("/projects", params=query)
    assert "x-total" not in first.headers
    following = re.search(r'<([^>]+)>; rel="next"', first.headers["Link"])
    assert following
    assert shared_scene.service.get(following.group(1)).json()[0]["id"] > first.json()[0]["id"]


def test_a_page_has_at_most_a_hundred(shared_scene: Scene) -> None:
    answer = shared_scene.service.get(f"{shared_scene.mr_path}/notes", params={"per_page": 1000})
    assert answer.headers["x-per-page"] == "100"


def test_answers_tell_the_rate_limit(shared_scene: Scene) -> None:
    answer = shared_scene.service.get("/user")
    assert int(answer.headers["RateLimit-Remaining"]) < int(answer.headers["RateLimit-Limit"])


def test_files_are_read_at_a_commit(scene: Scene) -> None:
    scene.seeder.push_change(scene.mr, {"deep/in here/.x.yaml": "a: 1\n"}, "Deep")
    sha = scene.show()["sha"]
    path = f"{scene.path}/repository/files/deep%2Fin%20here%2F%2Ex.yaml/raw"
    assert scene.service.get(path, params={"ref": sha}).text == "a: 1\n"
    gone = scene.service.get(path, params={"ref": scene.mr.sha})
    assert (gone.status_code, gone.json()) == (404, {"message": "404 File Not Found"})
    nowhere = scene.service.get(path, params={"ref": "no-such"})
    assert nowhere.json() == {"message": "404 Commit Not Found"}


def test_branches_commits_and_comparisons(shared_scene: Scene) -> None:
    branches = shared_scene.service.get(f"{shared_scene.path}/repository/branches").json()
    assert [branch["name"] for branch in branches] == ["feature", "main"]
    commit = shared_scene.service.get(f"{shared_scene.path}/repository/commits/feature").json()
    assert (commit["id"], commit["title"]) == (shared_scene.mr.sha, "Second")
    compared = shared_scene.service.get(
        f"{shared_scene.path}/repository/compare", params={"from": "main", "to": "feature"}
    ).json()
    assert [item["id"] for item in compared["commits"]] == [shared_scene.mr.sha]
    assert [item["new_path"] for item in compared["diffs"]] == ["app.py"]


def test_issues_are_opened_found_and_closed(scene: Scene) -> None:
    made = scene.service.post(f"{scene.path}/issues", json={"title": "It fails", "labels": "previews"})
    assert (made.status_code, made.json()["iid"]) == (201, 1)
    closed = scene.service.put(f"{scene.path}/issues/1", json={"state_event": "close"})
    assert closed.json()["state"] == "closed"
    assert scene.service.get(f"{scene.path}/issues", params={"state": "opened"}).json() == []


def test_a_deleted_project_is_gone(scene: Scene) -> None:
    assert scene.service.delete(scene.path).status_code == 403
    assert scene.root.delete(scene.path).status_code == 202
    assert scene.service.get(scene.path).status_code == 404


ODD_VALUES = (None, "", 0, -1, 10**12, [], ["a"], [1, {}], {}, True, "é\x00\n", "--help", "../..", 3.7)


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "/statuses/{sha}", ("state", "name", "ref", "description", "target_url", "pipeline_id")),
        ("POST", "/environments", ("name", "external_url", "tier")),
        ("POST", "/deployments", ("environment", "sha", "ref", "tag", "status")),
        ("PUT", "/merge_requests/1", ("title", "labels", "add_labels", "state_event", "target_branch")),
        ("POST", "/merge_requests", ("title", "source_branch", "target_branch", "target_project_id")),
        ("POST", "/merge_requests/1/notes", ("body",)),
        ("POST", "/hooks", ("url", "token", "signing_token", "push_events")),
        ("POST", "/members", ("user_id", "access_level")),
        ("POST", "/repository/branches", ("branch", "ref")),
        ("POST", "/access_tokens", ("name", "scopes", "access_level")),
        ("POST", "/repository/commits", ("branch", "commit_message", "actions", "start_branch")),
        ("POST", "/repository/files/odd", ("branch", "commit_message", "content", "encoding", "author_name")),
        ("POST", "/issues", ("title", "labels", "description")),
    ],
)
def test_no_value_whatever_makes_an_internal_error(
    scene: Scene, method: str, path: str, fields: tuple[str, ...]
) -> None:
    where = scene.path + path.format(sha=scene.mr.sha)
    usual = dict.fromkeys(fields, "main")
    for field in fields:
        for value in ODD_VALUES:
            answer = scene.service.request(method, where, json={**usual, field: value})
            assert answer.status_code < 500, (field, value, answer.text)
