"""Comments on merge requests, and emoji on both."""

from __future__ import annotations

from typing import Any

from deploy.local.gitlab import auth, payloads, present
from deploy.local.gitlab.api.call import NO_CONTENT, Call, Reply
from deploy.local.gitlab.api.errors import bad_request, forbidden, not_found
from deploy.local.gitlab.api.routes import routes
from deploy.local.gitlab.emoji import EMOJI
from deploy.local.gitlab.model import AccessLevel, Note, now

NOTES = "/projects/:id/merge_requests/:iid/notes"
AWARDS = f"{NOTES}/:note_id/award_emoji"
LONGEST_NOTE = 1_000_000


@routes.route(f"GET {NOTES}", who="anyone")
async def list_notes(call: Call) -> Any:
    merge_request = call.merge_request(call.project())
    notes = call.lab.store.notes.by("merge_request_id", merge_request.id)
    found = [item for item in notes if not item.event]
    order = call.choice("order_by", ("created_at", "updated_at"), "created_at")
    descending = call.choice("sort", ("asc", "desc"), "desc") == "desc"
    kind = call.choice("activity_filter", ("all_notes", "only_comments", "only_activity"), "all_notes")
    if kind != "all_notes":
        found = [item for item in found if item.system == (kind == "only_activity")]
    found.sort(key=lambda item: (getattr(item, order), item.id), reverse=descending)
    return call.page(found, lambda item: present.note(call.lab, item))


@routes.route(f"GET {NOTES}/:note_id", who="anyone")
async def show(call: Call) -> Any:
    return present.note(call.lab, call.note(call.merge_request(call.project())))


@routes.route(f"POST {NOTES}")
async def create(call: Call) -> Any:
    """Everybody who is signed in may comment on what they can see."""
    project = call.project()
    merge_request = call.merge_request(project)
    note = call.lab.store.notes.insert(
        project_id=project.id,
        merge_request_id=merge_request.id,
        author_id=call.user.id,
        body=_body(call),
    )
    call.lab.merges.touch(merge_request)
    await _tell(call, note, "create")
    return present.note(call.lab, note)


@routes.route(f"PUT {NOTES}/:note_id")
async def update(call: Call) -> Any:
    note = _own(call)
    note.body = _body(call)
    note.updated_at = now()
    call.lab.store.notes.save(note)
    await _tell(call, note, "update")
    return present.note(call.lab, note)


@routes.route(f"DELETE {NOTES}/:note_id")
async def delete(call: Call) -> Reply:
    note = _own(call)
    for award in call.lab.store.awards.by("awardable", f"note:{note.id}"):
        call.lab.store.awards.delete(award)
    call.lab.store.notes.delete(note)
    return NO_CONTENT


def _body(call: Call) -> str:
    (body,) = call.require("body")
    if not str(body).strip():
        raise bad_request('400 Bad request - Note {:note=>["can\'t be blank"]}')
    if len(str(body)) > LONGEST_NOTE:
        raise bad_request(
            f'400 Bad request - Note {{:note=>["is too long (maximum is {LONGEST_NOTE} characters)"]}}'
        )
    return str(body)


def _own(call: Call) -> Note:
    """A note that the asker may change: their own, or any for Maintainers; nobody changes GitLab's own."""
    project = call.project()
    note = call.note(call.merge_request(project))
    maintainer = auth.level(call.lab.store, project, call.user) >= AccessLevel.MAINTAINER
    if note.system or (note.author_id != call.user.id and not maintainer):
        raise forbidden()
    return note


async def _tell(call: Call, note: Note, action: str) -> None:
    project = call.lab.store.projects[note.project_id]
    if call.lab.webhooks.wanted(project, "note"):
        data = await payloads.note(call.lab, note, call.user, action)
        call.lab.webhooks.fire(project, "note", data)


@routes.route(f"GET {AWARDS}", who="anyone")
async def list_awards(call: Call) -> Any:
    return _listed(call, _on_note(call))


@routes.route(f"POST {AWARDS}")
async def give(call: Call) -> Any:
    return _give(call, _on_note(call))


@routes.route(f"DELETE {AWARDS}/:award_id")
async def take_back(call: Call) -> Reply:
    return _take_back(call, _on_note(call))


@routes.route("GET /projects/:id/merge_requests/:iid/award_emoji", who="anyone")
async def list_awards_of_merge_request(call: Call) -> Any:
    return _listed(call, _on_merge_request(call))


@routes.route("POST /projects/:id/merge_requests/:iid/award_emoji")
async def give_to_merge_request(call: Call) -> Any:
    return _give(call, _on_merge_request(call))


@routes.route("DELETE /projects/:id/merge_requests/:iid/award_emoji/:award_id")
async def take_back_from_merge_request(call: Call) -> Reply:
    return _take_back(call, _on_merge_request(call))


def _on_note(call: Call) -> str:
    return f"note:{call.note(call.merge_request(call.project())).id}"


def _on_merge_request(call: Call) -> str:
    return f"merge_request:{call.merge_request(call.project()).id}"


def _listed(call: Call, awardable: str) -> Reply:
    found = call.lab.store.awards.by("awardable", awardable)
    return call.page(found, lambda item: present.award(call.lab, item))


def _give(call: Call, awardable: str) -> dict[str, Any]:
    """One of each per person. GitLab says 404 for a second one, with the validation's text in the middle."""
    (name,) = call.require("name")
    if name not in EMOJI:
        raise not_found("Award Emoji Name is not a valid emoji name")
    given = call.lab.store.awards.by("awardable", awardable)
    if any(item.name == name and item.user_id == call.user.id for item in given):
        raise not_found("Award Emoji Name has already been taken")
    award = call.lab.store.awards.insert(awardable=awardable, name=name, user_id=call.user.id)
    return present.award(call.lab, award)


def _take_back(call: Call, awardable: str) -> Reply:
    award = call.lab.store.awards.get(call.number_in_path("award_id"))
    if award is None or award.awardable != awardable:
        raise not_found("Award Emoji")
    if award.user_id != call.user.id and not call.user.admin:
        raise forbidden()
    call.lab.store.awards.delete(award)
    return NO_CONTENT
