"""Logs: those that are kept, with links to lines and a search, and those of what runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flask import Blueprint, Response, abort, current_app, render_template, request, url_for
from redis.exceptions import RedisError

from orchestrator.livelog import BEGIN, Batch
from orchestrator.markdown import plain
from orchestrator.preview import Deployment
from orchestrator.views import PreviewView
from orchestrator.watchedlog import Watched, can_be_followed
from web import live
from web.ansi import Piece, pieces
from web.parts import parts_of, watched_log

blueprint = Blueprint("logs", __name__)

_KINDS = "<any(build, job, latest):kind>"
_AT = f"/<path:project>/-/<int:iid>/<int:deployment_id>/{_KINDS}"
#: Lines on one page, and matches of one search.
PAGE_LINES = 2000
_MATCHES = 1000


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
    watched = watched_log(current_app, deployment_id, kind)
    after = request.headers.get("Last-Event-ID") or request.args.get("after") or BEGIN
    if not _is_place(after):
        after = BEGIN
    return live.stream(lambda: _events(watched, after))


def shown(batch: Batch) -> list[Line]:
    """The lines of a batch."""
    return [Line(number, pieces(text)) for number, text in enumerate(batch.lines, batch.first)]


def _events(watched: Watched, after: str) -> Iterator[str]:
    for batches in watched.batches(after):
        for batch in batches:
            lines = [[line.number, line.pieces] for line in shown(batch)]
            yield live.event("lines", lines, number=batch.id)
        if not batches:
            yield ": still here\n\n"
    if not watched.still_runs():
        yield live.event("end", {})


def _so_far(deployment: Deployment, kind: str) -> list[Batch]:
    """What is known of the running log; looking at the page has it followed."""
    try:
        return watched_log(current_app, deployment.id, kind).so_far(BEGIN)
    except RedisError:
        return []


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
