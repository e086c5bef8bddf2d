"""What the tests of the local GitLab stand on: a receiver of webhooks, a client, a project with a branch."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from deploy.local.seed import MergeRequest, Project, Seeder

T = TypeVar("T")
_numbers = itertools.count(1)


def eventually(look: Callable[[], T], *, seconds: float = 5.0) -> T:
    """Look until there is something to see; the last look's answer, or AssertionError."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


@dataclass
class Delivery:
    headers: Mapping[str, str]
    raw: bytes
    body: dict[str, Any]

    @property
    def action(self) -> str:
        return str(self.body["object_attributes"]["action"])


@dataclass
class Receiver:
    """A real HTTP server that keeps what it is sent; `answer` is its status, `delay` how long it thinks."""

    answer: int = 200
    delay: float = 0.0
    got: list[Delivery] = field(default_factory=list)

    def __enter__(self) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(Delivery(self.headers, raw, json.loads(raw)))
                time.sleep(receiver.delay)
                try:
                    self.send_response(receiver.answer)
                    self.end_headers()
                except OSError:
                    pass  # who asked did not wait

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/webhook"

    def wait(self, count: int = 1, kind: str = "") -> list[Delivery]:
        """At least so many deliveries (of a kind)."""

        def seen() -> list[Delivery]:
            found = [item for item in self.got if not kind or item.body["object_kind"] == kind]
            return found if len(found) >= count else []

        return eventually(seen)


@dataclass
class Scene:
    """A project with `main` and a merge request, and clients for the people around it."""

    seeder: Seeder
    service: httpx.Client
    developer: httpx.Client
    reporter: httpx.Client
    root: httpx.Client
    mr: MergeRequest

    @property
    def project(self) -> Project:
        return self.mr.project

    @property
    def path(self) -> str:
        return f"/projects/{self.mr.project.id}"

    @property
    def mr_path(self) -> str:
        return f"{self.path}/merge_requests/{self.mr.iid}"

    def hook(self, receiver: Receiver, **more: Any) -> str:
        """Connect a receiver; the path of the hook."""
        made = self.service.post(
            f"{self.path}/hooks",
            json={
                "url": receiver.url,
                "token": "s3cret",
                "merge_requests_events": True,
                "note_events": True,
                "push_events": False,
                **more,
            },
        )
        assert made.status_code == 201
        return f"{self.path}/hooks/{made.json()['id']}"

    def comment(self, body: str = "hello") -> None:
        """As the developer."""
        self.developer.post(f"{self.mr_path}/notes", json={"body": body}).raise_for_status()

    def deliveries(self, hook: str, count: int) -> list[dict[str, object]]:
        """The hook's past deliveries once there are so many of them, all answered."""

        def seen() -> list[dict[str, object]]:
            found = self.service.get(f"{hook}/events", params={"per_page": 100}).json()
            done = len(found) >= count and all(item["response_status"] != "pending" for item in found)
            return found if done else []

        return eventually(seen)

    def show(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.service.get(self.mr_path).json()
        return shown

    def checked(self) -> dict[str, Any]:
        """The merge request once GitLab knows whether it can be merged."""
        return eventually(
            lambda: (shown := self.show())["detailed_merge_status"] not in ("unchecked", "checking") and shown
        )


@dataclass(frozen=True)
class SceneMaker:
    """Makes projects of their own, each from a repository that was committed once and is pushed whole."""

    seeder: Seeder
    clients: dict[str, httpx.Client]
    templates: Path

    def __call__(self, **files: str) -> Scene:
        """A project with one commit on `main` and one on `feature`, and the merge request of the second."""
        template = self._template(files or {"app.py": "two\n"})
        project = self.seeder.project(f"tool-{next(_numbers)}", "A tool")
        git("push", "-q", self.seeder.push_url(project), "main", "feature", cwd=template)
        mr = self.seeder.open_merge_request(project, "feature", "A change")
        return Scene(self.seeder, **self.clients, mr=mr)

    def _template(self, files: dict[str, str]) -> Path:
        place = self.templates / str(abs(hash(tuple(files.items()))))
        if place.exists():
            return place
        place.mkdir()
        git("init", "-q", "-b", "main", cwd=place)
        for branch, content in (("main", {"README.md": "# Tool\n", "app.py": "one\n"}), ("feature", files)):
            git("checkout", "-q", "-B", branch, cwd=place)
            for path, text in content.items():
                (place / path).write_text(text)
            git("add", ".", cwd=place)
            git("commit", "-q", "-m", "First" if branch == "main" else "Second", cwd=place)
        return place


def git(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run git as somebody with no configuration of their own."""
    surroundings = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(cwd),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "T",
        "GIT_AUTHOR_EMAIL": "t@t.example",
        "GIT_COMMITTER_NAME": "T",
        "GIT_COMMITTER_EMAIL": "t@t.example",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(["git", *arguments], cwd=cwd, env=surroundings, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done
