"""From the webhook to a clean account, through the real processes."""

from __future__ import annotations

import pytest

from deploy.follow import toolforge_state, wait_for
from deploy.local.seed import stories
from orchestrator.preview import State
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
        ("python-pin", "build", "does not know the Python version"),
        ("crash", "start", "exited right after its start"),
        ("no-web", "start", "'web' was not found"),
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
