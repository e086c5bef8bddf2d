"""Merge requests: opened, listed, changed, merged."""

from __future__ import annotations

from typing import Any

from deploy.local.gitlab import auth, merging, present, present_ci, present_mr
from deploy.local.gitlab.api.call import NO_CONTENT, Call, Reply
from deploy.local.gitlab.api.errors import ApiError, bad_parameter, forbidden, not_found, unauthorized
from deploy.local.gitlab.api.routes import routes
from deploy.local.gitlab.model import AccessLevel, MergeRequest, Project

STATES = ("opened", "closed", "locked", "merged", "all")


@routes.route("GET /projects/:id/merge_requests", who="anyone")
async def of_project(call: Call) -> Any:
    project = call.project()
    return _listed(call, call.lab.store.merge_requests.by("project_id", project.id))


@routes.route("GET /groups/:id/merge_requests", who="anyone")
async def of_group(call: Call) -> Any:
    group = call.lab.find_group(call.path["id"])
    if group is None:
        raise not_found("Group")
    return _listed(call, _readable(call, call.lab.store.projects.by("namespace", group.path)))


@routes.route("GET /merge_requests")
async def of_everything(call: Call) -> Any:
    """Those that the asker opened, unless `scope=all`."""
    found = _readable(call, list(call.lab.store.projects))
    if call.choice("scope", ("created_by_me", "assigned_to_me", "all"), "created_by_me") != "all":
        found = [item for item in found if item.author_id == call.user.id]
    return _listed(call, found)


def _readable(call: Call, projects: list[Project]) -> list[MergeRequest]:
    user = call.identity.user if call.identity else None
    return [
        merge_request
        for project in projects
        if auth.can_read(call.lab.store, project, user)
        for merge_request in call.lab.store.merge_requests.by("project_id", project.id)
    ]


def _listed(call: Call, found: list[MergeRequest]) -> Reply:
    state = call.choice("state", STATES, "all")
    if state != "all":
        found = [item for item in found if item.state == state]
    for field in ("source_branch", "target_branch"):
        if call.text(field):
            found = [item for item in found if getattr(item, field) == call.text(field)]
    if "iids" in call.params:
        wanted = {int(iid) for iid in call.words("iids") if iid.isdecimal()}
        found = [item for item in found if item.iid in wanted]
    if call.words("labels"):
        found = [item for item in found if set(call.words("labels")) <= set(item.labels)]
    if call.text("updated_after"):
        found = [item for item in found if item.updated_at > call.text("updated_after")]
    order = call.choice("order_by", ("created_at", "updated_at", "title"), "created_at")
    descending = call.choice("sort", ("asc", "desc"), "desc") == "desc"
    found.sort(key=lambda item: (getattr(item, order), item.id), reverse=descending)
    return call.page(found, lambda item: present_mr.basic(call.lab, item))


@routes.route("GET /projects/:id/merge_requests/:iid", who="anyone")
async def show(call: Call) -> Any:
    """Also starts to find out whether it can be merged; the answer does not wait for that."""
    project = call.project()
    merge_request = call.merge_request(project)
    call.lab.merges.check_soon(merge_request)
    return await _shown(call, project, merge_request)


async def _shown(call: Call, project: Project, merge_request: MergeRequest) -> dict[str, Any]:
    user = call.identity.user if call.identity else None
    can_merge = auth.level(call.lab.store, project, user) >= AccessLevel.DEVELOPER
    return present_mr.full(call.lab, merge_request, can_merge=can_merge)


@routes.route("POST /projects/:id/merge_requests")
async def create(call: Call) -> Any:
    """The project of the URL is the source; `target_project_id` is the one that it was forked from."""
    source = call.project()
    source_branch, target_branch, title = (
        str(value) for value in call.require("source_branch", "target_branch", "title")
    )
    target = _target(call, source)
    if auth.level(call.lab.store, source, call.user) < AccessLevel.DEVELOPER:
        raise forbidden()
    sha, target_sha = await _tips(call, source, source_branch, target, target_branch)
    _no_other(call, source, source_branch, target, target_branch)
    merge_request = await call.lab.merges.create(
        target,
        source,
        call.user,
        sha=sha,
        target_sha=target_sha,
        source_branch=source_branch,
        target_branch=target_branch,
        title=title,
        description=call.text("description"),
        labels=call.words("labels"),
        force_remove_source_branch=call.boolean("remove_source_branch"),
    )
    return await _shown(call, target, merge_request)


