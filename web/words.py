"""How pages write times, sizes, states and foreign text: the filters of the templates."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from flask import Flask, url_for
from markupsafe import Markup

from orchestrator import report
from orchestrator.markdown import plain
from orchestrator.report import size

_STATIC = Path(__file__).parent / "static"
_CODE = Markup("<code>{}</code>")

#: Codex's tone of each state of a deployment and of an account.
_TONES: Mapping[str, str] = {
    "live": "success",
    "free": "success",
    "passed": "success",
    "failed": "error",
    "quarantined": "error",
    "refused": "warning",
    "blocked": "warning",
    "drained": "warning",
}


def instant(seconds: float | None) -> str:
    """A time for people, in UTC."""
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def moment(seconds: float) -> str:
    """A time for machines: ISO 8601."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def duration(seconds: float | None) -> str:
    """How long something took."""
    if seconds is None:
        return ""
    return report.duration(seconds) if seconds < 7200 else f"{seconds / 3600:.1f} h"


def tone(state: str) -> str:
    """The tone of a state; what is on its way is a notice."""
    return _TONES.get(state, "notice")


def codes(text: str) -> Markup:
    """Text in which what stands between backticks is code; all of it is escaped."""
    parts = plain(text).split("`")
    if len(parts) % 2 == 0:
        # A backtick without its partner is one.
        parts[-2:] = ["`".join(parts[-2:])]
    return Markup().join(_CODE.format(part) if at % 2 else part for at, part in enumerate(parts))


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((_STATIC / name).read_bytes()).hexdigest()[:12]


def static_file(name: str) -> str:
    """The address of a file of ours; another content has another address, so that it may be kept for long."""
    return url_for("static", filename=name, v=_digest(name))


def install(app: Flask) -> None:
    """Give the templates their words."""
    app.jinja_env.filters.update(
        instant=instant, moment=moment, duration=duration, tone=tone, size=size, plain=plain, codes=codes
    )
    app.jinja_env.globals["static_file"] = static_file
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
