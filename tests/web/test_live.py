"""Pages are told of changes by a stream; many readers cost one look; and there is an end to their number."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from tests.orchestrator.scene import World
from tests.web.scene import WebScene
from tests.worker.scene import until
from web.live import Feed, Room, feed_of, room_of
from web.recent import Recent


def changes_in(lines: Iterator[str]) -> Iterator[int]:
    """The numbers of the changes that a stream tells."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        if line.startswith("data: ") and name == "change":
            yield json.loads(line.removeprefix("data: "))["newest"]


def test_a_change_is_told_to_who_watches_the_preview_and_not_to_others(web: WebScene) -> None:
    world = World(web.parts, accounts=2)
    world.sees(1)
    world.sees(2)
    told: dict[int, list[int]] = {1: [], 2: []}
    watching = threading.Barrier(3)

    def watch(iid: int) -> None:
        with web.client.stream("GET", f"/live?preview={world.preview(iid).id}", timeout=20) as answer:
            lines = answer.iter_lines()
            next(lines)
            watching.wait(10)
            told[iid].append(next(changes_in(lines)))

    threads = [threading.Thread(target=watch, args=(iid,)) for iid in (1, 2)]
    for thread in threads:
        thread.start()
    watching.wait(10)
    # The first look only finds out where things stand.
    feed = feed_of(web.app)
    looks = feed.looks
    until(lambda: feed.looks > looks + 1)
    world.sees(1, state="closed")
    threads[0].join(10)
    assert told[1]
    assert not told[2]
    world.sees(2, state="closed")
    threads[1].join(10)
    assert told[2]


def test_a_hundred_readers_cost_no_more_looks_than_one(web: WebScene) -> None:
    World(web.parts)
    feed = Feed(web.parts.pages, seconds=0.05)

    def looking() -> int:
        return sum(thread.name == "changes" for thread in threading.enumerate())

    # Other tests' pages may still be watched.
    before = looking()
    readers = [feed.watched() for _ in range(100)]
    for reader in readers:
        reader.__enter__()
    until(lambda: feed.looks >= 3)
    assert looking() <= before + 1
    for reader in readers:
        reader.__exit__(None, None, None)
    until(lambda: feed._thread is None)


def test_where_there_is_no_room_a_stream_is_declined_and_comes_free_when_one_ends(
    serve: Callable[..., WebScene],
) -> None:
    web = serve(max_streams=1)
    with web.client.stream("GET", "/live", timeout=20) as first:
        assert first.status_code == 200
        assert first.headers["Content-Type"].startswith("text/event-stream")
        assert first.headers["Cache-Control"] == "no-store"
        assert web.get("/live").status_code == 204
    # That the reader has gone is noticed when there is something to tell.
    world = World(web.parts)
    room = room_of(web.app)
    iids = itertools.count(1)
    until(lambda: world.sees(next(iids)) is not None and room.take(), seconds=20)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_asking_for_a_streams_head_takes_no_room(serve: Callable[..., WebScene], method: str) -> None:
    web = serve(max_streams=1)
    for _ in range(3):
        assert web.client.head("/live").status_code == 204
    with web.client.stream(method, "/live") as answer:
        assert answer.status_code == (200 if method == "GET" else 204)


def test_a_process_with_one_thread_streams_nothing(web: WebScene) -> None:
    app: Flask = web.app
    with app.test_client() as client:
        assert client.get("/live", environ_overrides={"wsgi.multithread": False}).status_code == 204


def test_room_is_given_back() -> None:
    room = Room(1)
    assert room.take()
    assert not room.take()
    room.leave()
    assert room.take()
    assert not Room(0).take()


def test_what_was_made_lately_is_not_made_again_and_the_oldest_is_forgotten() -> None:
    made: list[str] = []

    def make(key: str) -> Callable[[], str]:
        return lambda: (made.append(key), key)[1]

    recent: Recent[str] = Recent(1000.0, most=2)
    for key in ("a", "a", "b", "c", "a"):
        assert recent.get(key, make(key)) == key
    assert made == ["a", "b", "c", "a"]
    never: Recent[str] = Recent(0.0)
    assert [never.get("x", make("x")), never.get("x", make("x"))] == ["x", "x"]
    assert made[-2:] == ["x", "x"]


def test_a_page_that_has_not_changed_costs_a_few_bytes(web: WebScene) -> None:
    world = World(web.parts)
    world.sees(1)
    for state, path in (("closed", "/audit"), ("opened", "/group/tool/-/1"), ("closed", "/group/tool/-/")):
        known = {"If-None-Match": web.get(path).headers["ETag"]}
        assert web.client.get(path, headers=known).status_code == 304
        world.later(1)
        world.sees(1, state=state)
        assert web.client.get(path, headers=known).status_code == 200
