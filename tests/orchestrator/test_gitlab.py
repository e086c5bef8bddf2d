"""The client of GitLab, against a local GitLab with real GitLab's quirks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import pytest

from deploy.local.gitlab import LocalGitLab
from deploy.local.seed import MergeRequest, Seeder
from orchestrator.errors import TryLater
from orchestrator.gitlab import DEVELOPER, GitLab, GitLabBusy, Missing, NotPermitted, Rejected
from tests.orchestrator.scripted import Answer, Scripted

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Scene:
    """A merge request on a local GitLab, the product's client, and a number that is the test's own."""

    lab: LocalGitLab
    seeder: Seeder
    gitlab: GitLab
    merge_request: MergeRequest
    number: int = 0

    @property
    def marker(self) -> str:
        """By what the test's note is found."""
        return f"<!-- test:{self.number} -->"

    @property
    def environment(self) -> str:
        """The test's environment."""
        return f"preview/mr-{self.number}"

    @property
    def project(self) -> int:
        return self.merge_request.project.id

    @property
    def iid(self) -> int:
        return self.merge_request.iid

    def seen(self, path: str) -> Any:
        """What GitLab shows of the project."""
        return self.seeder.api("GET", f"/projects/{self.project}{path}")

    def notes(self) -> list[str]:
        """The texts of the test's notes under the merge request, without their marker."""
        notes = self.seen(f"/merge_requests/{self.iid}/notes?per_page=100")
        return [n["body"].removeprefix(self.marker).strip() for n in notes if self.marker in n["body"]]

    def puts_note(self, body: str, note_id: int | None = None) -> int:
        """The product writes its note."""
        return self.gitlab.put_note(
            self.project, self.iid, f"{self.marker}\n{body}", marker=self.marker, note_id=note_id
        )

    def says(self, state: str) -> None:
        """The product sets the test's status of the head commit."""
        self.gitlab.set_status(
            self.project,
            self.merge_request.sha,
            state=state,
            name=f"status-{self.number}",
            description="words",
            target_url="https://previews.example.org/",
            ref=self.merge_request.source_branch,
        )

    def statuses(self) -> list[str]:
        """What the test's status was, the oldest first."""
        found = self.seen(f"/repository/commits/{self.merge_request.sha}/statuses?all=true&per_page=100")
        ours = [status for status in found if status["name"] == f"status-{self.number}"]
        return [status["status"] for status in sorted(ours, key=lambda status: status["id"])]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGitLab]:
    with LocalGitLab(state_dir=tmp_path_factory.mktemp("gitlab")) as running:
        yield running


@pytest.fixture(scope="module")
def seeder(lab: LocalGitLab) -> Iterator[Seeder]:
    with Seeder(lab.url, lab.root_token) as opened:
        yield opened


@pytest.fixture(scope="module")
def gitlab(lab: LocalGitLab, seeder: Seeder) -> Iterator[GitLab]:
    client = GitLab(lab.url, seeder.service.token, user_agent="tests (a@b.example)")
    yield client
    client.close()


@pytest.fixture(scope="module")
def opened(lab: LocalGitLab, seeder: Seeder, gitlab: GitLab) -> Scene:
    project = seeder.project("tool")
    seeder.push_to_branch(project, "main", {"README.md": "A tool.\n"}, "First")
    seeder.push_to_branch(project, "change", {"app.py": "pass\n"}, "A change")
    return Scene(lab, seeder, gitlab, seeder.open_merge_request(project, "change", "A change"))


@pytest.fixture
def scene(opened: Scene) -> Iterator[Scene]:
    """One merge request for all, with a marker, a status and an environment for each test."""
    yield replace(opened, number=next(_numbers))
    opened.lab.faults.clear()


# --- reading ------------------------------------------------------------------------------------------


def test_a_merge_request_is_read_as_it_is_now(scene: Scene) -> None:
    seen = scene.gitlab.merge_request(scene.project, scene.iid)
    assert (seen.iid, seen.state, seen.sha) == (scene.iid, "opened", scene.merge_request.sha)
    assert (seen.title, seen.author, seen.source_branch) == ("A change", "dana", "change")
    assert seen.is_from_project
    assert seen.is_open


def test_a_merge_request_that_is_not_there_is_missing(scene: Scene) -> None:
    with pytest.raises(Missing, match="404"):
        scene.gitlab.merge_request(scene.project, 4711)


