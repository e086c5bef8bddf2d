"""From the webhook to a clean account, through the real processes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.follow import toolforge_state, wait_for
from deploy.local.seed import DEVELOPER, MergeRequest, stories
from orchestrator.preview import Deployment, State
from orchestrator.report import STATUS_NAME
from orchestrator.rules import Rules
from tests.whole.scene import Scene, server


@pytest.mark.parametrize("name", stories())
def test_a_tool_of_each_kind_goes_live_and_is_given_back_clean(scene: Scene, name: str) -> None:
    merge_request = scene.opens_sample(name)
    deployment = scene.verdict(merge_request)
    assert deployment.state is State.LIVE, deployment.failure
    answer = scene.page(merge_request)
    assert answer.status_code == 200
    address = str(answer.request.headers["host"])

    status = scene.status(merge_request)
    assert status["status"] == "success"
    assert address in status["target_url"]
    environment = scene.environment(merge_request)
    assert (environment["state"], environment["external_url"]) == ("available", status["target_url"])
    note = scene.note(merge_request)
    assert "Preview is live" in note
    assert status["target_url"] in note

    account = scene.account(merge_request)
    assert account is not None
    scene.closes(merge_request)
    wait_for("the account to be clean", lambda: scene.account(merge_request) is None)
    wait_for("the environment to stop", lambda: scene.environment(merge_request)["state"] == "stopped")
    wait_for("the receipt", lambda: "given back clean" in scene.note(merge_request))
    assert scene.status(merge_request)["status"] == "success", "the verdict on the commit stays"
    tool = toolforge_state(scene.stack)["tools"][account]
    assert (tool["jobs"], tool["builds"], tool["images"]) == ([], [], [])
    assert tool["quota"]["used_bytes"] == 0


def test_a_good_push_replaces_what_is_up_at_the_same_address(scene: Scene) -> None:
    merge_request = scene.opens(server("one"))
    assert scene.verdict(merge_request).state is State.LIVE
    before = scene.page(merge_request)
    sha = scene.pushes(merge_request, server("two"))
    assert scene.verdict(merge_request, sha).state is State.LIVE
    after = scene.page(merge_request)
    assert (before.text, after.text) == ("hello from one\n", "hello from two\n")
    assert before.request.headers["host"] == after.request.headers["host"]
    assert scene.status(merge_request, sha)["status"] == "success"


@pytest.mark.parametrize(
    ("files", "stage"),
    [
        ({".python-version": "3.14\n"}, "build"),
        ({"app.py": "raise SystemExit('no such table')\n"}, "start"),
        (server(status=500), "check"),
    ],
    ids=["fails to build", "crashes at start", "fails its check"],
)
def test_a_good_preview_survives_a_bad_push(
    scene: Scene, files: dict[str, str | bytes | None], stage: str
) -> None:
    merge_request = scene.opens(server("good"))
    assert scene.verdict(merge_request).state is State.LIVE
    sha = scene.pushes(merge_request, files)
    deployment = scene.verdict(merge_request, sha)
    assert deployment.state is State.FAILED
    assert deployment.failure is not None
    assert deployment.failure.stage == stage
    wait_for("the good one at the address", lambda: scene.page(merge_request).text == "hello from good\n")
    assert scene.status(merge_request, sha)["status"] == "failed"
    assert scene.status(merge_request)["status"] == "success"
    note = scene.note(merge_request)
    assert "is still up" in note
    assert deployment.failure.remedy in note
    jobs = toolforge_state(scene.stack)["tools"][scene.account(merge_request)]["jobs"]
    wait_for(
        "the candidate to be removed",
        lambda: len(toolforge_state(scene.stack)["tools"][scene.account(merge_request)]["jobs"]) == 1,
    )
    assert jobs


@pytest.mark.parametrize(
    ("sample", "stage", "words"),
    [
        ("python-pin", "build", "does not have Python 3.14"),
        ("crash", "start", "the envvar EDITATHON_PLACES is not set"),
        ("no-web", "start", "'web' was not found (exit code 127): its Procfile names clock and no web"),
        ("check-fails", "check", "expected below 500"),
    ],
)
def test_a_failure_is_told_with_its_stage_its_log_and_what_to_do(
    scene: Scene, sample: str, stage: str, words: str
) -> None:
    merge_request = scene.opens_sample(sample)
    deployment = scene.verdict(merge_request)
    assert deployment.state is State.FAILED
    assert deployment.failure is not None
    assert deployment.failure.stage == stage
    status = scene.status(merge_request)
    assert status["status"] == "failed"
    assert stage in status["description"]
    note = scene.note(merge_request)
    assert words in note
    assert "What to do" in note
    assert "```" in note, "the last meaningful lines of the log"
    wait_for("the account to be given back", lambda: scene.account(merge_request) is None)


def test_a_repository_that_no_buildpack_recognises_fails_with_advice(scene: Scene) -> None:
    merge_request = scene.opens({"notes.txt": "nothing to build\n"})
    deployment = scene.verdict(merge_request)
    assert deployment.failure is not None
    assert "recognised no language" in deployment.failure.summary
    assert "recognised no language" in scene.note(merge_request)


def test_a_repository_that_cannot_be_cloned_fails_with_toolforges_words(scene: Scene) -> None:
    merge_request = scene.opens(server())
    scene.verdict(merge_request)
    path = f"/projects/{merge_request.project.id}"
    scene.stack.seeder.api("PUT", path, visibility="private")
    sha = scene.pushes(merge_request, server("secret"))
    deployment = scene.verdict(merge_request, sha)
    assert deployment.failure is not None
    assert "would not start the build" in deployment.failure.summary
    assert "public" in deployment.failure.remedy


def test_a_merged_and_reopened_life_ends_and_begins_again(scene: Scene) -> None:
    merge_request = scene.opens(server("first life"))
    assert scene.verdict(merge_request).state is State.LIVE
    scene.closes(merge_request)
    wait_for("the account to be given back", lambda: scene.account(merge_request) is None)
    scene.stack.seeder.reopen_merge_request(merge_request)
    wait_for("an account again", lambda: scene.account(merge_request) is not None)
    assert scene.verdict(merge_request).state is State.LIVE
    assert scene.page(merge_request).text == "hello from first life\n"
    assert scene.environment(merge_request)["state"] == "available"


def test_own_checks_decide(scene: Scene) -> None:
    merge_request = scene.opens(server(), checks=(("/", 200), ("/healthz", 204)))
    deployment = scene.verdict(merge_request)
    assert deployment.state is State.FAILED
    assert [check.passed for check in deployment.checks] == [True, False]
    assert "expected 204" in scene.note(merge_request)


def test_a_comment_stops_and_starts_a_preview(scene: Scene) -> None:
    merge_request = scene.opens(server())
    scene.verdict(merge_request)
    seeder = scene.stack.seeder
    note_id = seeder.comment(merge_request, "/preview stop", as_person=seeder.reporter)
    wait_for("a refusal", lambda: scene.gitlab(merge_request, f"/notes/{note_id}/award_emoji"))
    assert scene.account(merge_request) is not None, "a Reporter may not stop it"
    seeder.comment(merge_request, "/preview stop")
    wait_for("the account to be given back", lambda: scene.account(merge_request) is None)
    wait_for("the note to say so", lambda: "stopped by dana" in scene.note(merge_request))
    seeder.comment(merge_request, "/preview")
    wait_for("an account again", lambda: scene.account(merge_request) is not None)
    assert scene.verdict(merge_request).state is State.LIVE


def test_whoever_may_not_give_commands_is_told_why_once(scene: Scene) -> None:
    merge_request = scene.opens(server())
    scene.verdict(merge_request)
    seeder = scene.stack.seeder
    commands = ["/preview stop", "/preview rebuild"] * 2
    with ThreadPoolExecutor(len(commands)) as people:
        comments = people.map(
            lambda command: seeder.comment(merge_request, command, as_person=seeder.reporter), commands
        )
        note_ids = list(comments)
    for note_id in note_ids:
        wait_for("a refusal", lambda n=note_id: emojis(scene, merge_request, n) == ["no_entry_sign"])
    wait_for("all comments to be handled", lambda: not waiting_comments(scene))
    refusals = [n["body"] for n in scene.gitlab(merge_request, "/notes") if "refusal" in n["body"]]
    assert len(refusals) == 1
    assert "`rene`, but commands to Toolforge Preview need the Developer role" in refusals[0]
    assert scene.account(merge_request) is not None


def waiting_comments(scene: Scene) -> list[int]:
    """Deliveries that are not handled."""
    with scene.stack.parts.store.read() as tx:
        dues = tx.due(time.time() + 3600, limit=1000)
    return [due.id for due in dues if due.kind == "delivery"]


def emojis(scene: Scene, merge_request: MergeRequest, note_id: int) -> list[str]:
    """What a comment was answered with."""
    return [one["name"] for one in scene.gitlab(merge_request, f"/notes/{note_id}/award_emoji")]


def test_every_command_is_answered_by_an_emoji_and_the_note(scene: Scene) -> None:
    merge_request = scene.opens(server())
    scene.verdict(merge_request)
    for command, emoji, words in (
        ("/preview keep 48h", "white_check_mark", "kept until"),
        ("/preview keep 4800h", "confused", "kept until"),
        ("/preview logs", "white_check_mark", "<summary>Log: build</summary>"),
        ("/preview help", "white_check_mark", "`/preview rebuild`"),
        ("/preview dance", "confused", "`/preview rebuild`"),
    ):
        note_id = scene.stack.seeder.comment(merge_request, command)
        wait_for(f"an answer to {command}", lambda n=note_id, e=emoji: emojis(scene, merge_request, n) == [e])
        wait_for(f"the note after {command}", lambda w=words: w in scene.note(merge_request))
    scene.stack.seeder.comment(merge_request, "/preview rebuild")
    wait_for("another deployment", lambda: len(deployments(scene, merge_request)) == 2)
    assert scene.verdict(merge_request).trigger == "rebuild"


def deployments(scene: Scene, merge_request: MergeRequest) -> list[Deployment]:
    """All of them, the newest first."""
    view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    return list(view.deployments) if view else []


def test_a_merge_request_that_changes_nothing_that_matters_is_neutral_and_takes_no_account(
    scene: Scene,
) -> None:
    first = scene.opens(server())
    scene.verdict(first)
    with scene.stack.parts.store.read() as tx:
        (project,) = [one for one in tx.projects() if one.path == first.project.path]
    scene.stack.parts.lifecycle.set_rules(project.id, Rules(ignored_paths=("*.md",)), "olga", time.time())
    docs = scene.opens({"README.md": "More words.\n"}, beside=first)
    wait_for("a status", lambda: scene.gitlab(docs, "")["sha"] and has_status(scene, docs))
    assert scene.status(docs)["status"] == "success"
    assert scene.status(docs)["description"] == "Does not apply here: it changes nothing but *.md"
    assert scene.account(docs) is None
    scene.pushes(docs, server("now with code"))
    wait_for("an account", lambda: scene.account(docs) is not None)


def has_status(scene: Scene, merge_request: MergeRequest) -> bool:
    """Whether GitLab has a status of ours for the head."""
    path = f"/projects/{merge_request.project.id}/repository/commits/{merge_request.sha}/statuses"
    return any(status["name"] == STATUS_NAME for status in scene.stack.seeder.api("GET", path))


def test_nothing_of_a_fork_runs_before_a_developer_approved_that_commit(scene: Scene) -> None:
    own = scene.opens(server("own"))
    scene.verdict(own)
    seeder = scene.stack.seeder
    foreign = scene.opens_from_fork(own)
    wait_for("a note", lambda: "approve it" in "".join(n["body"] for n in scene.gitlab(foreign, "/notes")))
    assert scene.account(foreign) is None
    seeder.comment(foreign, "/preview")
    assert scene.verdict(foreign).state is State.LIVE
    assert "Preview is live" in scene.note(foreign)
    assert statuses_in(scene, foreign.project.id, foreign.sha) == [], "GitLab takes none on no branch"
    fork_id = scene.gitlab(foreign, "")["source_project_id"]
    assert statuses_in(scene, fork_id, foreign.sha) == [], "we have no rights in the fork"


def statuses_in(scene: Scene, project_id: int, sha: str) -> list[str]:
    """Our statuses on the commit in one project."""
    found = scene.stack.seeder.api("GET", f"/projects/{project_id}/repository/commits/{sha}/statuses")
    return [status["status"] for status in found if status["name"] == STATUS_NAME]


def test_the_status_of_a_forks_commit_goes_to_the_fork_where_we_have_rights_there(scene: Scene) -> None:
    own = scene.opens(server("own"))
    scene.verdict(own)
    seeder = scene.stack.seeder
    foreign = scene.opens_from_fork(own)
    fork_id = scene.gitlab(foreign, "")["source_project_id"]
    member = {"user_id": seeder.service.id, "access_level": DEVELOPER}
    seeder.api("POST", f"/projects/{fork_id}/members", **member)
    seeder.comment(foreign, "/preview")
    assert scene.verdict(foreign).state is State.LIVE
    assert statuses_in(scene, fork_id, foreign.sha) == ["success"]


def test_the_status_of_a_forks_commit_goes_into_the_pipeline_of_its_merge_request(scene: Scene) -> None:
    own = scene.opens({**server("own"), ".gitlab-ci.yml": "test:\n  script: [make]\n"})
    scene.verdict(own)
    seeder = scene.stack.seeder
    foreign = scene.opens_from_fork(own)
    seeder.api("POST", f"/projects/{foreign.project.id}/merge_requests/{foreign.iid}/pipelines")
    seeder.comment(foreign, "/preview")
    assert scene.verdict(foreign).state is State.LIVE
    assert statuses_in(scene, foreign.project.id, foreign.sha) == ["success"]
