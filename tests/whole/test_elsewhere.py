"""A set-up from the files for containers, without an engine: their commands, on what the image would hold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import yaml

from orchestrator import counting
from orchestrator.store import Store
from orchestrator.tally import Count, labelled
from tests.conftest import free_port
from tests.databases import Server
from tests.deploy.test_elsewhere import COMPOSE, ROOT, instructions


def wait(what: str, is_so: Callable[[], bool], processes: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert all(process.poll() is None for process in processes), "a process ended"
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(60)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """What the image has in ``/app``."""
    folder = tmp_path / "app"
    for name, words in instructions():
        source, _, target = words.partition(" ")
        if name == "COPY" and target.startswith("/app/"):
            shutil.copytree(ROOT / source, folder / target.removeprefix("/app/"))
    return folder


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    server: Server = request.getfixturevalue("postgresql")
    url = server.create()
    yield url
    server.drop(url)


def test_the_commands_of_the_containers_serve_and_work(
    app: Path, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOOLFORGE_PREVIEW_")}
    environment = clean | {
        "TOOLFORGE_PREVIEW_DATABASE_URL": database_url,
        "TOOLFORGE_PREVIEW_REDIS_URL": redis_url,
        "TOOLFORGE_PREVIEW_QUEUE_PREFIX": "elsewhere",
        # Celery warns root, as which no worker is run in service.
        "PYTHONWARNINGS": "ignore",
        "TOOLFORGE_PREVIEW_GITLAB_URL": f"http://127.0.0.1:{free_port()}",
        "TOOLFORGE_PREVIEW_GITLAB_TOKEN": "none",
        # The image's, and not the one of this repository's own environment.
        "PYTHONPATH": str(app),
    }

    def command(name: str) -> list[str]:
        words = [word.replace("0.0.0.0:8000", f"127.0.0.1:{port}") for word in services[name]["command"]]
        words = [word.replace("/tmp/", f"{tmp_path}/") for word in words]
        assert words[0] == "python"
        return [sys.executable, *words[1:]]

    subprocess.run(command("migrate"), cwd=app, env=environment, check=True)
    store = Store(database_url)
    with ExitStack() as stack, (tmp_path / "log").open("wb") as log:
        stack.callback(store.close)
        processes = []
        for name in ("web", "worker", "beat"):
            process = subprocess.Popen(command(name), cwd=app, env=environment, stdout=log, stderr=log)
            stack.callback(end, process)
            processes.append(process)

        def is_ready() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        wait("readyz", is_ready, processes)
        with store.write() as tx:
            project_id = tx.put_project(
                gitlab_id=1,
                path="group/tool",
                web_url="http://gitlab/group/tool",
                git_url="http://gitlab/group/tool.git",
                secret_digests=[],
                checks=[],
                now=time.time(),
                due_at=time.time(),
            )

        def was_looked_at() -> bool:
            """By a worker, whom beat has sent; there is no GitLab to answer."""
            with store.engine.connect() as connection:
                found = connection.exec_driver_sql(f"SELECT attempts FROM project WHERE id = {project_id}")
                return bool(found.scalar())

        wait("a worker looks at what is due", was_looked_at, processes)
        for process in processes:
            end(process)
        with store.read() as tx:
            calls = labelled(counting.read(tx.connection), Count.API_CALLS)
        listed = ("gitlab", "GET /projects/:id/merge_requests", "GitLabBusy")
        assert calls[listed] >= 1, "what a worker counts last is written when it ends"
    lines = (tmp_path / "log").read_text().splitlines()
    # In service each line is JSON, those of gunicorn and Celery, too; but for Celery's last word.
    assert [line for line in lines if line and line[0] != "{"] == ["worker: Warm shutdown (MainProcess)"]
    assert all(json.loads(line)["time"] for line in lines if line and line[0] == "{")
