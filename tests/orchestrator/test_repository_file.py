"""What a repository's own file means for a deployment: in the queue, on the account, while it is live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator import filters
from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.errors import Conflict
from orchestrator.merge_request import MergeRequest, Verb
from orchestrator.outcome import Failure, Refusal
from orchestrator.pool import AccountState
from orchestrator.preview import State, Step
from orchestrator.records import Kind
from orchestrator.report import desired
from tests.orchestrator.scene import B, World

WRONG = Failure("configuration", ".toolforge-preview.yaml, line 1, column 1: x: unknown key", "Mend it.")
ENVVARS = {"run": {"envvars": {"CACHE_SIZE": "1", "FLASK_ENV": "x"}}}


@pytest.fixture
def world(any_parts: Parts) -> World:
    return World(any_parts)


def refusal(world: World, why: str = "it is a draft", **seen: object) -> out.DoesNotApply:
    merge_request = replace(world.merge_request(), **seen)  # type: ignore[arg-type]
    return out.DoesNotApply(Refusal(why, filters.facts(merge_request)))


def is_told(world: World, change: Callable[[MergeRequest], MergeRequest]) -> str:
    """GitLab shows the merge request again, changed; what came of that."""
    with world.store.read() as tx:
        project = tx.project(world.project_id)
    dues = world.lifecycle.receive(
        project, f"again-{world.now}", kind="merge_request", iid=1, facts={}, now=world.now
    )
    claim = world.claim(Kind.DELIVERY, dues[0].id)
    with world.store.read() as tx:
        delivery = tx.delivery(dues[0].id)
    seen = change(world.merge_request())
    world.lifecycle.observe(claim, delivery, seen, world.now, as_of=world.now)
    with world.store.read() as tx:
        return tx.delivery(dues[0].id).result


def test_the_file_is_read_before_anything_is_waited_for(world: World) -> None:
    world.sees(reads=False)
    assert (world.deployment().state, world.deployment().step) == (State.QUEUED, Step.READ_FILE)
    assert world.account().state is AccountState.FREE
    world.step(out.FileRead({"command": "web"}))
    assert world.deployment().state is State.BUILDING
    assert world.deployment().config == {"command": "web"}


def test_a_wrong_file_fails_without_an_account(world: World) -> None:
    world.sees(reads=False)
    failed = world.step(out.StageFailed(WRONG))
    assert (failed.state, failed.step, failed.due_at) == (State.FAILED, Step.NONE, None)
    assert world.account().fence == 0
    _, subject = world.views.subject(world.preview().id, world.now)
    (status,) = desired(subject).statuses
    assert (status.state, status.description) == ("failed", f"configuration failed: {WRONG.summary}")


def test_what_does_not_apply_is_neither_built_nor_a_failure(world: World) -> None:
    world.sees(reads=False)
    refused = world.step(refusal(world))
    assert (refused.state, refused.step, refused.due_at) == (State.REFUSED, Step.NONE, None)
    assert refused.refusal is not None
    assert world.account().fence == 0
    _, subject = world.views.subject(world.preview().id, world.now)
    report = desired(subject)
    (status,) = report.statuses
    assert (status.state, status.description) == ("success", "Does not apply here: it is a draft")
    assert "no preview: `it is a draft`." in report.note


def test_a_preview_that_is_up_stays_when_the_next_commit_does_not_apply(world: World) -> None:
    world.sees()
    world.goes_live()
    world.sees(sha=B, reads=False)
    world.step(refusal(world))
    assert world.states() == [State.LIVE, State.REFUSED]
    assert world.account().state is AccountState.LEASED
    world.lifecycle.sweep(world.now)
    assert world.account().state is AccountState.LEASED


def test_what_does_not_apply_is_looked_at_again_when_what_the_filters_saw_has_changed(world: World) -> None:
    world.sees(reads=False)
    world.step(refusal(world))
    assert "is known" in is_told(world, lambda seen: replace(seen, title="Another title"))
    world.later(1.0)
    assert "deployment of" in is_told(world, lambda seen: replace(seen, labels=("preview",)))
    assert world.deployment().step is Step.READ_FILE
    assert world.states() == [State.REFUSED, State.QUEUED]


def test_a_command_brings_a_preview_of_what_does_not_apply(world: World) -> None:
    world.sees(reads=False)
    world.step(refusal(world))
    assert world.comments(Verb.PREVIEW)
    assert world.deployment().trigger == "command"
    assert world.deployment().state is State.BUILDING


def test_a_command_while_the_file_is_read_counts_and_the_file_is_read_anew(world: World) -> None:
    world.sees(reads=False)
    reading = world.deployment()
    claim = world.claim(Kind.DEPLOYMENT, reading.id)
    world.lifecycle.approve_or_redeploy(world.preview().id, "carol", world.now)
    world.lifecycle.record(claim, reading, refusal(world), world.now)
    assert (world.deployment().step, world.deployment().trigger) == (Step.READ_FILE, "command")
    world.reads()
    assert world.deployment().state is State.BUILDING


def test_the_file_of_a_stranger_is_read_once_the_commit_is_approved(world: World) -> None:
    world.sees(fork=True)
    assert world.deployment().step is Step.AWAIT_APPROVAL
    world.lifecycle.approve_or_redeploy(world.preview().id, "carol", world.now)
    assert world.deployment().step is Step.READ_FILE


def test_a_newer_commit_supersedes_one_whose_file_is_being_read(world: World) -> None:
    world.sees(reads=False)
    reading = world.deployment()
    claim = world.claim(Kind.DEPLOYMENT, reading.id)
    world.sees(sha=B)
    world.lifecycle.record(claim, reading, out.FileRead({}), world.now)
    assert world.states() == [State.SUPERSEDED, State.BUILDING]


def test_a_worker_that_lost_the_row_while_it_read_changes_nothing(world: World) -> None:
    world.sees(reads=False)
    reading = world.deployment()
    claim = world.claim(Kind.DEPLOYMENT, reading.id)
    world.later(1000.0)
    world.claim(Kind.DEPLOYMENT, reading.id)
    with pytest.raises(Conflict):
        world.lifecycle.record(claim, reading, out.FileRead({}), world.now)
    assert world.deployment() == reading


def test_gitlab_that_stays_away_is_no_fault_of_the_commit(world: World) -> None:
    world.sees(reads=False)
    assert world.step(out.NotNow("no answer")).state is State.QUEUED
    world.later(4000.0)
    failed = world.step(out.NotNow("no answer"))
    assert failed.state is State.FAILED
    assert failed.failure is not None
    assert failed.failure.summary == (
        "GitLab could not be asked for the repository's own file for 60 minutes: no answer"
    )


def test_a_preview_lives_as_long_as_its_file_says(world: World) -> None:
    world.sees(reads=False)
    world.reads(config={"life": {"max": "10h"}})
    world.goes_live()
    assert world.preview().expires_at == world.now + 36_000.0


def test_what_is_released_lives_as_long_as_its_file_says(world: World) -> None:
    world.sees(reads=False)
    world.reads(config={"life": {"max": "10h"}})
    live = world.goes_live()
    world.lifecycle.keep(world.preview().id, 400_000.0, "olga", world.now)
    world.lifecycle.release(world.preview().id, "olga", world.now)
    assert world.preview().expires_at == live.since + 36_000.0


def test_a_preview_does_not_give_way_before_the_time_that_its_file_says(world: World) -> None:
    world.sees(reads=False)
    world.reads(config={"life": {"min": "50m"}})
    live = world.goes_live()
    world.later(world.policy.limits.min_live_seconds + 60.0)
    world.sees(2)
    world.lifecycle.sweep(world.now)
    assert world.deployment(1).state is State.LIVE
    world.now = live.since + 3001.0
    world.lifecycle.sweep(world.now)
    assert world.deployment(1).state is State.STOPPED


# --- envvars ------------------------------------------------------------------------------------------


def test_the_names_of_envvars_are_written_down_before_any_can_be_set(world: World) -> None:
    world.sees(reads=False)
    world.reads(config=ENVVARS)
    assert world.deployment().step is Step.START_BUILD
    assert world.account().lent_envvars == ("CACHE_SIZE", "FLASK_ENV")
    assert world.account().our_envvars == {"CACHE_SIZE", "FLASK_ENV"}


def test_they_are_remembered_while_the_lease_lasts_and_until_the_account_is_clean(world: World) -> None:
    world.sees(reads=False)
    world.reads(config=ENVVARS)
    world.goes_live()
    world.sees(sha=B, reads=False)
    world.reads(config={"run": {"envvars": {"OTHER": "x"}}})
    world.goes_live()
    assert world.account().lent_envvars == ("CACHE_SIZE", "FLASK_ENV", "OTHER")
    world.sees(sha=B, state="closed")
    assert world.cleaning(1, out.CleaningGoesOn("envvars")).our_envvars == {
        "CACHE_SIZE",
        "FLASK_ENV",
        "OTHER",
    }
    clean = world.cleaning(1, out.Cleaned(0, 0, None, ("DUMMY",)))
    assert (clean.lent_envvars, clean.own_envvars) == ((), ("DUMMY",))


def test_they_are_remembered_when_the_account_is_lost(world: World) -> None:
    world.sees(reads=False)
    world.reads(config=ENVVARS)
    world.step(out.AccountUnusable("HTTP 403"))
    assert world.account().state is AccountState.QUARANTINED
    assert world.account().our_envvars == {"CACHE_SIZE", "FLASK_ENV"}


def test_what_operators_have_set_is_never_ours(world: World) -> None:
    world.inspection(1, out.Inspected(0, envvars=("CACHE_SIZE",)))
    world.sees(reads=False)
    world.reads(config=ENVVARS)
    assert world.account().our_envvars == {"FLASK_ENV"}
    inspected = world.inspection(1, out.Inspected(0, envvars=("CACHE_SIZE", "FLASK_ENV")))
    assert inspected.own_envvars == ("CACHE_SIZE",), "what is there now may be there for a deployment"
