"""Merge requests: their refs, their states, and what a push does to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.gitlab import LocalGitLab
from tests.local.gitlab.world import Scene, SceneMaker, eventually, git


def remote_refs(scene: Scene, tmp_path: Path) -> dict[str, str]:
    lines = git("ls-remote", scene.project.clone_url, cwd=tmp_path).stdout.splitlines()
    return {ref: sha for sha, ref in (line.split("\t") for line in lines)}


def test_a_merge_request_tells_its_head_and_base(scene: Scene) -> None:
    shown = scene.show()
    main = scene.service.get(f"{scene.path}/repository/branches/main").json()["commit"]["id"]
    assert shown["sha"] == scene.mr.sha
    assert shown["diff_refs"] == {"base_sha": main, "head_sha": scene.mr.sha, "start_sha": main}
    assert (shown["state"], shown["draft"]) == ("opened", False)


def test_the_head_can_be_fetched_from_the_target_project(scene: Scene, tmp_path: Path) -> None:
    assert remote_refs(scene, tmp_path)[f"refs/merge-requests/{scene.mr.iid}/head"] == scene.mr.sha


def test_the_head_of_a_fork_can_be_fetched_from_the_target_project(scene: Scene, tmp_path: Path) -> None:
    outside = scene.seeder.open_sample_from_fork(scene.mr, owner=f"fork-owner-{scene.project.id}")
    assert outside.project.id == scene.project.id
    assert remote_refs(scene, tmp_path)[f"refs/merge-requests/{outside.iid}/head"] == outside.sha
    git("init", "-q", cwd=tmp_path)
    git("fetch", "-q", scene.project.clone_url, f"refs/merge-requests/{outside.iid}/head", cwd=tmp_path)
    assert git("rev-parse", "FETCH_HEAD", cwd=tmp_path).stdout.strip() == outside.sha


def test_the_merged_result_is_made_when_somebody_asks(scene: Scene, tmp_path: Path) -> None:
    ref = f"refs/merge-requests/{scene.mr.iid}/merge"
    assert ref not in remote_refs(scene, tmp_path)
    assert scene.show()["detailed_merge_status"] == "checking"
    assert scene.checked()["detailed_merge_status"] == "mergeable"
    merged = scene.service.get(f"{scene.path}/repository/commits/{remote_refs(scene, tmp_path)[ref]}").json()
    main = scene.service.get(f"{scene.path}/repository/branches/main").json()["commit"]["id"]
    assert merged["parent_ids"] == [main, scene.mr.sha]


def test_a_push_moves_the_head_and_forgets_what_was_known(scene: Scene, tmp_path: Path) -> None:
    scene.checked()
    new = scene.seeder.push_change(scene.mr, {"app.py": "three\n"}, "Third")
    assert scene.show()["sha"] == new
    assert remote_refs(scene, tmp_path)[f"refs/merge-requests/{scene.mr.iid}/head"] == new
    assert scene.checked()["detailed_merge_status"] == "mergeable"


def test_a_push_to_the_target_leaves_a_stale_merged_result_until_somebody_asks(
    scene: Scene, tmp_path: Path
) -> None:
    ref = f"refs/merge-requests/{scene.mr.iid}/merge"
    scene.checked()
    before = remote_refs(scene, tmp_path)[ref]
    scene.seeder.push_to_branch(scene.project, "main", {"other.txt": "x\n"}, "Elsewhere")
    assert remote_refs(scene, tmp_path)[ref] == before
    scene.checked()
    eventually(lambda: remote_refs(scene, tmp_path)[ref] != before)


def test_conflicts_are_seen(scene: Scene) -> None:
    scene.seeder.push_to_branch(scene.project, "main", {"app.py": "quite different\n"}, "Conflict")
    shown = scene.checked()
    assert (shown["detailed_merge_status"], shown["has_conflicts"]) == ("conflict", True)
    answer = scene.service.put(f"{scene.mr_path}/merge")
    assert (answer.status_code, answer.json()) == (422, {"message": "Branch cannot be merged"})


@pytest.mark.parametrize("title", ["Draft: x", "draft: x", "[Draft] x", "(Draft) x"])
def test_the_title_makes_a_draft(scene: Scene, title: str) -> None:
    shown = scene.developer.put(scene.mr_path, json={"title": title}).json()
    assert shown["draft"] is True
    assert scene.checked()["detailed_merge_status"] == "draft_status"
    assert scene.service.put(f"{scene.mr_path}/merge").status_code == 405


def test_labels_are_set_added_and_removed(scene: Scene) -> None:
    scene.developer.put(scene.mr_path, json={"labels": "one,two"})
    shown = scene.developer.put(scene.mr_path, json={"add_labels": "three", "remove_labels": "one"})
    assert shown.json()["labels"] == ["two", "three"]


def test_merging_really_merges(scene: Scene) -> None:
    answer = scene.developer.put(f"{scene.mr_path}/merge", json={"should_remove_source_branch": True})
    assert answer.json()["state"] == "merged"
    main = scene.service.get(f"{scene.path}/repository/branches/main").json()["commit"]
    assert main["id"] == answer.json()["merge_commit_sha"]
    raw = scene.service.get(f"{scene.path}/repository/files/app.py/raw", params={"ref": "main"})
    assert raw.text == "two\n"
    assert scene.service.get(f"{scene.path}/repository/branches/feature").status_code == 404


def test_merging_another_commit_than_the_head_is_refused(scene: Scene) -> None:
    answer = scene.developer.put(f"{scene.mr_path}/merge", json={"sha": "1" * 40})
    assert answer.status_code == 409
    assert answer.json()["message"].startswith("SHA does not match HEAD of source branch")


def test_reporters_may_not_merge(scene: Scene) -> None:
    assert scene.reporter.put(f"{scene.mr_path}/merge").status_code == 401


def test_a_push_that_brings_the_head_into_the_target_merges_it(scene: Scene, tmp_path: Path) -> None:
    git("clone", "-q", scene.seeder.push_url(scene.project), "clone", cwd=tmp_path)
    git("push", "-q", "origin", "origin/feature:refs/heads/main", cwd=tmp_path / "clone")
    assert scene.show()["state"] == "merged"


def test_deleting_the_source_branch_closes(scene: Scene) -> None:
    assert scene.developer.delete(f"{scene.path}/repository/branches/feature").status_code == 204
    assert scene.show()["state"] == "closed"


def test_a_closed_one_keeps_its_head_until_it_is_reopened(scene: Scene) -> None:
    scene.seeder.close_merge_request(scene.mr)
    new = scene.seeder.push_change(scene.mr, {"app.py": "three\n"}, "Third")
    assert scene.show()["sha"] == scene.mr.sha
    scene.seeder.reopen_merge_request(scene.mr)
    assert scene.show()["sha"] == new


def test_the_list_is_filtered_and_paged(scene: Scene) -> None:
    for number in range(3):
        branch = f"more-{number}"
        scene.seeder.push_to_branch(scene.project, branch, {"n": str(number)}, branch)
        scene.seeder.open_merge_request(scene.project, branch, branch)
    scene.seeder.close_merge_request(scene.mr)
    page = scene.service.get(f"{scene.path}/merge_requests", params={"state": "opened", "per_page": 2})
    assert [item["iid"] for item in page.json()] == [4, 3]
    assert (page.headers["x-total"], page.headers["x-next-page"]) == ("3", "2")
    closed = scene.service.get(f"{scene.path}/merge_requests", params={"state": "closed"}).json()
    assert [item["iid"] for item in closed] == [scene.mr.iid]


def test_one_branch_has_one_open_merge_request(scene: Scene) -> None:
    body = {"source_branch": "feature", "target_branch": "main", "title": "Again"}
    answer = scene.developer.post(f"{scene.path}/merge_requests", json=body)
    assert answer.status_code == 409
    assert answer.json() == {
        "message": [f"Another open merge request already exists for this source branch: !{scene.mr.iid}"]
    }


def test_changed_files_come_in_pages(make_scene: SceneMaker) -> None:
    scene = make_scene(**{"app.py": "two\n", "new.txt": "n\n", "a b.txt": "space\n"})
    diffs = scene.service.get(f"{scene.mr_path}/diffs", params={"per_page": 2})
    assert diffs.headers["x-total"] == "3"
    rest = scene.service.get(f"{scene.mr_path}/diffs", params={"per_page": 2, "page": 2})
    found = {item["new_path"]: item for item in diffs.json() + rest.json()}
    assert set(found) == {"app.py", "new.txt", "a b.txt"}
    assert found["new.txt"]["new_file"] is True
    assert "-one\n+two" in found["app.py"]["diff"]


def test_two_pushes_at_once_end_at_the_newest(scene: Scene, gl: LocalGitLab, tmp_path: Path) -> None:
    git("clone", "-q", "-b", "feature", scene.seeder.push_url(scene.project), "clone", cwd=tmp_path)
    clone = tmp_path / "clone"
    for number in range(4):
        git("commit", "-q", "--allow-empty", "-m", str(number), cwd=clone)
        git("push", "-q", cwd=clone)
    assert scene.show()["sha"] == git("rev-parse", "HEAD", cwd=clone).stdout.strip()
