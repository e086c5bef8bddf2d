"""Who takes pictures takes one at a time, where there is a browser, and harms nothing when it cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.pictures import AFTER_SECONDS, MOST_TRIES
from orchestrator.settings import load_settings
from tests.fresh import Databases
from tests.orchestrator.scene import World
from worker.pictures import Photographer

Start = Callable[[str], tuple[World, Photographer]]


@pytest.fixture
def start(databases: Databases) -> Iterator[Start]:
    """A live preview, and somebody who would picture it with this program."""
    with ExitStack() as stack:

        def made(program: str) -> tuple[World, Photographer]:
            url = databases.new()
            stack.callback(databases.forget, url)
            parts = Parts(load_settings(database_url=url, gitlab_token="none", chromium=program))
            stack.callback(parts.close)
            world = World(parts)
            world.sees()
            world.goes_live()
            world.later(AFTER_SECONDS)
            return world, Photographer(parts, clock=lambda: world.now)

        yield made


def _rows(world: World) -> int:
    with world.store.read() as tx:
        return len(tx.connection.execute(t.picture.select()).all())


@pytest.mark.parametrize("program", ["", "no-such-program"])
def test_without_a_browser_nothing_is_tried(start: Start, program: str) -> None:
    world, photographer = start(program)
    assert photographer.look() is None
    assert _rows(world) == 0


def test_a_browser_that_does_not_work_leaves_a_line_in_the_end_and_the_preview_as_it_is(
    start: Start,
) -> None:
    world, photographer = start("true")
    before = world.deployment()
    for _ in range(MOST_TRIES):
        thread = photographer.look()
        assert thread is not None
        thread.join(30)
        with world.store.engine.begin() as connection:
            connection.execute(t.picture.update().values(again_at=0.0))
    assert photographer.look() is None
    assert world.deployment() == before
    (event,) = [one for one in world.views.history("deployment") if "picture" in one.why]
    assert (event.before, event.after) == ("live", "live")
    assert "the browser has ended" in event.why


def test_one_picture_is_taken_at_a_time(start: Start, tmp_path: Path) -> None:
    program, go_on = tmp_path / "slow", tmp_path / "go-on"
    program.write_text(f"#!/bin/sh\nwhile [ ! -e {go_on} ]; do sleep 0.05; done\n")
    program.chmod(0o755)
    world, photographer = start(str(program))
    thread = photographer.look()
    assert thread is not None
    with world.store.engine.begin() as connection:
        connection.execute(t.picture.update().values(again_at=0.0))
    assert photographer.look() is None
    go_on.touch()
    thread.join(30)
    again = photographer.look()
    assert isinstance(again, threading.Thread)
    again.join(30)


@pytest.mark.only_sqlite
def test_while_the_database_is_away_the_next_look_tries_again(start: Start) -> None:
    world, photographer = start("true")
    with world.store.engine.begin() as connection:
        t.picture.drop(connection)
    assert photographer.look() is None
    with world.store.engine.begin() as connection:
        t.picture.create(connection)
    assert photographer.look() is None, "it rests a little"
    world.later(6.0)
    thread = photographer.look()
    assert thread is not None
    thread.join(30)
