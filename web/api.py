"""The API for machines: ``/api/v1``, described at ``/api/v1/openapi.json``, with a page to read it.

Each operation is a function from its checked parameters to a model; the description is made from both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from flask import Blueprint, Response, abort, current_app, jsonify, render_template, request
from pydantic import BaseModel, ValidationError

from orchestrator import __version__, renovate
from orchestrator.errors import BadInput
from orchestrator.livelog import BEGIN
from orchestrator.merge_request import Verb
from orchestrator.pages import Pages
from orchestrator.records import Project
from orchestrator.runtimes import BUILDERS
from orchestrator.watchedlog import Watched, can_be_followed
from web import actions, audit, people, shapes
from web.live import room_of
from web.openapi import Operation, describe
from web.parts import parts_of, watched_log
from web.shapes import Body, Listed, Query

_B = TypeVar("_B", bound=Body)

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")
#: What changes something; the doors ask for more there.
changing = Blueprint("api_actions", __name__, url_prefix="/api/v1")
#: What is set for a project, to look at as well; the doors ask for most there.
setting = Blueprint("api_settings", __name__, url_prefix="/api/v1")

OPERATIONS: list[Operation] = []
_NONE = {404: "There is no such thing."}


def operation(
    rule: str,
    *,
    returns: type[BaseModel],
    query: type[Query] = Query,
    body: type[Body] | None = None,
    errors: dict[int, str] | None = None,
    media_type: str = "application/json",
    is_setting: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Serve a function at `rule`: given its parameters, it returns a model, or a response of its own.

    With a `body` it changes something, is asked by POST, and is given that instead of parameters. What
    `is_setting` is for Maintainers only. The first line of its docstring is what the description says of it.
    """
    open_to_more = blueprint if body is None else changing
    there = setting if is_setting else open_to_more

    def serve(function: Callable[..., Any]) -> Callable[..., Any]:
        summary = (function.__doc__ or "").partition("\n")[0]
        one = Operation(
            rule, function.__name__, summary, query, returns, body, media_type, errors or {}, is_setting
        )
        OPERATIONS.append(one)

        def view(**path: Any) -> Response:
            answer = function(_checked(query) if body is None else _sent(body), **path)
            if isinstance(answer, Response):
                return answer
            return Response(answer.model_dump_json(), mimetype=media_type)

        there.add_url_rule(rule, function.__name__, view, methods=[one.method.upper()])
        return function

    return serve


def _checked(query: type[Query]) -> Query:
    given = request.args.to_dict(flat=False)
    try:
        return query.model_validate({name: values[-1] for name, values in given.items()})
    except ValidationError as error:
        raise BadInput(f"Parameter {_first_of(error)}") from None


def _sent(body: type[_B]) -> _B:
    raw = request.get_data()
    try:
        return body.model_validate_json(raw or b"{}")
    except ValidationError as error:
        raise BadInput(f"In the body, as JSON: {_first_of(error)}") from None


