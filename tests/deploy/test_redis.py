"""The Redis of a service: with a password, and without anything on the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, ConnectionError

from orchestrator.settings import PREFIX
from tests.conftest import free_port

PASSWORD = "a-long-enough-password"
COMMAND = [sys.executable, "-m", "deploy", "redis", "--bind", "127.0.0.1"]


def environment(url: str, folder: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return clean | {
        f"{PREFIX}REDIS_URL": url,
        f"{PREFIX}GITLAB_TOKEN": "none",
        "TMPDIR": str(folder),
    }


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A running one."""
    url = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0"
    process = subprocess.Popen(COMMAND, env=environment(url, tmp_path), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while True:
        try:
            Redis.from_url(url).ping()
            break
        except ConnectionError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield url
    process.terminate()
    process.wait()


def test_it_wants_the_password_and_keeps_nothing(url: str, tmp_path: Path) -> None:
    with pytest.raises(AuthenticationError):
        Redis.from_url(url.replace(f":{PASSWORD}@", "")).ping()
    redis: Redis = Redis.from_url(url, decode_responses=True)
    assert redis.config_get("save") == {"save": ""}
    assert redis.config_get("appendonly") == {"appendonly": "no"}
    redis.set("a", "b")
    assert list(tmp_path.iterdir()) == [], "nor the password"
    command = Path(f"/proc/{redis.info('server')['process_id']}/cmdline").read_text()
    assert PASSWORD not in command


@pytest.mark.parametrize(
    "password", ["", "short", "with space and more of it", "%0Asave 1 1%0A and more", 'quote"quote"quote"']
)
def test_a_password_that_is_none_is_refused(password: str, tmp_path: Path) -> None:
    url = f"redis://:{password}@127.0.0.1:{free_port()}/0"
    done = subprocess.run(
        COMMAND, env=environment(url, tmp_path), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "needs a password of at least 16" in done.stderr