def test_only_open_merge_requests_are_listed(scene: Scene) -> None:
    project, before = scene.merge_request.project, scene.gitlab.open_merge_requests(scene.project)
    scene.seeder.push_to_branch(project, "other", {"other.py": "pass\n"}, "Another change")
    other = scene.seeder.open_merge_request(project, "other", "Another change")
    listed = scene.gitlab.open_merge_requests(scene.project)
    assert listed == {**before, other.iid: other.sha}
    assert listed[scene.iid] == scene.merge_request.sha
    scene.seeder.close_merge_request(other)
    assert scene.gitlab.open_merge_requests(scene.project) == before


def test_a_project_is_found_by_its_path(scene: Scene) -> None:
    assert scene.gitlab.project(scene.merge_request.project.path)["id"] == scene.project
    with pytest.raises(Missing):
        scene.gitlab.project("tools/no-such-tool")


def test_rights_are_those_in_the_project_inherited_ones_included(scene: Scene) -> None:
    levels = [
        scene.gitlab.access_level(scene.project, person.id)
        for person in (scene.seeder.developer, scene.seeder.reporter)
    ]
    assert levels == [DEVELOPER, 20]


@pytest.mark.parametrize("user_id", [0, 999_999])
def test_strangers_have_no_rights(scene: Scene, user_id: int) -> None:
    assert scene.gitlab.access_level(scene.project, user_id) == 0


@pytest.mark.parametrize(("state", "level"), [("active", 30), ("blocked", 0), ("deactivated", 0)])
def test_whose_account_is_blocked_has_no_rights_though_a_member(state: str, level: int) -> None:
    with Scripted() as server:
        server.answer = Answer({"id": 5, "state": state, "access_level": 30})
        client = GitLab(server.url, "token", user_agent="tests")
        assert client.access_level(1, 5) == level
        client.close()


# --- statuses -----------------------------------------------------------------------------------------


def test_a_status_repeated_is_no_error_and_is_there_once(scene: Scene) -> None:
    for state in ("pending", "pending", "running", "running", "success"):
        scene.says(state)
    assert scene.statuses() == ["success"]


def test_a_status_may_begin_anew_after_its_end(scene: Scene) -> None:
    for state in ("success", "running", "failed"):
        scene.says(state)
    assert scene.statuses()[-1] == "failed"


def test_a_status_of_an_unknown_commit_is_missing(scene: Scene) -> None:
    with pytest.raises(Missing):
        scene.gitlab.set_status(
            scene.project,
            "f" * 40,
            state="pending",
            name="n",
            description="",
            target_url="https://x.example.org",
            ref="change",
        )


def test_a_status_that_gitlab_does_not_know_is_rejected_with_its_words(scene: Scene) -> None:
    with pytest.raises(Rejected, match="400"):
        scene.says("splendid")


# --- the note -----------------------------------------------------------------------------------------


def test_a_note_is_written_once_and_then_changed(scene: Scene) -> None:
    first = scene.puts_note("one")
    assert scene.puts_note("two", first) == first
    assert scene.notes() == ["two"]


def test_a_note_whose_id_was_lost_is_found_again_by_its_marker(scene: Scene) -> None:
    first = scene.puts_note("one")
    scene.seeder.comment(scene.merge_request, "Looks good")
    assert scene.puts_note("two") == first
    assert scene.notes() == ["two"]


def test_the_note_of_somebody_else_is_left_alone_whatever_is_in_it(scene: Scene) -> None:
    body = f"{scene.marker}\nnot ours"
    theirs = scene.seeder.comment(scene.merge_request, body, as_person=scene.seeder.reporter)
    assert scene.puts_note("ours") != theirs
    assert sorted(scene.notes()) == ["not ours", "ours"]


def test_a_note_is_found_again_behind_more_than_a_hundred_others(scene: Scene) -> None:
    first = scene.puts_note("one")
    for number in range(103):
        scene.seeder.comment(scene.merge_request, f"Comment {number}")
    scene.lab.faults.reset_calls()
    assert scene.puts_note("two") == first
    listed = scene.lab.faults.count("GET /projects/:id/merge_requests/:iid/notes")
    assert listed >= 2, "one page would not have done"


def test_a_note_that_somebody_deleted_is_written_anew(scene: Scene) -> None:
    first = scene.puts_note("one")
    scene.seeder.api("DELETE", f"/projects/{scene.project}/merge_requests/{scene.iid}/notes/{first}")
    second = scene.puts_note("two", first)
    assert second != first
    assert scene.notes() == ["two"]


