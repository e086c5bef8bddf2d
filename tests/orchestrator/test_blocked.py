"""What waits for a version that the builder does not have: it holds nothing, and runs by itself one day."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator import outcome as out
from orchestrator import report
from orchestrator.bootstrap import Parts
from orchestrator.outcome import KeptLog, Pin
from orchestrator.pool import AccountState
from orchestrator.preview import UNBLOCKED, Deployment, State, Step
from orchestrator.report import Report, Status, must_send
from orchestrator.rules import RefusedVersions, Rules
from orchestrator.runtimes import LATEST, RuntimeSeen, warning
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import A, B, World
from tests.orchestrator.test_opinion import BUILDS, BUILT, MISSING, PIN, REFUSED
from tests.orchestrator.test_report import a_deployment, a_subject

_WAIT, _BUILD = (Rules(refused_versions=one) for one in (RefusedVersions.WAIT, RefusedVersions.BUILD))


@pytest.fixture
def world(any_parts: Parts) -> World:
    made = World(any_parts, accounts=2, limits=Limits(max_concurrent_builds=1))
    made.lifecycle.set_rules(made.project_id, _WAIT, "dana", made.now)
    return made


def learns(world: World, seen: RuntimeSeen) -> None:
    """A build of somebody else's has shown that."""
    with world.store.write_alone() as tx:
        tx.put_runtime(seen, world.now)


def refused(world: World, **changes: object) -> None:
    seen = RuntimeSeen("Python", "3.99", world.now, "python-version-missing")
    learns(world, replace(seen, **changes))  # type: ignore[arg-type]


def sweeps(world: World) -> None:
    world.later(1)
    world.lifecycle.sweep(world.now)


def reads(world: World, iid: int = 1, sha: str = A, *pins: Pin) -> Deployment:
    """A merge request is seen, and its files are read."""
    world.sees(iid, sha, reads=False)
    return world.step(out.FileRead({}, pins or (PIN,)), iid)


def told(world: World, iid: int = 1) -> Report:
    return report.desired(world.views.subject(world.preview(iid).id, world.now)[1])


def blocked(world: World) -> Deployment:
    refused(world)
    return reads(world)


def test_what_is_known_to_be_missing_waits_without_a_build_a_lease_or_a_look(world: World) -> None:
    learns(world, RuntimeSeen("Python", "3.13.7", seen_at=world.now))
    waiting = blocked(world)
    assert (waiting.state, waiting.step, waiting.account_id) == (State.BLOCKED, Step.AWAIT_VERSION, None)
    assert waiting.due_at is None
    with world.store.read() as tx:
        assert not tx.is_anybody_waiting()
        assert [account.state for account in tx.accounts()] == [AccountState.FREE] * 2
    (status,) = told(world).statuses
    assert status.state == "pending"
    assert status.description == "Waiting for Toolforge: Python 3.99 is not in the builder yet (newest 3.13)"
    note = told(world).note
    assert "Preview waits for Toolforge" in note
    assert "Python `3.99` is not in the builder yet (newest `3.13`)" in note
    sweeps(world)
    assert world.states() == ["blocked"]


def test_a_build_that_shows_it_gives_its_account_back_and_waits(world: World) -> None:
    world.sees(1)
    failed = world.steps(out.BuildStarted("b"), REFUSED)
    assert (failed.state, failed.step) == (State.BLOCKED, Step.START_OPINION), "the latest may have it"
    tidied = world.steps(out.OpinionStarted("x"), BUILDS, out.Tidied())
    assert (tidied.state, tidied.step, tidied.due_at) == (State.BLOCKED, Step.AWAIT_VERSION, None)
    assert tidied.account_id is not None
    assert world.account(tidied.account_id).state is AccountState.CLEANING
    assert "It will build with the latest builder" in told(world).note
    assert [one.state for one in told(world).statuses] == ["pending"]
    assert told(world).deployments == ()
    sweeps(world)
    assert world.states() == ["blocked"], "the builder that it asks for has not shown it"


def test_a_build_beside_what_is_up_leaves_that_alone(world: World) -> None:
    world.sees(1)
    world.goes_live()
    world.sees(1, B)
    waiting = world.steps(out.BuildStarted("b2"), REFUSED, out.Tidied())
    assert waiting.step is Step.AWAIT_VERSION
    assert world.states() == ["live", "blocked"]
    assert world.account(waiting.account_id or 0).state is AccountState.LEASED
    world.later(3700)
    world.lifecycle.sweep(world.now)
    assert world.states() == ["stopped", "blocked"], "its time is over as if nothing waited"
    assert world.account(waiting.account_id or 0).state is AccountState.CLEANING


