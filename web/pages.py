"""The pages for people: what runs where, and one page for each project, preview and account."""

from __future__ import annotations

import time

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from orchestrator.errors import TryLater
from orchestrator.gitlab import MAINTAINER
from orchestrator.opinion import lacks, told
from orchestrator.pages import PICTURE_SECONDS, Pages
from orchestrator.pictures import HEIGHT, WIDTH
from orchestrator.preview import State
from orchestrator.records import Project
from orchestrator.runtimes import BUILDERS
from orchestrator.stages import stages
from web import actions, people
from web.parts import parts_of

blueprint = Blueprint("pages", __name__)

#: Pictures move on so often; between, a page that has not changed is the same to the last byte.
_TICK_SECONDS = 20


def _now() -> float:
    """The time to the tick before."""
    return time.time() // _TICK_SECONDS * _TICK_SECONDS


def _is_public() -> bool:
    return parts_of(current_app).settings.public_pages


def _pages() -> Pages:
    return parts_of(current_app).pages


@blueprint.get("/")
def overview() -> str:
    """The pool, the queue, what failed lately, and the newest previews."""
    pool = _pages().pool(time.time())
    now = _now()
    return render_template(
        "overview.html",
        pool=pool,
        paths={project.id: project.path for project in pool.projects},
        now=now,
        begin=now - PICTURE_SECONDS,
        live=url_for("live.live"),
        acts=people.is_operator(),
    )


@blueprint.get("/<path:project>/-/")
def project(project: str) -> str | Response:
    """One project."""
    page = _pages().project(project, before=request.args.get("before", type=int))
    if page is None:
        abort(404)
    if page.project.is_ours:
        return redirect(url_for("pages.builders", _anchor="probes"))
    badge = f"{parts_of(current_app).settings.public_url}{url_for('badge.of_project', project=project)}"
    try:
        may_set = people.is_operator() or people.has_level(MAINTAINER, page.project)
    except TryLater:
        may_set = False
    return render_template(
        "project.html",
        page=page,
        badge=badge,
        public=_is_public(),
        may_set=may_set,
        lost=_lost_secrets(page.project) if may_set else [],
        live=url_for("live.live"),
    )


def _lost_secrets(project: Project) -> list[str]:
    return [one.name for one in parts_of(current_app).secrets.of(project.id) if not one.is_readable]


@blueprint.get("/<path:project>/-/<int:iid>")
def preview(project: str, iid: int) -> str:
    """One preview."""
    view = parts_of(current_app).views.preview(project, iid, now=_now())
    if view is None:
        abort(404)
    try:
        offer, is_known = (actions.offer(view) if actions.may_act(view) else None), True
    except TryLater:
        # The page is there all the same, but for its buttons.
        offer, is_known = None, False
    return render_template(
        "preview.html",
        view=view,
        offer=offer,
        rights_unknown=not is_known,
        acts=offer is not None,
        public=_is_public(),
        picture_size=(WIDTH, HEIGHT),
        took={deployment.id: stages(deployment) for deployment in view.deployments},
        awaited={one.id: lacks(one.failure) for one in view.deployments if one.state is State.BLOCKED},
        opinions={deployment.id: told(deployment) for deployment in view.deployments},
        public_url=parts_of(current_app).settings.public_url,
        live=url_for("live.live", preview=view.preview.id),
    )


@blueprint.get("/builders")
def builders() -> str:
    """What the builders have, as far as builds have shown it."""
    now = _now()
    return render_template(
        "builders.html",
        builders={builder: _pages().runtimes(builder) for builder in BUILDERS},
        changes=_pages().builder().changes,
        probes=_pages().probes(),
        outlook=_pages().outlook(now),
        now=now,
        live=url_for("live.live"),
    )


@blueprint.get("/accounts/<name>")
def account(name: str) -> str:
    """One dev tool account."""
    now = _now()
    page = _pages().account(name, now)
    if page is None:
        abort(404)
    return render_template(
        "account.html",
        page=page,
        now=now,
        live=url_for("live.live", account=page.place.account.id),
        acts=people.is_operator(),
    )
