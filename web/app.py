"""The Flask application: ``gunicorn 'web.app:create_app()'``."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.bootstrap import Parts
from orchestrator.errors import PreviewError
from orchestrator.settings import load_settings
from web import health, pages, webhook
from web.parts import install

log = logging.getLogger(__name__)


def create_app(parts: Parts | None = None) -> Flask:
    """The application, on `parts` or on those that the settings in the environment describe.

    Raises :class:`BadInput` when a setting is wrong.
    """
    parts = parts or Parts(load_settings())
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = parts.settings.body_limit_bytes
    install(app, parts)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(webhook.blueprint)
    app.register_blueprint(pages.blueprint)
    app.after_request(_close_doors)
    _catch_up(parts)
    return app


def _catch_up(parts: Parts) -> None:
    """GitLab does not deliver again what nobody took while there was no web process."""
    try:
        parts.lifecycle.compare_by(time.time())
    except (SQLAlchemyError, PreviewError) as error:
        log.warning("what was missed is looked for later: %s", type(error).__name__)


def _close_doors(response: Response) -> Response:
    """Nothing from elsewhere, no script, no frame: the pages show text that strangers wrote."""
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'",
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response
