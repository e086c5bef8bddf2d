"""The server as a program: ready, stopped, killed, started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from deploy.local.gitlab import LocalGitLab, read_ready
from deploy.local.seed import Seeder
from tests.local.gitlab.world import Receiver, eventually, git


@contextmanager
def program(state: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    process = subprocess.Popen([sys.executable, "-m", "deploy.local.gitlab", "--state", str(state)])
    try:
        ready = eventually(
            lambda: (found := read_ready(state)) and found["pid"] == process.pid and found, seconds=20
        )
        yield process, ready
    finally:
        process.terminate()
        process.wait(10)


def test_it_says_where_it_listens_and_takes_that_back_at_the_end(tmp_path: Path) -> None:
    with program(tmp_path) as (process, ready):
        assert ready["url"].startswith("http://127.0.0.1:")
        assert (tmp_path / "ready.json").stat().st_mode & 0o077 == 0
        headers = {"PRIVATE-TOKEN": ready["root_token"]}
        assert httpx.get(f"{ready['url']}/api/v4/user", headers=headers).json()["is_admin"] is True
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert not (tmp_path / "ready.json").exists()


def test_two_do_not_share_a_folder(tmp_path: Path) -> None:
    with LocalGitLab(state_dir=tmp_path):
        other = subprocess.run(
            [sys.executable, "-m", "deploy.local.gitlab", "--state", str(tmp_path)],
            capture_output=True,
            text=True,
        )
    assert other.returncode == 1
    assert "another local GitLab uses" in other.stderr


def test_a_killed_server_goes_on_where_it_was(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with program(state) as (process, ready), Seeder(ready["url"], ready["root_token"]) as seeder:
        mr = seeder.open_sample("editathon-clock")
        note = seeder.comment(mr, "remember me")
        time.sleep(0.1)
        process.kill()
        process.wait()
        token = seeder.service.token
    with program(state) as (_, again):
        assert again["url"] == ready["url"]
        assert again["root_token"] == ready["root_token"]
        with httpx.Client(base_url=f"{again['url']}/api/v4", headers={"PRIVATE-TOKEN": token}) as client:
            path = f"/projects/{mr.project.id}/merge_requests/{mr.iid}"
            assert client.get(path).json()["sha"] == mr.sha
            assert client.get(f"{path}/notes/{note}").json()["body"] == "remember me"
        git("clone", "-q", mr.project.clone_url, "clone", cwd=tmp_path)


def test_a_push_that_nobody_saw_is_caught_up_with_at_the_start(tmp_path: Path) -> None:
    with LocalGitLab(state_dir=tmp_path) as gl, Seeder(gl.url, gl.root_token) as seeder:
        mr = seeder.open_sample("editathon-clock")
        repository = tmp_path / "repositories" / f"{mr.project.id}.git"
    tree = git("rev-parse", "main^{tree}", cwd=repository).stdout.strip()
    sha = git("commit-tree", tree, "-p", mr.sha, "-m", "unseen", cwd=repository).stdout.strip()
    git("update-ref", f"refs/heads/{mr.source_branch}", sha, cwd=repository)
    with LocalGitLab(state_dir=tmp_path) as gl:
        path = f"{gl.url}/api/v4/projects/{mr.project.id}/merge_requests/{mr.iid}"
        assert httpx.get(path).json()["sha"] == sha


def test_a_delivery_that_a_kill_interrupted_is_sent_again_with_its_key(tmp_path: Path) -> None:
    with Receiver(delay=1.0) as receiver:
        with program(tmp_path) as (process, ready), Seeder(ready["url"], ready["root_token"]) as seeder:
            mr = seeder.open_sample("editathon-clock")
            path = f"/projects/{mr.project.id}/hooks"
            seeder.api("POST", path, url=receiver.url, note_events=True, push_events=False)
            seeder.comment(mr, "x")
            receiver.wait(1)
            time.sleep(0.1)
            process.kill()
            process.wait()
        receiver.delay = 0.0
        with program(tmp_path):
            first, second = receiver.wait(2)
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_children_end_with_the_server(tmp_path: Path) -> None:
    """A git process that waits for its client is gone with a killed server."""
    with program(tmp_path) as (process, ready), Seeder(ready["url"], ready["root_token"]) as seeder:
        mr = seeder.open_sample("editathon-clock")
        auth = httpx.BasicAuth("x", seeder.developer.token)
        waiting = httpx.Client(timeout=httpx.Timeout(0.3))
        with waiting:

            def endless() -> Iterator[bytes]:
                yield b"00"
                time.sleep(0.5)
                yield b"00"

            url = f"{mr.project.clone_url}/git-receive-pack"
            kind = {"Content-Type": "application/x-git-receive-pack-request"}
            try:
                with waiting.stream("POST", url, content=endless(), headers=kind, auth=auth):
                    pass
            except httpx.HTTPError:
                pass
            process.kill()
            process.wait()
        repositories = str(tmp_path / "repositories")

        def alive() -> list[str]:
            found = []
            for entry in Path("/proc").iterdir():
                if entry.name.isdecimal():
                    try:
                        surroundings = (entry / "environ").read_bytes().decode(errors="replace")
                    except OSError:
                        continue
                    if f"GIT_PROJECT_ROOT={repositories}" in surroundings:
                        found.append(entry.name)
            return found

        eventually(lambda: not alive())
    assert os.path.exists(tmp_path)


def test_the_state_file_is_readable_json_in_sqlite(tmp_path: Path) -> None:
    """So that somebody who wonders can look at it."""
    import sqlite3

    with LocalGitLab(state_dir=tmp_path) as gl, Seeder(gl.url, gl.root_token) as seeder:
        seeder.project("seen")
    connection = sqlite3.connect(tmp_path / "gitlab.sqlite3")
    bodies = [
        json.loads(body) for (body,) in connection.execute("SELECT body FROM row WHERE kind = 'Project'")
    ]
    connection.close()
    assert [body["path"] for body in bodies] == ["seen"]
