"""Project webhooks: made by Maintainers, tested, and their past deliveries."""

from __future__ import annotations

from typing import Any

from deploy.local.gitlab import payloads, present
from deploy.local.gitlab.api.call import NO_CONTENT, Call, Reply
from deploy.local.gitlab.api.errors import ApiError, bad_request, not_found
from deploy.local.gitlab.api.routes import routes
from deploy.local.gitlab.model import AccessLevel, Project
from deploy.local.gitlab.webhooks import signing_key

SWITCHES = ("push_events", "tag_push_events", "merge_requests_events", "note_events", "issues_events")
TEXTS = ("name", "description", "token", "signing_token", "push_events_branch_filter")


@routes.route("GET /projects/:id/hooks")
async def list_hooks(call: Call) -> Any:
    project = call.project(AccessLevel.MAINTAINER)
    hooks = call.lab.store.hooks.by("project_id", project.id)
    return call.page(hooks, lambda hook: present.hook(call.lab, hook))


@routes.route("GET /projects/:id/hooks/:hook_id")
async def show(call: Call) -> Any:
    return present.hook(call.lab, call.hook(call.project(AccessLevel.MAINTAINER)))


@routes.route("POST /projects/:id/hooks")
async def create(call: Call) -> Any:
    project = call.project(AccessLevel.MAINTAINER)
    (url,) = call.require("url")
    fields = _fields(call)
    hook = call.lab.store.hooks.insert(project_id=project.id, url=_url(url), **fields)
    return present.hook(call.lab, hook)


@routes.route("PUT /projects/:id/hooks/:hook_id")
async def change(call: Call) -> Any:
    hook = call.hook(call.project(AccessLevel.MAINTAINER))
    fields = _fields(call)
    if "url" in call.params:
        fields["url"] = _url(call.params["url"])
    for name, value in fields.items():
        setattr(hook, name, value)
    call.lab.store.hooks.save(hook)
    return present.hook(call.lab, hook)


@routes.route("DELETE /projects/:id/hooks/:hook_id")
async def delete(call: Call) -> Reply:
    call.lab.store.hooks.delete(call.hook(call.project(AccessLevel.MAINTAINER)))
    return NO_CONTENT


@routes.route("POST /projects/:id/hooks/:hook_id/test/:trigger")
async def test(call: Call) -> Any:
    """A real-looking payload of the project's newest data; a good answer enables a disabled hook again."""
    project = call.project(AccessLevel.MAINTAINER)
    hook = call.hook(project)
    _often(call, "web_hook_test", project)
    trigger, data = await _sample(call, project, call.path["trigger"])
    delivery = await call.lab.webhooks.test(hook, trigger, data)
    if delivery.status == "internal error":
        raise ApiError(422, {"message": delivery.error})
    if not delivery.status.startswith("2"):
        raise ApiError(422, {"message": delivery.response_body})
    return {"message": "201 Created"}


@routes.route("GET /projects/:id/hooks/:hook_id/events")
async def events(call: Call) -> Any:
    hook = call.hook(call.project(AccessLevel.MAINTAINER))
    found = call.lab.store.deliveries.by("hook_id", hook.id)[::-1]
    wanted = call.text("status")
    classes = {"successful": "2", "client_failure": "4", "server_failure": "5"}
    if wanted in classes:
        found = [item for item in found if item.status.startswith(classes[wanted])]
    elif wanted:
        found = [item for item in found if item.status == wanted]
    return call.page(found, present.delivery)


@routes.route("POST /projects/:id/hooks/:hook_id/events/:hook_event_id/resend")
async def resend(call: Call) -> Any:
    project = call.project(AccessLevel.MAINTAINER)
    hook = call.hook(project)
    _often(call, "web_hook_event_resend", project)
    past = call.lab.store.deliveries.get(call.number_in_path("hook_event_id"))
    if past is None or past.hook_id != hook.id:
        raise not_found()
    delivery = await call.lab.webhooks.resend(hook, past)
    if delivery.status == "internal error":
        raise ApiError(422, {"message": delivery.error})
    return {"response_status": int(delivery.status)}


def _often(call: Call, what: str, project: Project) -> None:
    """429 for more than so many tests in a minute, of one project and user."""
    if not call.lab.limits.take((what, project.id, call.user.id), call.lab.settings.hook_tests_per_minute):
        text = "This endpoint has been requested too many times. Try again later."
        raise ApiError(429, {"message": {"error": text}})


def _fields(call: Call) -> dict[str, Any]:
    fields: dict[str, Any] = {name: call.boolean(name) for name in SWITCHES if name in call.params}
    if "enable_ssl_verification" in call.params:
        fields["enable_ssl_verification"] = call.boolean("enable_ssl_verification")
    fields |= {name: call.text(name) for name in TEXTS if name in call.params}
    if not call.lab.settings.webhook_signing:
        fields.pop("signing_token", None)
    if fields.get("signing_token"):
        try:
            signing_key(fields["signing_token"])
        except ValueError:
            raise bad_request({"signing_token": ["is invalid"]}) from None
    return fields


def _url(url: Any) -> str:
    if not str(url).startswith(("http://", "https://")):
        raise ApiError(422, {"message": "Invalid url given"})
    return str(url)


async def _sample(call: Call, project: Project, trigger: str) -> tuple[str, dict[str, Any]]:
    store, user = call.lab.store, call.user
    merge_requests = store.merge_requests.by("project_id", project.id)
    if trigger == "merge_requests_events":
        if not merge_requests:
            raise ApiError(422, {"message": "Ensure the project has merge requests."})
        data = await payloads.merge_request(call.lab, merge_requests[-1], user, "open")
        return "merge_request", data
    if trigger == "note_events":
        notes = [
            note
            for item in merge_requests
            for note in store.notes.by("merge_request_id", item.id)
            if not note.system
        ]
        if not notes:
            raise ApiError(422, {"message": "Ensure the project has notes."})
        return "note", await payloads.note(call.lab, notes[-1], user, "create")
    if trigger != "push_events":
        raise ApiError(400, {"error": "trigger does not have a valid value"})
    tip = await call.lab.git.branch(project.id, project.default_branch)
    if tip is None:
        raise ApiError(422, {"message": "Ensure the project has at least one commit."})
    commit = await call.lab.git.commit(project.id, tip)
    old = commit.parents[0] if commit and commit.parents else payloads.ZERO
    ref = f"refs/heads/{project.default_branch}"
    return "push", await payloads.push(call.lab, project, user, ref, old, tip)
