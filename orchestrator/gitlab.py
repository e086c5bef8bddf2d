"""GitLab's REST API (v4), the calls that previews need.

::

    GitLabError
    ├── GitLabBusy (TryLater)   429, 5xx, unreachable, or the answer was lost
    ├── NotPermitted            the token is refused or lacks a right
    ├── Missing                 404
    └── Rejected                400 and the like, with GitLab's own words
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from orchestrator.endpoints import OnCall, counted, nobody
from orchestrator.errors import PreviewError, TryLater
from orchestrator.merge_request import MergeRequest

#: GitLab's numbers for roles (its documentation, "Group and project members API").
REPORTER, DEVELOPER, MAINTAINER = 20, 30, 40
#: People wait for a page that depends on what they may do.
_RIGHTS_SECONDS = 5.0
_PAGE = 100


class GitLabError(PreviewError):
    """GitLab did not do what it was asked for."""


class GitLabBusy(GitLabError, TryLater):
    """GitLab cannot answer now."""


class NotPermitted(GitLabError):
    """GitLab refuses the token, or the token lacks a right."""


class Missing(GitLabError):
    """GitLab does not know it."""


class Rejected(GitLabError):
    """GitLab says that the request is wrong."""


class GitLab:
    """One GitLab instance with one token (scope ``api``). May be shared between threads.

    `on_call` is told of every request.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        user_agent: str,
        ca_file: Path | None = None,
        on_call: OnCall = nobody,
    ) -> None:
        self.url = url.rstrip("/")
        self._on_call = on_call
        self._client = httpx.Client(
            base_url=f"{self.url}/api/v4",
            headers={"PRIVATE-TOKEN": token, "User-Agent": user_agent},
            timeout=httpx.Timeout(20.0, connect=5.0),
            verify=ssl.create_default_context(cafile=str(ca_file) if ca_file else None),
            # The environment must not be able to send the token through a proxy, or other credentials along.
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # --- reading --------------------------------------------------------------------------------------

    def merge_request(self, project_id: int, iid: int) -> MergeRequest:
        """The merge request as it is now."""
        return _merge_request(self._mapping("GET", f"/projects/{project_id}/merge_requests/{iid}"))

    def merged_result(self, project_id: int, iid: int) -> str | None:
        """The commit that merging it now would make, which GitLab puts at ``refs/merge-requests/IID/merge``.

        None when it cannot be merged (GitLab's documentation, "Merge to default merge ref path").
        """
        path = f"/projects/{project_id}/merge_requests/{iid}"
        try:
            return str(self._mapping("GET", f"{path}/merge_ref").get("commit_id") or "") or None
        except Rejected as error:
            if str(self._mapping("GET", path).get("merge_status")).startswith("cannot_be_merged"):
                return None
            raise GitLabBusy(f"GitLab does not say whether it can be merged: {error}") from None

    def parents(self, project_id: int, sha: str) -> list[str]:
        """The parents of a commit; :class:`Missing` when the project does not know it."""
        commit = self._mapping("GET", f"/projects/{project_id}/repository/commits/{quote(sha, safe='')}")
        return [str(parent) for parent in _list(commit.get("parent_ids"))]

    def open_merge_requests(self, project_id: int) -> dict[int, str]:
        """The head commits of all open merge requests, by their numbers."""
        path = f"/projects/{project_id}/merge_requests"
        listed = self._pages(path, state="opened")
        return {_number(item, "iid"): str(item.get("sha") or "") for item in listed}

    def pipeline_of(self, project_id: int, iid: int, sha: str) -> int | None:
        """The project's newest pipeline of a merge request at a commit; None when it has none there.

        Listed are those of a fork, too, which are the fork's.
        """
        listed = self._pages(f"/projects/{project_id}/merge_requests/{iid}/pipelines")
        ours = (item for item in listed if (item.get("sha"), item.get("project_id")) == (sha, project_id))
        return next((_number(item, "id") for item in ours), None)

    def tree(self, project_id: int, sha: str) -> str:
        """A name for all files of a commit; commits with the same files have the same.

        GitLab does not tell the id of a commit's tree, but those of everything in it. Raises
        :class:`Missing` when the project does not know the commit.
        """
        path = f"/projects/{project_id}/repository/tree"
        entries = sorted(
            f"{item.get('mode')} {item.get('id')} {item.get('path')}" for item in self._pages(path, ref=sha)
        )
        return hashlib.sha256("\0".join(entries).encode("utf-8", "replace")).hexdigest()

    def file(self, project_id: int, path: str, sha: str, *, most_bytes: int) -> bytes:
        """The beginning of a file at a commit; :class:`Missing` when any of the three is not there."""
        url = f"/projects/{project_id}/repository/files/{quote(path, safe='')}/raw"
        content = bytearray()
        with (
            self._asking("GET", url),
            self._client.stream("GET", url, params={"ref": sha}) as response,
        ):
            if response.status_code >= 400:
                response.read()
                raise _named_error(response)
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) >= most_bytes:
                    break
        return bytes(content[:most_bytes])

    def changed_paths(self, project_id: int, iid: int, *, most: int) -> list[str] | None:
        """The files that a merge request changes, by their old and new names; None: more than `most`."""
        diffs = self._pages(f"/projects/{project_id}/merge_requests/{iid}/diffs")
        changed = list(islice(diffs, most + 1))
        if len(changed) > most:
            return None
        return sorted({str(item.get(side)) for item in changed for side in ("old_path", "new_path")})

    def project(self, path_or_id: str | int) -> Mapping[str, Any]:
        """GitLab's description of a project."""
        return self._mapping("GET", f"/projects/{quote(str(path_or_id), safe='')}")

    def default_branch(self, project_id: int) -> str:
        """The name of a project's default branch; empty where it has none."""
        return str(self.project(project_id).get("default_branch") or "")

    def head_of(self, project_id: int, branch: str) -> str | None:
        """The newest commit of a branch; None where there is no such branch.

        (GitLab's documentation, "Get single repository branch".)
        """
        path = f"/projects/{project_id}/repository/branches/{quote(branch, safe='')}"
        try:
            commit = _mapping(self._mapping("GET", path).get("commit"))
        except Missing:
            return None
        return str(commit.get("id") or "") or None

    def projects_of(self, group: str) -> list[str]:
        """The paths of a group's projects, those of its subgroups included, that are not archived.

        (GitLab's documentation, "List a group's projects".) Raises :class:`Missing` when there is no such
        group, or none that the token can see.
        """
        path = f"/groups/{quote(group, safe='')}/projects"
        listed = self._pages(path, include_subgroups="true", archived="false")
        return sorted(str(item.get("path_with_namespace")) for item in listed)

    def access_level(self, project_id: int, user_id: int) -> int:
        """The user's access level in the project, inherited rights included; 0 for none.

        Whose account is blocked stays a member, and has none either.
        """
        path = f"/projects/{project_id}/members/all/{user_id}"
        try:
            member = self._mapping("GET", path, timeout=_RIGHTS_SECONDS)
        except Missing:
            return 0
        return _number(member, "access_level") if member.get("state", "active") == "active" else 0

    def active_name(self, user_id: int) -> str | None:
        """The user's present name; None where there is none, or the account is blocked.

        (GitLab's documentation, "Retrieve a user".)
        """
        try:
            user = self._mapping("GET", f"/users/{user_id}", timeout=_RIGHTS_SECONDS)
        except Missing:
            return None
        return str(user.get("username")) if user.get("state") == "active" else None

    def own_name(self) -> str:
        """The user name that the token belongs to."""
        return str(self._mapping("GET", "/user").get("username"))

    def token_scopes(self) -> list[str]:
        """The scopes of the token."""
        scopes = self._mapping("GET", "/personal_access_tokens/self").get("scopes")
        return [str(scope) for scope in scopes] if isinstance(scopes, list) else []

    def time_of_day(self) -> float | None:
        """What its clock says, in seconds since 1970; None when it does not tell."""
        told = self._response("GET", "/version").headers.get("Date", "")
        try:
            return parsedate_to_datetime(told).timestamp()
        except ValueError:
            return None

    # --- changing -------------------------------------------------------------------------------------

    def commit_file(
        self, project_id: int, branch: str, start: str, path: str, text: str, *, message: str, is_new: bool
    ) -> None:
        """Write one file on a new branch that begins at `start`; a branch of that name stays as it is."""
        action = {"action": "create" if is_new else "update", "file_path": path, "content": text}
        body = {"branch": branch, "start_branch": start, "commit_message": message, "actions": [action]}
        try:
            self._call("POST", f"/projects/{project_id}/repository/commits", json=body)
        except Rejected as error:
            if "already exists" not in str(error):
                raise

    def open_merge_request(self, project_id: int, source: str, target: str, title: str) -> str:
        """Open a merge request, or find the open one of these branches; its address."""
        path = f"/projects/{project_id}/merge_requests"
        known = self._pages(path, state="opened", source_branch=source, target_branch=target)
        found = next(known, None)
        if found is None:
            branches = {"source_branch": source, "target_branch": target}
            body = {**branches, "title": title, "remove_source_branch": True}
            found = self._mapping("POST", path, json=body)
        return str(found.get("web_url"))

    # --- telling --------------------------------------------------------------------------------------

    def add_hook(self, project_id: int, url: str, secret: str, *, signing_token: str | None = None) -> bool:
        """Make the project's webhook to `url`, or give the one there is new secrets.

        True when GitLab will sign its deliveries, which older versions do not.
        """
        path = f"/projects/{project_id}/hooks"
        body = {
            "url": url,
            "token": secret,
            "merge_requests_events": True,
            "note_events": True,
            "push_events": False,
            "enable_ssl_verification": url.startswith("https://"),
        }
        if signing_token is not None:
            body["signing_token"] = signing_token
        known = next((_number(hook, "id") for hook in self._pages(path) if hook.get("url") == url), None)
        if known is None:
            answer = self._mapping("POST", path, json=body)
        else:
            answer = self._mapping("PUT", f"{path}/{known}", json=body)
        return signing_token is not None and answer.get("signing_token_present") is True

    def remove_hook(self, project_id: int, url: str) -> None:
        """Delete the project's webhooks to `url`; gone already is fine."""
        path = f"/projects/{project_id}/hooks"
        with suppress(Missing):
            for hook in [hook for hook in self._pages(path) if hook.get("url") == url]:
                self._call("DELETE", f"{path}/{_number(hook, 'id')}")

    def set_status(
        self,
        project_id: int,
        sha: str,
        *,
        state: str,
        name: str,
        description: str,
        target_url: str,
        ref: str | None = None,
        pipeline_id: int | None = None,
    ) -> None:
        """Set a commit status, on a branch or in a pipeline that there is.

        GitLab refuses to repeat a state; that it is so already is what was wanted. Raises :class:`Missing`
        when the commit is on no branch of the project: in a merge request's pipeline it may be all the same.
        """
        body = {
            "state": state,
            "name": name,
            "description": description,
            "target_url": target_url,
            "ref": ref,
            "pipeline_id": pipeline_id,
        }
        body = {key: value for key, value in body.items() if value is not None}
        try:
            self._call("POST", f"/projects/{project_id}/statuses/{sha}", json=body)
        except Rejected as error:
            if "Cannot transition status" not in str(error):
                raise

    def put_note(self, project_id: int, iid: int, body: str, *, marker: str, note_id: int | None) -> int:
        """Write our one note, known by its id or else found by `marker`; returns its id."""
        path = f"/projects/{project_id}/merge_requests/{iid}/notes"
        if note_id is None:
            note_id = next(
                (_number(note, "id") for note in self._pages(path) if self._is_ours(note, marker)), None
            )
        if note_id is not None:
            try:
                self._call("PUT", f"{path}/{note_id}", json={"body": body})
                return note_id
            except Missing:
                pass  # somebody deleted it
        return _number(self._mapping("POST", path, json={"body": body}), "id")

    def _is_ours(self, note: Mapping[str, Any], marker: str) -> bool:
        # Anybody can write the marker into a comment of theirs, so the author counts, too.
        return _mapping(note.get("author")).get("id") == self._own_id and str(note.get("body")).startswith(
            marker
        )

    @cached_property
    def _own_id(self) -> int:
        return _number(self._mapping("GET", "/user"), "id")

    def award_emoji(self, project_id: int, iid: int, note_id: int, name: str) -> None:
        """Answer a comment with an emoji; there already is fine."""
        path = f"/projects/{project_id}/merge_requests/{iid}/notes/{note_id}/award_emoji"
        with suppress(Missing, Rejected):
            self._call("POST", path, json={"name": name})

    def issue_with(self, project_id: int, marker: str) -> tuple[int, bool] | None:
        """The number of our one issue, found by `marker`, and whether it is open; None where there is none.

        (GitLab's documentation, "List project issues".)
        """
        ours = self._pages(f"/projects/{project_id}/issues", author_id=str(self._own_id))
        # Anybody can write the marker into an issue of theirs, so the author counts, too.
        found = (one for one in ours if _mapping(one.get("author")).get("id") == self._own_id)
        issue = next((one for one in found if str(one.get("description")).startswith(marker)), None)
        return (_number(issue, "iid"), issue.get("state") == "opened") if issue else None

    def open_issue(self, project_id: int, title: str, description: str) -> int:
        """Open an issue; returns its number. Not safe to repeat: look with :meth:`issue_with` first."""
        body = {"title": title, "description": description}
        return _number(self._mapping("POST", f"/projects/{project_id}/issues", json=body), "iid")

    def change_issue(
        self, project_id: int, iid: int, title: str, description: str, *, event: str | None
    ) -> None:
        """Write an issue anew; `event` is ``close`` or ``reopen``. Raises :class:`Missing` when it is gone.

        (GitLab's documentation, "Edit an issue".)
        """
        body = {"title": title, "description": description}
        if event is not None:
            body["state_event"] = event
        self._call("PUT", f"/projects/{project_id}/issues/{iid}", json=body)

    def put_environment(self, project_id: int, name: str, *, external_url: str) -> None:
        """Make the environment, or give the one there is its address."""
        path = f"/projects/{project_id}/environments"
        body = {"name": name, "external_url": external_url, "tier": "development"}
        try:
            self._call("POST", path, json=body)
        except Rejected as error:
            known = self._environment_id(project_id, name)
            if known is None:
                raise error from None
            self._call("PUT", f"{path}/{known}", json={"external_url": external_url})

    def stop_environment(self, project_id: int, name: str) -> None:
        """Stop the environment; gone already is fine."""
        known = self._environment_id(project_id, name)
        if known is not None:
            with suppress(Missing):
                self._call("POST", f"/projects/{project_id}/environments/{known}/stop")

    def _environment_id(self, project_id: int, name: str) -> int | None:
        found = self._pages(f"/projects/{project_id}/environments", name=name)
        return next((_number(item, "id") for item in found), None)

    def add_deployment(self, project_id: int, *, environment: str, sha: str, ref: str, status: str) -> int:
        """Record a deployment; returns its id. Not safe to repeat: look with :meth:`deployments` first."""
        body = {"environment": environment, "sha": sha, "ref": ref, "tag": False, "status": status}
        return _number(self._mapping("POST", f"/projects/{project_id}/deployments", json=body), "id")

    def deployments(self, project_id: int, environment: str) -> list[tuple[int, str, str]]:
        """The newest deployments of an environment, as (id, commit, status)."""
        query = {"environment": environment, "order_by": "id", "sort": "desc"}
        latest = islice(self._pages(f"/projects/{project_id}/deployments", **query), _PAGE)
        return [(_number(item, "id"), str(item.get("sha")), str(item.get("status"))) for item in latest]

    # --- within ---------------------------------------------------------------------------------------

    def _pages(self, path: str, **query: str) -> Iterator[Mapping[str, Any]]:
        page = "1"
        while page:
            response = self._response("GET", path, params={**query, "per_page": str(_PAGE), "page": page})
            items = _json(response)
            if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
                raise GitLabBusy("GitLab's answer is no list")
            yield from items
            page = response.headers.get("x-next-page", "")

    def _mapping(self, method: str, path: str, **kwargs: Any) -> Mapping[str, Any]:
        answer = self._call(method, path, **kwargs)
        if not isinstance(answer, Mapping):
            raise GitLabBusy("GitLab's answer has an unexpected form")
        return answer

    def _call(self, method: str, path: str, **kwargs: Any) -> Any:
        response = self._response(method, path, **kwargs)
        return _json(response) if response.content else None

    def _response(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        with self._asking(method, path):
            response = self._client.request(method, path, **kwargs)
            if response.status_code >= 400:
                raise _named_error(response)
        return response

    @contextmanager
    def _asking(self, method: str, path: str) -> Iterator[None]:
        """One request: counted, and what goes wrong with its connection by its name."""
        with counted(self._on_call, method, path):
            try:
                yield
            except httpx.HTTPError as error:
                raise GitLabBusy(f"GitLab did not answer: {type(error).__name__}") from None


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise GitLabBusy("GitLab's answer is no JSON") from None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(item: Mapping[str, Any], key: str) -> int:
    value = item.get(key)
    if not isinstance(value, int):
        raise GitLabBusy(f"GitLab's answer has no {key}")
    return value


def _named_error(response: httpx.Response) -> GitLabError:
    words = f"{response.request.method} {response.request.url.path}: {_words(response)}"
    status = response.status_code
    if status in {401, 403}:
        return NotPermitted(words)
    if status == 404:
        return Missing(words)
    if status == 429 or status >= 500:
        wait = response.headers.get("Retry-After", "")
        return GitLabBusy(words, seconds=float(wait) if re.fullmatch(r"[0-9]{1,6}", wait) else None)
    return Rejected(words)


def _words(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return f"HTTP {response.status_code}"
    if isinstance(body, Mapping):
        body = body.get("message") or body.get("error_description") or body.get("error") or body
    return f"{response.status_code} {body}"[:500]


def _merge_request(item: Mapping[str, Any]) -> MergeRequest:
    return MergeRequest(
        iid=_number(item, "iid"),
        state=str(item.get("state")),
        sha=str(item.get("sha") or ""),
        title=str(item.get("title") or ""),
        author=str(_mapping(item.get("author")).get("username") or ""),
        web_url=str(item.get("web_url") or ""),
        source_branch=str(item.get("source_branch") or ""),
        target_branch=str(item.get("target_branch") or ""),
        source_project_id=item.get("source_project_id"),
        target_project_id=_number(item, "target_project_id"),
        # Older versions call it by the second name.
        is_draft=item.get("draft") is True or item.get("work_in_progress") is True,
        labels=tuple(sorted(label for label in _list(item.get("labels")) if isinstance(label, str))),
    )
