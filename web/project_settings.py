"""What Maintainers set for their project: which merge requests get a preview, secrets, the webhook's keys.

The rules are those of ``toolforge-preview project set``. What secrets hold is taken here and shown to nobody:
no answer has it in it, that of a form that was refused neither.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, replace

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from orchestrator import secret_rules
from orchestrator.connect import connect_project
from orchestrator.errors import BadInput, Conflict
from orchestrator.gitlab import GitLabError
from orchestrator.markdown import plain
from orchestrator.records import Project
from orchestrator.rules import LISTS, Drafts, Forks, MainWatch, RefusedVersions, Rules
from web import people
from web.parts import parts_of, say

blueprint = Blueprint("project_settings", __name__)

_AT = "/<path:project>/-/settings"
#: Of the project's history, so much is shown.
_EVENTS_SHOWN = 20
_RESULTS = {"head": False, "merged-result": True}
_ONLY_CHECKED = {"default": None, "yes": True, "no": False}


@blueprint.get(_AT)
def show(project: str) -> str:
    """What is set, and what was changed lately, by whom."""
    found, views = _found(project), parts_of(current_app).views
    events = [event for event in views.history("project") if event.subject_id == found.id]
    return render_template(
        "settings.html",
        project=found,
        lists={name: (words, "\n".join(getattr(found.rules, name))) for name, words in LISTS.items()},
        seen=_seal(found.rules),
        events=events[: -_EVENTS_SHOWN - 1 : -1],
        untold=[line for line in views.untold() if line.startswith(f"{found.path}!")],
        secrets=parts_of(current_app).secrets.of(found.id),
        can_seal=parts_of(current_app).settings.secret_key is not None,
        limits=secret_rules,
    )


@blueprint.post(_AT)
def change(project: str) -> ResponseReturnValue:
    """Set the rules as the form says."""
    found, parts = _found(project), parts_of(current_app)
    try:
        rules = _rules(request.form, found.rules)
        if request.form.get("seen") != _seal(found.rules):
            raise Conflict("Somebody else has changed the settings meanwhile: look at them, and try again.")
        if rules == found.rules:
            raise BadInput("It is set so already.")
        say(current_app, parts.lifecycle.set_rules(found.id, rules, people.name(), time.time()))
    except (BadInput, Conflict) as error:
        flash(str(error), "error")
    else:
        flash("It is set, and counts from the next event of a merge request on.", "success")
    return redirect(url_for("project_settings.show", project=project), 303)


@blueprint.post(f"{_AT}/rotate")
def rotate(project: str) -> ResponseReturnValue:
    """Give the project's webhook new secrets."""
    found, parts = _found(project), parts_of(current_app)
    now = time.time()
    try:
        dues = connect_project(parts, found.path, checks=(), now=now)
    except (BadInput, GitLabError) as error:
        flash(f"The secrets are as they were: {plain(str(error))}", "error")
    else:
        parts.lifecycle.note_new_secrets(found.id, people.name(), now)
        say(current_app, dues)
        flash("The webhook has new secrets; those before count for ten more minutes.", "success")
    return redirect(url_for("project_settings.show", project=project), 303)


@blueprint.post(f"{_AT}/secrets")
def put_secret(project: str) -> ResponseReturnValue:
    """Set a secret envvar, or replace it."""
    found, secrets = _found(project), parts_of(current_app).secrets
    name, value = request.form.get("name", "").strip(), request.form.get("value", "")
    try:
        is_replaced = secrets.put(found.id, name, value, people.name(), time.time())
    except (BadInput, Conflict) as error:
        flash(f"No secret was set. {error}", "error")
    else:
        done = "replaced" if is_replaced else "set"
        flash(f"{name} is {done}, and counts from the next deployment of each preview on.", "success")
    return redirect(url_for("project_settings.show", project=project, _anchor="secrets"), 303)


@blueprint.post(f"{_AT}/secrets/<secret>/remove")
def remove_secret(project: str, secret: str) -> ResponseReturnValue:
    """Forget a secret envvar."""
    found = _found(project)
    try:
        parts_of(current_app).secrets.remove(found.id, secret, people.name(), time.time())
    except (BadInput, Conflict) as error:
        flash(str(error), "error")
    else:
        flash(f"{secret} is removed; what is up has it until its next deployment.", "success")
    return redirect(url_for("project_settings.show", project=project, _anchor="secrets"), 303)


def _found(path: str) -> Project:
    with parts_of(current_app).store.read() as tx:
        found = tx.project_at(path)
    if found is None:
        abort(404)
    return found


def _seal(rules: Rules) -> str:
    """The same for the same rules: a form that was made from others is noticed by it."""
    return hashlib.sha256(repr(asdict(rules)).encode()).hexdigest()[:16]


def _rules(form: MultiDict[str, str], before: Rules) -> Rules:
    """The rules that a form describes; raises :class:`BadInput` for a choice that there is not."""
    only = form.get("check_only_bots", "")
    try:
        forks, drafts = Forks(form.get("forks", "")), Drafts(form.get("drafts", ""))
        only_checked, is_merged = _ONLY_CHECKED[only], _RESULTS[form.get("build", "")]
        refused = RefusedVersions(form.get("refused_versions", ""))
        watch = MainWatch(form.get("watch_main", ""))
    except (ValueError, KeyError):
        raise BadInput("That cannot be chosen; load the page again.") from None
    lists = {name: _entries(form.get(name, "")) for name in LISTS}
    return replace(
        before,
        forks=forks,
        drafts=drafts,
        check_only_bots=only_checked,
        merged_result=is_merged,
        refused_versions=refused,
        watch_main=watch,
        life=form.get("life", "").strip(),
        **lists,
    )


def _entries(text: str) -> tuple[str, ...]:
    """One a line; empty lines do not count."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())
