"""The Flask application: ``gunicorn 'web.app:create_app()'``."""

from __future__ import annotations

import atexit
import logging
import time

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import sentry
from orchestrator.bootstrap import Parts
from orchestrator.errors import PreviewError
from orchestrator.logs import install as install_logs
from orchestrator.settings import load_settings
from web import (
    actions,
    api,
    audit,
    badge,
    doors,
    errors,
    health,
    live,
    logs,
    metrics,
    operations,
    pages,
    people,
    pictures,
    probes,
    project_settings,
    sign_in,
    tokens,
    webhook,
    words,
)
from web.parts import install

log = logging.getLogger(__name__)


def create_app(parts: Parts | None = None) -> Flask:
    """The application, on `parts` or on those that the settings in the environment describe.

    Raises :class:`BadInput` when a setting is wrong.
    """
    if parts is None:
        parts = Parts(load_settings())
        install_logs(parts.settings.log_format)
        sentry.install(parts.settings)
        # The process is ours: what it counted last is written down at its end.
        atexit.register(parts.close)
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = parts.settings.body_limit_bytes
    install(app, parts)
    for part in (people, doors, words, live, badge, sign_in):
        part.install(app)
    for part in (
        errors,
        health,
        metrics,
        webhook,
        badge,
        sign_in,
        live,
        api,
        audit,
        logs,
        pictures,
        probes,
        actions,
        operations,
        project_settings,
        tokens,
        pages,
    ):
        app.register_blueprint(part.blueprint)
    app.register_blueprint(api.changing)
    app.register_blueprint(api.setting)
    _catch_up(parts)
    return app


def _catch_up(parts: Parts) -> None:
    """GitLab does not deliver again what nobody took while there was no web process."""
    try:
        parts.lifecycle.compare_by(time.time())
    except (SQLAlchemyError, PreviewError) as error:
        log.warning("what was missed is looked for later: %s", type(error).__name__)
