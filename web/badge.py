"""The badge: the newest state of a project or a merge request as a small picture, for READMEs.

The words and their widths are ours, so that a picture is made once and then only looked up; nothing foreign
is ever drawn. A project that is not known and one that is not to be seen get the same grey badge.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from flask import Blueprint, Flask, Response, current_app, jsonify, request

from orchestrator.preview import State
from web.parts import parts_of
from web.recent import Recent

blueprint = Blueprint("badge", __name__)

_EXTENSION = "toolforge_preview_badges"
#: A badge may be so old, here and in GitLab's image proxy.
_SECONDS = 5
_LABEL = "preview"
_UNKNOWN = "unknown"
_LABEL_COLOUR, _GREY = "#404244", "#54595d"
#: White on each has a contrast of 4.5 and more.
_COLOURS: Mapping[str, str] = {
    State.LIVE: "#096450",
    State.STOPPED: "#54595d",
    State.FAILED: "#b32424",
    State.REFUSED: "#886425",
    State.QUEUED: "#4b5a80",
    State.BLOCKED: "#886425",
    State.BUILDING: "#3056a9",
    State.STARTING: "#3056a9",
    State.CHECKING: "#3056a9",
}
#: Advance widths of Verdana at 11 pixels, in tenths; of what is not named, the widest of them.
_WIDTHS: Mapping[str, int] = {
    **dict.fromkeys("il", 30),
    **dict.fromkeys("fj", 39),
    **dict.fromkeys("rt ", 46),
    **dict.fromkeys("csz", 57),
    **dict.fromkeys("kvxy", 65),
    **dict.fromkeys("aeo", 67),
    **dict.fromkeys("bdghnpqu", 70),
    "w": 90,
    "m": 107,
}


def width(text: str) -> int:
    """How many pixels `text` takes."""
    return -(-sum(_WIDTHS.get(letter, 107) for letter in text) // 10)


@cache
def drawn(state: str) -> bytes:
    """The badge of a state, as SVG."""
    left, right = width(_LABEL) + 12, width(state) + 12
    total, colour = left + right, _COLOURS.get(state, _GREY)
    texts = "".join(
        f'<text x="{x}" y="14" textLength="{width(text)}">{text}</text>'
        for x, text in ((6, _LABEL), (left + 6, state))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="20" role="img" '
        f'aria-label="{_LABEL}: {state}"><title>{_LABEL}: {state}</title>'
        f'<clipPath id="r"><rect width="{total}" height="20" rx="3"/></clipPath><g clip-path="url(#r)">'
        f'<rect width="{left}" height="20" fill="{_LABEL_COLOUR}"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" '
        f'lengthAdjust="spacingAndGlyphs">{texts}</g></svg>\n'
    ).encode()


def install(app: Flask) -> None:
    """Give `app` its memory of states."""
    app.extensions[_EXTENSION] = Recent[State | None](1.0, most=10_000)


@blueprint.get("/badge/<path:project>.svg")
def of_project(project: str) -> Response:
    """The badge of a project."""
    return _picture(_state(project, None))


@blueprint.get("/badge/<path:project>/<int:iid>.svg")
def of_preview(project: str, iid: int) -> Response:
    """The badge of a merge request."""
    return _picture(_state(project, iid))


@blueprint.get("/badge/<path:project>.json")
def data_of_project(project: str) -> Response:
    """What shields.io's endpoint badge takes."""
    return _data(_state(project, None))


@blueprint.get("/badge/<path:project>/<int:iid>.json")
def data_of_preview(project: str, iid: int) -> Response:
    """The same of a merge request."""
    return _data(_state(project, iid))


def _state(project: str, iid: int | None) -> State | None:
    parts = parts_of(current_app)
    if not parts.settings.public_pages or (iid is not None and not 0 < iid < 2**31):
        return None
    recent: Recent[State | None] = current_app.extensions[_EXTENSION]
    return recent.get((project, iid), lambda: parts.pages.state_of(project, iid))


def _picture(state: State | None) -> Response:
    return _kept(Response(drawn(state or _UNKNOWN), mimetype="image/svg+xml"), state)


def _data(state: State | None) -> Response:
    word = state or _UNKNOWN
    answer = jsonify(schemaVersion=1, label=_LABEL, message=word, color=_COLOURS.get(word, _GREY))
    return _kept(answer, state)


def _kept(response: Response, state: State | None) -> Response:
    """Browsers and proxies ask again after seconds, and are told in a few bytes that nothing has changed."""
    response.status_code = 200 if state else 404
    response.headers["Cache-Control"] = f"public, max-age={_SECONDS}, stale-if-error=300"
    response.set_etag(state or _UNKNOWN)
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    if state:
        response.make_conditional(request)
    return response