def test_a_note_whose_answer_was_lost_is_not_written_twice(scene: Scene) -> None:
    scene.lab.faults.add("POST /projects/:id/merge_requests/:iid/notes", "lost")
    with pytest.raises(GitLabBusy):
        scene.puts_note("one")
    scene.puts_note("two")
    assert scene.notes() == ["two"]


def test_an_emoji_given_twice_is_no_error(scene: Scene) -> None:
    note_id = scene.seeder.comment(scene.merge_request, "/preview")
    for _ in range(2):
        scene.gitlab.award_emoji(scene.project, scene.iid, note_id, "white_check_mark")
    given = scene.seen(f"/merge_requests/{scene.iid}/notes/{note_id}/award_emoji")
    assert [emoji["name"] for emoji in given] == ["white_check_mark"]


def test_an_emoji_for_a_comment_that_is_gone_is_no_error(scene: Scene) -> None:
    scene.gitlab.award_emoji(scene.project, scene.iid, 999_999, "eyes")


# --- branches and issues ------------------------------------------------------------------------------


def test_the_head_of_the_default_branch_is_found(scene: Scene) -> None:
    name = scene.gitlab.default_branch(scene.project)
    assert name == "main"
    (newest, *_) = scene.seen("/repository/commits?ref_name=main")
    assert scene.gitlab.head_of(scene.project, name) == newest["id"]
    assert scene.gitlab.head_of(scene.project, "no/such") is None


def test_our_issue_is_found_again_by_its_marker_and_nobody_elses(scene: Scene) -> None:
    text = f"{scene.marker}\nIt fails."
    assert scene.gitlab.issue_with(scene.project, scene.marker) is None
    scene.seeder.api("POST", f"/projects/{scene.project}/issues", title="Not ours", description=text)
    assert scene.gitlab.issue_with(scene.project, scene.marker) is None
    iid = scene.gitlab.open_issue(scene.project, "It fails", text)
    assert scene.gitlab.issue_with(scene.project, scene.marker) == (iid, True)
    for _ in range(2):
        scene.gitlab.change_issue(scene.project, iid, "It failed", text, event="close")
    assert scene.gitlab.issue_with(scene.project, scene.marker) == (iid, False)
    scene.gitlab.change_issue(scene.project, iid, "It fails again", text, event="reopen")
    shown = scene.seen(f"/issues/{iid}")
    assert (shown["title"], shown["state"]) == ("It fails again", "opened")
    with pytest.raises(Missing):
        scene.gitlab.change_issue(scene.project, 9999, "x", text, event=None)


# --- environments -------------------------------------------------------------------------------------


def test_an_environment_made_twice_is_one_with_the_newest_address(scene: Scene) -> None:
    addresses = ("https://dev-1.example.org", "https://dev-2.example.org")
    for address in addresses:
        scene.gitlab.put_environment(scene.project, scene.environment, external_url=address)
    (environment,) = scene.seen(f"/environments?name={scene.environment}")
    assert environment["external_url"] == addresses[1]


def test_an_environment_is_stopped_and_one_that_is_gone_need_not_be(scene: Scene) -> None:
    scene.gitlab.put_environment(scene.project, scene.environment, external_url="https://x.example.org")
    scene.gitlab.stop_environment(scene.project, scene.environment)
    (environment,) = scene.seen(f"/environments?name={scene.environment}")
    assert environment["state"] == "stopped"
    scene.gitlab.stop_environment(scene.project, "preview/mr-of-nobody")


def test_a_deployment_is_recorded_and_found_again(scene: Scene) -> None:
    scene.gitlab.put_environment(scene.project, scene.environment, external_url="https://x.example.org")
    made = scene.gitlab.add_deployment(
        scene.project,
        environment=scene.environment,
        sha=scene.merge_request.sha,
        ref=f"refs/merge-requests/{scene.iid}/head",
        status="success",
    )
    found = scene.gitlab.deployments(scene.project, scene.environment)
    assert found == [(made, scene.merge_request.sha, "success")]
    assert scene.gitlab.deployments(scene.project, "preview/other") == []


# --- the webhook --------------------------------------------------------------------------------------


def test_a_hook_made_again_takes_the_place_of_the_one_before(scene: Scene) -> None:
    for secret in ("one", "two"):
        scene.gitlab.add_hook(scene.project, "https://previews.example.org/webhook/gitlab", secret)
    scene.gitlab.add_hook(scene.project, "https://other.example.org/", "three")
    hooks = scene.seen("/hooks")
    assert sorted(hook["url"] for hook in hooks) == [
        "https://other.example.org/",
        "https://previews.example.org/webhook/gitlab",
    ]
    assert all(hook["merge_requests_events"] and hook["note_events"] for hook in hooks)
    assert not any(hook["push_events"] for hook in hooks)


