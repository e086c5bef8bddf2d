"""What a Sentry-compatible service is told of an error, by a process of its own."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.background import Background

_TOKEN = "a-token-that-nobody-is-to-see"
_PROGRAM = """
import logging, sys
from orchestrator import logs, sentry
from orchestrator.settings import load_settings

sentry.install(load_settings(gitlab_token=sys.argv[1], sentry_dsn=sys.argv[2], database_url="sqlite://"))
with logs.about(deployment=17):
    hidden = "in a variable"
    try:
        raise ValueError(f"GitLab refused {sys.argv[1]}")
    except ValueError:
        logging.getLogger("worker.runner").exception("a step failed with %s", sys.argv[1])
logging.getLogger("worker.runner").warning("no error at all")
"""


class _Sentry(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Sentry

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_packed = self.headers.get("Content-Encoding") == "gzip"
        self.server.told.append((gzip.decompress(body) if is_packed else body).decode())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[_Sentry]:
    server = _Sentry()
    with Background(server):
        yield server


def run(dsn: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _PROGRAM, _TOKEN, dsn]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def events(service: _Sentry) -> list[dict[str, Any]]:
    """Envelopes are lines of JSON: a head, then for each item a head and itself."""
    lines = [json.loads(line) for text in service.told for line in text.splitlines()]
    return [line for line in lines if "exception" in line or "logentry" in line]


def test_an_error_is_told_with_its_place_and_ids_and_without_secrets(service: _Sentry) -> None:
    done = run(f"http://public-key@127.0.0.1:{service.server_port}/1")
    assert done.returncode == 0, done.stderr
    (event,) = events(service)
    (exception,) = event["exception"]["values"]
    assert exception["type"] == "ValueError"
    assert exception["value"] == "GitLab refused [masked]"
    assert event["tags"] == {"deployment": "17"}
    assert event["release"]
    everything = "".join(service.told)
    assert "a step failed" in everything
    assert _TOKEN not in everything
    assert all("vars" not in frame for frame in exception["stacktrace"]["frames"])


def test_without_the_setting_nobody_is_told(service: _Sentry) -> None:
    program = _PROGRAM.replace(", sentry_dsn=sys.argv[2]", "")
    done = subprocess.run([sys.executable, "-c", program, _TOKEN], capture_output=True, check=False)
    assert done.returncode == 0
    assert service.told == []


@pytest.mark.parametrize("dsn", ["nonsense", "http://127.0.0.1/without-a-key"])
def test_what_is_no_dsn_is_said(dsn: str) -> None:
    done = run(dsn)
    assert done.returncode != 0
    assert "The setting sentry_dsn is no DSN" in done.stderr
