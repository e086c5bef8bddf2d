"""What the buttons of a merge request's page do: the operations of the REST API, as the chosen user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploy.local.gitlab import auth
from deploy.local.gitlab.api import merge_requests, notes
from deploy.local.gitlab.api.call import Call
from deploy.local.gitlab.api.errors import ApiError
from deploy.local.gitlab.api.routes import Operation
from deploy.local.gitlab.model import MergeRequest, Project, Token, User
from deploy.local.gitlab.system_notes import without_draft

if TYPE_CHECKING:
    from deploy.local.gitlab.lab import Lab

_FORM = Operation("form", merge_requests.show, "user", frozenset(), 200)


async def act(lab: Lab, user: User, project: Project, found: MergeRequest, form: Mapping[str, Any]) -> str:
    """Do what the form says; the part of the page to show then (`#note_7`, or nothing).

    Its `action` is a word, with the thing that it is done to behind it: `award note:7 eyes`, `label docs`.
    ApiError with what GitLab says to a refusal.
    """
    path = {"id": str(project.id), "iid": str(found.iid)}
    call = Call(lab, _FORM, "", path, {}, {}, auth.Identity(user, Token(0, user.id, "page", "", ["api"])))
    action, _, thing = str(form.get("action", "")).partition(" ")
    if action == "comment":
        call.params["body"] = str(form.get("body", ""))
        return f"#note_{(await notes.create(call))['id']}"
    if action == "award":
        awardable, _, name = thing.partition(" ")
        return await _award(call, found, awardable, name)
    if action in ("approve", "unapprove", "merge"):
        await getattr(merge_requests, action)(call)
    else:
        call.params |= _changes(action, thing or str(form.get("new_label", "")), found)
        await merge_requests.update(call)
    return ""


def _changes(action: str, thing: str, found: MergeRequest) -> dict[str, str]:
    """What to update a merge request with."""
    if action in ("close", "reopen"):
        return {"state_event": action}
    if action in ("draft", "ready"):
        plain = without_draft(found.title)
        return {"title": f"Draft: {plain}" if action == "draft" else plain}
    if action == "label" and thing.strip():
        return {"remove_labels" if thing in found.labels else "add_labels": thing.strip()}
    raise ApiError(400, {"message": "400 Bad request - there is no such button, or nothing was given"})


async def _award(call: Call, found: MergeRequest, awardable: str, name: str) -> str:
    """Give an emoji, or take one's own back."""
    kind, _, number = awardable.partition(":")
    given = call.lab.store.awards.by("awardable", awardable)
    mine = next((item for item in given if (item.name, item.user_id) == (name, call.user.id)), None)
    call.params["name"] = name
    if kind == "note":
        call.path["note_id"] = number
    give, take_back = (
        (notes.give, notes.take_back)
        if kind == "note"
        else (notes.give_to_merge_request, notes.take_back_from_merge_request)
    )
    if mine:
        call.path["award_id"] = str(mine.id)
        await take_back(call)
    else:
        await give(call)
    return f"#note_{number}" if kind == "note" else ""
