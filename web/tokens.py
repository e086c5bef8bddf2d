"""Where people make and revoke the tokens with which their programs use the API; each sees their own."""

from __future__ import annotations

import time

from flask import Blueprint, Response, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from orchestrator.errors import BadInput
from orchestrator.tokens import LONGEST_NAME, Scope
from web import people
from web.parts import parts_of

blueprint = Blueprint("tokens", __name__, url_prefix="/tokens")

#: To act on something one has to look at it.
_SCOPES = {
    "read": (Scope.READ,),
    "act": (Scope.READ, Scope.ACT),
    "set": (Scope.READ, Scope.ACT, Scope.SET),
}
_DAYS = ("30", "90", "365")


@blueprint.get("")
def show() -> str:
    """The tokens of who asks."""
    return _page()


@blueprint.post("")
def make() -> ResponseReturnValue:
    """Make one, and show it: here, and nowhere again."""
    me, form = people.known_person(), request.form
    try:
        scopes, days = _SCOPES.get(form.get("scope", "")), form.get("days")
        if scopes is None or days not in _DAYS:
            raise BadInput("That cannot be chosen; load the page again.")
        secret = parts_of(current_app).tokens.make(
            me.id,
            me.name,
            name=form.get("name", ""),
            scopes=scopes,
            seconds=int(days) * 86400.0,
            now=time.time(),
        )
    except BadInput as error:
        flash(str(error), "error")
        return redirect(url_for("tokens.show"), 303)
    return Response(_page(secret), headers={"Cache-Control": "no-store"})


@blueprint.post("/<int:token_id>/revoke")
def revoke(token_id: int) -> ResponseReturnValue:
    """Make one count no more, from now on."""
    me = people.known_person()
    if not parts_of(current_app).tokens.revoke(me.id, token_id, who=me.name, now=time.time()):
        abort(404)
    flash("It is revoked.", "success")
    return redirect(url_for("tokens.show"), 303)


def _page(secret: str = "") -> str:
    return render_template(
        "tokens.html",
        tokens=parts_of(current_app).tokens.of(people.known_person().id),
        secret=secret,
        server=parts_of(current_app).settings.public_url,
        days=_DAYS,
        longest=LONGEST_NAME,
        now=time.time(),
    )
