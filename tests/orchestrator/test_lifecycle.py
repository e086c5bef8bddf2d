"""What the one door makes of deliveries, commands, outcomes and time, on a real database."""

from __future__ import annotations

import pytest

from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput, Conflict
from orchestrator.merge_request import Verb
from orchestrator.outcome import CheckResult, Failure
from orchestrator.pool import AccountState
from orchestrator.preview import State, Step
from orchestrator.records import Kind
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import A, B, C, World

BROKEN = out.StageFailed(Failure(stage="build", summary="it broke", remedy="mend it"))


@pytest.fixture
def world(parts: Parts) -> World:
    return World(parts)


def test_a_merge_request_gets_an_account_and_gives_it_back_clean(world: World) -> None:
    world.sees()
    assert world.account().state is AccountState.LEASED
    assert world.goes_live().state is State.LIVE
    assert world.preview().expires_at == pytest.approx(world.now + 3600.0)
    world.sees(state="merged")
    assert world.deployment().state is State.STOPPED
    assert world.account().state is AccountState.CLEANING
    assert world.cleaning(1, out.CleaningGoesOn("1 job")).state is AccountState.CLEANING
    assert world.cleaning(1, out.Cleaned(5, 0)).state is AccountState.FREE
    with world.store.read() as tx:
        lease = tx.last_lease(world.preview().id)
    assert lease is not None
    assert (lease.bytes_before, lease.bytes_after) == (5, 0)


def test_a_delivery_taken_twice_counts_once(world: World) -> None:
    with world.store.read() as tx:
        project = tx.project(world.project_id)
    first = world.lifecycle.receive(project, "k", kind="merge_request", iid=1, facts={}, now=1.0)
    assert len(first) == 1
    assert world.lifecycle.receive(project, "k", kind="merge_request", iid=1, facts={}, now=2.0) == []


def test_seeing_the_same_commit_again_changes_nothing(world: World) -> None:
    world.sees()
    world.sees()
    assert world.states() == ["building"]


def test_no_account_is_leased_twice_at_once(world: World) -> None:
    world.sees(1)
    world.sees(2)
    assert world.deployment(1).state is State.BUILDING
    assert world.deployment(2).state is State.QUEUED
    world.sees(1, state="closed")
    assert world.deployment(2).state is State.QUEUED, "the first one's build still has to be cancelled"
    world.step(out.Tidied(), 1)
    assert world.deployment(2).state is State.QUEUED, "the account still has to be cleaned"
    world.cleaning(1, out.Cleaned(0, 0))
    assert world.deployment(2).state is State.BUILDING
    assert world.deployment(2).fence == 2, "each lease has a higher number than the one before"


def test_a_push_supersedes_the_build_before_it(world: World) -> None:
    world.sees(sha=A)
    world.sees(sha=B)
    assert world.states() == ["superseded", "building"]
    older = world.deployments()[1]
    assert older.step is Step.TIDY
    assert older.account_id == world.deployment().account_id, "a preview keeps its account"


def test_a_good_preview_survives_a_bad_push(world: World) -> None:
    world.sees(sha=A)
    world.goes_live()
    world.sees(sha=B)
    world.steps(out.BuildStarted("b2"), BROKEN, out.Tidied())
    assert world.states() == ["live", "failed"]
    assert world.account().state is AccountState.LEASED


def test_a_bad_push_that_came_to_the_address_is_rolled_back(world: World) -> None:
    world.sees(sha=A)
    world.goes_live()
    world.sees(sha=B)
    world.steps(out.BuildStarted("b2"), out.BuildSucceeded("i2"), out.JobStarted(), out.JobReady())
    world.steps(out.JobStarted(), out.JobReady())
    world.later(1000)
    failing = world.step(out.ChecksDone((CheckResult("GET /", False, "500"),)))
    assert failing.step is Step.ROLL_BACK
    assert world.step(out.RolledBack()).state is State.FAILED
    assert world.states() == ["live", "failed"]


def test_a_good_push_replaces_the_one_before_it(world: World) -> None:
    world.sees(sha=A)
    world.goes_live()
    world.sees(sha=B)
    world.goes_live()
    assert world.states() == ["stopped", "live"]
    assert world.account().state is AccountState.LEASED


def test_a_failure_with_nothing_live_gives_the_account_back(world: World) -> None:
    world.sees()
    failed = world.steps(out.BuildStarted("b1"), BROKEN)
    assert failed.step is Step.TIDY
    assert world.account().state is AccountState.LEASED
    world.step(out.Tidied())
    assert world.account().state is AccountState.CLEANING


