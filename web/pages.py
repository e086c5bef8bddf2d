"""The pages for people: what runs where, and one page for each preview with its timeline and logs."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from flask import Blueprint, Response, abort, current_app, render_template

from orchestrator.markdown import plain
from web.parts import parts_of

blueprint = Blueprint("pages", __name__)


@blueprint.app_template_filter("instant")
def instant(seconds: float | None) -> str:
    """A time for people, in UTC."""
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


@blueprint.app_template_filter("plain")
def without_controls(text: str) -> str:
    """Foreign text without control characters; Jinja escapes the rest."""
    return plain(text)


@blueprint.get("/")
def overview() -> str:
    """The pool, the queue and the newest previews."""
    return render_template("overview.html", overview=parts_of(current_app).views.overview(time.time()))


@blueprint.get("/<path:project>/-/<int:iid>")
def preview(project: str, iid: int) -> str:
    """One preview."""
    view = parts_of(current_app).views.preview(project, iid)
    if view is None:
        abort(404)
    return render_template("preview.html", view=view)


@blueprint.get("/<path:project>/-/<int:iid>/<int:deployment_id>/<any(build, job):kind>.log")
def log(project: str, iid: int, deployment_id: int, kind: str) -> Response:
    """A kept log, as plain text."""
    view = parts_of(current_app).views.preview(project, iid)
    if view is None or deployment_id not in {deployment.id for deployment in view.deployments}:
        abort(404)
    text = parts_of(current_app).views.log(deployment_id, kind)
    if text is None:
        abort(404)
    return Response(plain(text), mimetype="text/plain")


@blueprint.app_errorhandler(404)
def not_found(_: Exception) -> tuple[str, int]:
    """A page that says where to go on."""
    return render_template("not_found.html"), 404
