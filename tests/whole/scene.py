"""What a maintainer does and sees, on a whole stack."""

from __future__ import annotations

import itertools
import time
from typing import Any

import httpx

from deploy.demo import open_sample
from deploy.follow import connect, get, verdict_on, wait_for
from deploy.local.seed import MergeRequest
from deploy.stack import Stack
from orchestrator.preview import Deployment
from orchestrator.report import STATUS_NAME

_numbers = itertools.count(1)
#: How the timeline names the account that a deployment was given.
_BUILT_ON = "builds on "

#: What a build says that asks for a Python which is not there, in the words of heroku/buildpacks-python.
LACKS_PYTHON = [
    "[Determining Python version]",
    "Using Python 3.14 specified in .python-version",
    "[Error: The requested Python version isn't available]",
    "The requested Python version (3.14) isn't available.",
    "ERROR: failed to build: exit status 1",
]

#: A tool without dependencies, so that building it takes no time.
SERVER = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"hello from {name}\\n"
        self.send_response({status})
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""


def server(name: str = "main", *, status: int = 200) -> dict[str, str | bytes | None]:
    """The files of a small web server that answers `status` and its name."""
    return {
        "app.py": SERVER.format(name=name, status=status),
        "Procfile": "web: python app.py\n",
        "requirements.txt": "",
        ".python-version": "3.12\n",
    }


class Scene:
    """Opens, pushes, comments and closes; reads what GitLab and the address show."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._opened: list[MergeRequest] = []

    def opens(
        self,
        files: dict[str, str | bytes | None] | None = None,
        *,
        checks: tuple[tuple[str, int | None], ...] = (),
        beside: MergeRequest | None = None,
    ) -> MergeRequest:
        """A merge request in a connected project of its own, or in that of another one."""
        seeder = self.stack.seeder
        number = next(_numbers)
        project = beside.project if beside else seeder.project(f"tool-{number}")
        if beside is None:
            seeder.push_to_branch(project, "main", {"README.md": "A tool.\n"}, "First")
            connect(self.stack, project.path, checks)
        branch = f"change-{number}" if beside else "change"
        seeder.push_to_branch(project, branch, files or server(), "A change")
        merge_request = seeder.open_merge_request(project, branch, "A change")
        self._opened.append(merge_request)
        return merge_request

    def opens_from_fork(self, merge_request: MergeRequest) -> MergeRequest:
        """A stranger's merge request onto the project of another one."""
        foreign = self.stack.seeder.open_sample_from_fork(merge_request)
        self._opened.append(foreign)
        return foreign

    def opens_sample(self, name: str) -> MergeRequest:
        """A sample's merge request, in a project of its own."""
        merge_request = open_sample(self.stack, name, project_name=f"{name}-{next(_numbers)}")
        self._opened.append(merge_request)
        return merge_request

    def pushes(self, merge_request: MergeRequest, files: dict[str, str | bytes | None]) -> str:
        """A further commit; its id."""
        return self.stack.seeder.push_change(merge_request, files, "Another change")

    def closes(self, merge_request: MergeRequest) -> None:
        """Close it."""
        self.stack.seeder.close_merge_request(merge_request)

    def close_all(self) -> None:
        """Close whatever is still open."""
        for merge_request in self._opened:
            if self.gitlab(merge_request, "")["state"] == "opened":
                self.closes(merge_request)

    def verdict(self, merge_request: MergeRequest, sha: str | None = None) -> Deployment:
        """The deployment of the commit, once it has its verdict and GitLab was told."""
        sha = sha or merge_request.sha
        view = verdict_on(self.stack, merge_request.project.path, merge_request.iid, sha, seconds=90.0)
        assert view.newest is not None
        wait_for("GitLab to be told", lambda: self.is_told(view.preview.id), seconds=30.0)
        return view.newest

    def accounts(self, merge_request: MergeRequest) -> list[str]:
        """Every account it was built on, the first one first."""
        view = self.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
        sentences = [event.why for event in view.events] if view else []
        return [why.removeprefix(_BUILT_ON) for why in sentences if why.startswith(_BUILT_ON)]

    def is_told(self, preview_id: int) -> bool:
        """Whether GitLab knows all that there is to say about the preview."""
        with self.stack.parts.store.read() as tx:
            return not any(
                due.id == preview_id for due in tx.due(time.time() + 3600, limit=1000) if due.kind == "report"
            )

    def account(self, merge_request: MergeRequest) -> str | None:
        """The account it holds."""
        view = self.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
        return view.account.name if view and view.account else None

    def page(self, merge_request: MergeRequest) -> httpx.Response:
        """What the preview's address answers."""
        view = self.stack.parts.views.preview(merge_request.project.path, merge_request.iid)
        assert view is not None
        assert view.address is not None
        return get(view.address)

    def gitlab(self, merge_request: MergeRequest, path: str) -> Any:
        """GitLab's answer about the merge request."""
        base = f"/projects/{merge_request.project.id}/merge_requests/{merge_request.iid}"
        return self.stack.seeder.api("GET", f"{base}{path}")

    def status(self, merge_request: MergeRequest, sha: str | None = None) -> dict[str, Any]:
        """Our newest commit status."""
        path = f"/projects/{merge_request.project.id}/repository/commits/{sha or merge_request.sha}/statuses"
        ours = [s for s in self.stack.seeder.api("GET", path) if s["name"] == STATUS_NAME]
        newest: dict[str, Any] = max(ours, key=lambda status: status["id"])
        return newest

    def note(self, merge_request: MergeRequest) -> str:
        """The text of our one note."""
        notes = [
            n["body"] for n in self.gitlab(merge_request, "/notes") if "<!-- toolforge-preview:" in n["body"]
        ]
        assert len(notes) == 1, f"one note per merge request, not {len(notes)}"
        return str(notes[0])

    def environment(self, merge_request: MergeRequest) -> dict[str, Any]:
        """The preview's environment."""
        path = f"/projects/{merge_request.project.id}/environments?name=preview/mr-{merge_request.iid}"
        environments: list[dict[str, Any]] = self.stack.seeder.api("GET", path)
        assert len(environments) == 1
        return environments[0]
