"""GitLab's webhook: who says so, is it for us, then commit it and answer.

Everything slow happens later, in a worker. What is answered with 2xx is in the database by then.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from orchestrator import signing
from orchestrator.merge_request import command_in
from orchestrator.records import Due, Project
from orchestrator.tally import Count
from web.parts import parts_of, say

blueprint = Blueprint("webhook", __name__)

_ACTIONS = {"open", "reopen", "update", "close", "merge"}


@blueprint.post("/webhook/gitlab")
def receive() -> tuple[Response, int]:
    """Take one delivery."""
    try:
        body = request.get_data(cache=True)
    except RequestEntityTooLarge:
        limit = current_app.config["MAX_CONTENT_LENGTH"]
        return _refused(413, f"The body is larger than {limit} bytes.")
    try:
        payload = request.get_json(force=True, silent=True) if body else None
    except RecursionError:
        payload = None
    if not isinstance(payload, dict):
        return _refused(400, "The body is no JSON object.")
    gitlab_id = _integer(payload.get("project"), "id")
    if gitlab_id is None:
        return _refused(400, "The payload names no project.")
    with parts_of(current_app).store.read() as tx:
        project = tx.project_by_gitlab_id(gitlab_id)
    if project is None or project.removed_at is not None:
        return _refused(
            404, f"Project {gitlab_id} is not connected: an operator runs `toolforge-preview project add`."
        )
    refusal = _refusal(project)
    if refusal is not None:
        return _refused(401, refusal)
    return _take(project, payload)


@blueprint.after_request
def _count(response: Response) -> Response:
    parts_of(current_app).counting.count(Count.WEBHOOKS, str(response.status_code))
    return response


def _take(project: Project, payload: dict[str, Any]) -> tuple[Response, int]:
    match payload.get("object_kind"):
        case "merge_request":
            iid = _integer(payload.get("object_attributes"), "iid")
            action = str(_mapping(payload, "object_attributes").get("action"))
            if action not in _ACTIONS:
                return jsonify(message=f"Nothing to do for the action '{action[:50]}'."), 200
            facts: dict[str, Any] = {"username": str(_mapping(payload, "user").get("username", ""))[:255]}
        case "note" if _is_command(payload):
            iid = _integer(payload.get("merge_request"), "iid")
            facts = _note_facts(payload)
        case "note":
            return jsonify(message="Nothing to do for a comment without a command."), 200
        case other:
            return jsonify(message=f"Nothing to do for events of kind '{str(other)[:50]}'."), 200
    if iid is None:
        return _refused(400, "The payload names no merge request.")
    kind, now = str(payload["object_kind"]), time.time()
    dues = parts_of(current_app).lifecycle.receive(project, _key(), kind=kind, iid=iid, facts=facts, now=now)
    say(current_app, dues)
    return jsonify(message=_answer(dues, now)), 202


def _answer(dues: Sequence[Due], now: float) -> str:
    if not dues:
        return "Taken before."
    if dues[0].at <= now:
        return "Taken."
    most = parts_of(current_app).settings.deliveries_per_minute
    return f"Taken; it waits, for more than {most} of its kind came from this project in a minute."


def _refusal(project: Project) -> str | None:
    secret_key, now = parts_of(current_app).settings.secret_key, time.time()
    trusted = signing.trusted(project, secret_key.get_secret_value() if secret_key else None, now)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return signing.refusal(trusted, headers, request.get_data(), now)


def _key() -> str:
    """What all tries of one delivery have in common; the body where GitLab (before 17.4) sends no key."""
    # What is signed comes first: the other could be changed to have a delivery counted twice.
    key = request.headers.get("webhook-id") or request.headers.get("Idempotency-Key")
    if key and len(key) <= 100:
        return key
    stamp = request.headers.get("X-Gitlab-Event-UUID", "").encode()
    return hashlib.sha256(stamp + request.get_data()).hexdigest()


def _is_command(payload: dict[str, Any]) -> bool:
    note = payload.get("object_attributes")
    return (
        isinstance(note, dict)
        and note.get("noteable_type") == "MergeRequest"
        # An edited comment must not set anything off: it may have been written by somebody else.
        and note.get("action", "create") == "create"
        and command_in(str(note.get("note", ""))) is not None
    )


def _note_facts(payload: dict[str, Any]) -> dict[str, Any]:
    note, user = _mapping(payload, "object_attributes"), _mapping(payload, "user")
    commit = _mapping(_mapping(payload, "merge_request"), "last_commit")
    return {
        "note": str(note.get("note", ""))[:200],
        "note_id": _integer(note, "id") or 0,
        "user_id": _integer(user, "id") or _integer(note, "author_id") or 0,
        "username": str(user.get("username", ""))[:255],
        "sha": str(commit.get("id", ""))[:64],
    }


def _mapping(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    value = mapping.get(key)
    return value if isinstance(value, dict) else {}


def _integer(mapping: object, key: str) -> int | None:
    value = mapping.get(key) if isinstance(mapping, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else None


def _refused(status: int, message: str) -> tuple[Response, int]:
    return jsonify(error=message), status
