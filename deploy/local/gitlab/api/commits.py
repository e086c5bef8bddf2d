"""Commits over the API: several changed files at once, or one file (`POST /repository/commits`, `/files`)."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from deploy.local.gitlab import present, pushes
from deploy.local.gitlab.api.call import NO_CONTENT, Call, Reply
from deploy.local.gitlab.api.errors import bad_parameter, bad_request
from deploy.local.gitlab.api.routes import routes
from deploy.local.gitlab.git import GitError
from deploy.local.gitlab.model import AccessLevel, Project
from deploy.local.gitlab.payloads import ZERO
from deploy.local.gitlab.writing import Action, CannotWrite, write_tree

KINDS = ("create", "update", "delete", "move", "chmod")


@routes.route("POST /projects/:id/repository/commits")
async def create_commit(call: Call) -> Any:
    project = call.project(AccessLevel.DEVELOPER)
    _, _, given = call.require("branch", "commit_message", "actions")
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise bad_parameter("actions is invalid")
    sha = await _commit(call, project, [_action(item) for item in given])
    found = await call.lab.git.commit(project.id, sha)
    assert found is not None
    return {
        **present.commit(call.lab, project, found),
        "project_id": project.id,
        "status": None,
        "last_pipeline": None,
    }


@routes.route("POST /projects/:id/repository/files/:file_path")
async def create_file(call: Call) -> Any:
    return await _write_file(call, "create")


@routes.route("PUT /projects/:id/repository/files/:file_path")
async def update_file(call: Call) -> Any:
    return await _write_file(call, "update")


@routes.route("DELETE /projects/:id/repository/files/:file_path")
async def delete_file(call: Call) -> Reply:
    project = call.project(AccessLevel.DEVELOPER)
    call.require("branch", "commit_message")
    await _commit(call, project, [Action("delete", call.path["file_path"])])
    return NO_CONTENT


async def _write_file(call: Call, kind: str) -> dict[str, Any]:
    project = call.project(AccessLevel.DEVELOPER)
    branch, _, _ = call.require("branch", "commit_message", "content")
    action = _action({**call.params, "action": kind, "file_path": call.path["file_path"]})
    await _commit(call, project, [action])
    return {"file_path": action.path, "branch": str(branch)}


def _action(given: dict[str, Any]) -> Action:
    kind = given.get("action")
    if kind not in KINDS:
        raise bad_parameter("actions[0][action] does not have a valid value")
    path, previous_path = (str(given.get(name) or "") for name in ("file_path", "previous_path"))
    for name in (path, previous_path):
        if {"..", "."} & set(name.split("/")) or name.startswith("/"):
            raise bad_parameter("file_path should be a valid file path")
    content = given.get("content")
    data = None if content is None or kind == "delete" else str(content).encode(errors="replace")
    if data is not None and given.get("encoding") == "base64":
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error:
            raise bad_request("The content is not valid base64") from None
    executable = given.get("execute_filemode")
    return Action(
        kind=kind,
        path=path,
        content=data,
        previous_path=previous_path if kind == "move" else "",
        executable=None if executable is None else executable in (True, "true", "1"),
    )


async def _commit(call: Call, project: Project, actions: list[Action]) -> str:
    """Commit onto the branch of the call, and do what follows a push; the new commit's id."""
    git, branch, start = call.lab.git, call.text("branch"), call.text("start_branch")
    ref = f"refs/heads/{branch}"
    async with call.lab.lock(project.id):
        tip = await git.branch(project.id, branch)
        base = await _base(call, project, tip, start)
        name, email = call.text("author_name", call.user.name), call.text("author_email", call.user.email)
        message = call.text("commit_message")
        try:
            tree = await write_tree(git, project.id, base, actions)
            parents = [base] if base else []
            sha = await git.commit_tree(project.id, tree, parents, message, name, email)
            await git.set_ref(project.id, ref, sha, tip)
        except CannotWrite as problem:
            raise bad_request(str(problem)) from None
        except GitError as problem:
            raise bad_request(str(problem)) from problem
    await pushes.received(call.lab, project, call.user, {ref: (tip or ZERO, sha)})
    return sha


async def _base(call: Call, project: Project, tip: str | None, start: str) -> str | None:
    """The commit to stand on (None: the first of an empty repository); `start` makes a new branch."""
    branch = call.text("branch")
    if start and start != branch:
        if tip:
            text = (
                f"A branch called '{branch}' already exists. Switch to that branch in order to make changes"
            )
            raise bad_request(text)
        tip = await call.lab.git.branch(project.id, start)
    if tip is None and await call.lab.git.refs(project.id):
        raise bad_request("You can only create or edit files when you are on a branch")
    return tip
