"""The transition table and what outcomes make of a deployment."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import outcome as out
from orchestrator.errors import IllegalMove
from orchestrator.outcome import CheckResult, Failure, Retry, toolforge_failed
from orchestrator.preview import (
    ENDED,
    PENDING,
    STEPS,
    TRANSITIONS,
    Deployment,
    State,
    Step,
    assign,
    end,
    moved,
    stop,
)
from orchestrator.progress import Patience, Scene, apply

NOW = 1_000_000.0
FAILURE = Failure(stage="build", summary="it broke", remedy="mend it")
PASSED = CheckResult("GET /", True, "200")
FAILED = CheckResult("GET /", False, "500")


def a_deployment(**changes: object) -> Deployment:
    values: dict[str, object] = {
        "id": 7,
        "preview_id": 3,
        "iid": 12,
        "sha": "a" * 40,
        "state": State.QUEUED,
        "step": Step.AWAIT_SLOT,
        "created_at": NOW,
        "since": NOW,
        "step_since": NOW,
        "due_at": None,
        "trigger": "test",
        "actor": "alice",
        "entered": {State.QUEUED: NOW},
    }
    return Deployment(**(values | changes))  # type: ignore[arg-type]


def a_scene(**changes: object) -> Scene:
    values: dict[str, object] = {"now": NOW + 1, "patience": Patience(stable_seconds=0.0)}
    return Scene(**(values | changes))  # type: ignore[arg-type]


GOOD = a_deployment(id=1, state=State.LIVE, step=Step.NONE, image="tool-a/mr12-d1:latest@sha256:1")


def at(step: Step, **changes: object) -> Deployment:
    """A deployment that has come as far as `step`."""
    state = next(state for state, steps in STEPS.items() if step in steps)
    if step is Step.ROLL_BACK:
        state = State.CHECKING
    way = [State.QUEUED, State.BUILDING, State.STARTING, State.CHECKING, State.LIVE]
    if state is State.BLOCKED:
        way = [State.QUEUED, State.BUILDING, State.BLOCKED]
    entered = dict.fromkeys(way[: way.index(state) + 1], NOW)
    return a_deployment(state=state, step=step, account_id=1, fence=1, due_at=NOW, entered=entered, **changes)


def test_a_build_that_toolforge_fails_is_built_once_more_and_no_more() -> None:
    away = out.StageFailed(toolforge_failed("the image store was away"))
    first = apply(at(Step.WATCH_BUILD, build_id="b1"), away, a_scene())
    assert (first.state, first.step, first.build_id) == (State.BUILDING, Step.START_BUILD, None)
    assert first.retry == Retry("b1", "the image store was away")
    assert first.due_at is not None
    assert first.due_at > NOW + 1
    second = apply(apply(first, out.BuildStarted("b2"), a_scene()), away, a_scene())
    assert second.state is State.FAILED
    assert second.failure is not None
    assert second.failure.remedy.endswith("It was tried twice.")


def test_what_the_commit_fails_by_itself_is_not_built_again() -> None:
    failed = apply(at(Step.WATCH_BUILD, build_id="b1"), out.StageFailed(FAILURE), a_scene())
    assert (failed.state, failed.retry) == (State.FAILED, None)


def test_a_deployment_goes_from_the_queue_to_live() -> None:
    deployment = assign(a_deployment(), account_id=4, fence=9, now=NOW)
    states = [deployment.state]
    for outcome in (
        out.BuildStarted("b1"),
        out.BuildGoesOn(),
        out.BuildSucceeded("tool-a/mr12-d7:latest@sha256:2"),
        out.JobStarted(),
        out.JobNotReady("pending"),
        out.JobReady(),
        out.ChecksDone((PASSED,)),
    ):
        deployment = apply(deployment, outcome, a_scene())
        if states[-1] is not deployment.state:
            states.append(deployment.state)
    assert states == [State.BUILDING, State.STARTING, State.CHECKING, State.LIVE]
    assert (deployment.account_id, deployment.fence, deployment.build_id) == (4, 9, "b1")
    assert deployment.due_at is None


def test_with_a_good_one_at_the_address_the_image_is_tried_as_a_candidate_first() -> None:
    built = apply(at(Step.WATCH_BUILD), out.BuildSucceeded("i"), a_scene(serving=GOOD))
    assert built.step is Step.START_CANDIDATE
    watching = apply(built, out.JobStarted(), a_scene(serving=GOOD))
    assert watching.step is Step.WATCH_CANDIDATE
    assert apply(watching, out.JobReady(), a_scene(serving=GOOD)).step is Step.PUBLISH


def test_a_candidate_waits_while_another_one_is_tried_at_the_address() -> None:
    waiting = apply(at(Step.WATCH_CANDIDATE), out.JobReady(), a_scene(serving=GOOD, address_busy=True))
    assert waiting.step is Step.WATCH_CANDIDATE
    assert waiting.due_at is not None


@pytest.mark.parametrize(
    "step", [Step.START_BUILD, Step.WATCH_BUILD, Step.START_CANDIDATE, Step.WATCH_CANDIDATE]
)
def test_a_failure_before_the_address_changes_leaves_the_good_one_alone(step: Step) -> None:
    failed = apply(at(step), out.StageFailed(FAILURE), a_scene(serving=GOOD))
    assert (failed.state, failed.step, failed.failure) == (State.FAILED, Step.TIDY, FAILURE)


@pytest.mark.parametrize("step", [Step.PUBLISH, Step.WATCH_JOB])
def test_a_failure_at_the_address_puts_the_good_one_back_before_it_is_told(step: Step) -> None:
    failing = apply(at(step), out.StageFailed(FAILURE), a_scene(serving=GOOD))
    assert (failing.state, failing.step) == (State.STARTING, Step.ROLL_BACK)
    failed = apply(failing, out.RolledBack(), a_scene(serving=GOOD))
    assert (failed.state, failed.step, failed.failure) == (State.FAILED, Step.TIDY, FAILURE)


def test_a_failed_check_is_repeated_within_its_time_and_then_rolled_back() -> None:
    scene = a_scene(serving=GOOD)
    again = apply(at(Step.CHECK), out.ChecksDone((FAILED,)), scene)
    assert (again.state, again.step) == (State.CHECKING, Step.CHECK)
    late = a_scene(serving=GOOD, now=NOW + 1000)
    failing = apply(at(Step.CHECK), out.ChecksDone((PASSED, FAILED)), late)
    assert failing.step is Step.ROLL_BACK
    assert failing.failure is not None
    assert failing.failure.summary == "GET /: 500"


def test_putting_the_good_one_back_is_tried_for_as_long_as_an_outage_may_take() -> None:
    failing = at(Step.ROLL_BACK, failure=FAILURE)
    trying = apply(failing, out.NotNow("502"), a_scene(serving=GOOD, now=NOW + 3500))
    assert trying.step is Step.ROLL_BACK
    given_up = apply(failing, out.NotNow("No such image"), a_scene(serving=GOOD, now=NOW + 3601))
    assert (given_up.state, given_up.failure) == (State.FAILED, FAILURE)


def test_an_outage_is_not_held_against_the_commit() -> None:
    scene = a_scene(now=NOW + 1000)
    deployment = at(Step.WATCH_JOB, attempts=6)
    assert apply(deployment, out.JobNotReady("scheduling"), scene).state is State.STARTING
    assert apply(at(Step.WATCH_JOB), out.JobNotReady("scheduling"), scene).state is State.FAILED


def test_after_a_lost_answer_the_build_may_still_appear_for_a_while() -> None:
    lost = apply(at(Step.START_BUILD), out.NotNow("timeout", may_have_happened=True), a_scene())
    assert lost.unsure_until == NOW + 1 + 30
    cut_off = apply(at(Step.START_BUILD), out.BuildAwaited(5.0), a_scene())
    assert (cut_off.step, cut_off.unsure_until) == (Step.START_BUILD, NOW + 1 + 5)
    again = apply(cut_off, out.BuildAwaited(5.0), a_scene(now=NOW + 3))
    assert again.unsure_until == NOW + 1 + 5, "waiting does not make the wait longer"
    assert apply(again, out.BuildStarted("b1"), a_scene()).unsure_until is None


def test_a_job_that_vanished_is_started_again_but_not_for_ever() -> None:
    assert apply(at(Step.WATCH_JOB), out.JobVanished(), a_scene()).step is Step.PUBLISH
    assert apply(at(Step.WATCH_CANDIDATE), out.JobVanished(), a_scene()).step is Step.START_CANDIDATE
    assert apply(at(Step.WATCH_JOB), out.JobVanished(), a_scene(now=NOW + 301)).state is State.FAILED


def test_a_candidate_is_removed_even_when_the_good_one_beside_it_is_gone() -> None:
    started = apply(at(Step.WATCH_BUILD), out.BuildSucceeded("i"), a_scene(address_busy=True))
    assert started.had_candidate
    live = apply(at(Step.CHECK, had_candidate=True), out.ChecksDone((PASSED,)), a_scene())
    assert (live.state, live.step) == (State.LIVE, Step.TIDY)


def test_a_failed_one_holds_the_address_until_its_job_is_removed() -> None:
    entered = {State.STARTING: NOW}
    assert a_deployment(state=State.FAILED, step=Step.TIDY, entered=entered).is_at_the_address
    assert not a_deployment(state=State.FAILED, step=Step.NONE, entered=entered).is_at_the_address
    assert not a_deployment(state=State.FAILED, step=Step.TIDY, entered={}).is_at_the_address


def test_a_job_has_to_stay_ready_to_be_believed() -> None:
    patience = Patience(stable_seconds=10.0)
    first = apply(at(Step.WATCH_JOB), out.JobReady(), a_scene(patience=patience))
    assert first.state is State.STARTING
    flicker = apply(first, out.JobNotReady("restarting"), a_scene(patience=patience, now=NOW + 8))
    assert flicker.ready_since is None
    second = apply(flicker, out.JobReady(), a_scene(patience=patience, now=NOW + 12))
    assert second.state is State.STARTING
    assert apply(second, out.JobReady(), a_scene(patience=patience, now=NOW + 22)).state is State.CHECKING


def test_a_build_without_end_fails() -> None:
    late = a_scene(now=NOW + 1801)
    failed = apply(at(Step.WATCH_BUILD), out.BuildGoesOn(), late)
    assert failed.state is State.FAILED
    assert failed.failure is not None
    assert "30 minutes" in failed.failure.summary
    assert failed.holds_build_slot, "the build still runs on Toolforge until the tidying has cancelled it"


def test_a_build_that_vanished_is_started_again_but_not_for_ever() -> None:
    again = apply(at(Step.WATCH_BUILD, build_id="b1"), out.BuildVanished(), a_scene())
    assert (again.step, again.build_id) == (Step.START_BUILD, None)
    late = a_scene(now=NOW + 1801)
    assert apply(at(Step.WATCH_BUILD), out.BuildVanished(), late).state is State.FAILED


def test_an_outage_is_waited_out_with_growing_pauses_and_then_given_up() -> None:
    deployment = at(Step.START_BUILD)
    pauses = []
    for _ in range(5):
        deployment = apply(deployment, out.NotNow("502"), a_scene())
        assert deployment.due_at is not None
        pauses.append(deployment.due_at - (NOW + 1))
    assert pauses == sorted(set(pauses))
    told = apply(deployment, out.NotNow("429", seconds=33.0), a_scene())
    assert told.due_at == NOW + 1 + 33.0
    given_up = apply(deployment, out.NotNow("502"), a_scene(now=NOW + 3601))
    assert given_up.state is State.FAILED
    assert given_up.failure is not None
    assert given_up.failure.stage == "toolforge"


def test_with_its_account_lost_a_deployment_waits_for_another() -> None:
    lost = apply(at(Step.WATCH_BUILD, build_id="b1"), out.AccountUnusable("403"), a_scene())
    assert (lost.state, lost.step) == (State.QUEUED, Step.AWAIT_SLOT)
    assert (lost.account_id, lost.fence, lost.build_id) == (None, None, None)
    assert not lost.holds_build_slot


def test_the_wrong_commit_ends_as_superseded_and_its_build_is_cancelled() -> None:
    ended = apply(at(Step.START_BUILD), out.WrongCommit("b1", "f" * 40), a_scene())
    assert (ended.state, ended.step, ended.build_id) == (State.SUPERSEDED, Step.TIDY, "b1")
    assert ended.holds_build_slot


@pytest.mark.parametrize("step", [Step.AWAIT_SLOT, Step.AWAIT_APPROVAL])
def test_what_never_started_leaves_nothing_to_tidy(step: Step) -> None:
    cancelled = stop(a_deployment(step=step), NOW)
    assert cancelled.state is State.CANCELLED
    assert cancelled.is_settled


def test_superseding_spares_what_is_at_the_address_already() -> None:
    assert at(Step.WATCH_CANDIDATE).may_be_superseded
    assert not at(Step.PUBLISH).may_be_superseded
    assert not at(Step.CHECK).may_be_superseded
    assert not GOOD.may_be_superseded


@pytest.mark.parametrize(("before", "after"), sorted(set(itertools.product(State, State)) - set(TRANSITIONS)))
def test_what_is_not_in_the_table_is_refused(before: State, after: State) -> None:
    deployment = a_deployment(state=before, step=next(iter(STEPS[before])))
    with pytest.raises(IllegalMove):
        moved(deployment, after, next(iter(STEPS[after])), NOW, due_at=None)


def test_every_state_is_reached_and_every_ended_one_is_the_end() -> None:
    reached = {after for _, after in TRANSITIONS}
    assert reached == set(State)
    assert {before for before, _ in TRANSITIONS} == set(State) - ENDED
    assert PENDING | ENDED | {State.LIVE} == set(State)


_OUTCOMES = st.sampled_from(
    [
        out.BuildStarted("b"),
        out.BuildGoesOn(),
        out.BuildVanished(),
        out.BuildSucceeded("tool-a/i:latest@sha256:3"),
        out.StageFailed(FAILURE),
        out.WrongCommit("b", "f" * 40),
        out.JobStarted(),
        out.JobNotReady("pending"),
        out.JobReady(),
        out.JobVanished(),
        out.BuildAwaited(5.0),
        out.NotNow("timeout", may_have_happened=True),
        out.ChecksDone((PASSED,)),
        out.ChecksDone((FAILED,)),
        out.RolledBack(),
        out.Tidied(),
        out.TidyGoesOn(),
        out.NotNow("502"),
        out.AccountUnusable("403"),
    ]
)


@given(st.lists(st.tuples(_OUTCOMES, st.floats(0, 2000), st.booleans(), st.booleans()), max_size=40))
def test_no_sequence_of_outcomes_breaks_the_table_or_strands_a_deployment(steps: list[tuple]) -> None:
    deployment = assign(a_deployment(), account_id=1, fence=1, now=NOW)
    now = NOW
    for outcome, seconds, with_serving, is_busy in steps:
        now += seconds
        scene = Scene(now, Patience(), GOOD if with_serving else None, is_busy)
        try:
            deployment = apply(deployment, outcome, scene)
        except IllegalMove:
            continue  # the outcome belongs to another step; nothing has changed
        assert deployment.step in STEPS[deployment.state]
        if deployment.step in {Step.NONE, Step.AWAIT_SLOT, Step.AWAIT_APPROVAL}:
            assert deployment.due_at is None
        else:
            assert deployment.due_at is not None, "a step that nobody will ever take"
        if deployment.state is State.QUEUED:
            deployment = assign(deployment, account_id=1, fence=2, now=now)


def test_a_check_without_more_tries_ends_in_failure_before_the_time_of_the_checks_is_over() -> None:
    again = CheckResult("GET /", False, "500", tries=1)
    last = CheckResult("GET /", False, "500", tries=2, is_last=True)
    assert apply(at(Step.CHECK), out.ChecksDone((PASSED, again)), a_scene()).state is State.CHECKING
    assert apply(at(Step.CHECK), out.ChecksDone((PASSED, last)), a_scene()).state is State.FAILED
    passed = CheckResult("GET /", True, "200", tries=2, is_last=True)
    assert apply(at(Step.CHECK), out.ChecksDone((passed, again)), a_scene()).state is State.CHECKING


@pytest.mark.parametrize("state", sorted(PENDING | {State.LIVE}))
def test_everything_that_has_not_ended_can_be_stopped(state: State) -> None:
    stopped = stop(at(sorted(STEPS[state])[0]), NOW)
    assert stopped.state in ENDED


def test_what_has_ended_cannot_end_again() -> None:
    with pytest.raises(IllegalMove):
        end(a_deployment(state=State.FAILED, step=Step.NONE), State.STOPPED, NOW)
