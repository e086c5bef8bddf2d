"""One connection to Toolforge for all who look at a build's log."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator

import pytest

from orchestrator.livelog import BEGIN, LiveLog
from orchestrator.toolforge import ToolforgeError
from tests.worker.scene import ENDLESS, LOUD, Service, until
from worker.follow import Followers, pass_on

_numbers = itertools.count(1)


@pytest.fixture
def watched(serve: Callable[..., Service], redis_url: str) -> Service:
    """A service with a Redis, whose account was found clean."""
    # What another test has followed may still be written.
    service = serve(redis_url=redis_url, queue_prefix=f"follow-{next(_numbers)}")
    service.cleans()
    return service


def builds(service: Service, iid: int) -> int:
    """A build of merge request `iid` has been started; the deployment's number."""
    deployment = service.sees(iid)
    service.looks(deployment)
    return deployment.id


def live_log(service: Service, deployment_id: int) -> LiveLog:
    return LiveLog(service.parts.redis, service.parts.settings.queue_prefix, deployment_id)


def lines_of(live: LiveLog) -> list[str]:
    return [line for batch in live.after(BEGIN, wait_seconds=0) for line in batch.lines]


def test_the_lines_of_a_build_arrive_in_their_order_each_once(watched: Service) -> None:
    deployment_id = builds(watched, LOUD)
    live = live_log(watched, deployment_id)
    live.want()
    thread = Followers(watched.parts).follow(deployment_id)
    assert thread is not None
    thread.join(20)
    numbers = [int(n) for line in lines_of(live) for n in re.findall(r"line (\d+) x", line)]
    assert numbers == list(range(200))
    assert live.take_place("another"), "its place is free again"


def test_who_follows_what_is_followed_already_opens_no_second_connection(watched: Service) -> None:
    deployment_id = builds(watched, ENDLESS)
    live = live_log(watched, deployment_id)
    live.want()
    others = [Followers(watched.parts) for _ in range(10)]
    threads = [one.follow(deployment_id) for one in others]
    assert [thread is not None for thread in threads] == [True] + [False] * 9


def test_what_does_not_build_is_not_followed(watched: Service) -> None:
    deployment = watched.sees(LOUD)
    followers = Followers(watched.parts)
    assert followers.follow(deployment.id) is None, "its build was not started yet"
    assert followers.follow(10**6) is None
    watched.looks(deployment)
    watched.parts.lifecycle.pause("olga", "emergency", watched.now)
    assert followers.follow(deployment.id) is None, "nothing is done to any account"


def test_the_next_follower_goes_on_behind_the_lines_that_are_there(watched: Service) -> None:
    live = live_log(watched, 1)
    live.want()
    live.take_place("first")
    with pytest.raises(ToolforgeError):
        pass_on(live, "first", _broken_after(["a", "b"]))
    live.take_place("second")
    pass_on(live, "second", lambda: iter(["a", "b", "c"]))
    assert lines_of(live) == ["a", "b", "c"]


def _broken_after(lines: list[str]) -> Callable[[], Iterator[str]]:
    def read() -> Iterator[str]:
        yield from lines
        raise ToolforgeError("the stream broke")

    return read


def test_when_nobody_looks_the_connection_ends_at_the_next_line(
    watched: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.follow._KEEP_SECONDS", 0.0)
    live = live_log(watched, 2)
    live.take_place("a")
    closed = threading.Event()

    def endless() -> Iterator[str]:
        try:
            while True:
                yield "line"
        finally:
            closed.set()

    thread = threading.Thread(target=pass_on, args=(live, "a", endless))
    thread.start()
    until(closed.is_set)
    thread.join(10)
    assert not thread.is_alive()
    assert live.take_place("b")
