"""The same change in many projects: one is built, the others wait for it, are answered by it, or go on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import outcome as out
from orchestrator import report
from orchestrator.bootstrap import Parts
from orchestrator.cohorts import answer, changed, held, is_open
from orchestrator.diagnosis import explain_build
from orchestrator.merge_request import Verb
from orchestrator.outcome import Failure, KeptLog, Pin, PinChange, toolforge_failed
from orchestrator.policy import Policy
from orchestrator.preview import Deployment, State, Step
from orchestrator.quiet import Quiet
from orchestrator.rules import RefusedVersions, Rules
from orchestrator.runtimes import RuntimeSeen
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import World

NOW = 1_000_000.0
WAIT = 1800.0
CHANGE = PinChange("Python", ".python-version", "3.12", "3.99")
PIN = Pin("Python", "3.99", ".python-version")
LOG = "[Error: The requested Python version isn't recognised]\nThe requested Python version 3.99 isn't"
MISSING = explain_build(LOG, "Tasks failed")
REFUSED = out.StageFailed(MISSING, KeptLog(LOG), (PIN,))
OWN_FAULT = out.StageFailed(Failure("build", "a package is missing", "add it", cause="x"), KeptLog("x"))
READ = out.FileRead({}, (PIN,), CHANGE)
BUILT = out.BuildSucceeded("i", KeptLog("Using Python 3.99 specified in .python-version"))


# --- decisions ----------------------------------------------------------------------------------------


def a_deployment(number: int, **changes: object) -> Deployment:
    values: dict[str, object] = {
        "id": number,
        "preview_id": number,
        "iid": 1,
        "sha": "a",
        "state": State.QUEUED,
        "step": Step.AWAIT_SLOT,
        "created_at": NOW,
        "since": NOW,
        "step_since": NOW,
        "due_at": None,
        "trigger": "merge_request",
        "actor": "bot",
        "change": CHANGE,
    }
    return Deployment(**(values | changes))  # type: ignore[arg-type]


def waits(*deployments: Deployment, now: float = NOW, paused: tuple[int, ...] = ()) -> dict[int, int]:
    """Who waits for whom; each is of a project with its own number."""
    return dict(held([(one, one.id) for one in deployments], now, WAIT, paused))


def test_all_wait_for_one_with_the_same_change_and_nobody_for_another() -> None:
    other = replace(CHANGE, before="3.11")
    assert waits(a_deployment(1), a_deployment(2), a_deployment(3)) == {2: 1, 3: 1}
    assert waits(a_deployment(1), a_deployment(2, change=other), a_deployment(3, change=None)) == {}


def test_whatever_is_under_way_is_waited_for_and_goes_on_itself() -> None:
    building = a_deployment(5, state=State.BUILDING, step=Step.WATCH_BUILD)
    assert waits(a_deployment(1), building) == {1: 5}
    assert waits(building, a_deployment(6, state=State.CHECKING, step=Step.CHECK)) == {}
    ended = a_deployment(5, state=State.CANCELLED, step=Step.TIDY)
    assert waits(a_deployment(1), a_deployment(2), ended) == {2: 1}


def test_nobody_is_waited_for_that_does_not_go_on() -> None:
    later = a_deployment(1, ready_at=NOW + 60)
    assert waits(later, a_deployment(2)) == {1: 2}
    assert waits(a_deployment(1), a_deployment(2), a_deployment(3), paused=(1,)) == {3: 2}


def test_nobody_waits_longer_than_allowed() -> None:
    two = (a_deployment(1), a_deployment(2, step_since=NOW + 10))
    assert waits(*two, now=NOW + WAIT + 9.9) == {2: 1}
    assert waits(*two, now=NOW + WAIT + 10) == {}
    assert held([(one, 1) for one in two], NOW, 0.0) == {}, "switched off"


@given(st.lists(st.tuples(st.sampled_from([None, 1, 2]), st.booleans(), st.floats(-3000, 3000)), max_size=8))
def test_whom_one_waits_for_does_not_wait_itself(given: list[tuple[int | None, bool, float]]) -> None:
    group = [
        a_deployment(
            number,
            change=None if kind is None else replace(CHANGE, before=str(kind)),
            step_since=NOW - since,
            **({"state": State.BUILDING, "step": Step.WATCH_BUILD} if is_built else {}),
        )
        for number, (kind, is_built, since) in enumerate(given)
    ]
    found = waits(*group)
    assert not {*found} & {*found.values()}
    for one, first in found.items():
        assert group[one].change == group[first].change
        assert group[one].state is State.QUEUED


def test_a_change_is_of_one_version_and_known_by_both_sides() -> None:
    old = Pin("Python", "3.12", ".python-version")
    node = Pin("Node.js", "22", "package.json")
    assert changed([old], [PIN]) == CHANGE
    assert changed([], [PIN]) == replace(CHANGE, before="")
    assert changed([old, node], [PIN, node]) == CHANGE
    assert changed([old], [PIN, node]) is None, "of two"
    assert changed([old], [old]) is None
    assert changed([old], []) is None


def test_only_what_the_builder_lacks_of_the_changed_language_answers_others() -> None:
    told = answer(CHANGE, MISSING, "group/tool!12")
    assert told is not None
    assert told.cause == MISSING.cause
    assert told.summary.endswith("as the build of the same change in group/tool!12 has shown")
    assert "`/preview` builds it all the same." in told.remedy
    assert (told.evidence, told.excerpt) == ((), ""), "the lines are another project's"
    assert answer(CHANGE, None, "x") is None
    assert answer(CHANGE, OWN_FAULT.failure, "x") is None
    assert answer(CHANGE, toolforge_failed("away"), "x") is None
    assert answer(replace(CHANGE, runtime="Node.js"), MISSING, "x") is None
    assert answer(replace(CHANGE, after="3.98"), MISSING, "x") is None


def test_nobody_waits_for_a_version_that_is_known_to_be_there() -> None:
    there = RuntimeSeen("Python", "3.99", seen_at=NOW - 5)
    assert is_open(CHANGE, [], NOW)
    assert not is_open(CHANGE, [there], NOW)
    assert is_open(CHANGE, [replace(there, refused_at=NOW)], NOW)
    assert is_open(CHANGE, [replace(there, wanted="3.98")], NOW)


# --- through the database -----------------------------------------------------------------------------


class Many(World):
    """Several projects, each with one merge request of a bot that makes the same change."""

    def __init__(self, parts: Parts, limits: Limits) -> None:
        policy = Policy(limits=limits, quiet=Quiet(0.0, 0.0), bots=frozenset({"bob"}))
        super().__init__(parts, accounts=4, policy=policy)
        self.ids = [self.project_id, *(self.connects(100 + n, f"group/other-{n}") for n in range(2))]

    def of(self, number: int) -> Many:
        """What follows is about that project."""
        self.project_id = self.ids[number]
        return self

    def bumps(
        self, number: int, *, who: str = "", reads: out.Outcome = READ, fork: bool = False
    ) -> Deployment:
        """The bot opens the merge request, and its files are read."""
        self.of(number).sees(1, reads=False, who=who, fork=fork)
        return self.step(reads)

    def note(self, number: int) -> str:
        present = self.of(number).preview()
        return report.note(self.views.subject(present.id, self.now)[1])


@pytest.fixture
def many(parts: Parts) -> Many:
    return Many(parts, Limits(max_concurrent_builds=4))


def states(many: Many) -> list[State]:
    return [many.of(number).deployment().state for number in range(3)]


def test_one_is_built_and_the_others_say_whose_result_they_wait_for(many: Many) -> None:
    first, second, third = (many.bumps(number) for number in range(3))
    assert [first.state, second.state, third.state] == [State.BUILDING, State.QUEUED, State.QUEUED]
    assert "the result of group/tool" in many.note(1)
    assert "which has the same change" in many.note(2)
    view = many.views.preview("group/other-0", 1, now=many.now)
    assert view is not None
    assert view.held == "the result of group/tool!1 is awaited, which has the same change"


def test_what_the_builder_lacks_answers_all_of_them_without_their_builds(many: Many) -> None:
    for number in range(3):
        many.bumps(number)
    many.of(0).steps(out.BuildStarted("b"), REFUSED)
    assert states(many) == [State.FAILED] * 3
    for number in (1, 2):
        answered = many.of(number).deployment()
        assert (answered.account_id, answered.build_id, answered.step) == (None, None, Step.NONE)
        assert answered.failure is not None
        assert answered.failure.cause == "python-version-missing"
        assert "group/tool!1 has shown" in many.note(number)
    late = many.connects(200, "group/late")
    many.ids.append(late)
    answered = many.bumps(3)
    assert (answered.state, answered.account_id) == (State.FAILED, None), "who comes a little later is, too"
    many.later(WAIT + 1)
    many.ids.append(many.connects(201, "group/later"))
    assert many.bumps(4).state is State.BUILDING, "the builder may have it by now"


def test_who_wants_to_wait_for_the_builder_does_so_whoever_was_built(many: Many) -> None:
    waits = Rules(refused_versions=RefusedVersions.WAIT)
    for number in (0, 1):
        many.lifecycle.set_rules(many.ids[number], waits, "dana", many.now)
    for number in range(3):
        many.bumps(number)
    many.of(0).steps(out.BuildStarted("b"), REFUSED)
    assert states(many) == [State.BLOCKED, State.BLOCKED, State.FAILED]
    answered = many.of(1).deployment()
    assert (answered.account_id, answered.step) == (None, Step.AWAIT_VERSION)
    many.lifecycle.sweep(many.now)
    assert many.of(1).deployment() == answered, "it goes on waiting"
    now = many.now
    with many.store.write_alone() as tx:
        tx.put_runtime(RuntimeSeen("Python", "3.99", refused_at=now, seen_at=now + 1), now)
    many.later(2)
    many.lifecycle.sweep(many.now)
    assert many.of(1).deployment().state is State.QUEUED, "it is there"


def test_what_fails_at_once_by_what_was_known_before_answers_nobody(many: Many) -> None:
    with many.store.write() as tx:
        tx.put_runtime(RuntimeSeen("Python", "3.99", many.now - 86400, "python-version-missing"), many.now)
    many.bumps(0)
    many.bumps(1)
    rules = Rules(refused_versions=RefusedVersions.FAIL)
    many.lifecycle.set_rules(many.ids[2], rules, "dana", many.now)
    assert many.bumps(2).state is State.FAILED
    assert states(many)[:2] == [State.BUILDING, State.QUEUED], "the builder may have it by now"


def test_as_soon_as_one_is_built_the_others_go_on_as_usual(many: Many) -> None:
    for number in range(3):
        many.bumps(number)
    many.of(0).steps(out.BuildStarted("b"), BUILT)
    assert states(many)[1:] == [State.BUILDING] * 2
    many.ids.append(many.connects(200, "group/late"))
    assert many.bumps(3).state is State.BUILDING, "it is known to be there"


def test_a_fault_of_its_own_says_nothing_and_the_next_is_tried(many: Many) -> None:
    for number in range(3):
        many.bumps(number)
    many.of(0).steps(out.BuildStarted("b"), OWN_FAULT)
    assert states(many) == [State.FAILED, State.BUILDING, State.QUEUED]
    assert "the result of group/other-0" in many.note(2)
    many.of(1).sees(1, state="closed")
    assert states(many)[2] is State.BUILDING, "who is closed is not waited for"


def test_nobody_waits_for_ever(many: Many) -> None:
    for number in range(2):
        many.bumps(number)
    many.later(WAIT - 1)
    many.lifecycle.sweep(many.now)
    assert many.of(1).deployment().state is State.QUEUED
    many.later(2)
    many.lifecycle.sweep(many.now)
    assert many.of(1).deployment().state is State.BUILDING


def test_people_wait_for_no_other_change(many: Many) -> None:
    many.bumps(0)
    assert many.bumps(1, who="alice").state is State.BUILDING, "a person pushed"
    many.bumps(2)
    assert many.of(2).comments(Verb.REDEPLOY)
    asked_for = many.of(2).deployment()
    assert (asked_for.state, asked_for.change, asked_for.is_bot) == (State.BUILDING, None, False)
    many.of(0).steps(out.BuildStarted("b"), REFUSED)
    assert states(many)[1:] == [State.BUILDING] * 2


def test_a_stranger_neither_waits_nor_answers(many: Many) -> None:
    many.bumps(0)
    many.of(1).sees(1, fork=True, reads=False)
    many.lifecycle.approve_or_redeploy(many.preview().id, "bob", many.now)
    read = many.step(READ)
    assert (read.state, read.change) == (State.BUILDING, None)


def test_operators_can_switch_it_off(parts: Parts) -> None:
    many = Many(parts, Limits(max_concurrent_builds=4, cohort_seconds=0.0))
    assert [many.bumps(number).state for number in range(3)] == [State.BUILDING] * 3


def test_it_is_kept_in_every_database(any_parts: Parts) -> None:
    many = Many(any_parts, Limits(max_concurrent_builds=4))
    assert [many.bumps(number).change for number in range(2)] == [CHANGE] * 2
    many.of(0).steps(out.BuildStarted("b"), BUILT)
    assert many.of(1).deployment().change is None