def test_an_outcome_that_was_overtaken_is_dropped_and_the_row_looked_at_again(world: World) -> None:
    world.sees()
    before = world.deployment()
    claim = world.claim(Kind.DEPLOYMENT, before.id)
    world.sees(state="closed")  # while the worker is on its way to builds-api
    dues = world.lifecycle.record(claim, before, out.BuildStarted("b1"), world.now)
    assert [(due.kind, due.id) for due in dues] == [(Kind.DEPLOYMENT, before.id)]
    assert world.deployment().state is State.CANCELLED
    assert world.step(out.Tidied()).is_settled


def test_a_claim_is_not_given_twice_before_it_ends(world: World) -> None:
    world.sees()
    deployment = world.deployment()
    world.claim(Kind.DEPLOYMENT, deployment.id)
    with world.store.write() as tx:
        assert tx.claim(Kind.DEPLOYMENT, deployment.id, now=world.now + 59, seconds=60) is None
        taken_over = tx.claim(Kind.DEPLOYMENT, deployment.id, now=world.now + 61, seconds=60)
    assert taken_over is not None


def test_a_worker_that_lost_its_claim_changes_nothing(world: World) -> None:
    world.sees()
    before = world.deployment()
    frozen = world.claim(Kind.DEPLOYMENT, before.id)
    world.later(61)
    world.step(out.BuildStarted("adopted by another worker"))
    world.lifecycle.record(frozen, before, out.BuildStarted("late"), world.now)
    assert world.deployment().build_id == "adopted by another worker"


def test_a_worker_whose_claim_was_taken_over_cannot_record(world: World) -> None:
    world.sees()
    before = world.deployment()
    frozen = world.claim(Kind.DEPLOYMENT, before.id)
    world.later(61)
    taken_over = world.claim(Kind.DEPLOYMENT, before.id)
    assert taken_over.is_takeover
    assert not frozen.is_takeover
    with pytest.raises(Conflict):
        world.lifecycle.record(frozen, before, out.BuildStarted("late"), world.now)
    assert world.deployment() == before
    with world.store.read() as tx:
        assert not tx.holds(frozen, world.now)
        assert tx.holds(taken_over, world.now)


def test_a_preview_ends_when_its_time_is_over(world: World) -> None:
    world.sees()
    world.goes_live()
    world.lifecycle.sweep(world.now + 3599)
    assert world.deployment().state is State.LIVE
    world.later(3601)
    world.lifecycle.sweep(world.now)
    assert world.deployment().state is State.STOPPED
    assert world.preview().stop_reason == "its time was over"
    assert world.account().state is AccountState.CLEANING


def test_a_reopened_merge_request_is_built_again(world: World) -> None:
    world.sees()
    world.goes_live()
    world.sees(state="closed")
    world.sees(state="opened")
    assert world.states() == ["stopped", "queued"], "its old account is still being cleaned"
    world.cleaning(1, out.Cleaned(5, 0))
    assert world.states() == ["stopped", "building"]


def test_a_closed_merge_request_that_never_had_a_preview_gets_none(world: World) -> None:
    world.sees(state="merged")
    with world.store.read() as tx:
        assert tx.previews() == []


def test_nothing_of_a_fork_is_built_without_an_approval_of_that_commit(world: World) -> None:
    world.sees(sha=A, fork=True)
    assert world.deployment().step is Step.AWAIT_APPROVAL
    assert world.account().state is AccountState.FREE
    assert not world.comments(Verb.PREVIEW, under=A, head=B, fork=True), "somebody pushed in that moment"
    assert world.deployment().sha == B
    assert world.deployment().step is Step.AWAIT_APPROVAL
    assert world.comments(Verb.PREVIEW, under=B, head=B, fork=True)
    assert world.deployment().state is State.BUILDING
    world.sees(sha=C, fork=True)
    assert world.deployment().step is Step.AWAIT_APPROVAL, "a push after the approval waits again"


def test_a_live_preview_of_a_fork_stays_while_its_next_commit_waits_for_approval(world: World) -> None:
    world.sees(sha=A, fork=True)
    world.comments(Verb.PREVIEW, fork=True)
    world.goes_live()
    world.sees(sha=B, fork=True)
    assert world.states() == ["live", "queued"]


def test_waiting_for_approval_holds_no_account(world: World) -> None:
    world.sees(sha=A, fork=True)
    world.comments(Verb.PREVIEW, fork=True)
    world.steps(out.BuildStarted("b1"), BROKEN)
    world.sees(sha=B, fork=True)
    failed = world.deployments()[1]
    world.lifecycle.record(world.claim(Kind.DEPLOYMENT, failed.id), failed, out.Tidied(), world.now)
    assert world.account().state is AccountState.CLEANING


