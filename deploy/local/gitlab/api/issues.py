"""Issues, as far as somebody needs them who opens one for a project and closes it again."""

from __future__ import annotations

from typing import Any

from deploy.local.gitlab import auth, payloads, present_mr
from deploy.local.gitlab.api.call import Call
from deploy.local.gitlab.api.errors import forbidden, not_found
from deploy.local.gitlab.api.routes import routes
from deploy.local.gitlab.model import AccessLevel, Issue, Project, now


@routes.route("GET /projects/:id/issues", who="anyone")
async def list_issues(call: Call) -> Any:
    project = call.project()
    found = call.lab.store.issues.by("project_id", project.id)[::-1]
    state = call.choice("state", ("opened", "closed", "all"), "all")
    found = [item for item in found if state in ("all", item.state)]
    if call.words("labels"):
        found = [item for item in found if set(call.words("labels")) <= set(item.labels)]
    author = call.number("author_id", 0)
    if author:
        found = [item for item in found if item.author_id == author]
    search = call.text("search").lower()
    found = [item for item in found if search in f"{item.title}\n{item.description}".lower()]
    return call.page(found, lambda item: present_mr.issue(call.lab, item))


@routes.route("GET /projects/:id/issues/:issue_iid", who="anyone")
async def show(call: Call) -> Any:
    return present_mr.issue(call.lab, _one(call, call.project()))


@routes.route("POST /projects/:id/issues")
async def create(call: Call) -> Any:
    project = call.project()
    (title,) = call.require("title")
    issue = call.lab.store.issues.insert(
        iid=project.next_iid("issues"),
        project_id=project.id,
        title=str(title),
        author_id=call.user.id,
        description=call.text("description"),
        labels=call.words("labels"),
    )
    call.lab.store.projects.save(project)
    call.lab.webhooks.fire(project, "issue", payloads.issue(call.lab, issue, call.user, "open"))
    return present_mr.issue(call.lab, issue)


@routes.route("PUT /projects/:id/issues/:issue_iid")
async def update(call: Call) -> Any:
    project = call.project()
    issue = _one(call, project)
    level = auth.level(call.lab.store, project, call.user)
    if level < AccessLevel.PLANNER and issue.author_id != call.user.id:
        raise forbidden()
    event = call.choice("state_event", ("close", "reopen", ""), "")
    for field in ("title", "description"):
        if field in call.params:
            setattr(issue, field, call.text(field))
    if "labels" in call.params:
        issue.labels = call.words("labels")
    if event:
        issue.state = "closed" if event == "close" else "opened"
        issue.closed_at = now() if event == "close" else None
    issue.updated_at = now()
    call.lab.store.issues.save(issue)
    call.lab.webhooks.fire(project, "issue", payloads.issue(call.lab, issue, call.user, event or "update"))
    return present_mr.issue(call.lab, issue)


def _one(call: Call, project: Project) -> Issue:
    iid = call.number_in_path("issue_iid")
    for issue in call.lab.store.issues.by("project_id", project.id):
        if issue.iid == iid:
            return issue
    raise not_found()
