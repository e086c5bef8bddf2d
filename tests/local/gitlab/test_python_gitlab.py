"""python-gitlab, a client that we did not write, works against the local GitLab for the calls we make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gitlab
import pytest
from gitlab.exceptions import GitlabCreateError, GitlabDeleteError, GitlabGetError, GitlabHookTestError

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import MergeRequest, Seeder
from tests.local.gitlab.world import Receiver, eventually


@pytest.fixture(scope="module")
def client(running: LocalGitLab, seeder: Seeder) -> Iterator[gitlab.Gitlab]:
    """With the token of the service: scope api, Maintainer."""
    # A page of two, so that everything that is listed is paged.
    with gitlab.Gitlab(running.url, private_token=seeder.service.token, per_page=2) as made:
        made.auth()
        yield made


@pytest.fixture(scope="module")
def merge_request(seeder: Seeder) -> MergeRequest:
    project = seeder.project("python-gitlab")
    seeder.push_to_branch(project, "main", {"README.md": "A tool.\n"}, "First")
    files: dict[str, str | bytes | None] = {f"src/{n}.py": f"{n}\n" for n in range(5)}
    seeder.push_to_branch(project, "change", files, "A change")
    return seeder.open_merge_request(project, "change", "A change")


@pytest.fixture(scope="module")
def project(client: gitlab.Gitlab, merge_request: MergeRequest) -> Any:
    return client.projects.get(merge_request.project.path)


def test_who_the_token_belongs_to_and_what_it_may(client: gitlab.Gitlab) -> None:
    assert client.user is not None
    assert client.user.username == "preview-service"
    assert client.personal_access_tokens.get("self").scopes == ["api"]


def test_merge_requests_are_listed_and_read(project: Any, merge_request: MergeRequest) -> None:
    (listed,) = project.mergerequests.list(state="opened", get_all=True)
    read = project.mergerequests.get(merge_request.iid)
    assert (listed.iid, read.sha, read.state) == (merge_request.iid, merge_request.sha, "opened")
    assert (read.source_project_id, read.target_project_id) == (project.id, project.id)
    assert (read.draft, read.labels, read.author["username"]) == (False, [], "dana")


def test_changed_paths_come_in_pages(project: Any, merge_request: MergeRequest) -> None:
    path = f"/projects/{project.id}/merge_requests/{merge_request.iid}/diffs"
    changed = list(project.manager.gitlab.http_list(path, get_all=True))
    assert sorted(one["new_path"] for one in changed) == [f"src/{n}.py" for n in range(5)]


def test_diffs_and_commits_of_a_merge_request(project: Any, merge_request: MergeRequest) -> None:
    read = project.mergerequests.get(merge_request.iid)
    assert [commit.id for commit in read.commits(get_all=True)] == [merge_request.sha]
    assert len(read.changes()["changes"]) == 5
    (version,) = read.diffs.list(get_all=True)
    assert version.head_commit_sha == merge_request.sha


def test_the_merged_result_is_made_of_the_branches_as_they_are_now(
    project: Any, seeder: Seeder, merge_request: MergeRequest
) -> None:
    read = project.mergerequests.get(merge_request.iid)
    first = read.merge_ref()["commit_id"]
    tip = project.branches.get("main").commit["id"]
    assert project.commits.get(first).parent_ids == [tip, merge_request.sha]
    later = seeder.push_to_branch(merge_request.project, "main", {"LATER.md": "Later.\n"}, "Later")
    second = read.merge_ref()["commit_id"]
    assert project.commits.get(second).parent_ids == [later, merge_request.sha]
    assert project.files.raw("LATER.md", ref=second) == b"Later.\n"
    read.state_event = "close"
    read.save()
    with pytest.raises(gitlab.GitlabError, match="not mergeable"):
        read.merge_ref()


def test_a_change_is_committed_and_a_merge_request_opened_and_merged(project: Any) -> None:
    project.branches.create({"branch": "by-client", "ref": "main"})
    actions = [
        {"action": "create", "file_path": "bin/run", "content": "#!\n", "execute_filemode": True},
        {"action": "create", "file_path": "a b/ü.bin", "content": "AP8=", "encoding": "base64"},
        {"action": "move", "file_path": "README.txt", "previous_path": "README.md"},
    ]
    commit = project.commits.create(
        {"branch": "by-client", "commit_message": "Move\n\nWhy.", "actions": actions}
    )
    assert (commit.title, commit.message) == ("Move", "Move\n\nWhy.")
    assert project.files.raw("a b/ü.bin", ref="by-client") == b"\x00\xff"
    assert project.files.raw("README.txt", ref=commit.id) == b"A tool.\n"
    tree = project.repository_tree(path="bin", ref="by-client", get_all=True)
    assert [(entry["path"], entry["mode"]) for entry in tree] == [("bin/run", "100755")]
    opened = project.mergerequests.create(
        {"source_branch": "by-client", "target_branch": "main", "title": "By a client", "labels": ["one"]}
    )
    assert (opened.sha, opened.labels) == (commit.id, ["one"])
    opened.title, opened.labels = "Draft: By a client", ["two"]
    opened.save()
    assert opened.draft
    opened.title = "By a client"
    opened.save()
    opened.merge(should_remove_source_branch=True)
    assert project.mergerequests.get(opened.iid).state == "merged"
    assert project.files.raw("bin/run", ref="main") == b"#!\n"
    assert [branch.name for branch in project.branches.list(search="by-client", get_all=True)] == []


def test_one_file_is_made_changed_and_deleted(project: Any, merge_request: MergeRequest) -> None:
    where = {"branch": "one-file", "commit_message": "One file"}
    new = {"file_path": "docs/x.md", "content": "one\n", "start_branch": "main", **where}
    project.files.create(new)
    file = project.files.get("docs/x.md", ref="one-file")
    assert file.decode() == b"one\n"
    file.content = "two\n"
    file.save(**where)
    assert project.files.raw("docs/x.md", ref="one-file") == b"two\n"
    for wrong, said in (
        (new, "A branch called 'one-file' already exists"),
        ({"file_path": "docs/x.md", "content": "", **where}, "A file with this name already exists"),
        ({"file_path": "../x", "content": "", **where}, "should be a valid file path"),
        ({"file_path": ".git/config", "content": "", **where}, "invalid path"),
        ({"file_path": "x", "content": "", **where, "branch": "none"}, "when you are on a branch"),
    ):
        with pytest.raises(GitlabCreateError, match=said):
            project.files.create(wrong)
    file.delete(**where)
    with pytest.raises(GitlabGetError):
        project.files.raw("docs/x.md", ref="one-file")


def test_issues_are_opened_found_and_closed(project: Any) -> None:
    for number in range(3):
        project.issues.create({"title": f"Builder {number}", "labels": ["builder"], "description": "Look"})
    found = project.issues.list(state="opened", labels=["builder"], get_all=True)
    assert [issue.title for issue in found] == ["Builder 2", "Builder 1", "Builder 0"]
    issue = project.issues.get(found[0].iid)
    issue.state_event = "close"
    issue.save()
    assert len(project.issues.list(state="opened", search="builder", get_all=True)) == 2


def test_a_file_and_the_tree_of_a_commit(project: Any, merge_request: MergeRequest) -> None:
    assert project.files.raw("src/3.py", ref=merge_request.sha) == b"3\n"
    tree = project.repository_tree(path="src", ref=merge_request.sha, get_all=True)
    assert len(tree) == 5
    with pytest.raises(GitlabGetError) as error:
        project.files.raw("nothing.py", ref=merge_request.sha)
    assert error.value.response_code == 404


def test_a_status_is_set_and_read_and_never_repeated(project: Any, merge_request: MergeRequest) -> None:
    commit = project.commits.get(merge_request.sha)
    values = {"name": "python-gitlab", "ref": "change", "target_url": "https://example.org/"}
    for state in ("pending", "running"):
        commit.statuses.create({"state": state, **values})
    with pytest.raises(GitlabCreateError, match="Cannot transition status via :run from :running"):
        commit.statuses.create({"state": "running", **values})
    commit.statuses.create({"state": "success", **values})
    assert [one.status for one in commit.statuses.list(get_all=True)] == ["success"]


def test_notes_and_emojis(project: Any, merge_request: MergeRequest) -> None:
    notes = project.mergerequests.get(merge_request.iid).notes
    made = [notes.create({"body": f"note {number}"}) for number in range(3)]
    made[0].body = "changed"
    made[0].save()
    assert notes.get(made[0].id).body == "changed"
    ours = {note.id for note in notes.list(get_all=True)}
    assert {note.id for note in made} <= ours
    made[1].awardemojis.create({"name": "eyes"})
    assert [emoji.name for emoji in made[1].awardemojis.list(get_all=True)] == ["eyes"]
    with pytest.raises(GitlabCreateError, match="has already been taken"):
        made[1].awardemojis.create({"name": "eyes"})
    made[2].delete()
    with pytest.raises(GitlabGetError):
        notes.get(made[2].id)


def test_an_environment_with_its_deployments(project: Any, merge_request: MergeRequest) -> None:
    values = {"name": "preview/mr-1", "external_url": "https://dev-1.example.org/", "tier": "development"}
    environment = project.environments.create(values)
    with pytest.raises(GitlabCreateError):
        project.environments.create(values)
    environment.external_url = "https://dev-2.example.org/"
    environment.save()
    (found,) = project.environments.list(name="preview/mr-1", get_all=True)
    assert found.external_url == "https://dev-2.example.org/"
    deployment = project.deployments.create(
        {
            "environment": "preview/mr-1",
            "sha": merge_request.sha,
            "ref": "change",
            "tag": False,
            "status": "running",
        }
    )
    deployment.status = "success"
    deployment.save()
    listed = project.deployments.list(environment="preview/mr-1", get_all=True)
    assert [(one.sha, one.status) for one in listed] == [(merge_request.sha, "success")]
    with pytest.raises(GitlabDeleteError) as error:
        environment.delete()
    assert error.value.response_code == 403
    environment.stop()
    assert project.environments.get(environment.id).state == "stopped"
    environment.delete()
    assert project.environments.list(name="preview/mr-1", get_all=True) == []


def test_rights_with_those_of_the_group(project: Any, seeder: Seeder) -> None:
    assert project.members_all.get(seeder.developer.id).access_level == gitlab.const.AccessLevel.DEVELOPER
    assert project.members_all.get(seeder.reporter.id).access_level == gitlab.const.AccessLevel.REPORTER
    everybody = {member.username for member in project.members_all.list(get_all=True)}
    assert {"dana", "rene", "preview-service"} <= everybody
    with pytest.raises(GitlabGetError) as error:
        project.members_all.get(10**6)
    assert error.value.response_code == 404


def test_a_webhook_is_made_changed_and_tried(project: Any) -> None:
    with Receiver() as receiver:
        hook = project.hooks.create(
            {"url": receiver.url, "token": "t", "merge_requests_events": True, "push_events": False}
        )
        hook.note_events = True
        hook.save()
        assert project.hooks.get(hook.id).note_events
        hook.test("merge_requests_events")
        (delivery,) = eventually(lambda: receiver.got)
        assert delivery.body["object_kind"] == "merge_request"
        assert project.hooks.get(hook.id).alert_status == "executable"
        receiver.answer = 500
        with pytest.raises(GitlabHookTestError):
            hook.test("push_events")
        hook.delete()
    assert [one.id for one in project.hooks.list(get_all=True) if one.id == hook.id] == []


def test_a_stranger_forks_and_opens_a_merge_request(
    running: LocalGitLab, seeder: Seeder, client: gitlab.Gitlab, project: Any
) -> None:
    user = seeder.api("POST", "/users", username="fay", name="Fay", email="fay@elsewhere.example")
    path = f"/users/{user['id']}/personal_access_tokens"
    token = seeder.api("POST", path, name="own", scopes=["api"])["token"]
    with gitlab.Gitlab(running.url, private_token=token) as stranger:
        made = stranger.projects.get(project.id).forks.create({})
        fork = stranger.projects.get(made.id)
        action = {"action": "create", "file_path": "hello.txt", "content": "Hello\n"}
        values = {"branch": "hello", "start_branch": "main", "commit_message": "Say hello"}
        commit = fork.commits.create({**values, "actions": [action]})
        opened = fork.mergerequests.create(
            {
                "source_branch": "hello",
                "target_branch": "main",
                "target_project_id": project.id,
                "title": "Hello",
            }
        )
        with pytest.raises(GitlabCreateError) as error:
            stranger.projects.get(project.id).commits.get(commit.id).statuses.create({"state": "pending"})
        assert error.value.response_code == 403
        fork.commits.get(commit.id).statuses.create({"state": "success", "ref": "hello"})
    read = project.mergerequests.get(opened.iid)
    assert (read.sha, read.source_project_id, read.target_project_id) == (commit.id, fork.id, project.id)
    assert read.head_pipeline["status"] == "success"
    assert [one.id for one in project.forks.list(owned=False, get_all=True)].count(fork.id) == 1


def test_a_fork_is_a_project_of_its_own(
    client: gitlab.Gitlab, seeder: Seeder, project: Any, merge_request: MergeRequest
) -> None:
    foreign = seeder.open_sample_from_fork(merge_request)
    read = client.projects.get(foreign.project.id).mergerequests.get(foreign.iid)
    fork = client.projects.get(read.source_project_id)
    assert fork.forked_from_project["id"] == project.id
    assert read.sha == foreign.sha
    commit = project.commits.get(foreign.sha)
    with pytest.raises(GitlabCreateError) as error:
        commit.statuses.create({"state": "pending", "name": "python-gitlab"})
    assert error.value.response_code == 404


def test_a_rate_limit_is_waited_out(running: LocalGitLab, client: gitlab.Gitlab, project: Any) -> None:
    running.faults.add("GET /projects/:id", "status", status=429, retry_after=1, count=1)
    assert client.projects.get(project.id).id == project.id
    running.faults.clear()


def test_a_token_with_too_few_scopes_may_read_and_nothing_else(
    running: LocalGitLab, seeder: Seeder, project: Any, merge_request: MergeRequest
) -> None:
    path = f"/users/{seeder.developer.id}/personal_access_tokens"
    token = seeder.api("POST", path, name="weak", scopes=["read_api"])["token"]
    with gitlab.Gitlab(running.url, private_token=token) as weak:
        found = weak.projects.get(project.id)
        with pytest.raises(GitlabCreateError) as error:
            found.mergerequests.get(merge_request.iid).notes.create({"body": "no"})
        assert error.value.response_code == 403
        assert "insufficient_scope" in str(error.value)
