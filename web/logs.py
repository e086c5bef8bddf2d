"""Logs: those that are kept, with links to lines and a search, and those of what runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from flask import Blueprint, Flask, Response, abort, current_app, render_template, request, url_for
from redis.exceptions import RedisError

from orchestrator.livelog import BEGIN, Batch, LiveLog
from orchestrator.markdown import plain
from orchestrator.preview import Deployment, State
from orchestrator.views import PreviewView
from web import live
from web.ansi import Piece, pieces
from web.parts import call_follower, parts_of

blueprint = Blueprint("logs", __name__)

_KINDS = "<any(build, job, latest):kind>"
_AT = f"/<path:project>/-/<int:iid>/<int:deployment_id>/{_KINDS}"
#: Lines on one page, and matches of one search.
PAGE_LINES = 2000
_MATCHES = 1000
_WAIT_SECONDS = 2.0
#: While a deployment is in this state its log of this kind is followed.
_FOLLOWED = {"build": State.BUILDING, "job": State.LIVE}


@dataclass(frozen=True)
class Line:
    """A line as it is shown."""

    number: int
    pieces: list[Piece]


@blueprint.get(_AT)
def page(project: str, iid: int, deployment_id: int, kind: str) -> str:
    """A log as a page: ``?q=`` searches, ``?page=`` and ``?line=`` say which part."""
    view, deployment = _found(project, iid, deployment_id)
    text = parts_of(current_app).views.log(deployment_id, kind)
    place = {"view": view, "deployment": deployment, "kind": kind}
    if text is not None:
        return _kept(text, place)
    if not can_be_followed(deployment, kind):
        abort(404)
    batches = _so_far(deployment, kind)
    return render_template(
        "log_live.html",
        lines=[line for batch in batches for line in shown(batch)],
        last=batches[-1].id if batches else BEGIN,
        stream=url_for("logs.follow", project=project, iid=iid, deployment_id=deployment_id, kind=kind),
        **place,
    )


@blueprint.get(f"{_AT}.log")
def raw(project: str, iid: int, deployment_id: int, kind: str) -> Response:
    """A kept log, as plain text."""
    _found(project, iid, deployment_id)
    text = parts_of(current_app).views.log(deployment_id, kind)
    if text is None:
        abort(404)
    return Response(plain(text), mimetype="text/plain")


@blueprint.get(f"{_AT}/live")
def follow(project: str, iid: int, deployment_id: int, kind: str) -> Response:
    """The log of what runs as server-sent events: ``lines``, and ``end`` when it has ended."""
    _, deployment = _found(project, iid, deployment_id)
    if not can_be_followed(deployment, kind):
        # To who was watching when it ended: do not ask again.
        return Response(status=204)
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    after = request.headers.get("Last-Event-ID") or request.args.get("after") or BEGIN
    if not _is_place(after):
        after = BEGIN
    return live.stream(lambda: _events(app, deployment_id, kind, after))


def can_be_followed(deployment: Deployment, kind: str) -> bool:
    """True while its build runs, or while its tool is live."""
    return deployment.state is _FOLLOWED.get(kind)


def batches_of(app: Flask, deployment_id: int, kind: str, after: str) -> Iterator[list[Batch]]:
    """The lines of what runs as they come, nothing for a moment without any; ends with what runs.

    Ends, too, when Redis is away: live lines are all that needs it.
    """
    log = _live(app, deployment_id, kind)
    while True:
        try:
            if log.want():
                call_follower(app, deployment_id)
            found = log.after(after, wait_seconds=_WAIT_SECONDS)
        except RedisError:
            # Not at once again, with everybody who looks.
            time.sleep(_WAIT_SECONDS)
            return
        if found:
            after = found[-1].id
        elif not _still_runs(app, deployment_id, kind):
            return
        yield found


def shown(batch: Batch) -> list[Line]:
    """The lines of a batch."""
    return [Line(number, pieces(text)) for number, text in enumerate(batch.lines, batch.first)]


def _events(app: Flask, deployment_id: int, kind: str, after: str) -> Iterator[str]:
    for batches in batches_of(app, deployment_id, kind, after):
        for batch in batches:
            lines = [[line.number, line.pieces] for line in shown(batch)]
            yield live.event("lines", lines, number=batch.id)
        if not batches:
            yield ": still here\n\n"
    if not _still_runs(app, deployment_id, kind):
        yield live.event("end", {})


def _still_runs(app: Flask, deployment_id: int, kind: str) -> bool:
    with parts_of(app).store.read() as tx:
        return can_be_followed(tx.deployment(deployment_id), kind)


def _so_far(deployment: Deployment, kind: str) -> list[Batch]:
    """What is known of the running log; looking at the page has it followed."""
    log = _live(current_app, deployment.id, kind)
    try:
        if log.want():
            call_follower(current_app, deployment.id)
        return log.after(BEGIN, wait_seconds=0)
    except RedisError:
        return []


def _live(app: Flask, deployment_id: int, kind: str) -> LiveLog:
    parts = parts_of(app)
    return LiveLog(parts.redis, parts.settings.queue_prefix, deployment_id, kind)


def _is_place(text: str) -> bool:
    """True for a place in a Redis stream: two numbers."""
    milliseconds, _, number = text.partition("-")
    return milliseconds.isdigit() and number.isdigit() and len(text) < 40 and text.isascii()


def _found(project: str, iid: int, deployment_id: int) -> tuple[PreviewView, Deployment]:
    view = parts_of(current_app).views.preview(project, iid)
    deployment = next((one for one in view.deployments if one.id == deployment_id), None) if view else None
    if view is None or deployment is None:
        abort(404)
    return view, deployment


def _kept(text: str, place: dict[str, object]) -> str:
    lines = text.split("\n")
    words = request.args.get("q", "").strip()[:200]
    pages = -(-len(lines) // PAGE_LINES)
    if words:
        found = _search(lines, words)
        return render_template(
            "log.html", lines=found, words=words, total=len(lines), pages=pages, page=0, **place
        )
    number = request.args.get("line", type=int)
    # A failure stands at the end, so that the end is where one begins to read.
    wanted = request.args.get("page", type=int) or (pages if number is None else -(-number // PAGE_LINES))
    page = min(max(wanted, 1), pages)
    first = (page - 1) * PAGE_LINES
    part = [Line(at, pieces(line)) for at, line in enumerate(lines[first : first + PAGE_LINES], first + 1)]
    return render_template(
        "log.html", lines=part, words="", total=len(lines), pages=pages, page=page, **place
    )


def _search(lines: list[str], words: str) -> list[Line]:
    needle = words.casefold()
    found = ((number, line) for number, line in enumerate(lines, 1) if needle in plain(line).casefold())
    return [Line(number, pieces(line)) for (number, line), _ in zip(found, range(_MATCHES), strict=False)]