# --- what goes wrong ----------------------------------------------------------------------------------


def test_a_rate_limit_is_told_with_the_pause_that_gitlab_asks_for(scene: Scene) -> None:
    scene.lab.faults.add("GET /projects/:id/merge_requests/:iid", "status", status=429, retry_after=17)
    with pytest.raises(GitLabBusy) as caught:
        scene.gitlab.merge_request(scene.project, scene.iid)
    assert isinstance(caught.value, TryLater)
    assert caught.value.seconds == 17.0


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_gitlab_that_is_broken_just_now_is_busy(scene: Scene, status: int) -> None:
    scene.lab.faults.add("GET /projects/:id/merge_requests/:iid", "status", status=status)
    with pytest.raises(GitLabBusy, match=str(status)):
        scene.gitlab.merge_request(scene.project, scene.iid)


@pytest.mark.parametrize("kind", ["cut_before", "cut_mid", "lost"])
def test_a_connection_that_is_cut_is_busy(scene: Scene, kind: str) -> None:
    scene.lab.faults.add("GET /projects/:id/merge_requests/:iid", kind)
    with pytest.raises(GitLabBusy):
        scene.gitlab.merge_request(scene.project, scene.iid)
    assert scene.gitlab.merge_request(scene.project, scene.iid).iid == scene.iid


def test_a_gitlab_that_is_not_there_is_busy() -> None:
    away = GitLab("http://127.0.0.1:1", "token", user_agent="tests")
    with pytest.raises(GitLabBusy, match="did not answer"):
        away.project("a/b")
    away.close()


@pytest.mark.parametrize("token", ["wrong-token", ""])
def test_a_token_that_is_refused_is_no_permission_and_is_not_repeated(scene: Scene, token: str) -> None:
    stranger = GitLab(scene.lab.url, token, user_agent="tests")
    with pytest.raises(NotPermitted) as caught:
        stranger.set_status(
            scene.project,
            scene.merge_request.sha,
            state="pending",
            name="n",
            description="",
            target_url="https://x.example.org",
            ref="change",
        )
    stranger.close()
    assert not token or token not in repr(caught.value) + str(caught.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"message": "400 Bad request"}, "400 Bad request"),
        ({"message": {"ref": ["is invalid"]}}, "is invalid"),
        ({"error": "invalid_token", "error_description": "Token was revoked"}, "Token was revoked"),
        ({"error": "no"}, "no"),
        (["odd"], "odd"),
        (b"<html>", "HTTP 400"),
    ],
)
def test_every_shape_of_error_keeps_gitlabs_words(body: object, words: str) -> None:
    with Scripted() as server:
        server.answer = Answer(body, 400)
        client = GitLab(server.url, "token", user_agent="tests")
        with pytest.raises(Rejected) as caught:
            client.project(1)
        client.close()
    assert words in str(caught.value)


@pytest.mark.parametrize("body", [b"<html>welcome</html>", [], "text", None, b""])
def test_a_project_in_an_odd_form_is_busy(body: object) -> None:
    with Scripted() as server:
        server.answer = Answer(body)
        client = GitLab(server.url, "token", user_agent="tests")
        with pytest.raises(GitLabBusy):
            client.project(1)
        client.close()


def test_the_token_is_sent_in_its_header_only(scene: Scene) -> None:
    with Scripted() as server:
        client = GitLab(server.url, "very-secret", user_agent="tests (a@b.example)")
        client.project("group/tool")
        client.close()
        ((_, path, headers, _),) = server.asked
    assert path == "/api/v4/projects/group%2Ftool"
    assert headers["PRIVATE-TOKEN"] == "very-secret"
    assert headers["User-Agent"] == "tests (a@b.example)"
    assert "very-secret" not in path


@pytest.mark.parametrize(
    "path", ["../users", "a/../../user", "a?private_token=x", "a#b", "a%2Fb", "a b", "\u00e4;\n"]
)
def test_no_path_of_a_project_or_a_file_leads_elsewhere(path: str) -> None:
    with Scripted() as server:
        client = GitLab(server.url, "token", user_agent="tests")
        client.project(path)
        client.file(1, path, "main", most_bytes=10)
        client.close()
        asked = [path for _, path, _, _ in server.asked]
    name = quote(path, safe="")
    assert asked[0] == f"/api/v4/projects/{name}"
    assert asked[1].startswith(f"/api/v4/projects/1/repository/files/{name}/raw")