def _first_of(error: ValidationError) -> str:
    first = error.errors(include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    return f"{name[:50]!r}: {first['msg']}." if name else f"{first['msg']}."


def _pages() -> Pages:
    return parts_of(current_app).pages


@operation("/projects", returns=Listed[shapes.ProjectOut])
def projects(_: Query) -> Listed[shapes.ProjectOut]:
    """All connected projects by path."""
    branches = _pages().branches()
    found = [shapes.ProjectOut.of(project, branches.get(project.id)) for project in _pages().projects()]
    return Listed[shapes.ProjectOut](items=found)


@operation("/previews", returns=Listed[shapes.PreviewOut], query=shapes.PreviewsQuery, errors=_NONE)
def previews(query: shapes.PreviewsQuery) -> Listed[shapes.PreviewOut]:
    """Previews, those of the newest merge requests first."""
    found = _pages().previews(query.project, before=query.before, most=query.limit, is_open=query.open)
    if found is None:
        abort(404)
    rows, following = found
    return Listed[shapes.PreviewOut](items=[shapes.PreviewOut.of(row) for row in rows], next=following)


@operation("/projects/<path:project>/-/previews/<int:iid>", returns=shapes.PreviewOut, errors=_NONE)
def preview(_: Query, project: str, iid: int) -> shapes.PreviewOut:
    """One preview."""
    found = _pages().preview(project, iid)
    if found is None:
        abort(404)
    return shapes.PreviewOut.of(found)


@operation("/deployments", returns=Listed[shapes.DeploymentOut], query=shapes.DeploymentsQuery, errors=_NONE)
def deployments(query: shapes.DeploymentsQuery) -> Listed[shapes.DeploymentOut]:
    """Deployments, the newest first."""
    if query.iid is not None and query.project is None:
        raise BadInput("Parameter 'iid' needs 'project': numbers of merge requests count within a project.")
    states = [query.state] if query.state else []
    found = _pages().deployments(
        query.project, iid=query.iid, states=states, before=query.before, most=query.limit
    )
    if found is None:
        abort(404)
    rows, following = found
    items = [shapes.DeploymentOut.of(row) for row in rows]
    return Listed[shapes.DeploymentOut](items=items, next=following)


@operation("/deployments/<int:deployment_id>", returns=shapes.DeploymentOut, errors=_NONE)
def deployment(_: Query, deployment_id: int) -> shapes.DeploymentOut:
    """One deployment."""
    found = _pages().deployment(deployment_id)
    if found is None:
        abort(404)
    return shapes.DeploymentOut.of(found)


@operation(
    "/deployments/<int:deployment_id>/logs/<any(build, job, latest):kind>",
    returns=shapes.LineOut,
    query=shapes.LogQuery,
    media_type="application/x-ndjson",
    errors={**_NONE, 429: "Too many follow logs just now."},
)
def log(query: shapes.LogQuery, deployment_id: int, kind: str) -> Response:
    """The lines of a log, one JSON object a line; with `follow` also those to come of what runs."""
    found = _pages().deployment(deployment_id)
    if found is None:
        abort(404)
    text = parts_of(current_app).views.log(deployment_id, kind)
    if text is not None:
        return _lines(_numbered(text))
    if not (query.follow and can_be_followed(found.deployment, kind)):
        abort(404)
    room = room_of(current_app)
    if request.method != "GET" or not room.take():
        abort(429)
    answer = _lines(_followed(watched_log(current_app, deployment_id, kind)))
    answer.call_on_close(room.leave)
    return answer


def _lines(made: Iterator[str]) -> Response:
    return Response(made, mimetype="application/x-ndjson", headers={"Cache-Control": "no-store"})


def _numbered(text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), 1):
        yield shapes.LineOut(number=number, text=line).model_dump_json() + "\n"


def _followed(watched: Watched) -> Iterator[str]:
    for batches in watched.batches(BEGIN):
        for batch in batches:
            for number, line in enumerate(batch.lines, batch.first):
                yield shapes.LineOut(number=number, text=line).model_dump_json() + "\n"
        if not batches:
            # An empty line means nothing in NDJSON; a reader who has gone is noticed by it.
            yield "\n"


@operation("/events", returns=Listed[shapes.EventOut], query=shapes.EventsQuery)
def events(query: shapes.EventsQuery) -> Listed[shapes.EventOut]:
    """Changes of state, the newest first."""
    given = query.model_dump(exclude={"limit", "before"}, exclude_none=True)
    sought = audit.sought(_pages(), given)
    found, names, following = _pages().events(sought, before=query.before, most=query.limit)
    items = [shapes.EventOut.of(one, names.get(one.preview_id or 0)) for one in found]
    return Listed[shapes.EventOut](items=items, next=following)


@operation("/builders", returns=Listed[shapes.RuntimeOut])
def builders(_: Query) -> Listed[shapes.RuntimeOut]:
    """Which versions of languages the builders have or refuse, as far as builds have shown it."""
    now = time.time()
    found = [seen for builder in BUILDERS for seen in _pages().runtimes(builder)]
    return Listed[shapes.RuntimeOut](items=[shapes.RuntimeOut.of(seen, now) for seen in found])


