"""What operators stop on purpose stands still, is told, and goes on as if no time had passed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput
from orchestrator.pool import AccountState
from orchestrator.preview import State, Step
from orchestrator.records import Kind
from orchestrator.report import desired
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import A, B, World

AWAY = out.NotNow("Toolforge is away")


@pytest.fixture
def world(any_parts: Parts) -> World:
    return World(any_parts, accounts=2, limits=Limits(min_live_seconds=0.0))


def due(world: World) -> set[Kind]:
    return {found.kind for found in world.lifecycle.sweep(world.now)}


def claims(world: World, kind: Kind, row_id: int) -> bool:
    with world.store.write() as tx:
        return tx.claim(kind, row_id, now=world.now, seconds=1.0) is not None


def told(world: World, iid: int = 1) -> tuple[str, str]:
    """What the commit status and the note say."""
    report = desired(world.views.subject(world.preview(iid).id, world.now)[1])
    return report.statuses[0].description, report.note


# --- the emergency stop -------------------------------------------------------------------------------


def test_while_paused_no_step_of_a_deployment_and_no_cleaning_is_begun(world: World) -> None:
    world.sees(1)
    world.sees(2)
    world.step(out.BuildStarted("b"), 2)
    world.sees(2, state="closed")
    world.step(out.Tidied(), 2)
    world.lifecycle.pause("olga", "something is wrong", world.now)
    world.later(10.0)
    cleaned = next(i for i in (1, 2) if world.account(i).state is AccountState.CLEANING)
    assert due(world) == {Kind.REPORT}
    assert not claims(world, Kind.DEPLOYMENT, world.deployment(1).id)
    assert not claims(world, Kind.ACCOUNT, cleaned)
    assert claims(world, Kind.REPORT, world.preview(1).id)
    world.lifecycle.resume("olga", world.now)
    assert due(world) == {Kind.REPORT, Kind.DEPLOYMENT, Kind.ACCOUNT}
    assert claims(world, Kind.DEPLOYMENT, world.deployment(1).id)
    assert claims(world, Kind.ACCOUNT, cleaned)


def test_while_paused_deliveries_are_taken_and_nothing_new_is_planned(world: World) -> None:
    world.lifecycle.pause("olga", "something is wrong", world.now)
    world.sees(1, reads=False)
    world.lifecycle.sweep(world.now)
    assert not claims(world, Kind.DEPLOYMENT, world.deployment(1).id)
    assert world.deployment(1).state is State.QUEUED
    world.lifecycle.resume("olga", world.now)
    world.reads(1)
    assert world.deployment(1).state is State.BUILDING


def test_a_pause_costs_what_is_up_none_of_its_time(world: World) -> None:
    world.sees(1)
    world.goes_live(1)
    expires_at = world.preview(1).expires_at
    assert expires_at is not None
    world.lifecycle.pause("olga", "something is wrong", world.now)
    world.later(5000.0)
    world.lifecycle.sweep(world.now)
    assert world.deployment(1).state is State.LIVE
    world.lifecycle.resume("olga", world.now)
    assert world.preview(1).expires_at == pytest.approx(expires_at + 5000.0)
    world.lifecycle.sweep(world.now)
    assert world.deployment(1).state is State.LIVE
    world.later(3601.0)
    world.lifecycle.sweep(world.now)
    assert world.deployment(1).state is State.STOPPED


@pytest.mark.parametrize("stop", ["pause", "freeze"])
def test_the_patience_of_what_was_under_way_counts_anew(world: World, stop: str) -> None:
    world.sees(1)
    world.step(out.BuildStarted("b"))
    getattr(world.lifecycle, stop)("olga", "maintenance", world.now)
    world.later(world.policy.patience.build_seconds + world.policy.patience.outage_seconds)
    world.lifecycle.resume("olga", world.now)
    assert world.step(out.BuildGoesOn()).state is State.BUILDING
    assert world.step(AWAY).state is State.BUILDING
    world.later(world.policy.patience.outage_seconds)
    assert world.step(AWAY).state is State.FAILED


def test_a_cleaning_that_was_paused_has_all_its_time_again(world: World) -> None:
    world.sees(1)
    account_id = world.deployment(1).account_id
    assert account_id is not None
    world.step(out.BuildStarted("b"))
    world.sees(1, state="closed")
    world.step(out.Tidied())
    world.lifecycle.pause("olga", "something is wrong", world.now)
    world.later(50_000.0)
    world.lifecycle.resume("olga", world.now)
    assert world.cleaning(account_id, out.CleaningGoesOn("1 job")).attempts == 0


def test_a_step_that_was_under_way_when_everything_was_paused_is_still_recorded(world: World) -> None:
    world.sees(1)
    before = world.deployment(1)
    claim = world.claim(Kind.DEPLOYMENT, before.id)
    world.lifecycle.pause("olga", "something is wrong", world.now)
    world.lifecycle.record(claim, before, out.BuildStarted("b"), world.now)
    assert world.deployment(1).build_id == "b"


# --- the freeze ---------------------------------------------------------------------------------------


def test_frozen_builds_begin_nothing_and_finish_what_runs(world: World) -> None:
    world.sees(1)
    world.lifecycle.freeze("olga", "maintenance", world.now)
    world.sees(2)
    assert world.goes_live(1).state is State.LIVE
    world.lifecycle.sweep(world.now)
    assert world.deployment(2).state is State.QUEUED
    world.lifecycle.resume("olga", world.now)
    assert world.deployment(2).state is State.BUILDING


def test_during_a_freeze_nothing_expires_or_gives_way(world: World) -> None:
    world.sees(1)
    world.goes_live(1)
    world.sees(2)
    world.goes_live(2)
    world.lifecycle.freeze("olga", "maintenance", world.now)
    world.sees(3)
    world.later(100_000.0)
    world.lifecycle.sweep(world.now)
    assert [world.deployment(i).state for i in (1, 2, 3)] == [State.LIVE, State.LIVE, State.QUEUED]
    world.lifecycle.resume("olga", world.now)
    world.lifecycle.sweep(world.now)
    assert [world.deployment(i).state for i in (1, 2)] == [State.STOPPED, State.STOPPED]


def test_an_outage_during_a_freeze_ends_no_deployment(world: World) -> None:
    world.sees(1)
    world.lifecycle.freeze("olga", "maintenance", world.now)
    for _ in range(3):
        world.later(world.policy.patience.outage_seconds)
        assert world.step(AWAY).state is State.BUILDING
    world.lifecycle.resume("olga", world.now)
    assert world.step(AWAY).state is State.BUILDING


def test_what_toolforge_does_not_begin_during_a_freeze_has_to_wait(world: World) -> None:
    world.sees(1)
    world.step(out.BuildStarted("b"))
    world.lifecycle.freeze("olga", "maintenance", world.now)
    world.later(world.policy.patience.build_seconds + 1)
    assert world.step(out.BuildGoesOn(has_begun=False)).state is State.BUILDING
    world.steps(out.BuildSucceeded("i"), out.JobStarted())
    world.later(world.policy.patience.start_seconds + 1)
    assert world.step(out.JobNotReady("no node", has_begun=False)).state is State.STARTING


def test_a_build_that_runs_without_end_is_cancelled_even_during_a_freeze(world: World) -> None:
    world.sees(1)
    world.step(out.BuildStarted("b"))
    world.lifecycle.freeze("olga", "maintenance", world.now)
    world.later(world.policy.patience.build_seconds + 1)
    assert world.step(out.BuildGoesOn()).state is State.FAILED


def test_what_was_built_before_a_freeze_still_gets_its_verdict(world: World) -> None:
    world.sees(1)
    with world.store.write() as tx:
        waiting = world.deployment(1)
        tx.put_deployment(waiting, replace(waiting, check_only=True))
    world.step(out.BuildStarted("b"))
    world.lifecycle.freeze("olga", "maintenance", world.now)
    assert world.step(out.BuildSucceeded("i")).step is Step.PUBLISH


# --- one project --------------------------------------------------------------------------------------


def test_a_paused_project_waits_and_the_others_go_on(world: World) -> None:
    world.lifecycle.pause("olga", "too much", world.now, project_id=world.project_id)
    world.sees(1)
    with world.another_project():
        world.sees(1)
        assert world.deployment(1).state is State.BUILDING
    world.lifecycle.sweep(world.now)
    assert world.deployment(1).state is State.QUEUED
    world.lifecycle.resume("olga", world.now, project_id=world.project_id)
    assert world.deployment(1).state is State.BUILDING


def test_what_a_paused_project_has_up_goes_its_usual_way(world: World) -> None:
    world.sees(1)
    world.goes_live(1)
    world.lifecycle.pause("olga", "too much", world.now, project_id=world.project_id)
    world.sees(1, sha=B)
    world.sees(2)
    world.sees(1, state="closed")
    assert world.states(1) == ["stopped", "cancelled"]


# --- what people are told -----------------------------------------------------------------------------


def test_whoever_waits_is_told_what_holds_it_and_why(world: World) -> None:
    world.sees(1)
    world.lifecycle.freeze("olga", "Toolforge maintenance until 14:00 UTC", world.now)
    world.sees(2)
    description, note = told(world, 2)
    assert description == "Waits: builds are frozen (Toolforge maintenance until 14:00 UTC)"
    assert "builds are frozen" in note
    assert "frozen" not in "".join(told(world, 1)), "it is being built, and that goes on"
    world.lifecycle.pause("olga", "wrong images", world.now)
    assert "all previews are paused (wrong images)" in told(world, 2)[0]
    assert "stands still: all previews are paused" in told(world, 1)[1]
    world.lifecycle.resume("olga", world.now)
    world.lifecycle.pause("olga", "too much", world.now, project_id=world.project_id)
    world.sees(3)
    assert told(world, 3)[0] == "Waits: its project is paused (too much)"


@pytest.mark.parametrize("stop", ["pause", "freeze"])
def test_all_who_wait_are_told_at_once_when_a_switch_changes(world: World, stop: str) -> None:
    world.sees(1)
    world.sees(2)
    world.sees(3)
    for change in (getattr(world.lifecycle, stop), lambda who, why, now: world.lifecycle.resume(who, now)):
        world.tells_gitlab()
        change("olga", "maintenance", world.now)
        world.later(2.0)
        with world.store.read() as tx:
            marked = {found.id for found in tx.due(world.now, limit=100) if found.kind is Kind.REPORT}
        assert marked == {world.preview(iid).id for iid in (1, 2, 3)}


def test_switches_are_listed_with_who_and_why_and_logged(world: World) -> None:
    world.lifecycle.freeze("olga", "maintenance until 13:00", world.now)
    began = world.now
    world.later(60.0)
    world.lifecycle.freeze("omar", "maintenance until 14:00", world.now)
    world.lifecycle.pause("omar", "too much", world.now, project_id=world.project_id)
    frozen, paused = world.views.switches()
    assert (frozen.what, frozen.switch.who, frozen.switch.why) == (
        "builds are frozen",
        "omar",
        "maintenance until 14:00",
    )
    assert frozen.switch.at == began
    assert paused.what == "project group/tool is paused"
    assert [view.what for view in world.views.overview(world.now).switches] == [frozen.what, paused.what]
    world.lifecycle.resume("omar", world.now)
    assert [view.what for view in world.views.switches()] == [paused.what]
    assert [(e.before, e.after, e.who, e.why) for e in world.views.history("switch")] == [
        ("", "freeze", "olga", "maintenance until 13:00"),
        ("", "freeze", "omar", "maintenance until 14:00"),
        ("", "pause", "omar", "too much"),
        ("freeze", "", "omar", "resumed"),
    ]


def test_what_is_not_stopped_cannot_be_resumed(world: World) -> None:
    world.lifecycle.pause("olga", "too much", world.now, project_id=world.project_id)
    with pytest.raises(BadInput, match="Nothing of that kind is stopped"):
        world.lifecycle.resume("olga", world.now)


def test_a_commit_that_waits_for_an_approval_says_so_whatever_is_stopped(world: World) -> None:
    world.sees(1, sha=A, fork=True)
    world.lifecycle.freeze("olga", "maintenance", world.now)
    assert "/preview" in told(world, 1)[0]
