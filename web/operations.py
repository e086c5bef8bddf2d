"""What operators do to accounts, and what they stop: as on the command line, through the same doors."""

from __future__ import annotations

import time
from collections.abc import Callable

from flask import Blueprint, current_app, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from orchestrator.errors import BadInput, Conflict
from orchestrator.records import Due, Project
from orchestrator.switches import reason
from web import people
from web.parts import parts_of, say

blueprint = Blueprint("operations", __name__)


@blueprint.post("/accounts/<name>/<any(drain, undrain, clean, empty):order>")
def account(name: str, order: str) -> ResponseReturnValue:
    """Do one thing to an account."""
    return _carried_out(
        lambda who, now: _on_account(name, order, who, now), url_for("pages.account", name=name)
    )


def _on_account(name: str, order: str, who: str, now: float) -> tuple[list[Due], str]:
    lifecycle = parts_of(current_app).lifecycle
    match order:
        case "drain":
            return lifecycle.drain(name, who, now), f"{name} is taken out of use."
        case "undrain":
            return lifecycle.drain(name, who, now, undo=True), f"{name} is put back into use."
        case "clean":
            return lifecycle.clean(name, who, now), f"{name} is being cleaned."
        case _:
            if request.form.get("confirm") != name:
                raise BadInput(f"Nothing was deleted: write {name} to say that you mean it.")
            return lifecycle.clean(name, who, now, everything=True), f"{name} is being emptied."


@blueprint.post("/switches/<any(freeze, pause, resume):order>")
def switch(order: str) -> ResponseReturnValue:
    """Stop something, or let it go on."""
    return _carried_out(lambda who, now: _on_switch(order, who, now), url_for("pages.overview"))


def _on_switch(order: str, who: str, now: float) -> tuple[list[Due], str]:
    lifecycle = parts_of(current_app).lifecycle
    project = _named(request.form.get("project", ""))
    project_id, what = (project.id, project.path) if project else (None, "Everything")
    match order:
        case "freeze":
            return lifecycle.freeze(who, reason(request.form.get("why", "")), now), "Builds are frozen."
        case "pause":
            why = reason(request.form.get("why", ""))
            return lifecycle.pause(who, why, now, project_id=project_id), f"{what} is paused."
        case _:
            return lifecycle.resume(who, now, project_id=project_id), f"{what} goes on."


def _named(path: str) -> Project | None:
    """A connected project; None for no name. Raises :class:`BadInput` for a name that is none."""
    if not path:
        return None
    with parts_of(current_app).store.read() as tx:
        found = tx.project_at(path)
    if found is None:
        raise BadInput(f"No project '{path[:100]}' is connected.")
    return found


def _carried_out(order: Callable[[str, float], tuple[list[Due], str]], page: str) -> ResponseReturnValue:
    """Do it, and go back to `page` with what came of it."""
    try:
        dues, words = order(people.name(), time.time())
    except (BadInput, Conflict) as error:
        flash(str(error), "error")
    else:
        say(current_app, dues)
        flash(words, "success")
    return redirect(page, 303)
