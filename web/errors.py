"""Errors as pages that say why, and what to do; to those who ask for JSON, as problem details (RFC 9457)."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, jsonify, render_template, request
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException, InternalServerError

from orchestrator.errors import BadInput, Conflict, PreviewError, TryLater
from web.doors import ForeignForm, KeptOut, OutOfScope
from web.people import BadToken

log = logging.getLogger(__name__)
blueprint = Blueprint("errors", __name__)

Answer = Response | tuple[Response | str, int] | tuple[Response | str, int, dict[str, str]]


def problem(status: int, title: str, detail: str) -> Response:
    """An error for machines."""
    response = jsonify(type="about:blank", title=title, status=status, detail=detail)
    response.status_code = status
    response.mimetype = "application/problem+json"
    return response


def wants_problem() -> bool:
    """True for what machines ask."""
    return request.path.startswith("/api/")


@blueprint.app_errorhandler(404)
def not_found(_: HTTPException) -> Answer:
    """There is nothing here."""
    if wants_problem():
        return problem(404, "Not found", "There is nothing at this address; see /api/v1/openapi.json.")
    return render_template("not_found.html"), 404


@blueprint.app_errorhandler(KeptOut)
def kept_out(error: KeptOut) -> Answer:
    """Who asks may not do this; who has not signed in is offered to."""
    if wants_problem():
        return problem(403, "Forbidden", str(error))
    return render_template("forbidden.html", need=error.need), 403


@blueprint.app_errorhandler(BadToken)
def bad_token(error: BadToken) -> Answer:
    """Only the API takes tokens."""
    response = problem(401, "Unauthorized", str(error))
    # RFC 6750, section 3.
    response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return response


@blueprint.app_errorhandler(OutOfScope)
def out_of_scope(error: OutOfScope) -> Answer:
    """Only the API takes tokens."""
    response = problem(403, "Forbidden", str(error))
    scope = f', scope="{error.scope}"' if error.scope else ""
    response.headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope"{scope}'
    return response


@blueprint.app_errorhandler(ForeignForm)
@blueprint.app_errorhandler(CSRFError)
def foreign_form(_: Exception) -> Answer:
    """A form that is not believed to be one of ours."""
    detail = str(ForeignForm())
    if wants_problem():
        return problem(400, "Bad request", detail)
    return render_template("bad_request.html", detail=f"{detail} Load the page again and try once more."), 400


@blueprint.app_errorhandler(BadInput)
def bad_input(error: BadInput) -> Answer:
    """What was asked for makes no sense, and the error says why."""
    if wants_problem():
        return problem(400, "Bad request", str(error))
    return render_template("bad_request.html", detail=str(error)), 400


@blueprint.app_errorhandler(Conflict)
def too_late(error: Conflict) -> Answer:
    """Somebody else was faster."""
    if wants_problem():
        return problem(409, "Conflict", str(error))
    return render_template("bad_request.html", detail=str(error)), 409


@blueprint.app_errorhandler(SQLAlchemyError)
@blueprint.app_errorhandler(TryLater)
def away(error: SQLAlchemyError | PreviewError) -> Answer:
    """The database, or what else a page needs, does not answer; its words are for the log only."""
    log.warning("%s %s: %s", request.method, request.path, type(error).__name__, exc_info=error)
    reason = (
        "the database does not answer" if isinstance(error, SQLAlchemyError) else "a part does not answer"
    )
    if wants_problem():
        response = problem(503, "Service unavailable", f"Try again in a moment: {reason}.")
        response.headers["Retry-After"] = "5"
        return response
    return render_template("away.html", reason=reason), 503, {"Retry-After": "5"}


@blueprint.app_errorhandler(500)
def broken(error: InternalServerError) -> Answer:
    """A bug; Flask has logged it."""
    if wants_problem():
        return problem(500, "Internal server error", "This is a bug; the operators' log has it.")
    return render_template("broken.html"), 500


@blueprint.app_errorhandler(HTTPException)
def other(error: HTTPException) -> Answer | HTTPException:
    """Anything else that HTTP has a number for."""
    if wants_problem():
        answer = problem(error.code or 500, error.name, error.description or "")
        for name, value in error.get_headers():
            if name.lower() == "allow":
                answer.headers[name] = value
        return answer
    return error