@pytest.mark.parametrize("version", ["3.99", "3.99.1"])
def test_it_is_built_by_itself_once_somebodys_build_has_shown_the_version(world: World, version: str) -> None:
    blocked(world)
    with world.another_project():
        reads(world, 7, A, replace(PIN, wanted="3.98"))
        log = KeptLog(f"Using Python {version} specified in .python-version")
        world.steps(out.BuildStarted("b7"), out.BuildSucceeded("i", log), iid=7)
    sweeps(world)
    assert world.states() == ["superseded", "queued"]
    again = world.deployment()
    assert (again.sha, again.trigger, again.step) == (A, UNBLOCKED, Step.READ_FILE)
    assert [one.state for one in told(world).statuses] == ["pending"]
    assert world.step(out.FileRead({}, (PIN,))).state is State.BUILDING
    world.steps(out.BuildStarted("b8"), out.BuildSucceeded("i8", BUILT))
    sweeps(world)
    assert len(world.deployments()) == 2


def test_a_bot_that_waited_is_still_one_and_only_checked(world: World) -> None:
    refused(world)
    world.sees(1, author="project_77_bot_1", reads=False)
    waiting = world.step(out.FileRead({}, (PIN,)))
    learns(world, RuntimeSeen("Python", "3.99", seen_at=world.now + 0.5))
    sweeps(world)
    again = world.deployment()
    assert again.id != waiting.id
    assert waiting.is_bot
    assert (again.is_bot, again.check_only, again.ready_at) == (True, waiting.check_only, None)


def test_what_only_the_latest_builder_shows_wakes_those_that_ask_for_that_one(world: World) -> None:
    refused(world)
    refused(world, builder=LATEST)
    reads(world, 1)
    run = {"command": "run", "port": 8000, "publish": "/"}
    latest = {"components": {"web": {"build": {"use_latest_versions": True}, "run": run}}}
    world.sees(2, reads=False)
    assert world.step(out.FileRead(latest, (PIN,)), 2).state is State.BLOCKED
    learns(world, RuntimeSeen("Python", "3.99", seen_at=world.now + 0.5, builder=LATEST))
    sweeps(world)
    assert (world.states(1), world.states(2)) == (["blocked"], ["superseded", "queued"])


def test_a_refusal_of_long_ago_keeps_nobody_waiting(world: World) -> None:
    blocked(world)
    world.later(13 * 86400)
    sweeps(world)
    assert world.states() == ["blocked"]
    world.later(2 * 86400)
    sweeps(world)
    assert world.states() == ["superseded", "queued"]


def test_it_waits_again_where_the_build_shows_that_it_was_too_early(world: World) -> None:
    blocked(world)
    learns(world, RuntimeSeen("Python", "3.99", seen_at=world.now + 0.5))
    sweeps(world)
    world.steps(out.FileRead({}, (PIN,)), out.BuildStarted("b"), REFUSED)
    assert world.deployment().state is State.BLOCKED
    world.steps(out.OpinionDropped("x"), out.Tidied())
    sweeps(world)
    sweeps(world)
    assert world.states() == ["superseded", "blocked"], "once for each time that it was shown"


def test_where_the_project_does_not_wait_any_more_it_is_built(world: World) -> None:
    blocked(world)
    world.lifecycle.set_rules(world.project_id, _BUILD, "dana", world.now)
    sweeps(world)
    assert world.states() == ["superseded", "queued"]


@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_freeze_keeps_it_where_it_is(world: World, is_frozen: bool) -> None:
    blocked(world)
    if is_frozen:
        world.lifecycle.freeze("operator", "maintenance", world.now)
    learns(world, RuntimeSeen("Python", "3.99", seen_at=world.now + 0.5))
    sweeps(world)
    assert world.states() == (["blocked"] if is_frozen else ["superseded", "queued"])


def test_a_push_takes_its_place_and_is_built_where_it_asks_for_what_there_is(world: World) -> None:
    blocked(world)
    other = reads(world, 1, B, replace(PIN, wanted="3.13"))
    assert (world.states(), other.sha) == (["superseded", "building"], B)


