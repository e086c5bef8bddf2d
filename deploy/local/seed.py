"""Puts life into a local GitLab: people, projects, merge requests, pushes.

Speaks GitLab's REST API and git over HTTP only, with the administrator's token; so it would work on any
GitLab. Everything can be repeated: what is there already is found and used.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from deploy.local.seed_git import (
    SeedError,
    commit,
    copy_over,
    fetch,
    git,
    head_and_base,
    project_name_of,
    put,
    shown,
    worktree,
)

SAMPLES = Path(__file__).parent / "samples"
#: The tools with a story; on a machine without Node the last one takes the third one's place.
STORIES = ("citation-counter", "coordinate-converter", "interwiki-links")
WITHOUT_NODE = "editathon-clock"
DEVELOPER, REPORTER, MAINTAINER = 30, 20, 40


@dataclass(frozen=True)
class Person:
    """A user with a token of scope `api`."""

    id: int
    username: str
    token: str


@dataclass(frozen=True)
class Application:
    """An OAuth application, through which people sign in somewhere."""

    id: str
    secret: str


@dataclass(frozen=True)
class Project:
    """A project of the group, with where to see and to clone it."""

    id: int
    path: str
    web_url: str
    clone_url: str


@dataclass(frozen=True)
class MergeRequest:
    """An open merge request; `sha` is its head."""

    project: Project
    iid: int
    sha: str
    source_branch: str
    web_url: str
    title: str


class Seeder:
    """A group on a running GitLab with its people: a developer, a reporter, and the service (Maintainer).

    `service.token` is what the product uses; `operator` is in no project and no group. Use as a context
    manager, or `close()`.
    """

    def __init__(self, url: str, root_token: str, *, group: str = "tools") -> None:
        self.url = url.rstrip("/")
        self.group = group
        self._client = httpx.Client(
            base_url=f"{self.url}/api/v4", headers={"PRIVATE-TOKEN": root_token}, timeout=60, trust_env=False
        )
        self._made_group = self._ensure_group(group)
        self.developer = self._person("dana", "Dana Developer", DEVELOPER)
        self.reporter = self._person("rene", "Rene Reporter", REPORTER)
        self.service = self._person("preview-service", "Toolforge Preview", MAINTAINER)
        self.operator = self._person("olga", "Olga Operator", None)

    def __enter__(self) -> Seeder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def api(self, method: str, path: str, /, *, token: str = "", **body: Any) -> Any:
        """One REST call as the administrator (or with a token); the parsed answer, or SeedError."""
        headers = {"PRIVATE-TOKEN": token} if token else {}
        try:
            answer = self._client.request(method, path, json=body or None, headers=headers)
        except httpx.HTTPError as problem:
            raise SeedError(f"{method} {path}: {problem}") from problem
        if answer.is_error:
            raise SeedError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else None

    def _ensure_group(self, path: str) -> dict[str, Any]:
        found = self._client.get(f"/groups/{quote(path, safe='')}")
        if found.status_code == 404:
            made: dict[str, Any] = self.api("POST", "/groups", name=path, path=path, visibility="public")
            return made
        existing: dict[str, Any] = found.json()
        return existing

    def application(self, name: str, redirect_uri: str) -> Application:
        """A new application that may learn who somebody is, and nothing else."""
        made = self.api(
            "POST", "/applications", name=name, redirect_uri=redirect_uri, scopes="openid", confidential=True
        )
        return Application(made["application_id"], made["secret"])

    def _person(self, username: str, name: str, level: int | None) -> Person:
        """A user of the group, or with None of none, with a fresh token."""
        found = self.api("GET", f"/users?username={username}")
        email = f"{username}@tools.example"
        user = found[0] if found else self.api("POST", "/users", username=username, name=name, email=email)
        members = f"/groups/{self._made_group['id']}/members"
        if level is not None:
            known = self.api("GET", f"{members}?per_page=100")
            if not any(member["id"] == user["id"] for member in known):
                self.api("POST", members, user_id=user["id"], access_level=level)
        path = f"/users/{user['id']}/personal_access_tokens"
        token = self.api("POST", path, name="seeded", scopes=["api"])
        return Person(user["id"], username, token["token"])

    def project(self, name: str, description: str = "") -> Project:
        """A public project of the group: the one that is there, or a new empty one."""
        found = self._client.get(f"/projects/{quote(f'{self.group}/{name}', safe='')}")
        made = (
            found.json()
            if found.status_code == 200
            else self.api(
                "POST",
                "/projects",
                name=name,
                path=name,
                namespace_id=self._made_group["id"],
                visibility="public",
                description=description,
            )
        )
        return Project(made["id"], made["path_with_namespace"], made["web_url"], made["http_url_to_repo"])

    def open_merge_request(
        self, project: Project, branch: str, title: str, description: str = "", *, token: str = ""
    ) -> MergeRequest:
        """A merge request of a branch that was pushed, onto `main`; the open one if there is one."""
        found = self._merge_requests(project, branch, "opened")
        if found:
            return found[0]
        made = self.api(
            "POST",
            f"/projects/{project.id}/merge_requests",
            token=token or self.developer.token,
            source_branch=branch,
            target_branch="main",
            title=title,
            description=description,
        )
        return _merge_request(project, made)

    def _merge_requests(self, project: Project, branch: str, state: str) -> list[MergeRequest]:
        """Those from a branch, newest first."""
        query = f"state={state}&source_branch={quote(branch, safe='')}"
        found = self.api("GET", f"/projects/{project.id}/merge_requests?{query}")
        return [_merge_request(project, item) for item in found]

    def push_url(self, project: Project, token: str = "") -> str:
        """The clone address with a token in it, for git."""
        parts = urlsplit(project.clone_url)
        return f"{parts.scheme}://oauth2:{token or self.developer.token}@{parts.netloc}{parts.path}"

    def open_sample(self, name: str, *, project_name: str = "") -> MergeRequest:
        """A project out of a sample's `main/`, and a merge request that lays `merge-request/` over it.

        One that was opened before is returned as it is, even if it was closed or merged since.
        """
        sample = load_sample(name)
        project = self.project(project_name or sample.about["project"], sample.about["project_description"])
        before = self._merge_requests(project, sample.about["branch"], "all")
        if before:
            return before[0]
        with worktree() as tree:
            copy_over(sample.main, tree)
            commit(tree, "First version")
            git(tree, "push", "--quiet", self.push_url(project), "HEAD:refs/heads/main", check=False)
            git(tree, "fetch", "--quiet", self.push_url(project), "main")
            git(tree, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
            copy_over(sample.change, tree)
            branch = sample.about["branch"]
            commit(tree, sample.about["commit"])
            git(tree, "push", "--quiet", self.push_url(project), f"HEAD:refs/heads/{branch}", check=False)
        return self.open_merge_request(project, branch, sample.about["title"], sample.about["description"])

    def open_samples(self) -> list[MergeRequest]:
        """The three tools with a story, each with its open merge request."""
        return [self.open_sample(name) for name in stories()]

    def push_change(
        self, merge_request: MergeRequest, files: Mapping[str, str | bytes | None], message: str
    ) -> str:
        """Commit files (None deletes one) to a merge request's branch and push; the new head's id."""
        return self.push_to_branch(merge_request.project, merge_request.source_branch, files, message)

    def push_to_branch(
        self,
        project: Project,
        branch: str,
        files: Mapping[str, str | bytes | None],
        message: str,
        *,
        start: str = "main",
        token: str = "",
    ) -> str:
        """Commit files to a branch, which begins at `start` (or empty) when it is new; the commit's id."""
        address = self.push_url(project, token)
        with worktree() as tree:
            for ref in (branch, start):
                if git(tree, "fetch", "--quiet", address, f"refs/heads/{ref}", check=False) is not None:
                    git(tree, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
                    break
            for path, content in files.items():
                put(tree, path, content)
            commit(tree, message)
            git(tree, "push", "--quiet", address, f"HEAD:refs/heads/{branch}")
            return str(git(tree, "rev-parse", "HEAD"))

    def open_sample_from_fork(self, merge_request: MergeRequest, owner: str = "otto") -> MergeRequest:
        """A stranger's merge request: the same change, pushed to a fork that is theirs."""
        found = self.api("GET", f"/users?username={owner}")
        user = found[0] if found else self.api(
            "POST", "/users", username=owner, name=owner.title(), email=f"{owner}@elsewhere.example"
        )  # fmt: skip
        path = f"/users/{user['id']}/personal_access_tokens"
        token = self.api("POST", path, name="seeded", scopes=["api"])["token"]
        target = merge_request.project
        name = target.path.rsplit("/", 1)[-1]
        existing = self._client.get(f"/projects/{quote(f'{owner}/{name}', safe='')}")
        fork = (
            existing.json()
            if existing.status_code == 200
            else self.api("POST", f"/projects/{target.id}/fork", token=token)
        )
        place = Project(fork["id"], fork["path_with_namespace"], fork["web_url"], fork["http_url_to_repo"])
        self.push_to_branch(
            place, "from-outside", {"FROM-OUTSIDE.md": "Hello.\n"}, "Say hello", token=token,
            start=merge_request.source_branch,
        )  # fmt: skip
        made = self.api(
            "POST",
            f"/projects/{place.id}/merge_requests",
            token=token,
            source_branch="from-outside",
            target_branch="main",
            target_project_id=target.id,
            title="A change from outside",
        )
        return _merge_request(target, made)

    def open_merge_request_from_repository(
        self, source: str | Path, ref: str = "HEAD", *, name: str = "", title: str = ""
    ) -> MergeRequest:
        """A merge request out of any repository (a path or an address): `ref` onto its parent commit.

        The commit keeps its id, unless it has no parent that could be pushed (a single commit, or the end of
        a shallow clone): then the same files and message stand on an empty first commit.
        """
        address = str(Path(source).resolve()) if Path(source).exists() else str(source)
        name = name or project_name_of(address)
        with worktree() as tree:
            fetch(tree, address, ref)
            head, base = head_and_base(tree)
            project = self.project(name, f"From {shown(address)}")
            to = self.push_url(project)
            branch = f"try-{head[:10]}"
            pushes = (f"+{base}:refs/heads/main", f"+{head}:refs/heads/{branch}")
            git(tree, "push", "--quiet", to, *pushes)
            subject = str(git(tree, "show", "--no-patch", "--format=%s", head))
        text = f"`{ref}` of {shown(address)}"
        return self.open_merge_request(project, branch, title or subject or "A change", text)

    def comment(self, merge_request: MergeRequest, body: str, *, as_person: Person | None = None) -> int:
        """Write a comment; its id."""
        path = f"/projects/{merge_request.project.id}/merge_requests/{merge_request.iid}/notes"
        made = self.api("POST", path, token=(as_person or self.developer).token, body=body)
        return int(made["id"])

    def close_merge_request(self, merge_request: MergeRequest) -> None:
        """Close it, as the developer."""
        self._state(merge_request, "close")

    def reopen_merge_request(self, merge_request: MergeRequest) -> None:
        """Open it again, as the developer."""
        self._state(merge_request, "reopen")

    def _state(self, merge_request: MergeRequest, event: str) -> None:
        path = f"/projects/{merge_request.project.id}/merge_requests/{merge_request.iid}"
        self.api("PUT", path, token=self.developer.token, state_event=event)


def _merge_request(project: Project, item: dict[str, Any]) -> MergeRequest:
    return MergeRequest(
        project, item["iid"], item["sha"], item["source_branch"], item["web_url"], item["title"]
    )


@dataclass(frozen=True)
class Sample:
    """A sample's folders, and its `sample.json`."""

    name: str
    main: Path
    change: Path
    about: dict[str, str]


def sample_names() -> list[str]:
    """Every sample there is, the broken ones too."""
    return sorted(path.parent.name for path in SAMPLES.glob("*/sample.json"))


def stories() -> tuple[str, ...]:
    """The three samples of the demonstration: with a Node tool where the machine has node."""
    if shutil.which("node"):
        return STORIES
    return (*STORIES[:2], WITHOUT_NODE)


def load_sample(name: str) -> Sample:
    """A sample by name; one with a `base` starts from the other's `main/`. SeedError when there is none."""
    folder = SAMPLES / name
    if not (folder / "sample.json").is_file():
        raise SeedError(f"there is no sample {name!r}; there are: {', '.join(sample_names())}")
    about = json.loads((folder / "sample.json").read_text())
    return Sample(name, SAMPLES / about.get("base", name) / "main", folder / "merge-request", about)
