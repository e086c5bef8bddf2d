"""The log of a running tool, for all who look at it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from orchestrator import tables as t
from orchestrator.livelog import BEGIN, LiveLog
from orchestrator.preview import State
from orchestrator.toolforge import JobLine
from tests.worker.scene import GOOD, Service, until
from worker.follow import Followers
from worker.follow_job import poll

_numbers = itertools.count(1)


@pytest.fixture
def service(serve: Callable[..., Service], redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service with a Redis and a clean account, at whose tools one looks often."""
    monkeypatch.setattr("worker.follow_job._PAUSE_SECONDS", 0.02)
    made = serve(redis_url=redis_url, queue_prefix=f"follow-job-{next(_numbers)}")
    made.cleans()
    return made


def live_log(service: Service, deployment_id: int) -> LiveLog:
    return LiveLog(service.parts.redis, service.parts.settings.queue_prefix, deployment_id, "job")


def words_of(live: LiveLog) -> list[str]:
    """What was passed on, without the moments."""
    lines = [line for batch in live.after(BEGIN, wait_seconds=0) for line in batch.lines]
    return [line.partition(" ")[2] for line in lines]


def lines(*numbers: int) -> list[JobLine]:
    return [JobLine(f"2026-01-01T00:00:{number:02}.5Z", f"line {number}") for number in numbers]


def follow(live: LiveLog, *pages: Sequence[JobLine] | None) -> None:
    """Somebody looks while Toolforge answers with `pages`, and then the tool ends."""
    answers = iter([*pages, None])
    live.want()
    assert live.take_place("me")
    poll(live, "me", lambda: next(answers))


def goes_live(service: Service) -> int:
    deployment = service.sees(GOOD)
    until(lambda: service.looks(service.deployment()).state is State.LIVE)
    # The service's time goes faster than the clock by which the local Toolforge dates lines.
    started(service, time.time() - 60)
    return deployment.id


def started(service: Service, at: float) -> None:
    """The deployment has started then."""
    with service.parts.store.engine.begin() as connection:
        connection.execute(t.deployment.update().values(entered={}, since=at))


def test_the_lines_of_a_tool_that_is_live_arrive_until_it_is_stopped(service: Service) -> None:
    deployment_id = goes_live(service)
    live = live_log(service, deployment_id)
    live.want()
    thread = Followers(service.parts).follow(deployment_id)
    assert thread is not None
    assert Followers(service.parts).follow(deployment_id) is None, "one asks for all who look"
    until(lambda: "started" in words_of(live))
    service.sees(GOOD, state="closed")
    thread.join(20)
    assert not thread.is_alive()
    assert live.take_place("another"), "its place is free again"


def test_what_was_written_before_the_deployment_started_is_somebody_elses(service: Service) -> None:
    followers = Followers(service.parts)
    source = followers._source(goes_live(service))
    assert source is not None
    with service.parts.toolforge.account(source.tool, source.credentials) as client:
        assert until(lambda: followers._of_job(client, service.deployment().id, source))
        started(service, time.time() + 9)
        later = followers._source(service.deployment().id)
        assert later is not None
        assert followers._of_job(client, service.deployment().id, later) == []


def test_what_another_lease_holds_is_not_passed_on(service: Service) -> None:
    followers = Followers(service.parts)
    source = followers._source(goes_live(service))
    assert source is not None
    with service.parts.toolforge.account(source.tool, source.credentials) as client:
        other = replace(source, since=source.since - 1)
        assert followers._of_job(client, service.deployment().id, other) is None


def test_each_line_is_passed_on_once_and_late_ones_too(service: Service) -> None:
    live = live_log(service, next(_numbers))
    follow(live, lines(1, 2), lines(1, 2, 4), [], lines(2, 3, 4, 5))
    assert words_of(live) == ["line 1", "line 2", "line 4", "line 3", "line 5"]


def test_what_was_masked_once_is_not_shown_when_a_later_page_cannot_tell(service: Service) -> None:
    live = live_log(service, next(_numbers))
    masked, unmasked = replace(lines(2)[0], message="[masked]"), replace(lines(2)[0], message="MIIEv")
    follow(live, [*lines(1), masked], [unmasked, *lines(3)])
    follow(live, [unmasked, *lines(3)])
    assert words_of(live) == ["line 1", "[masked]", "line 3"]


def test_the_next_follower_goes_on_behind_the_lines_that_are_there(service: Service) -> None:
    live = live_log(service, next(_numbers))
    follow(live, lines(1, 2))
    follow(live, lines(1, 2, 3))
    assert words_of(live) == ["line 1", "line 2", "line 3"]


def test_when_nobody_looks_toolforge_is_not_asked(service: Service) -> None:
    live = live_log(service, next(_numbers))
    assert live.take_place("me")
    poll(live, "me", lambda: pytest.fail("nobody looks"))
    assert live.take_place("another")