def _target(call: Call, source: Project) -> Project:
    wanted = call.number("target_project_id", source.id)
    target = call.lab.store.projects.get(wanted)
    if target is None or not auth.can_read(call.lab.store, target, call.user):
        raise not_found("Project")
    if target.id != source.id and source.forked_from_id != target.id:
        raise ApiError(422, {"message": ["Source project is not a fork of the target project"]})
    return target


async def _tips(
    call: Call, source: Project, source_branch: str, target: Project, target_branch: str
) -> tuple[str, str]:
    if source.id == target.id and source_branch == target_branch:
        raise ApiError(422, {"message": ["You can't use same project/branch for source and target"]})
    sha = await call.lab.git.branch(source.id, source_branch)
    if sha is None:
        raise ApiError(422, {"message": [f'Source branch "{source_branch}" does not exist']})
    target_sha = await call.lab.git.branch(target.id, target_branch)
    if target_sha is None:
        raise ApiError(422, {"message": [f'Target branch "{target_branch}" does not exist']})
    return sha, target_sha


def _no_other(call: Call, source: Project, source_branch: str, target: Project, target_branch: str) -> None:
    for other in call.lab.merges.open_from(source, source_branch):
        if other.project_id == target.id and other.target_branch == target_branch:
            text = f"Another open merge request already exists for this source branch: !{other.iid}"
            raise ApiError(409, {"message": [text]})


@routes.route("GET /projects/:id/merge_requests/:iid/merge_ref", who="anyone")
async def merge_ref(call: Call) -> Any:
    """Merge it into a ref of its own, as it stands now."""
    merge_request = call.merge_request(call.project())
    if merge_request.state == "opened":
        await call.lab.merges.check_now(merge_request)
    if merge_request.state != "opened" or merge_request.merge_status != "can_be_merged":
        raise ApiError(400, {"message": "Merge request is not mergeable"})
    return {"commit_id": merge_request.merge_ref_sha}


@routes.route("PUT /projects/:id/merge_requests/:iid")
async def update(call: Call) -> Any:
    project = call.project()
    merge_request = call.merge_request(project)
    level = auth.level(call.lab.store, project, call.user)
    if level < AccessLevel.DEVELOPER and merge_request.author_id != call.user.id:
        raise forbidden()
    event = call.choice("state_event", ("close", "reopen", ""), "")
    fields = _changed_fields(call, merge_request)
    if not fields and not event:
        raise bad_parameter(
            "title, description, labels, state_event are missing, at least one must be provided"
        )
    target = fields.get("target_branch")
    if target and await call.lab.git.branch(project.id, target) is None:
        raise ApiError(422, {"message": [f'Target branch "{target}" does not exist']})
    await call.lab.merges.update(merge_request, call.user, fields)
    if event == "close":
        await call.lab.merges.close(merge_request, call.user)
    elif event == "reopen":
        source = call.lab.store.projects.get(merge_request.source_project_id)
        if source and merge_request.state == "closed":
            _no_other(call, source, merge_request.source_branch, project, merge_request.target_branch)
            await call.lab.merges.reopen(merge_request, call.user)
    return await _shown(call, project, merge_request)


def _changed_fields(call: Call, merge_request: MergeRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: call.text(name) for name in ("title", "description", "target_branch") if name in call.params
    }
    if "title" in fields and not fields["title"].strip():
        raise bad_parameter("title is empty")
    labels = list(merge_request.labels)
    if "labels" in call.params:
        labels = call.words("labels")
    labels += [title for title in call.words("add_labels") if title not in labels]
    labels = [title for title in labels if title not in call.words("remove_labels")]
    if {"labels", "add_labels", "remove_labels"} & set(call.params):
        fields["labels"] = labels
    return fields


@routes.route("PUT /projects/:id/merge_requests/:iid/merge")
async def merge(call: Call) -> Any:
    project = call.project()
    merge_request = call.merge_request(project)
    if auth.level(call.lab.store, project, call.user) < AccessLevel.DEVELOPER:
        raise unauthorized()
    if merge_request.state != "opened" or merge_request.draft:
        raise ApiError(405, {"message": "405 Method Not Allowed"})
    sha = call.text("sha")
    if sha and sha != merge_request.sha:
        raise ApiError(409, {"message": f"SHA does not match HEAD of source branch: {merge_request.sha}"})
    remove = call.boolean("should_remove_source_branch", merge_request.force_remove_source_branch)
    try:
        await merging.merge(
            call.lab,
            merge_request,
            call.user,
            message=call.text("merge_commit_message"),
            remove_source=remove,
        )
    except merging.CannotMerge:
        raise ApiError(422, {"message": "Branch cannot be merged"}) from None
    return await _shown(call, project, merge_request)


