"""Logs: JSON in service, readable on a terminal, and on every line what it is about.

Whoever works on a row says so once, by :func:`about`; each line that is logged meanwhile carries it,
whichever library it comes from. One merge request is followed by its deliveries, deployments and accounts,
from the webhook to the cleaning.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from orchestrator.markdown import plain

_ABOUT: ContextVar[Mapping[str, object]] = ContextVar("about", default=MappingProxyType({}))
#: Where a single line says what it is about: ``log.info(..., extra=being({"deployment": 17}))``.
_EXTRA = "about"
#: Tell of every request and task; what matters of them we tell ourselves.
_NOISY = (
    *("httpx", "celery.app.trace", "celery.worker.strategy", "celery.beat", "celery.apps.worker"),
    "alembic",
)
#: Have handlers of their own, which would write their lines in another form.
_WITH_HANDLERS = ("gunicorn.error",)


@contextmanager
def about(**ids: object) -> Iterator[None]:
    """What is logged within the block is about these; None and what is empty are left out."""
    token = _ABOUT.set({**_ABOUT.get(), **_given(ids)})
    try:
        yield
    finally:
        _ABOUT.reset(token)


@contextmanager
def only(*names: str) -> Iterator[None]:
    """What is logged within the block is about nothing but what it says itself, and these."""
    token = _ABOUT.set({name: value for name, value in _ABOUT.get().items() if name in names})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def present() -> Mapping[str, object]:
    """What is being logged about just now."""
    return _ABOUT.get()


def being(ids: Mapping[str, object]) -> Mapping[str, object]:
    """As `extra` of one line: it is about these, too."""
    return {_EXTRA: _given(ids)}


def _given(ids: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in ids.items() if value not in {None, ""}}


class AboutFilter(logging.Filter):
    """Puts on each line what it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        setattr(record, _EXTRA, {**_ABOUT.get(), **getattr(record, _EXTRA, {})})
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line; times are UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _EXTRA, {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """A line for people. What comes from strangers cannot begin a line of its own, or colour anything."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; below it where an error was raised."""
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        ids = " ".join(f"{name}={value}" for name, value in getattr(record, _EXTRA, {}).items())
        words = record.getMessage() + (f" [{ids}]" if ids else "")
        line = f"{moment} {record.levelname:7} {record.name}: {' '.join(plain(words).split())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def install(log_format: str) -> None:
    """Log to standard error as ``json`` or ``text``; ``auto`` is text on a terminal. Again is fine."""
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.addFilter(AboutFilter())
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _WITH_HANDLERS:
        other = logging.getLogger(name)
        other.handlers.clear()
        other.propagate = True
