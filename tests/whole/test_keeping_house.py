"""What is in the accounts and what the database says come together again, without anybody's help."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from deploy.follow import pool_is_clean, toolforge_state, wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import Stack
from orchestrator.pool import AccountState
from orchestrator.preview import State
from orchestrator.toolforge import AccountClient, JobSpec
from tests.whole.conftest import Stacks
from tests.whole.scene import Scene

_TOOLS = ("dev-1", "dev-2", "dev-3")


@pytest.fixture(scope="module")
def stack(stacks: Stacks) -> Iterator[Stack]:
    """Three accounts, looked at every second."""
    scenario = {"builds": [{"duration": 5, "size": "20Mi"}], "jobs": [{"start_delay": 5}]}
    with stacks(*_TOOLS, scenario=scenario, time_scale=0.02, janitor_seconds=1.0, stable_seconds=0.2) as made:
        yield made


@contextmanager
def somebody(stack: Stack, tool: str) -> Iterator[AccountClient]:
    """Whoever else has the account's certificate."""
    with stack.parts.store.read() as tx:
        account = tx.account_named(tool)
        assert account is not None
        credentials = tx.credentials(account.id)
    with stack.parts.toolforge.account(tool, credentials) as client:
        yield client


def lives(scene: Scene) -> tuple[MergeRequest, str]:
    """A merge request whose preview is live, and the account that serves it."""
    merge_request = scene.opens()
    assert scene.verdict(merge_request).state is State.LIVE
    account = scene.account(merge_request)
    assert account is not None
    return merge_request, account


def said(scene: Scene, merge_request: MergeRequest, sentence: str) -> bool:
    view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    return view is not None and any(event.why == sentence for event in view.events)


def state_of(stack: Stack, tool: str) -> tuple[AccountState, str]:
    with stack.parts.store.read() as tx:
        account = tx.account_named(tool)
    assert account is not None
    return account.state, account.reason


def jobs(stack: Stack, tool: str) -> list[str]:
    return [job["name"] for job in toolforge_state(stack)["tools"][tool]["jobs"]]


def test_a_preview_whose_job_was_deleted_comes_back_at_its_address(scene: Scene) -> None:
    merge_request, tool = lives(scene)
    with somebody(scene.stack, tool) as client:
        client.delete_job("preview")
    wait_for("the job", lambda: jobs(scene.stack, tool) == ["preview"], seconds=30.0)
    wait_for(
        "the sentence", lambda: said(scene, merge_request, "its job was gone and was put back"), seconds=30.0
    )
    wait_for("the page", lambda: scene.page(merge_request).status_code == 200, seconds=30.0)


def test_a_preview_of_which_nothing_is_left_is_taken_down_and_gitlab_is_told(scene: Scene) -> None:
    merge_request, tool = lives(scene)
    with somebody(scene.stack, tool) as client:
        client.delete_job("preview")
        client.delete_images()
    wait_for("the sentence", lambda: said(scene, merge_request, "its job and image are gone"), seconds=30.0)
    wait_for("the note", lambda: "given back clean" in scene.note(merge_request), seconds=30.0)
    assert "its job and image are gone" in scene.note(merge_request)
    assert scene.status(merge_request)["status"] == "success", "the verdict on the commit stays"


def test_an_orphan_beside_a_preview_goes_and_what_is_foreign_stays(scene: Scene) -> None:
    gone, tool = lives(scene)
    view = scene.stack.parts.views.preview(gone.project.path, gone.iid)
    assert view is not None
    assert view.newest is not None
    orphan = f"candidate-d{view.newest.id}"
    scene.pushes(gone, {"more.py": "pass\n"})
    wait_for("the swap", partial(_runs_one_after, scene, gone, view.newest.id), seconds=60.0)
    with somebody(scene.stack, tool) as client:
        image = next(job.image for job in client.jobs() if job.name == "preview")
        client.put_job(JobSpec(orphan, image, "web", 8000, publish=False))
        client.put_job(JobSpec("cronjob", "python3.11", "sleep 1000", 8001, publish=False))
        wait_for("the orphan to go", lambda: orphan not in jobs(scene.stack, tool), seconds=30.0)
        time.sleep(1.5)
        assert sorted(jobs(scene.stack, tool)) == ["cronjob", "preview"]
        scene.closes(gone)
        wait_for(
            "the quarantine", lambda: state_of(scene.stack, tool)[0] is AccountState.QUARANTINED, seconds=30.0
        )
        assert "job cronjob" in state_of(scene.stack, tool)[1]
        assert jobs(scene.stack, tool) == ["cronjob"]
        client.delete_job("cronjob")
    scene.stack.parts.lifecycle.clean(tool, "a test", time.time())
    wait_for("the account", lambda: state_of(scene.stack, tool)[0] is AccountState.FREE, seconds=30.0)


def _runs_one_after(scene: Scene, merge_request: MergeRequest, deployment_id: int) -> bool:
    view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    newest = view.newest if view else None
    if newest is None or newest.id == deployment_id:
        return False
    return newest.state is State.LIVE and newest.due_at is None


def test_a_free_account_that_is_not_empty_is_cleaned_or_put_away(stack: Stack) -> None:
    wait_for("the pool", lambda: pool_is_clean(stack), seconds=60.0)
    with somebody(stack, "dev-2") as ours, somebody(stack, "dev-3") as theirs:
        ours.set_envvar("PREVIEW_URL", "http://elsewhere.example.org/")
        theirs.put_job(JobSpec("cronjob", "python3.11", "sleep 1000", 8001, publish=False))
        wait_for("the envvar to go", lambda: not ours.envvars(), seconds=30.0)
        wait_for(
            "the quarantine", lambda: state_of(stack, "dev-3")[0] is AccountState.QUARANTINED, seconds=30.0
        )
        theirs.delete_job("cronjob")
    stack.parts.lifecycle.clean("dev-3", "a test", time.time())
    wait_for("the pool", lambda: pool_is_clean(stack), seconds=60.0)


def test_at_a_start_everything_is_looked_at(stack: Stack) -> None:
    stack.kill("beat", and_keep_down=True)
    time.sleep(2.0)
    with stack.parts.store.write() as tx:
        before = tx.account_named("dev-1")
        assert before is not None
        tx.put_account(before, replace(before, due_at=time.time() + 3600))
    with somebody(stack, "dev-1") as client:
        client.set_envvar("PREVIEW_URL", "http://elsewhere.example.org/")
        time.sleep(2.0)
        assert client.envvars() == ["PREVIEW_URL"], "nobody looks"
        stack.start_again("beat")
        wait_for("the envvar to go", lambda: not client.envvars(), seconds=30.0)
