"""What the views share, and the command line: the parts of the product, and the way to the queue."""

from __future__ import annotations

from collections.abc import Iterable

from celery import Celery
from flask import Flask
from kombu.exceptions import OperationalError

from orchestrator.bootstrap import Parts
from orchestrator.errors import TryLater
from orchestrator.hints import Hints
from orchestrator.records import Due
from orchestrator.watchedlog import Watched

_PARTS = "toolforge_preview_parts"
_HINTS = "toolforge_preview_hints"


def install(app: Flask, parts: Parts) -> None:
    """Give `app` its parts."""
    app.extensions[_PARTS] = parts
    app.extensions[_HINTS] = hints_of(parts)


def hints_of(parts: Parts) -> Hints:
    """A way to the queue for a process that is no worker."""
    celery = Celery("toolforge_preview", broker=parts.settings.redis_url, set_as_current=False)
    celery.conf.broker_transport_options = {
        "global_keyprefix": f"{parts.settings.queue_prefix}:",
        # GitLab waits: Redis being away must not hold an answer up.
        "socket_connect_timeout": 1.0,
        "socket_timeout": 1.0,
    }

    def send(task: str, args: tuple[str, int], *, queue: str, countdown: float | None) -> None:
        try:
            celery.send_task(task, args=args, queue=queue, countdown=countdown, retry=False)
        except OperationalError as error:
            raise TryLater(f"the queue cannot be reached: {error}") from None

    return Hints(send, parts.redis, parts.settings.queue_prefix)


def parts_of(app: Flask) -> Parts:
    """The parts of the product."""
    parts: Parts = app.extensions[_PARTS]
    return parts


def say(app: Flask, dues: Iterable[Due]) -> None:
    """Put on the queue what is due."""
    hints: Hints = app.extensions[_HINTS]
    hints.say(dues)


def watched_log(app: Flask, deployment_id: int, kind: str) -> Watched:
    """The log of a running build, or of a tool that is live."""
    return watch(parts_of(app), app.extensions[_HINTS], deployment_id, kind)


def watch(parts: Parts, hints: Hints, deployment_id: int, kind: str) -> Watched:
    """The same for who has no application."""
    prefix = parts.settings.queue_prefix
    return Watched(parts.store, parts.redis, prefix, deployment_id, kind, call=hints.follow)
