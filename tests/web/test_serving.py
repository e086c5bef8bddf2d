"""The web process as it is in service: gunicorn, with our own configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from orchestrator import counting
from orchestrator.store import Store
from orchestrator.tally import Count, labelled
from tests.conftest import free_port

COMMAND = [sys.executable, "-m", "gunicorn", "--config", "python:web.serving", "web.app:create_app()"]


@contextmanager
def gunicorn(folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running gunicorn, and its address; its log is `folder`'s ``log``."""
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOOLFORGE_PREVIEW_")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            COMMAND, stderr=log, stdout=log, text=True, env=clean | {"PORT": str(port)} | environment
        )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def answers(process: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"{url}/healthz", trust_env=False)
            return
        except httpx.HTTPError:
            assert process.poll() is None, "it ended"
            assert time.monotonic() < deadline, "nobody listens"
            time.sleep(0.05)


def test_gunicorn_listens_on_port_logs_in_json_and_writes_its_counts_at_the_end(
    database_url: str, tmp_path: Path
) -> None:
    settings = {
        "TOOLFORGE_PREVIEW_DATABASE_URL": database_url,
        "TOOLFORGE_PREVIEW_GITLAB_TOKEN": "none",
    }
    with gunicorn(tmp_path, **settings) as (process, url):
        answers(process, url)
        assert httpx.post(f"{url}/webhook/gitlab", content=b"no JSON", trust_env=False).status_code == 400
        process.terminate()
        assert process.wait(20) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert any("Listening at" in line["message"] for line in lines)
    store = Store(database_url)
    with store.read() as tx:
        assert labelled(counting.read(tx.connection), Count.WEBHOOKS) == {("400",): 1.0}
    store.close()


def test_a_wrong_setting_is_one_sentence(tmp_path: Path) -> None:
    with gunicorn(tmp_path, TOOLFORGE_PREVIEW_NONSENSE="1") as (process, _):
        assert process.wait(30) != 0
    log = (tmp_path / "log").read_text()
    assert "Unknown setting TOOLFORGE_PREVIEW_NONSENSE" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    "name",
    ["worker_class", "threads", "graceful_timeout", "control_socket_disable", "logger_class"],
)
def test_what_the_configuration_names_is_a_setting_of_gunicorn(name: str) -> None:
    from gunicorn.config import KNOWN_SETTINGS

    assert name in {setting.name for setting in KNOWN_SETTINGS}