@operation("/builders/renovate-preset.json", returns=shapes.RenovatePresetOut)
def renovate_preset(_: Query) -> shapes.RenovatePresetOut:
    """A preset for Renovate: it proposes no version that the builder is not known to have."""
    found = renovate.rules(_pages().runtimes(), time.time())
    return shapes.RenovatePresetOut(packageRules=[shapes.RenovateRuleOut.of(rule) for rule in found])


@operation("/builders/projects", returns=Listed[shapes.OutlookOut])
def builder_projects(_: Query) -> Listed[shapes.OutlookOut]:
    """Projects whose version of a language the builder refuses or may lack, or that could move up."""
    found = [shapes.OutlookOut.of(one) for one in _pages().outlook(time.time())]
    return Listed[shapes.OutlookOut](items=found)


@operation("/builders/changes", returns=Listed[shapes.NoticedOut])
def builder_changes(_: Query) -> Listed[shapes.NoticedOut]:
    """Changes of the builder that builds have shown, the newest first."""
    found = [shapes.NoticedOut.of(one) for one in _pages().builder().changes]
    return Listed[shapes.NoticedOut](items=found)


@operation("/builders/probes", returns=Listed[shapes.ProbeOut])
def builder_probes(_: Query) -> Listed[shapes.ProbeOut]:
    """Tiny repositories of our own that are built where nobody needs the pool, and what came of that."""
    return Listed[shapes.ProbeOut](items=[shapes.ProbeOut.of(one) for one in _pages().probes()])


@operation("/incidents", returns=Listed[shapes.IncidentOut])
def incidents(_: Query) -> Listed[shapes.IncidentOut]:
    """What fails in several projects for the same cause."""
    found = _pages().incidents(time.time())
    return Listed[shapes.IncidentOut](items=[shapes.IncidentOut.of(one) for one in found])


@operation("/accounts", returns=Listed[shapes.AccountOut])
def accounts(_: Query) -> Listed[shapes.AccountOut]:
    """The pool by name."""
    found = [shapes.AccountOut.of(place) for place in _pages().pool(time.time()).places]
    return Listed[shapes.AccountOut](items=found)


@operation("/accounts/<name>", returns=shapes.AccountOut, errors=_NONE)
def account(_: Query, name: str) -> shapes.AccountOut:
    """One account of the pool."""
    found = _pages().account(name, time.time())
    if found is None:
        abort(404)
    return shapes.AccountOut.of(found.place)


@operation("/queue", returns=shapes.QueueOut)
def queue(_: Query) -> shapes.QueueOut:
    """The builds, and who waits for one."""
    overview = parts_of(current_app).views.overview(time.time())
    return shapes.QueueOut(
        builds=overview.builds,
        ceiling=overview.ceiling,
        waiting=overview.waiting,
        is_frozen=overview.is_frozen,
        stopped=[f"{view.what}: {view.switch.why}" for view in overview.switches],
        items=[shapes.WaiterOut.of(waiter) for waiter in overview.queue],
    )


# --- what changes something ---------------------------------------------------------------------------

_AT = "/projects/<path:project>/-/previews/<int:iid>"
_REFUSED = {
    **_NONE,
    400: "What was sent is wrong, or makes no sense as the preview is.",
    403: "You, or your token, may not do this.",
    409: "Somebody else was faster: look again.",
}


@operation(f"{_AT}/redeploy", returns=shapes.DoneOut, body=shapes.CommitIn, errors=_REFUSED)
def redeploy(body: shapes.CommitIn, project: str, iid: int) -> shapes.DoneOut:
    """Approve the commit if it waits for that, else build it again, or take its image where that is there."""
    return _done(project, iid, Verb.REDEPLOY, sha=body.sha)


