"""What the tests of the local Toolforge are built from: an account's client, git repositories, patience."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

from deploy.local.toolforge import LocalToolforge
from tests.local.toolforge import contract

IDENTITY = ["-c", "user.name=Maintainer", "-c", "user.email=maintainer@example.org"]
FAST = {"instant": True, "resolve": "scenario"}


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What a condition gives once it is true; fails when that takes too long."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


class Repository:
    """A real git repository on disk."""

    def __init__(self, path: Path, files: dict[str, str]) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit(files)

    @property
    def url(self) -> str:
        """What builds-api is told."""
        return self.path.as_uri()

    def commit(self, files: dict[str, str], branch: str | None = None) -> str:
        """Write files and commit them; the new commit's sha."""
        if branch:
            self.git("checkout", "--quiet", "-B", branch)
        for name, text in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=change")
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        """Run git here; its output."""
        argv = ["git", *IDENTITY, *arguments]
        done = subprocess.run(argv, cwd=self.path, check=True, capture_output=True, text=True)
        return done.stdout.strip()


class Account:
    """A client of one tool, over HTTPS with its certificate. Every answer is held to the contract."""

    def __init__(self, toolforge: LocalToolforge, name: str) -> None:
        self.toolforge = toolforge
        self.name = name
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(toolforge.ca_file)
        kube = toolforge.tool_home(name) / ".toolskube"
        self.session.cert = (str(kube / "client.crt"), str(kube / "client.key"))

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request to the gateway."""
        options.setdefault("timeout", 20)
        answer = self.session.request(method, self.toolforge.gateway_url + path, **options)
        if not options.get("stream"):
            contract.check(method, path, answer)
        return answer

    def builds(self, method: str, path: str = "/builds", **options: Any) -> requests.Response:
        """One request to builds-api."""
        return self.call(method, f"/builds/v1/tool/{self.name}{path}", **options)

    def jobs(self, method: str, path: str = "/jobs", **options: Any) -> requests.Response:
        """One request to jobs-api."""
        return self.call(method, f"/jobs/v1/tool/{self.name}{path}", **options)

    def envvars(self, method: str, path: str = "/envvars", **options: Any) -> requests.Response:
        """One request to envvars-api."""
        return self.call(method, f"/envvars/v1/tool/{self.name}{path}", **options)

    def start(self, source_url: str = "https://example.org/x.git", **parameters: Any) -> requests.Response:
        """POST builds."""
        return self.builds("POST", json={"source_url": source_url, "ref": "refs/heads/main", **parameters})

    def started(self, source_url: str = "https://example.org/x.git", **parameters: Any) -> str:
        """The id of a build that was started."""
        answer = self.start(source_url, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["new_build"]["name"]

    def build(self, name: str) -> dict[str, Any]:
        """A build as it reads now."""
        answer = self.builds("GET", f"/builds/{name}")
        assert answer.status_code == 200, answer.text
        return answer.json()["build"]

    def ended(self, name: str, seconds: float = 30.0) -> dict[str, Any]:
        """A build once it has an end."""
        return until(lambda: (b := self.build(name))["end_time"] and b, seconds)

    def built(self, source_url: str = "https://example.org/x.git", **parameters: Any) -> str:
        """The image, with its digest, of a build that succeeded."""
        build = self.ended(self.started(source_url, **parameters))
        assert build["status"] == "BUILD_SUCCESS", (build, self.log_text(build["build_id"]))
        return build["destination_image"]

    def log(self, name: str, **options: Any) -> Iterator[dict[str, Any]]:
        """The lines of a build's log as objects."""
        path = f"/builds/{name}/logs"
        with self.builds("GET", path, stream=True, **options) as answer:
            assert answer.status_code == 200, answer.text
            for line in answer.iter_lines():
                yield json.loads(line)

    def log_text(self, name: str) -> str:
        """A build's whole log."""
        return "\n".join(line.get("line", str(line)) for line in self.log(name))

    def run(self, image: str, name: str = "web", method: str = "PATCH", **fields: Any) -> requests.Response:
        """Create or update a continuous job."""
        body = {"name": name, "cmd": "web", "imagename": image, "job_type": "continuous", "port": 8000}
        return self.jobs(method, json={**body, **fields})

    def job(self, name: str = "web") -> dict[str, Any]:
        """A job as it reads now."""
        answer = self.jobs("GET", f"/jobs/{name}")
        assert answer.status_code == 200, answer.text
        return answer.json()["job"]

    def ready(self, name: str = "web") -> dict[str, Any]:
        """A job once it is ready."""
        return until(lambda: (job := self.job(name))["status_short"] == "Running" and job)

    def visit(self, path: str = "/", **options: Any) -> requests.Response:
        """One request to the tool's public address."""
        url = f"http://127.0.0.1:{self.toolforge.web_port}{path}"
        headers = {"Host": f"{self.name}.localhost:{self.toolforge.web_port}", **options.pop("headers", {})}
        with requests.Session() as session:
            session.trust_env = False
            return session.get(url, headers=headers, timeout=10, allow_redirects=False, **options)

    def close(self) -> None:
        """Close the connections."""
        self.session.close()


def error_of(answer: requests.Response) -> str:
    """The one text of a flat error answer."""
    body = answer.json()
    assert list(body) == ["error"], body
    assert len(body["error"]) == 1
    return body["error"][0]
