"""What the one door makes of deliveries, commands, outcomes and time, on a real database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator import outcome as out
from orchestrator import report
from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput, Conflict
from orchestrator.merge_request import Verb
from orchestrator.outcome import CheckResult, Failure, KeptLog, toolforge_failed
from orchestrator.pool import AccountState
from orchestrator.preview import State, Step
from orchestrator.records import Kind
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import PASSED, A, B, C, World

BROKEN = out.StageFailed(Failure(stage="build", summary="it broke", remedy="mend it"))


@pytest.fixture
def world(any_parts: Parts) -> World:
    return World(any_parts)


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
        newest = tx.events_of(world.preview().id)[-1]
    assert lease is not None
    assert (lease.bytes_before, lease.bytes_after) == (5, 0)
    assert newest.why == "dev-0 was given back clean: 5 bytes of images before, 0 bytes after"


def test_a_build_that_toolforge_fails_is_told_and_built_once_more(world: World) -> None:
    away = out.StageFailed(toolforge_failed("the image store was away"), KeptLog("502"))
    world.sees()
    world.steps(out.BuildStarted("b1"), away)
    assert (world.deployment().state, world.deployment().step) == (State.BUILDING, Step.START_BUILD)
    with world.store.read() as tx:
        newest = tx.events_of(world.preview().id)[-1]
        assert tx.log(world.deployment().id, "build") is None, "the log of the next build is the one to read"
    assert newest.why == "the image store was away; no fault of the commit, so it is built once more"
    note = report.note(world.views.subject(world.preview().id, world.now)[1])
    assert "building it once more" in note
    assert "`the image store was away`" in note
    world.later(20)
    world.steps(out.BuildStarted("b2"), away)
    assert world.deployment().state is State.FAILED
    with world.store.read() as tx:
        assert tx.log(world.deployment().id, "build") == "502"


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


@pytest.mark.parametrize(
    "disguise",
    [
        {"source_branch": "main", "target_branch": "main"},
        {"source_branch": "change-1"},
        {"author": "a-developer-of-the-project"},
        {"source_project_id": None},
        {"source_project_id": 0},
        {"labels": ("approved",)},
    ],
    ids=str,
)
def test_a_fork_in_any_disguise_waits_for_an_approval(world: World, disguise: dict[str, Any]) -> None:
    world.sees(sha=A, fork=True, **disguise)
    assert world.deployment().step is Step.AWAIT_APPROVAL
    assert world.account().state is AccountState.FREE


def test_an_approval_does_not_move_to_another_commit_with_the_target_branch(world: World) -> None:
    world.sees(sha=A, fork=True)
    world.comments(Verb.PREVIEW, under=A, head=A, fork=True)
    assert world.deployment().state is State.BUILDING
    world.sees(sha=B, fork=True, target_branch="release")
    assert (world.deployment().sha, world.deployment().step) == (B, Step.AWAIT_APPROVAL)
    world.sees(sha=B, fork=True, target_branch="main")
    assert world.deployment().step is Step.AWAIT_APPROVAL
    world.sees(sha=A, fork=True)
    assert world.deployment().sha == A, "what was approved is good for that commit"


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


def test_what_somebody_has_looked_at_is_built_and_not_what_was_pushed_meanwhile(world: World) -> None:
    world.sees(fork=True)
    world.sees(sha=B, fork=True)
    waiting = world.deployment()
    for looked_at in (A, "", "b"):
        with pytest.raises(BadInput, match="not the head"):
            world.lifecycle.approve_or_redeploy(world.preview().id, "carol", world.now, sha=looked_at)
    assert world.deployment() == waiting
    world.lifecycle.approve_or_redeploy(world.preview().id, "carol", world.now, sha=B)
    assert world.deployment().step is Step.READ_FILE


@pytest.mark.parametrize(("rebuild", "trigger"), [(False, "command"), (True, "rebuild")])
def test_a_rebuild_is_marked_as_one(world: World, rebuild: bool, trigger: str) -> None:
    world.sees()
    world.goes_live()
    world.lifecycle.approve_or_redeploy(world.preview().id, "carol", world.now, sha=A, rebuild=rebuild)
    assert (world.deployment().trigger, world.deployment().actor) == (trigger, "carol")


def test_a_closed_merge_request_cannot_be_redeployed(world: World) -> None:
    world.sees()
    world.sees(state="closed")
    with pytest.raises(BadInput, match="closed"):
        world.lifecycle.approve_or_redeploy(world.preview().id, "carol", world.now)


def test_refused_credentials_put_the_account_away_and_the_deployment_on_another(any_parts: Parts) -> None:
    world = World(any_parts, accounts=2)
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


def test_the_oldest_live_preview_makes_room_after_its_minimum_time(any_parts: Parts) -> None:
    world = World(any_parts, limits=Limits(min_live_seconds=600))
    world.sees(1)
    world.goes_live(1)
    world.sees(2)
    assert world.deployment(1).state is State.LIVE
    world.later(601)
    world.lifecycle.sweep(world.now)
    assert world.deployment(1).state is State.STOPPED
    assert world.preview(1).stop_reason == "another merge request waited for an account"


def test_too_many_builds_lower_the_ceiling_and_good_ones_raise_it_again(any_parts: Parts) -> None:
    world = World(any_parts, accounts=1, limits=Limits(max_concurrent_builds=4))

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


def test_two_tries_of_one_preview_that_lose_their_account_do_not_stop_the_pool(any_parts: Parts) -> None:
    world = World(any_parts, accounts=1)
    world.sees(sha=A)
    world.steps(out.BuildStarted("b1"), out.BuildSucceeded("i1"), out.JobStarted(), out.JobReady())
    checking = world.deployment()
    world.sees(sha=B)
    assert world.states() == ["checking", "building"]
    world.lifecycle.record(
        world.claim(Kind.DEPLOYMENT, checking.id), checking, out.AccountUnusable("HTTP 403"), world.now
    )
    second = world.step(out.AccountUnusable("HTTP 403"))
    assert second.state is State.QUEUED
    assert world.states() == ["superseded", "queued"], "only the newest commit waits for another account"
    world.cleaning(1, out.Cleaned(0, 0))
    assert world.deployment().state is State.BUILDING


def test_an_older_answer_of_gitlab_does_not_bring_a_merged_one_back(world: World) -> None:
    world.sees()
    world.goes_live()
    asked_before = world.now
    world.later(5)
    world.sees(state="merged")
    with pytest.raises(Conflict):
        world.sees(state="opened", as_of=asked_before)
    assert world.states() == ["stopped"]


def test_a_stranger_who_pushes_does_not_keep_the_account_for_ever(any_parts: Parts) -> None:
    world = World(any_parts, limits=Limits(min_live_seconds=600))
    world.sees(1, sha=A, fork=True)
    world.comments(Verb.PREVIEW, 1, fork=True)
    world.goes_live(1)
    world.sees(1, sha=B, fork=True)
    world.later(3601)
    world.lifecycle.sweep(world.now)
    assert world.states(1) == ["stopped", "queued"], "what was live has expired, what waits goes on waiting"
    assert world.deployment(1).step is Step.AWAIT_APPROVAL
    assert world.account().state is AccountState.CLEANING


def test_a_commit_that_came_back_as_the_head_is_built_after_all(world: World) -> None:
    world.sees(sha=A)
    world.step(out.WrongCommit("b1", B))
    world.step(out.Tidied())
    world.sees(sha=A)
    assert world.states() == ["superseded", "queued"]


def test_a_verdict_that_comes_after_its_account_was_lost_does_not_count(world: World) -> None:
    world.sees(sha=A)
    world.steps(out.BuildStarted("b1"), out.BuildSucceeded("i1"), out.JobStarted(), out.JobReady())
    checking = world.deployment()
    claim = world.claim(Kind.DEPLOYMENT, checking.id)
    world.sees(sha=B)
    world.step(out.AccountUnusable("HTTP 403"))
    world.lifecycle.record(claim, checking, PASSED, world.now)
    assert "live" not in world.states()


def test_a_push_that_waits_for_approval_gives_the_account_back(any_parts: Parts) -> None:
    world = World(any_parts, accounts=2, limits=Limits(max_concurrent_builds=1))
    world.sees(1, sha=A, fork=True)
    world.comments(Verb.PREVIEW, 1, fork=True)
    world.sees(2)
    world.steps(out.BuildStarted("b1"), BROKEN, iid=1)
    world.sees(1, sha=B, fork=True)
    world.comments(Verb.PREVIEW, 1, under=B, head=B, fork=True)
    older = world.deployments(1)[1]
    world.lifecycle.record(world.claim(Kind.DEPLOYMENT, older.id), older, out.Tidied(), world.now)
    assert world.deployment(1).step is Step.AWAIT_SLOT
    account = world.account(older.account_id or 0)
    assert account.state is AccountState.LEASED, "it waits on the account that it has"
    world.sees(1, sha=C, fork=True)
    assert world.account(account.id).state is AccountState.CLEANING


def test_an_account_that_is_leased_for_nothing_is_found_by_the_sweep(world: World) -> None:
    world.sees()
    leased = world.account()
    deployment = world.deployment()
    with world.store.write() as tx:
        # As if the transaction that should have released it had not seen that it was the last one.
        tx.put_deployment(deployment, replace(deployment, state=State.CANCELLED, step=Step.NONE, due_at=None))
    world.lifecycle.sweep(world.now)
    assert world.account(leased.id).state is AccountState.CLEANING


def test_what_cannot_be_put_back_is_not_called_live(world: World) -> None:
    world.sees(sha=A)
    world.goes_live()
    world.sees(sha=B)
    world.steps(out.BuildStarted("b2"), out.BuildSucceeded("i2"), out.JobStarted(), out.JobReady())
    world.steps(out.JobStarted(), BROKEN)
    assert world.deployment().step is Step.ROLL_BACK
    world.later(3601)
    world.step(out.NotNow("No such image"))
    assert world.states() == ["stopped", "failed"]
    world.step(out.Tidied())
    assert world.account().state is AccountState.CLEANING


def test_an_approval_is_in_the_timeline_with_its_commit_and_name(world: World) -> None:
    world.sees(sha=A, fork=True)
    world.comments(Verb.PREVIEW, fork=True)
    with world.store.read() as tx:
        events = tx.events_of(world.preview().id)
    approvals = [event for event in events if "approved" in event.why]
    assert [(event.who, A in event.why) for event in approvals] == [("carol", True)]


def test_a_build_whose_answer_was_lost_while_it_was_cancelled_is_waited_for(world: World) -> None:
    world.sees()
    before = world.deployment()
    claim = world.claim(Kind.DEPLOYMENT, before.id)
    world.sees(state="closed")
    world.lifecycle.record(claim, before, out.NotNow("timeout", may_have_happened=True), world.now)
    assert world.deployment().unsure_until is not None


def test_the_receipt_is_kept_after_a_quarantine(world: World) -> None:
    world.sees()
    world.goes_live()
    world.sees(state="closed")
    for _ in range(5):
        world.cleaning(1, out.CleaningFailed("artifact stuck"))
    world.cleaning(1, out.Cleaned(5, 0))
    with world.store.read() as tx:
        lease = tx.last_lease(world.preview().id)
        newest = tx.events_of(world.preview().id)[-1]
    assert lease is not None
    assert (lease.bytes_before, lease.bytes_after) == (5, 0)
    assert newest.why == "dev-0 was given back clean: 5 bytes of images before, 0 bytes after"


def test_a_cleaning_that_gets_nowhere_is_shown(world: World) -> None:
    world.sees()
    world.goes_live()
    world.sees(state="closed")
    world.cleaning(1, out.CleaningGoesOn("1 builds"))
    world.later(901)
    for _ in range(5):
        world.cleaning(1, out.CleaningGoesOn("1 builds"))
    assert world.account().state is AccountState.QUARANTINED
    assert "1 builds" in world.account().reason


# --- what only wants a verdict ------------------------------------------------------------------------

BOT = "project_77_bot_5f3e"


@pytest.fixture
def shared(any_parts: Parts) -> World:
    """Two bots' merge requests that are being built on the one account."""
    world = World(any_parts, limits=Limits(max_concurrent_builds=4))
    for iid in (1, 2):
        world.sees(iid, author=BOT)
        world.step(out.BuildStarted(f"build-{iid}"), iid)
    return world