def test_closed_it_waits_no_more_and_its_status_comes_to_an_end(world: World) -> None:
    blocked(world)
    world.sees(1, state="closed")
    assert world.states() == ["cancelled"]
    assert world.deployment().is_settled
    assert [one.state for one in told(world).statuses] == ["canceled"]
    learns(world, RuntimeSeen("Python", "3.99", seen_at=world.now + 0.5))
    sweeps(world)
    assert world.states() == ["cancelled"]
    world.sees(1, reads=False)
    assert world.states() == ["cancelled", "queued"], "reopened, it is looked at again"


def test_stopped_it_waits_no_more(world: World) -> None:
    blocked(world)
    world.lifecycle.stop(world.preview().id, "dana", "stopped by dana", world.now)
    assert world.states() == ["cancelled"]
    assert [one.state for one in told(world).statuses] == ["success"], "a head is never left canceled"


@pytest.mark.parametrize("rebuild", [False, True])
def test_whoever_asks_gets_it_built_at_once(world: World, rebuild: bool) -> None:
    blocked(world)
    world.lifecycle.approve_or_redeploy(world.preview().id, "dana", world.now, rebuild=rebuild)
    assert world.step(out.FileRead({}, (PIN,))).state is State.BUILDING
    world.steps(out.BuildStarted("b"), REFUSED)
    assert world.states() == ["superseded", "blocked"], "the builder still lacks it"


def test_what_will_never_come_is_built_and_fails(world: World) -> None:
    refused(world, wanted="3.7", cause="python-version-eol")
    assert reads(world, 1, A, replace(PIN, wanted="3.7")).state is State.BUILDING


def test_a_strangers_log_alone_blocks_nobody(world: World) -> None:
    world.sees(1, fork=True)
    world.lifecycle.approve_or_redeploy(world.preview().id, "dana", world.now)
    world.step(out.FileRead({}))
    assert world.steps(out.BuildStarted("b"), REFUSED).state is State.FAILED, "nothing would ever wake it"


def test_where_nobody_has_decided_so_it_fails(world: World) -> None:
    world.lifecycle.set_rules(world.project_id, Rules(), "dana", world.now)
    world.sees(1)
    assert world.steps(out.BuildStarted("b"), REFUSED).state is State.FAILED


def test_toolforge_away_or_an_account_lost_while_it_is_tidied_does_not_fail_it(world: World) -> None:
    world.sees(1)
    world.steps(out.BuildStarted("b"), REFUSED, out.OpinionDropped("x"))
    world.later(world.policy.patience.outage_seconds + 1)
    assert world.step(out.NotNow("502")).step is Step.TIDY
    lost = world.step(out.AccountUnusable("refused"))
    assert (lost.state, lost.step) == (State.BLOCKED, Step.AWAIT_VERSION)


# --- decisions ----------------------------------------------------------------------------------------


def test_a_plain_version_is_there_when_a_later_build_used_one_that_begins_so() -> None:
    lacking = RuntimeSeen("Python", "3.99", 100.0, "python-version-missing")
    shown = RuntimeSeen("Python", "3.99.1", seen_at=101.0)
    assert warning([PIN], [lacking, shown], 102.0) is None
    for other in (replace(shown, seen_at=99.0), replace(shown, wanted="3.991"), replace(shown, runtime="Go")):
        assert warning([PIN], [lacking, other], 102.0) is not None
    a_range = [replace(one, wanted=f">={one.wanted}") for one in (lacking, shown)]
    assert warning([replace(PIN, wanted=">=3.99")], a_range, 102.0) is not None, "ranges are not interpreted"


def test_its_status_is_said_anew_until_gitlab_has_these_words() -> None:
    waits = Status(A, "pending", "Waiting", "https://page", renews=True)
    assert must_send(None, waits)
    for state in ("pending", "running", "canceled", "failed"):
        assert must_send(Status(A, state, "Being built", "https://page"), waits)
    assert not must_send(replace(waits, target_url="https://other"), waits)


def test_a_blocked_deployment_without_facts_has_words() -> None:
    waiting = a_deployment(State.BLOCKED, Step.AWAIT_VERSION, failure=replace(MISSING, facts={}))
    assert (
        report.desired(a_subject(waiting))
        .statuses[0]
        .description.endswith("its version is not in the builder yet")
    )
