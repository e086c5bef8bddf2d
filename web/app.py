"""The Flask application: ``gunicorn 'web.app:create_app()'``."""

from __future__ import annotations

from flask import Flask, Response

from orchestrator.bootstrap import Parts
from orchestrator.settings import load_settings
from web import health, pages, webhook
from web.parts import install


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
    return app


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
