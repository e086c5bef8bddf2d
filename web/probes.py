"""The repository of the probes, as git clones it: read only, and the same for everybody."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, abort, current_app, request

from orchestrator import probes, probing, tinygit
from orchestrator.tinygit import Commit
from web.parts import parts_of

blueprint = Blueprint("probes", __name__)


@blueprint.get("/probes.git/info/refs")
def refs() -> Response:
    """Which branches there are."""
    if request.args.get("service") != "git-upload-pack":
        # That is how it is asked for by files alone, or in order to push.
        abort(404)
    return Response(tinygit.advertisement(_branches()), mimetype=tinygit.ADVERTISEMENT)


@blueprint.post("/probes.git/git-upload-pack")
def fetch() -> Response:
    """What is wanted of them."""
    return Response(tinygit.answer(_branches(), request.get_data()), mimetype=tinygit.RESULT)


def _branches() -> Mapping[str, Commit]:
    with parts_of(current_app).store.read() as tx:
        names = probing.branches(tx)
    if not names:
        abort(404)
    return {name: probes.branch(name) for name in names}
