"""An old copy of the database is put back, after much has happened since: all becomes true again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import MetaData

from deploy.follow import wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import Stack, settings_environment
from orchestrator.engines import is_file
from orchestrator.preview import State
from tests.whole.conftest import Stacks
from tests.whole.faults import arm_toolforge, leave_envvar
from tests.whole.scene import Scene, server

_PROCESSES = ("beat", "worker-builds", "worker-gitlab", "web")


@pytest.fixture(scope="module")
def stack(stacks: Stacks) -> Iterator[Stack]:
    """A stack of this module's own, of which all processes of the product are ended in between."""
    with stacks("dev-1", "dev-2", "dev-3", "dev-4", check_seconds=2.0, stable_seconds=0.5) as made:
        yield made


def operates(stack: Stack, *words: str) -> str:
    """What the command line says, run as an operator would."""
    environment = {**os.environ, **settings_environment(stack.parts.settings)}
    command = [sys.executable, "-m", "deploy", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lose_the_database(stack: Stack) -> None:
    """What a disk that breaks leaves: nothing."""
    store = stack.parts.store
    if is_file(stack.parts.settings.database_url):
        path = str(store.engine.url.database)
        store.close()
        for end in ("", "-wal", "-shm"):
            Path(path + end).unlink(missing_ok=True)
        return
    everything = MetaData()
    everything.reflect(store.engine)
    everything.drop_all(store.engine)
    store.close()


def is_live(scene: Scene, merge_request: MergeRequest, sha: str, name: str) -> bool:
    """Whether that commit is live by our pages and at its address, and GitLab was told all."""
    view = scene.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
    newest = view.newest if view else None
    if newest is None or (newest.sha, newest.state) != (sha, State.LIVE):
        return False
    return scene.is_told(newest.preview_id) and scene.page(merge_request).text == f"hello from {name}\n"


def test_after_an_old_copy_was_put_back_the_world_is_true_again(
    stack: Stack, scene: Scene, tmp_path: Path
) -> None:
    pushed_to = scene.opens(server("the first"))
    closed = scene.opens(server("closed soon"))
    unchanged = scene.opens(server("unchanged"))
    for merge_request in (pushed_to, closed, unchanged):
        assert scene.verdict(merge_request).state is State.LIVE
    assert "rows are in" in operates(stack, "backup", str(tmp_path / "copy"))

    # Much happens that the copy does not know.
    scene.closes(closed)
    wait_for("the account to be given back", lambda: scene.account(closed) is None, seconds=60.0)
    sha = scene.pushes(pushed_to, server("the second"))
    second = scene.verdict(pushed_to, sha)
    opened = scene.opens(server("opened since"), beside=closed)
    failing = scene.opens(server("failing since", status=500), beside=unchanged)
    third = scene.verdict(opened)
    assert (second.state, third.state, scene.verdict(failing).state) == (State.LIVE, State.LIVE, State.FAILED)
    used_since = scene.account(opened)
    assert used_since is not None
    leave_envvar(stack, used_since, "OF_A_FORGOTTEN_DEPLOYMENT")
    scene.closes(failing)
    wait_for("the note to say so", lambda: scene.account(failing) is None, seconds=60.0)

    # The good preview stays up, and the status of the very same commit becomes red.
    arm_toolforge(stack, "build_fails", "*", tool=scene.account(unchanged), count=2)
    stack.seeder.comment(unchanged, "/preview rebuild", as_person=stack.seeder.developer)
    wait_for("GitLab to be told", lambda: scene.status(unchanged)["status"] == "failed", seconds=60.0)

    # The database is lost, and the copy put back.
    for name in _PROCESSES:
        stack.kill(name, and_keep_down=True)
    lose_the_database(stack)
    stack.parts.redis.flushall()
    assert "is put back" in operates(stack, "restore", str(tmp_path / "copy"))
    for name in reversed(_PROCESSES):
        stack.start_again(name)

    for merge_request, head, name in (
        (unchanged, unchanged.sha, "unchanged"),
        (pushed_to, sha, "the second"),
        (opened, opened.sha, "opened since"),
    ):
        wait_for(f"{name} to be live", partial(is_live, scene, merge_request, head, name), seconds=120.0)
        assert scene.status(merge_request, head)["status"] == "success"
        assert scene.environment(merge_request)["state"] == "available"
        assert head[:8] in scene.note(merge_request)
    wait_for("what was closed to be gone", lambda: scene.account(closed) is None, seconds=60.0)
    wait_for("its environment to end", lambda: scene.environment(closed)["state"] == "stopped", seconds=60.0)