@routes.route("DELETE /projects/:id/merge_requests/:iid")
async def delete(call: Call) -> Reply:
    project = call.project(AccessLevel.OWNER)
    call.lab.store.merge_requests.delete(call.merge_request(project))
    return NO_CONTENT


@routes.route("GET /projects/:id/merge_requests/:iid/diffs", who="anyone")
async def diffs(call: Call) -> Any:
    return call.page(await _diff(call), present.file_diff)


@routes.route("GET /projects/:id/merge_requests/:iid/changes", who="anyone")
async def changes(call: Call) -> Any:
    project = call.project()
    files = [present.file_diff(item) for item in await _diff(call)]
    return {**await _shown(call, project, call.merge_request(project)), "changes": files, "overflow": False}


async def _diff(call: Call) -> list[Any]:
    project = call.project()
    merge_request = call.merge_request(project)
    return await call.lab.git.diff(project.id, merge_request.base_sha, merge_request.sha)


@routes.route("GET /projects/:id/merge_requests/:iid/commits", who="anyone")
async def commits(call: Call) -> Any:
    project = call.project()
    merge_request = call.merge_request(project)
    shas = await call.lab.git.log(project.id, merge_request.sha, merge_request.base_sha, 1000)
    found = [await call.lab.git.commit(project.id, sha) for sha in shas]
    present_ones = [item for item in found if item]
    return call.page(present_ones, lambda item: present.commit(call.lab, project, item))


@routes.route("GET /projects/:id/merge_requests/:iid/versions", who="anyone")
async def versions(call: Call) -> Any:
    """Every head that it had, newest first, with the base that holds now."""
    merge_request = call.merge_request(call.project())
    heads = list(enumerate(merge_request.versions, 1))
    return call.page(
        heads[::-1],
        lambda item: {
            "id": item[0],
            "head_commit_sha": item[1],
            "base_commit_sha": merge_request.base_sha,
            "start_commit_sha": merge_request.start_sha,
            "created_at": merge_request.created_at,
            "merge_request_id": merge_request.id,
            "state": "collected",
            "real_size": "1",
        },
    )


@routes.route("GET /projects/:id/merge_requests/:iid/pipelines", who="anyone")
async def pipelines(call: Call) -> Any:
    merge_request = call.merge_request(call.project())
    found = call.lab.merges.pipelines(merge_request, merge_request.versions)
    return call.page(found, lambda item: present_ci.pipeline(call.lab, item))


@routes.route("POST /projects/:id/merge_requests/:iid/pipelines")
async def create_pipeline(call: Call) -> Any:
    """A merge request pipeline, in the target project even for forks; only where CI is configured."""
    project = call.project(AccessLevel.DEVELOPER)
    merge_request = call.merge_request(project)
    if await call.lab.git.blob(project.id, merge_request.sha, ".gitlab-ci.yml") is None:
        raise ApiError(400, {"message": {"base": ["Missing CI config file"]}})
    pipeline = call.lab.store.pipelines.insert(
        iid=project.next_iid("pipelines"),
        project_id=project.id,
        sha=merge_request.sha,
        ref=f"refs/merge-requests/{merge_request.iid}/head",
        user_id=call.user.id,
        source="merge_request_event",
    )
    call.lab.store.projects.save(project)
    return present_ci.pipeline(call.lab, pipeline)


@routes.route("POST /projects/:id/merge_requests/:iid/approve")
async def approve(call: Call) -> Any:
    return await _approval(call, True)


@routes.route("POST /projects/:id/merge_requests/:iid/unapprove")
async def unapprove(call: Call) -> Any:
    return await _approval(call, False)


async def _approval(call: Call, given: bool) -> dict[str, Any]:
    project = call.project()
    merge_request = call.merge_request(project)
    allowed = auth.level(call.lab.store, project, call.user) >= AccessLevel.DEVELOPER
    approvers = merge_request.approved_by
    if not allowed or merge_request.state != "opened" or given == (call.user.id in approvers):
        raise unauthorized() if given else not_found()
    if given:
        approvers.append(call.user.id)
    else:
        approvers.remove(call.user.id)
    call.lab.merges.touch(merge_request)
    action = "approved" if given else "unapproved"
    call.lab.merges.system_note(merge_request, call.user, f"{action} this merge request")
    await call.lab.merges.tell(merge_request, call.user, action)
    return {
        "id": merge_request.id,
        "iid": merge_request.iid,
        "approved": bool(approvers),
        "approved_by": [{"user": present.user(call.lab, user_id)} for user_id in approvers],
    }