def built(world: World, iid: int, *, store: int | None = None) -> Step:
    return world.step(out.BuildSucceeded(f"image-{iid}", bytes_used=store, bytes_limit=1000), iid).step


def test_bots_share_an_account_and_take_turns_at_its_address(shared: World) -> None:
    assert shared.account().shared
    assert shared.deployment(1).account_id == shared.deployment(2).account_id == 1
    built(shared, 2)
    assert shared.deployment(2).step is Step.PUBLISH
    built(shared, 1)
    assert shared.deployment(1).step is Step.AWAIT_PLACE
    shared.steps(out.JobStarted(), out.JobReady(), PASSED, iid=2)
    assert shared.deployment(1).step is Step.AWAIT_PLACE, "the job of the one before is still there"
    shared.step(out.Tidied(), 2)
    assert shared.deployment(1).step is Step.PUBLISH
    assert shared.account().state is AccountState.LEASED
    shared.steps(out.JobStarted(), out.JobReady(), PASSED, out.Tidied(), iid=1)
    assert [shared.states(iid) for iid in (1, 2)] == [["stopped"], ["stopped"]]
    account = shared.account()
    assert (account.state, account.shared) == (AccountState.CLEANING, False)
    shared.cleaning(1, out.Cleaned(5, 0))
    with shared.store.read() as tx:
        for iid in (1, 2):
            lease = tx.last_lease(shared.preview(iid).id)
            assert lease is not None
            assert (lease.bytes_before, lease.bytes_after) == (5, 0)