def test_stop_and_preview_are_carried_out_as_commands(world: World) -> None:
    world.sees()
    world.goes_live()
    assert world.comments(Verb.STOP)
    assert world.states() == ["stopped"]
    assert world.preview().stop_reason == "stopped by carol"
    world.sees()
    assert world.states() == ["stopped"], "what a person stopped stays so until somebody asks again"
    assert world.comments(Verb.PREVIEW)
    assert world.states() == ["stopped", "queued"]


def test_a_closed_merge_request_cannot_be_redeployed(world: World) -> None:
    world.sees()
    world.sees(state="closed")
    with pytest.raises(BadInput, match="closed"):
        world.lifecycle.approve_or_redeploy(world.preview().id, "carol", world.now)


def test_refused_credentials_put_the_account_away_and_the_deployment_on_another(parts: Parts) -> None:
    world = World(parts, accounts=2)
    world.sees()
    first = world.deployment().account_id
    assert first is not None
    moved = world.step(out.AccountUnusable("HTTP 403"))
    assert moved.state is State.BUILDING
    assert moved.account_id != first
    assert world.account(first).state is AccountState.QUARANTINED
    assert world.account(first).reason == "HTTP 403"
    assert (
        world.cleaning(first, out.CleaningFailed("HTTP 403", refused=True)).state is AccountState.QUARANTINED
    )
    assert world.cleaning(first, out.Cleaned(0, 0)).state is AccountState.FREE


def test_an_account_that_cannot_be_cleaned_is_shown_and_not_given_away(world: World) -> None:
    world.sees()
    world.sees(state="closed")
    world.step(out.Tidied())
    for _ in range(4):
        assert world.cleaning(1, out.CleaningFailed("artifact stuck")).state is AccountState.CLEANING
    assert world.cleaning(1, out.CleaningFailed("artifact stuck")).state is AccountState.QUARANTINED
    world.sees(2)
    assert world.deployment(2).state is State.QUEUED
    world.cleaning(1, out.Cleaned(5, 0))
    assert world.deployment(2).state is State.BUILDING


def test_the_oldest_live_preview_makes_room_after_its_minimum_time(parts: Parts) -> None:
    world = World(parts, limits=Limits(min_live_seconds=600))
    world.sees(1)
    world.goes_live(1)
    world.sees(2)
    assert world.deployment(1).state is State.LIVE
    world.later(601)
    world.lifecycle.sweep(world.now)
    assert world.deployment(1).state is State.STOPPED
    assert world.preview(1).stop_reason == "another merge request waited for an account"


def test_too_many_builds_lower_the_ceiling_and_good_ones_raise_it_again(parts: Parts) -> None:
    world = World(parts, accounts=1, limits=Limits(max_concurrent_builds=4))

    def ceiling() -> int:
        with world.store.read() as tx:
            return int(tx.switch("ceiling")["builds"])

    world.sees()
    world.step(out.NotNow("Got too many builds running", throttled=True))
    assert ceiling() == 2
    for _ in range(3):
        world.goes_live()
        world.comments(Verb.PREVIEW)
    assert ceiling() == 3


def test_every_change_of_state_has_a_line_in_the_timeline(world: World) -> None:
    world.sees()
    world.goes_live()
    with world.store.read() as tx:
        events = tx.events_of(world.preview().id)
    seen = [event.after for event in events if event.subject == "deployment"]
    assert seen == ["queued", "building", "starting", "checking", "live"]
    assert all(event.why and event.who for event in events)


def test_a_commit_that_moved_before_its_build_is_looked_at_again(world: World) -> None:
    world.sees()
    before = world.deployment()
    dues = world.lifecycle.record(
        world.claim(Kind.DEPLOYMENT, before.id), before, out.WrongCommit("b1", B), world.now
    )
    assert Kind.DELIVERY in {due.kind for due in dues}
    assert world.deployment().state is State.SUPERSEDED


def test_a_drained_account_is_taken_out_when_it_is_clean(world: World) -> None:
    world.sees()
    world.lifecycle.drain("dev-0", "operator", world.now)
    world.sees(state="closed")
    world.step(out.Tidied())
    assert world.cleaning(1, out.Cleaned(5, 0)).state is AccountState.DRAINED
    world.sees(2)
    assert world.deployment(2).state is State.QUEUED
    world.lifecycle.drain("dev-0", "operator", world.now, undo=True)
    world.cleaning(1, out.Cleaned(0, 0))
    assert world.deployment(2).state is State.BUILDING
