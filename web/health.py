"""Is the process alive, and can it do its work?"""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from web.parts import parts_of

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> Response:
    """200 while the process answers at all."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
def ready() -> tuple[Response, int]:
    """200 when database and Redis answer and workers work, else 503 naming what does not."""
    parts = parts_of(current_app)
    problems = {}
    try:
        with parts.store.read() as tx:
            tx.switch("schedule")
    except SQLAlchemyError as error:
        problems["database"] = type(error).__name__
    try:
        if not parts.pulse.is_felt():
            problems["worker"] = "no sweep for half a minute"
    except RedisError as error:
        problems["redis"] = type(error).__name__
    return jsonify(status="not ready" if problems else "ready", problems=problems), 503 if problems else 200