def test_a_person_is_not_put_on_a_shared_account_nor_kept_waiting_by_more_of_them(shared: World) -> None:
    shared.sees(3)
    assert shared.states(3) == ["queued"]
    shared.sees(4, author=BOT)
    assert shared.states(4) == ["queued"], "the account is to be empty soon: somebody waits for it"


def test_a_bot_that_is_closed_in_the_queue_for_the_address_leaves_the_others_alone(shared: World) -> None:
    built(shared, 2)
    built(shared, 1)
    shared.sees(1, state="closed", author=BOT)
    shared.step(out.Tidied(), 1)
    assert shared.states(1) == ["cancelled"]
    assert shared.account().shared
    shared.steps(out.JobStarted(), out.JobReady(), PASSED, out.Tidied(), iid=2)
    assert shared.states(2) == ["stopped"]
    assert shared.account().state is AccountState.CLEANING


def test_a_shared_account_that_is_refused_sends_all_back_to_the_queue(shared: World) -> None:
    shared.step(out.AccountUnusable("HTTP 403"), 1)
    assert shared.account().state is AccountState.QUARANTINED
    shared.step(out.BuildGoesOn(), 2)
    assert [shared.states(iid) for iid in (1, 2)] == [["queued"], ["queued"]]


def test_a_developer_gets_a_preview_to_look_at_from_a_bots_merge_request(any_parts: Parts) -> None:
    world = World(any_parts, limits=Limits(max_concurrent_builds=4))
    world.sees(1, author=BOT)
    assert world.deployment(1).check_only
    assert world.comments(Verb.PREVIEW, 1)
    assert world.states(1) == ["superseded", "queued"]
    assert not world.deployment(1).check_only


