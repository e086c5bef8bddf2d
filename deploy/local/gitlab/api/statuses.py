"""Commit statuses from outside (GitLab's `Ci::CreateCommitStatusService` and the state machine of
`CommitStatus`).

A status is found again by project, ref, name and author while it is pending or running; once it has ended,
the same name starts a new one, and the old one counts as retried. An event that the state does not allow is
refused with 400, a repeated `running` among them.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from deploy.local.gitlab import auth, present_ci
from deploy.local.gitlab.api.call import Call
from deploy.local.gitlab.api.errors import bad_request, forbidden, not_found
from deploy.local.gitlab.api.routes import routes
from deploy.local.gitlab.model import AccessLevel, CommitStatus, Pipeline, Project, now

LONGEST = 255
#: wanted state -> (event, the states that the event may start from)
EVENTS = {
    "pending": ("enqueue", ("created", "skipped", "manual", "scheduled")),
    "running": ("run", ("pending",)),
    "success": ("success", ("created", "pending", "running")),
    "failed": ("drop", ("created", "pending", "running")),
    "canceled": ("cancel", ("created", "pending", "running")),
    "skipped": ("skip", ("created", "pending")),
}
STATES = tuple(EVENTS)


@routes.route("POST /projects/:id/statuses/:sha")
async def post(call: Call) -> Any:
    project = call.project(AccessLevel.DEVELOPER)
    state = call.choice("state", STATES)
    sha, pipeline, ref = await _place(call, project)
    fields = _fields(call)
    pipeline = pipeline or _new_pipeline(call, project, sha, ref)
    name = call.text("name") or call.text("context") or "default"
    status = _current(call, pipeline, ref, name)
    if status is None:
        status = _new(call, project, pipeline, ref, name)
    _move(status, state)
    for field, value in fields.items():
        setattr(status, field, value)
    call.lab.store.statuses.save(status)
    pipeline.updated_at = now()
    call.lab.store.pipelines.save(pipeline)
    return present_ci.status(call.lab, status)


async def _place(call: Call, project: Project) -> tuple[str, Pipeline | None, str]:
    """The commit, the pipeline that the status belongs to (None: a new one) and its ref; 404 when unknown.

    The commit of a merge request from a fork is in the target project, but on none of its branches: without a
    ref GitLab finds no place for its status but the pipeline of that merge request. A ref that is named is
    taken as it is, on a branch or not (`Ci::CreateCommitStatusService#ref`); but what stands on another ref
    than the source branch in the source project is not shown with the merge request.
    """
    git = call.lab.git
    sha = await git.resolve(project.id, call.path["sha"])
    if sha is None:
        raise not_found("Commit")
    found = [item for item in call.lab.store.pipelines.by("sha", sha) if item.project_id == project.id]
    ref = call.text("ref")
    if ref:
        found = [item for item in found if item.ref == ref]
    if call.text("pipeline_id"):
        found = [item for item in found if item.id == call.number("pipeline_id")]
        if not found:
            raise not_found("Pipeline for pipeline_id, sha and ref")
    if found:
        return sha, found[-1], ref or found[-1].ref
    if not ref:
        branches = await _branches_with(call, project, sha)
        if not branches:
            raise not_found("References for commit")
        ref = branches[0]
    return sha, None, ref


async def _branches_with(call: Call, project: Project, sha: str) -> list[str]:
    refs = await call.lab.git.refs(project.id)
    names = [name for name in refs if name.startswith("refs/heads/")]
    tips = [name.removeprefix("refs/heads/") for name in names if refs[name] == sha]
    if tips:
        return tips
    output = await call.lab.git.run(
        project.id, "for-each-ref", "--format=%(refname:lstrip=2)", f"--contains={sha}", "refs/heads"
    )
    return output.decode().split("\n")[:-1]


def _fields(call: Call) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    problems: dict[str, list[str]] = {}
    for name in ("description", "target_url"):
        if call.params.get(name) is None:
            continue
        fields[name] = call.text(name)
        if len(fields[name]) > LONGEST:
            problems[name] = [f"is too long (maximum is {LONGEST} characters)"]
    url = fields.get("target_url")
    if url and "target_url" not in problems:
        parts = urlsplit(url)
        if parts.scheme and parts.scheme not in ("http", "https"):
            problems["target_url"] = ["is blocked: Only allowed schemes are http, https"]
        elif not parts.netloc or " " in url:
            problems["target_url"] = ["is blocked: URI is invalid"]
    if problems:
        raise bad_request(problems)
    if call.params.get("coverage") is not None:
        fields["coverage"] = float(call.number("coverage")) if call.text("coverage").isdecimal() else None
    return fields


def _new_pipeline(call: Call, project: Project, sha: str, ref: str) -> Pipeline:
    iid = project.next_iid("pipelines")
    call.lab.store.projects.save(project)
    return call.lab.store.pipelines.insert(
        iid=iid, project_id=project.id, sha=sha, ref=ref, user_id=call.user.id
    )


def _siblings(call: Call, pipeline: Pipeline) -> list[CommitStatus]:
    key = f"{pipeline.project_id}:{pipeline.sha}"
    return [item for item in call.lab.store.statuses.by("commit", key) if item.pipeline_id == pipeline.id]


def _current(call: Call, pipeline: Pipeline, ref: str, name: str) -> CommitStatus | None:
    for item in reversed(_siblings(call, pipeline)):
        same = (item.ref, item.name, item.author_id) == (ref, name, call.user.id)
        if same and item.status in ("pending", "running"):
            return item
    return None


def _new(call: Call, project: Project, pipeline: Pipeline, ref: str, name: str) -> CommitStatus:
    for item in _siblings(call, pipeline):
        if item.name == name and not item.retried:
            item.retried = True
            call.lab.store.statuses.save(item)
    return call.lab.store.statuses.insert(
        project_id=project.id,
        pipeline_id=pipeline.id,
        commit=f"{project.id}:{pipeline.sha}",
        sha=pipeline.sha,
        ref=ref,
        name=name,
        author_id=call.user.id,
    )


def _move(status: CommitStatus, state: str) -> None:
    """Let the event happen, or refuse it with the state machine's own words."""
    if state == "running" and status.status == "created":
        status.status = "pending"
    event, allowed = EVENTS[state]
    if status.status not in allowed:
        raise bad_request(
            f"Cannot transition status via :{event} from :{status.status} "
            f'(Reason(s): Status cannot transition via "{event}")'
        )
    status.status = state
    if state == "running":
        status.started_at = now()
    elif state in ("success", "failed", "canceled"):
        status.finished_at = now()


@routes.route("GET /projects/:id/repository/commits/:sha/statuses")
async def list_statuses(call: Call) -> Any:
    project = call.project()
    if (
        project.visibility != "public"
        and auth.level(call.lab.store, project, call.user) < AccessLevel.REPORTER
    ):
        raise forbidden()
    sha = await call.lab.git.resolve(project.id, call.path["sha"])
    if sha is None:
        raise not_found("Commit")
    found = call.lab.store.statuses.by("commit", f"{project.id}:{sha}")
    if not call.boolean("all"):
        found = [item for item in found if not item.retried]
    for field in ("ref", "name"):
        if call.text(field):
            found = [item for item in found if getattr(item, field) == call.text(field)]
    if call.text("pipeline_id"):
        found = [item for item in found if item.pipeline_id == call.number("pipeline_id")]
    if call.choice("sort", ("asc", "desc"), "asc") == "desc":
        found = found[::-1]
    return call.page(found, lambda item: present_ci.status(call.lab, item))
