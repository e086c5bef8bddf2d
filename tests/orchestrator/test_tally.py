"""What is counted is what happened, once, whoever looks and however many processes count."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import counting
from orchestrator import outcome as out
from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.counting import Counting
from orchestrator.endpoints import counted, endpoint
from orchestrator.errors import PreviewError
from orchestrator.figures import figures
from orchestrator.merge_request import Verb
from orchestrator.outcome import Failure
from orchestrator.pool import AccountState
from orchestrator.preview import State, Step
from orchestrator.records import Kind
from orchestrator.scheduler import Limits
from orchestrator.switches import Stop
from orchestrator.tally import BUCKETS, Count, Counts, histogram, key, labelled, observed
from tests.orchestrator.scene import B, World


def counts(parts: Parts) -> Counts:
    with parts.store.read() as tx:
        return counting.read(tx.connection)


def seconds_in(parts: Parts, stage: str, by: str = "person") -> tuple[float, float]:
    """How many were in a stage, and for how long altogether."""
    buckets, total = histogram(counts(parts), Count.STAGE_SECONDS, stage, by)
    return buckets[-1][1], total


# --- histograms ---------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e6), max_size=30))
def test_a_histogram_holds_every_value_once_and_each_bucket_what_is_not_larger(values: list[float]) -> None:
    gathered: dict[tuple[str, str], float] = {}
    for value in values:
        for which, amount in observed(Count.STAGE_SECONDS, value, "building", "bot").items():
            gathered[which] = gathered.get(which, 0.0) + amount
    buckets, total = histogram(gathered, Count.STAGE_SECONDS, "building", "bot")
    assert [end for end, _ in buckets] == [*map(str, BUCKETS), "+Inf"]
    assert [held for _, held in buckets] == [
        sum(value <= end for value in values) for end in (*BUCKETS, float("inf"))
    ]
    assert total == pytest.approx(sum(values))


def test_what_was_counted_with_other_buckets_is_in_the_next_larger_one() -> None:
    old = {("stage_seconds:45.0", "building|bot"): 3.0}
    buckets, _ = histogram(old, Count.STAGE_SECONDS, "building", "bot")
    assert dict(buckets)["30.0"] == 0.0
    assert dict(buckets)["60.0"] == 3.0


# --- changes of state ---------------------------------------------------------------------------------


def test_each_stage_is_counted_with_the_time_that_it_took(any_parts: Parts) -> None:
    world = World(any_parts)
    world.sees()
    world.later(7)
    world.step(out.BuildStarted("b"))
    world.later(100)
    world.step(out.BuildSucceeded("i"))
    assert seconds_in(any_parts, "queued") == (1, 0.0), "there was an account at once"
    assert seconds_in(any_parts, "building") == (1, world.now - world.deployment().entered["building"])  # type: ignore[index]
    assert seconds_in(any_parts, "starting") == (0, 0.0), "it lasts"
    entered = labelled(counts(any_parts), Count.ENTERED)
    assert entered == {(state, "person"): 1.0 for state in ("queued", "building", "starting")}


def test_who_waits_for_an_account_is_counted_from_when_it_could_have_been_planned(any_parts: Parts) -> None:
    world = World(any_parts, limits=Limits(max_concurrent_builds=1))
    world.sees(1)
    world.sees(2, fork=True)
    world.later(5000)
    world.comments(Verb.PREVIEW, 2, fork=True)
    world.later(50)
    with any_parts.store.read() as tx:
        assert figures(tx, Limits(), world.now).oldest_waiting_seconds == 50.0, "not from its approval on"
    world.sees(1, state="closed")
    world.later(13)
    world.step(out.Tidied(), 1)
    world.cleaning(1, out.Cleaned(0, 0))
    assert world.deployment(2).state is State.BUILDING
    number, seconds = seconds_in(any_parts, "queued")
    assert number == 2
    assert 63 <= seconds < 5000, "the time for the approval is nobody's wait for an account"


def test_what_a_push_cut_off_has_no_time(any_parts: Parts) -> None:
    world = World(any_parts)
    world.sees()
    world.later(100)
    world.sees(sha=B)
    assert world.states()[0] == "superseded"
    assert seconds_in(any_parts, "building") == (0, 0.0)
    assert labelled(counts(any_parts), Count.ENTERED)["superseded", "person"] == 1.0


def test_a_failure_is_counted_by_its_stage_and_nothing_that_its_author_wrote(any_parts: Parts) -> None:
    world = World(any_parts)
    world.sees(author="project_1_bot", title="|", source_branch="evil|label")
    failure = Failure("build", "a package could not be installed", "Correct its version.", "evil excerpt")
    world.steps(out.BuildStarted("b"), out.StageFailed(failure))
    assert labelled(counts(any_parts), Count.FAILED) == {("build", "bot"): 1.0}
    assert "evil" not in repr(counts(any_parts))


def test_what_is_rolled_back_was_not_counted(any_parts: Parts) -> None:
    world = World(any_parts)
    world.sees()
    before = counts(any_parts)
    assert before

    def is_cut_off() -> None:
        with any_parts.store.write_alone() as tx:
            counting.add(tx.connection, {key(Count.ENTERED, "queued", "person"): 1.0})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        is_cut_off()
    assert counts(any_parts) == before


# --- what is gathered in memory -----------------------------------------------------------------------


def test_many_threads_and_processes_add_to_the_same_counts(any_parts: Parts) -> None:
    processes = [Counting(any_parts.store, flush_seconds=0.001) for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        for number in range(300):
            pool.submit(processes[number % 3].count, Count.WEBHOOKS, str(200 + number % 2))
    for process in processes:
        process.close()
    # Two that make the same row at the same moment: the one that lost has kept its counts.
    for process in processes:
        process.flush()
    assert labelled(counts(any_parts), Count.WEBHOOKS) == {("200",): 150.0, ("201",): 150.0}


def test_what_cannot_be_written_is_written_later(any_parts: Parts) -> None:
    process = Counting(any_parts.store, flush_seconds=1000.0)
    process.count(Count.WEBHOOKS, "202")
    t.tally.drop(any_parts.store.engine)
    process.flush()
    t.tally.create(any_parts.store.engine)
    process.count(Count.WEBHOOKS, "202")
    process.close()
    assert labelled(counts(any_parts), Count.WEBHOOKS) == {("202",): 2.0}


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/builds/v1/tool/dev-1/builds/dev-1-b-x/logs?follow=true", "/builds/v1/tool/:id/builds/:id/logs"),
        ("/projects/12/merge_requests/3/notes/4/award_emoji", None),
        (
            "/projects/12/repository/files/.toolforge-preview.yaml/raw",
            "/projects/:id/repository/files/:id/raw",
        ),
        ("/projects/group%2Fevil", "/projects/:id"),
        ("/projects/1/statuses/" + "a" * 40, "/projects/:id/statuses/:id"),
    ],
)
def test_an_endpoint_has_no_names_in_it(path: str, named: str | None) -> None:
    expected = named or "/projects/:id/merge_requests/:id/notes/:id/award_emoji"
    assert endpoint("GET", path) == f"GET {expected}"


def test_a_call_is_counted_by_how_it_ended() -> None:
    class Busy(PreviewError):
        """It is."""

    calls: list[tuple[str, str]] = []
    with counted(lambda *call: calls.append(call), "GET", "/user"):
        pass
    with pytest.raises(Busy), counted(lambda *call: calls.append(call), "GET", "/user"):
        raise Busy
    assert calls == [("GET /user", "ok"), ("GET /user", "Busy")]


# --- the moment ---------------------------------------------------------------------------------------


def test_the_figures_of_a_moment_are_those_of_the_rows(any_parts: Parts) -> None:
    world = World(any_parts, accounts=2, limits=Limits(max_concurrent_builds=1))
    limits = world.policy.limits
    world.sees(1)
    world.goes_live(1)
    world.sees(2)
    world.sees(3)
    world.sees(4, fork=True)
    world.later(30)
    with any_parts.store.read() as tx:
        found = figures(tx, limits, world.now)
    assert found.deployments == {
        (State.LIVE, Step.NONE): 1,
        (State.BUILDING, Step.START_BUILD): 1,
        (State.QUEUED, Step.AWAIT_SLOT): 1,
        (State.QUEUED, Step.AWAIT_APPROVAL): 1,
    }
    assert (found.builds, found.ceiling, found.max_builds) == (1, 1, 1)
    assert found.accounts[AccountState.LEASED] == 2
    assert AccountState.REMOVED not in found.accounts
    assert found.due[Kind.DEPLOYMENT] == 1
    assert found.oldest_due_seconds[Kind.DEPLOYMENT] == 30.0
    assert found.reports_pending == 4
    assert (found.switches[Stop.FREEZE], found.switches[Stop.PAUSE]) == (0, 0)

    world.lifecycle.pause("olga", "maintenance", world.now)
    world.tells_gitlab()
    with any_parts.store.read() as tx:
        found = figures(tx, limits, world.now)
    assert found.switches[Stop.PAUSE] == 1
    assert found.due[Kind.DEPLOYMENT] == 0, "what is stopped on purpose is not late"
    assert found.reports_pending == 0
