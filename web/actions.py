"""What Developers of a project do to its previews: the same as by comments, through the same doors.

Each is a form of the preview's page, and leads back to it with what came of it; the API does the same by
:func:`carry_out`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, abort, current_app, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from orchestrator.durations import is_duration, seconds_of
from orchestrator.errors import BadInput, Conflict
from orchestrator.gitlab import DEVELOPER
from orchestrator.merge_request import Verb
from orchestrator.preview import Step
from orchestrator.records import Due, Preview
from orchestrator.views import PreviewView
from web import people
from web.parts import parts_of, say

blueprint = Blueprint("actions", __name__)

_DURATIONS = ("4h", "12h", "24h", "48h", "3d", "7d", "14d", "30d")


@dataclass(frozen=True)
class Offer:
    """What somebody who may act can do to a preview just now; the lifecycle has the last word."""

    approve: bool
    redeploy: bool
    stop: bool
    keep: bool
    release: bool
    durations: Sequence[str]


def may_act(view: PreviewView) -> bool:
    """True for operators and the project's Developers; raises :class:`TryLater` when GitLab does not tell."""
    return people.is_operator() or people.has_level(DEVELOPER, view.project)


def offer(view: PreviewView) -> Offer:
    """What makes sense for the preview as it is."""
    newest, present = view.newest, view.preview
    is_head = newest is not None and newest.sha == present.head_sha
    waits = newest is not None and newest.step is Step.AWAIT_APPROVAL
    is_busy = newest is not None and newest.is_pending and not newest.can_be_hastened
    is_up = present.expires_at is not None
    longest = parts_of(current_app).settings.keep_seconds
    return Offer(
        approve=present.is_open and is_head and waits,
        redeploy=present.is_open and not waits and not (is_head and is_busy),
        stop=is_up or (newest is not None and newest.is_pending),
        keep=is_up,
        release=is_up and present.keep_until is not None,
        durations=[word for word in _DURATIONS if seconds_of(word) <= longest] or [f"{int(longest // 60)}m"],
    )


@blueprint.post("/<path:project>/-/<int:iid>/<any(redeploy, rebuild, keep, release, stop):verb>")
def act(project: str, iid: int, verb: str) -> ResponseReturnValue:
    """Do one thing to a preview."""
    view = parts_of(current_app).views.preview(project, iid)
    if view is None:
        abort(404)
    sha, duration = request.form.get("sha", ""), request.form.get("duration", "")
    try:
        words = carry_out(view.preview, verb, sha=sha, duration=duration)
    except (BadInput, Conflict) as error:
        flash(str(error), "error")
    else:
        flash(words, "success")
    return redirect(url_for("pages.preview", project=project, iid=iid), 303)


def carry_out(present: Preview, verb: str, *, sha: str = "", duration: str = "") -> str:
    """Do one thing to a preview as who asks, and say in words what came of it.

    To redeploy or rebuild needs the commit, `sha`, that was looked at; to keep, a `duration` such as 48h.
    Raises :class:`BadInput` when it makes no sense, :class:`Conflict` when somebody was faster.
    """
    dues, words = _done(present, verb, people.name(), time.time(), sha=sha, duration=duration)
    say(current_app, dues)
    return words


def _done(
    present: Preview, verb: str, who: str, now: float, *, sha: str, duration: str
) -> tuple[list[Due], str]:
    lifecycle = parts_of(current_app).lifecycle
    match verb:
        case Verb.STOP:
            dues = lifecycle.stop(present.id, who, f"stopped by {who}", now)
            return dues, "It is being taken down."
        case Verb.KEEP:
            dues = lifecycle.keep(present.id, _seconds(duration), who, now)
            return dues, "It is kept."
        case "release":
            return lifecycle.release(present.id, who, now), "It may give way to others again."
        case _:
            # Whoever presses the button has looked at this commit, and at no later one.
            rebuild = verb == Verb.REBUILD
            dues = lifecycle.approve_or_redeploy(present.id, who, now, sha=sha, rebuild=rebuild)
            return dues, f"Commit {sha[:12]} is to be built."


def _seconds(duration: str) -> float:
    if not is_duration(duration):
        raise BadInput("Say for how long, such as 90m, 48h or 3d.")
    return seconds_of(duration)
