"""The fan-out of a running log, on a real Redis."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
from redis import Redis

from orchestrator.livelog import BEGIN, LiveLog

_numbers = itertools.count(1)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    client.close()


@pytest.fixture
def live(redis: Redis) -> LiveLog:
    """A log of its own."""
    return LiveLog(redis, "tests", next(_numbers))


def lines_of(live: LiveLog, place: str = BEGIN) -> list[tuple[int, str]]:
    return [
        (number, line)
        for batch in live.after(place, wait_seconds=0)
        for number, line in enumerate(batch.lines, batch.first)
    ]


def test_lines_are_numbered_through_and_read_on_from_any_place(live: LiveLog) -> None:
    live.add(["one", "two"])
    (first,) = live.after(BEGIN, wait_seconds=0)
    live.add(["three"])
    assert lines_of(live) == [(1, "one"), (2, "two"), (3, "three")]
    assert lines_of(live, first.id) == [(3, "three")]
    assert live.count() == 3


def test_the_newest_lines_are_found_however_they_came(live: LiveLog) -> None:
    assert live.newest(5) == []
    for number in range(30):
        live.add([f"{number}a", f"{number}b"])
    assert live.newest(3)[-3:] == ["28b", "29a", "29b"]
    assert live.newest(50)[-50:] == [f"{number}{part}" for number in range(5, 30) for part in "ab"]
    assert len(live.newest(1000)) == 60


def test_of_a_log_without_end_the_newest_lines_are_kept_and_numbered_on(
    live: LiveLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.livelog._LONGEST_LOG", 10)
    live.add_on(["x" * 20])
    live.add_on([])
    live.add_on(["second"])
    assert lines_of(live) == [(2, "second")]


def test_a_build_and_a_job_of_a_deployment_have_a_log_each(redis: Redis) -> None:
    number = next(_numbers)
    LiveLog(redis, "tests", number, "build").add(["built"])
    assert LiveLog(redis, "tests", number, "job").count() == 0


def test_there_is_one_follower_until_it_leaves(live: LiveLog) -> None:
    assert live.take_place("a")
    assert not live.take_place("b")
    live.leave_place("b")
    assert not live.take_place("b"), "who does not have the place cannot give it away"
    live.leave_place("a")
    assert live.take_place("b")


def test_a_follower_goes_on_while_somebody_looks(live: LiveLog, redis: Redis) -> None:
    live.take_place("a")
    assert not live.keep_place("a"), "nobody looks"
    live.want()
    assert live.keep_place("a")
    redis.flushall()
    assert not live.keep_place("a"), "Redis was emptied: the place may be somebody else's"


def test_ten_who_look_call_one_follower(live: LiveLog) -> None:
    assert [live.want() for _ in range(10)] == [True] + [False] * 9
    live.take_place("a")
    assert not live.want()


def test_when_the_stream_has_come_to_its_end_nobody_is_called(live: LiveLog) -> None:
    live.take_place("a")
    live.leave_place("a", is_read=True)
    assert not live.want()


def test_what_is_too_long_is_cut_and_ends_being_followed(live: LiveLog) -> None:
    assert live.add(["x" * 1_000_000])
    assert lines_of(live) == [(1, "x" * 8000)]
    while live.add(["y" * 8000] * 100):
        assert live.count() < 1000, "a log without end fills Redis"


def test_everything_in_redis_goes_away_by_itself(live: LiveLog, redis: Redis) -> None:
    live.want()
    live.take_place("a")
    live.add([json.dumps("line")])
    keys = [key for key in redis.keys("tests:log:*") if redis.ttl(key) < 0]
    assert keys == []