@operation(f"{_AT}/rebuild", returns=shapes.DoneOut, body=shapes.CommitIn, errors=_REFUSED)
def rebuild(body: shapes.CommitIn, project: str, iid: int) -> shapes.DoneOut:
    """Build the commit anew in any case."""
    return _done(project, iid, Verb.REBUILD, sha=body.sha)


@operation(f"{_AT}/keep", returns=shapes.DoneOut, body=shapes.DurationIn, errors=_REFUSED)
def keep(body: shapes.DurationIn, project: str, iid: int) -> shapes.DoneOut:
    """Let the preview neither expire nor give way to others for some time."""
    return _done(project, iid, Verb.KEEP, duration=body.duration)


@operation(f"{_AT}/release", returns=shapes.DoneOut, body=Body, errors=_REFUSED)
def release(_: Body, project: str, iid: int) -> shapes.DoneOut:
    """Let a preview that is kept give way again."""
    return _done(project, iid, "release")


@operation(f"{_AT}/stop", returns=shapes.DoneOut, body=Body, errors=_REFUSED)
def stop(_: Body, project: str, iid: int) -> shapes.DoneOut:
    """Take the preview down, and give its account back."""
    return _done(project, iid, Verb.STOP)


def _done(project: str, iid: int, verb: str, *, sha: str = "", duration: str = "") -> shapes.DoneOut:
    before = _pages().preview(project, iid)
    if before is None:
        abort(404)
    words = actions.carry_out(before.of.preview, verb, sha=sha, duration=duration)
    after = _pages().preview(project, iid)
    return shapes.DoneOut(message=words, preview=shapes.PreviewOut.of(after or before))


# --- what Maintainers set -----------------------------------------------------------------------------

_SECRETS = "/projects/<path:project>/-/secrets"
_NOT_SET = {
    **_NONE,
    400: "What was sent is wrong, or no secret can be called so.",
    403: "You, or your token, may not do this.",
    409: "Somebody else was faster: look again.",
}


@operation(_SECRETS, returns=Listed[shapes.SecretOut], errors=_NONE, is_setting=True)
def secrets(_: Query, project: str) -> Listed[shapes.SecretOut]:
    """The secret envvars of a project by name, without their values."""
    return _secrets_of(_connected(project))


@operation(
    f"{_SECRETS}/<name>",
    returns=Listed[shapes.SecretOut],
    body=shapes.SecretIn,
    errors=_NOT_SET,
    is_setting=True,
)
def put_secret(body: shapes.SecretIn, project: str, name: str) -> Listed[shapes.SecretOut]:
    """Set a secret envvar, or replace it; it counts from the next deployment of each preview on."""
    found, value = _connected(project), body.value.get_secret_value()
    parts_of(current_app).secrets.put(found.id, name, value, people.name(), time.time())
    return _secrets_of(found)


@operation(
    f"{_SECRETS}/<name>/remove",
    returns=Listed[shapes.SecretOut],
    body=Body,
    errors=_NOT_SET,
    is_setting=True,
)
def remove_secret(_: Body, project: str, name: str) -> Listed[shapes.SecretOut]:
    """Forget a secret envvar; what is up has it until its next deployment."""
    found = _connected(project)
    parts_of(current_app).secrets.remove(found.id, name, people.name(), time.time())
    return _secrets_of(found)


def _connected(path: str) -> Project:
    with parts_of(current_app).store.read() as tx:
        found = tx.project_at(path)
    if found is None:
        abort(404)
    return found


def _secrets_of(project: Project) -> Listed[shapes.SecretOut]:
    found = parts_of(current_app).secrets.of(project.id)
    return Listed[shapes.SecretOut](items=[shapes.SecretOut.of(secret) for secret in found])


# --- the description ----------------------------------------------------------------------------------


@blueprint.get("/openapi.json")
def description() -> Response:
    """The description."""
    return jsonify(_described())


@blueprint.get("/")
def reference() -> str:
    """The description as a page."""
    described = _described()
    return render_template("api.html", described=described)


def _described() -> dict[str, Any]:
    server = parts_of(current_app).settings.public_url
    return describe(OPERATIONS, server=server, version=__version__)