def test_a_person_who_pushes_to_a_bots_merge_request_is_no_bot(world: World) -> None:
    world.sees(1, author="bob")
    assert not world.deployment().is_bot


# --- what builds take ---------------------------------------------------------------------------------


def test_sizes_and_times_are_kept_for_the_next_build(world: World) -> None:
    world.sees()
    world.step(out.BuildStarted("b"))
    world.later(50)
    built(world, 1, store=400)
    with world.store.read() as tx:
        project = tx.project(world.project_id)
    assert project.image_bytes == world.deployment().image_bytes == 400
    assert project.build_seconds is not None
    assert project.build_seconds >= 50
    assert (world.account().bytes_used, world.account().bytes_limit) == (400, 1000)


def test_an_account_is_cleaned_first_when_the_next_image_does_not_fit(world: World) -> None:
    world.sees()
    world.step(out.BuildStarted("b"))
    built(world, 1, store=600)
    world.steps(out.JobStarted(), out.JobReady(), PASSED)
    assert world.states() == ["live"]
    world.sees(sha=B)
    assert world.states() == ["stopped", "queued"]
    assert world.account().state is AccountState.CLEANING
    world.cleaning(1, out.Cleaned(600, 0))
    assert world.states() == ["stopped", "building"]


def test_a_store_full_of_failures_is_cleaned_for_the_push_that_waits(world: World) -> None:
    world.sees()
    world.step(out.BuildStarted("b"))
    built(world, 1, store=600)
    world.step(BROKEN)
    failed = world.deployment()
    world.sees(sha=B)
    assert world.states() == ["failed", "queued"]
    claim = world.claim(Kind.DEPLOYMENT, failed.id)
    world.lifecycle.record(claim, failed, out.Tidied(), world.now)
    assert world.account().state is AccountState.CLEANING
    world.cleaning(1, out.Cleaned(600, 0))
    assert world.states() == ["failed", "building"]


