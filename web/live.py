"""Tells pages that something has changed, by server-sent events: one look a second for all who watch.

A change is only a hint, as everywhere here: the page then asks for itself anew. So a stream may end at any
time, and where there is no room for another one the page asks every few seconds instead.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flask import Blueprint, Flask, Response, current_app, request
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.pages import Pages
from orchestrator.reading import Change
from web.parts import parts_of

log = logging.getLogger(__name__)
blueprint = Blueprint("live", __name__)

_EXTENSION = "toolforge_preview_live"
_LOOK_SECONDS = 1.0
#: Without a byte for longer, proxies hang up, and a reader who has gone is not noticed.
BEAT_SECONDS = 10.0
#: A stream ends by itself; the browser opens another. So no thread is lost to a reader who has vanished.
LONGEST_SECONDS = 600.0
#: Where not everybody may watch, so that with the next one it is asked again who may.
GUARDED_SECONDS = 30.0

Wanted = Callable[[Change], bool]


class Room:
    """How many streams a process bears: each takes a thread, and the webhook must never wait for one."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take a place; False where there is none."""
        with self._lock:
            has_place = self._free > 0
            self._free -= has_place
        return has_place

    def leave(self) -> None:
        """Give a place back."""
        with self._lock:
            self._free += 1


class Feed:
    """Looks for changes while somebody watches, and hands them to all who do."""

    def __init__(self, pages: Pages, *, seconds: float = _LOOK_SECONDS) -> None:
        self._pages = pages
        self._seconds = seconds
        self._watchers: set[queue.SimpleQueue[Sequence[Change]]] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        #: How often the database was asked.
        self.looks = 0

    @contextmanager
    def watched(self) -> Iterator[queue.SimpleQueue[Sequence[Change]]]:
        """What changes from now on, as it is found."""
        mine: queue.SimpleQueue[Sequence[Change]] = queue.SimpleQueue()
        with self._lock:
            self._watchers.add(mine)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="changes", daemon=True)
                self._thread.start()
        try:
            yield mine
        finally:
            with self._lock:
                self._watchers.discard(mine)

    def _look(self) -> None:
        seen: int | None = None
        while self._is_wanted():
            try:
                seen = self._pages.newest_change() if seen is None else self._tell(seen)
            except SQLAlchemyError as error:
                log.warning("changes cannot be looked for: %s", type(error).__name__)
            self.looks += 1
            time.sleep(self._seconds)

    def _is_wanted(self) -> bool:
        with self._lock:
            if not self._watchers:
                self._thread = None
            return self._thread is not None

    def _tell(self, seen: int) -> int:
        changes = self._pages.changes_after(seen)
        if changes:
            with self._lock:
                for watcher in self._watchers:
                    watcher.put(changes)
        return changes[-1].id if changes else seen


def install(app: Flask) -> None:
    """Give `app` its feed, and room for streams."""
    parts = parts_of(app)
    app.extensions[_EXTENSION] = (Feed(parts.pages), Room(parts.settings.max_streams))


def feed_of(app: Flask) -> Feed:
    """The feed of this process."""
    feed: Feed = app.extensions[_EXTENSION][0]
    return feed


def room_of(app: Flask) -> Room:
    """The room for streams of this process."""
    room: Room = app.extensions[_EXTENSION][1]
    return room


@blueprint.get("/live")
def live() -> Response:
    """A stream of ``change`` events; with ``?preview=ID`` or ``?account=ID`` only of what is about it."""
    feed, wanted = feed_of(current_app), _wanted()
    return stream(lambda: _changes(feed, wanted))


def _wanted() -> Wanted:
    preview_id = request.args.get("preview", type=int)
    account_id = request.args.get("account", type=int)
    if preview_id is not None:
        return lambda change: change.preview_id == preview_id
    if account_id is not None:
        return lambda change: (change.subject, change.subject_id) == ("account", account_id)
    return lambda change: True


def _changes(feed: Feed, is_wanted: Wanted) -> Iterator[str]:
    with feed.watched() as changes:
        while True:
            try:
                news = [change for change in changes.get(timeout=BEAT_SECONDS) if is_wanted(change)]
            except queue.Empty:
                yield ": still here\n\n"
                continue
            if news:
                yield event("change", {"newest": news[-1].id}, number=str(news[-1].id))


def event(name: str, data: object, *, number: str = "") -> str:
    """One server-sent event; JSON has no line breaks of its own."""
    identity = f"id: {number}\n" if number else ""
    return f"{identity}event: {name}\ndata: {json.dumps(data)}\n\n"


def stream(events: Callable[[], Iterator[str]]) -> Response:
    """A response of server-sent events; 204, which has a browser give up, where there is no room for one."""
    room = room_of(current_app)
    # A process with one thread would do nothing else.
    can_bear = bool(request.environ.get("wsgi.multithread"))
    if request.method != "GET" or not can_bear or not room.take():
        return Response(status=204)
    is_public = parts_of(current_app).settings.public_pages
    response = Response(
        _bounded(events(), LONGEST_SECONDS if is_public else GUARDED_SECONDS),
        mimetype="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
    response.call_on_close(room.leave)
    return response


def _bounded(events: Iterator[str], longest_seconds: float) -> Iterator[str]:
    deadline = time.monotonic() + longest_seconds
    yield "retry: 2000\n\n"
    for one in events:
        yield one
        if time.monotonic() > deadline:
            return
