"""Branches, commits, files and comparisons, straight from the repository."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from deploy.local.gitlab import present, present_ci, pushes
from deploy.local.gitlab.api.call import NO_CONTENT, Call, Reply
from deploy.local.gitlab.api.errors import bad_request, not_found
from deploy.local.gitlab.api.routes import routes
from deploy.local.gitlab.git import Commit, GitError
from deploy.local.gitlab.model import AccessLevel, Project
from deploy.local.gitlab.payloads import ZERO

READ = ("read_repository",)


@routes.route("GET /projects/:id/repository/branches", who="anyone")
async def branches(call: Call) -> Any:
    project = call.project()
    refs = await call.lab.git.refs(project.id)
    names = [ref.removeprefix("refs/heads/") for ref in sorted(refs) if ref.startswith("refs/heads/")]
    search = call.text("search")
    tips = {name: await _commit(call, project, name) for name in names if search in name}
    return call.page(list(tips), lambda name: present.branch(call.lab, project, name, tips[name]))


@routes.route("GET /projects/:id/repository/branches/:branch", who="anyone")
async def branch(call: Call) -> Any:
    project = call.project()
    name = call.path["branch"]
    tip = await call.lab.git.branch(project.id, name)
    if tip is None:
        raise not_found("Branch")
    return present.branch(call.lab, project, name, await _commit(call, project, tip))


@routes.route("POST /projects/:id/repository/branches")
async def create_branch(call: Call) -> Any:
    project = call.project(AccessLevel.DEVELOPER)
    name, ref = (str(value) for value in call.require("branch", "ref"))
    if await call.lab.git.branch(project.id, name):
        raise bad_request("Branch already exists")
    sha = await call.lab.git.resolve(project.id, ref)
    if sha is None:
        raise bad_request("Invalid reference name: " + ref)
    try:
        async with call.lab.lock(project.id):
            await call.lab.git.set_ref(project.id, f"refs/heads/{name}", sha)
    except GitError:
        raise bad_request("Branch name is invalid") from None
    await pushes.received(call.lab, project, call.user, {f"refs/heads/{name}": (ZERO, sha)})
    return present.branch(call.lab, project, name, await _commit(call, project, sha))


@routes.route("DELETE /projects/:id/repository/branches/:branch")
async def delete_branch(call: Call) -> Reply:
    project = call.project(AccessLevel.DEVELOPER)
    name = call.path["branch"]
    if name == project.default_branch:
        raise bad_request("Cannot remove HEAD branch")
    if not await pushes.delete_branch(call.lab, project, call.user, name):
        raise not_found("Branch")
    return NO_CONTENT


@routes.route("GET /projects/:id/repository/commits", who="anyone")
async def commits(call: Call) -> Any:
    project = call.project()
    ref = call.text("ref_name") or project.default_branch
    sha = await call.lab.git.resolve(project.id, ref)
    if sha is None:
        raise not_found("Tree")
    found = [
        await _commit(call, project, item) for item in await call.lab.git.log(project.id, sha, None, 1000)
    ]
    return call.page(found, lambda item: present.commit(call.lab, project, item))


@routes.route("GET /projects/:id/repository/commits/:sha", who="anyone")
async def commit(call: Call) -> Any:
    project = call.project()
    found = await _commit(call, project, call.path["sha"])
    pipelines = [
        item for item in call.lab.store.pipelines.by("sha", found.sha) if item.project_id == project.id
    ]
    last = pipelines[-1] if pipelines else None
    return {
        **present.commit(call.lab, project, found),
        "project_id": project.id,
        "status": call.lab.merges.pipeline_state(last) if last else None,
        "last_pipeline": present_ci.pipeline(call.lab, last) if last else None,
    }


@routes.route("GET /projects/:id/repository/tree", who="anyone", scopes=READ)
async def tree(call: Call) -> Any:
    project = call.project()
    found = await _commit(call, project, call.text("ref") or project.default_branch, "Tree")
    entries = await call.lab.git.tree(project.id, found.sha, call.text("path").strip("/"))
    return call.page(
        entries,
        lambda entry: {
            "id": entry[2],
            "name": entry[3].rsplit("/", 1)[-1],
            "type": entry[1],
            "path": entry[3],
            "mode": entry[0],
        },
    )


@routes.route("GET /projects/:id/repository/files/:file_path/raw", who="anyone", scopes=READ)
async def raw_file(call: Call) -> Reply:
    _, _, content = await _file(call)
    return Reply(content, headers={"Content-Type": "text/plain; charset=utf-8"})


@routes.route("GET /projects/:id/repository/files/:file_path", who="anyone", scopes=READ)
async def file(call: Call) -> Any:
    ref, sha, content = await _file(call)
    path = call.path["file_path"]
    return {
        "file_name": path.rsplit("/", 1)[-1],
        "file_path": path,
        "size": len(content),
        "encoding": "base64",
        "content": base64.b64encode(content).decode(),
        "content_sha256": hashlib.sha256(content).hexdigest(),
        "ref": ref,
        "commit_id": sha,
        "last_commit_id": sha,
    }


@routes.route("GET /projects/:id/repository/compare", who="anyone")
async def compare(call: Call) -> Any:
    project = call.project()
    start, end = (str(value) for value in call.require("from", "to"))
    old, new = await _commit(call, project, start, "Ref"), await _commit(call, project, end, "Ref")
    git = call.lab.git
    base = old.sha if call.boolean("straight") else await git.merge_base(project.id, old.sha, new.sha)
    shas = await git.log(project.id, new.sha, old.sha, 1000)
    found = [await _commit(call, project, sha) for sha in reversed(shas)]
    diffs = await git.diff(project.id, base, new.sha) if base else []
    shown = [present.commit(call.lab, project, item) for item in found]
    return {
        "commit": shown[-1] if shown else None,
        "commits": shown,
        "diffs": [present.file_diff(item) for item in diffs],
        "compare_timeout": False,
        "compare_same_ref": old.sha == new.sha,
        "web_url": f"{call.lab.project_url(project)}/-/compare/{start}...{end}",
    }


async def _commit(call: Call, project: Project, revision: str, what: str = "Commit") -> Commit:
    sha = await call.lab.git.resolve(project.id, revision)
    found = await call.lab.git.commit(project.id, sha) if sha else None
    if found is None:
        raise not_found(what)
    return found


async def _file(call: Call) -> tuple[str, str, bytes]:
    """The ref asked for, its commit, and the content; 404 when commit or file are not there."""
    project = call.project()
    ref = call.text("ref") or "HEAD"
    found = await _commit(call, project, project.default_branch if ref == "HEAD" else ref)
    content = await call.lab.git.blob(project.id, found.sha, call.path["file_path"])
    if content is None:
        raise not_found("File")
    return ref, found.sha, content
