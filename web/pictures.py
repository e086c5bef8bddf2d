"""Pictures of the pages that previews show, to whoever may read the preview."""

from __future__ import annotations

from flask import Blueprint, Response, abort, current_app

from orchestrator.pictures import MEDIA_TYPE
from web.parts import parts_of

blueprint = Blueprint("pictures", __name__)


@blueprint.get("/<path:project>/-/<int:iid>/<int:deployment_id>/picture.webp")
def picture(project: str, iid: int, deployment_id: int) -> Response:
    """What a deployment's page looked like."""
    parts = parts_of(current_app)
    view = parts.views.preview(project, iid)
    if view is None or view.picture is None or view.picture.deployment_id != deployment_id:
        abort(404)
    webp = parts.pictures.of(deployment_id)
    if webp is None:
        abort(404)
    # Also where a cookie was sent along by mistake, it is for no page but ours.
    headers = {"Cross-Origin-Resource-Policy": "same-origin"}
    return Response(webp, mimetype=MEDIA_TYPE, headers=headers)