def test_what_fits_nowhere_is_refused_with_advice_and_tried_when_asked_for(world: World) -> None:
    world.sees()
    world.step(out.BuildStarted("b"))
    built(world, 1, store=800)
    world.sees(state="closed")
    world.step(out.Tidied())
    world.cleaning(1, out.Cleaned(800, 0))
    with world.store.write() as tx:
        tx.put_store_use(1, 0, 500)
    world.sees(2)
    refused = world.deployment(2)
    assert refused.state is State.FAILED
    assert refused.failure is not None
    assert "the largest image store" in refused.failure.summary
    assert world.account().state is AccountState.FREE
    assert world.comments(Verb.PREVIEW, 2)
    assert world.states(2) == ["failed", "building"]


def test_an_image_of_the_same_files_is_found_while_its_account_has_it(world: World) -> None:
    world.sees()
    world.step(out.BuildStarted("b", tree="t1"))
    built(world, 1)
    first = world.deployment()
    with world.store.read() as tx:
        same_files = replace(first, sha=B)
        assert tx.reusable_image(same_files, world.project_id, same_files.sha, "t1") == "image-1"
        assert tx.reusable_image(same_files, world.project_id, same_files.sha, "t2") is None
        assert tx.reusable_image(first, world.project_id, first.sha, "") == "image-1"
        assert tx.reusable_image(replace(first, fence=99), world.project_id, first.sha, "t1") is None
        assert tx.reusable_image(first, 12345, first.sha, "t1") is None


def test_a_reused_image_needs_no_build(world: World) -> None:
    world.sees()
    world.goes_live()
    world.sees(sha=B)
    reused = world.step(out.BuildReused("image-1", "t1"))
    assert (reused.state, reused.step, reused.image) == (State.STARTING, Step.START_CANDIDATE, "image-1")
