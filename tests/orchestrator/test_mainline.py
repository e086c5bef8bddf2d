"""Whether a default branch still deploys: when it is tried, what gives way, what is known and told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from orchestrator import mainline, watching
from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput
from orchestrator.mainline import Verdict
from orchestrator.outcome import AWAY, Evidence, Failure, KeptLog, Pin, toolforge_failed
from orchestrator.pool import AccountState
from orchestrator.preview import WATCH, Deployment, State, Step
from orchestrator.progress import Patience, Scene, apply
from orchestrator.records import BRANCH_IID, Kind
from orchestrator.rules import MainWatch, Rules
from orchestrator.runtimes import RuntimeSeen
from orchestrator.watching import Branch
from tests.orchestrator.scene import GOOD, A, B, World

NOW = 1_000_000.0
DAY, HOUR = 86400.0, 3600.0
FAILURE = Failure(
    stage="build",
    summary="the builder does not have Python 3.10 `@all`",
    remedy="Set it to 3.13.",
    cause="python-version-missing",
    evidence=(Evidence(7, "not available </details> /close"),),
)


def a_try(state: State = State.STOPPED, **changes: object) -> Deployment:
    values: dict[str, object] = {
        "id": 7,
        "preview_id": 3,
        "iid": BRANCH_IID,
        "sha": A,
        "state": state,
        "step": Step.NONE,
        "created_at": NOW - DAY,
        "since": NOW,
        "step_since": NOW,
        "due_at": None,
        "trigger": WATCH,
        "actor": "us",
        "failure": FAILURE if state is State.FAILED else None,
    }
    return Deployment(**(values | changes))  # type: ignore[arg-type]


GOOD_ONE = Verdict(1, checked_at=NOW - DAY, good_at=NOW - DAY, good_sha=A)
BAD_ONE = Verdict(1, NOW - DAY, None, None, NOW - DAY, A, None, FAILURE)


# --- when it is tried ---------------------------------------------------------------------------------


def test_it_is_tried_weekly_when_the_builder_has_changed_and_when_it_may_be_mended() -> None:
    def due(verdict: Verdict, newest: Deployment | None, head: str = A, changed_at: float = 0.0) -> bool:
        is_due = mainline.is_due(verdict, newest, head, changed_at, NOW)
        assert mainline.may_be_due(verdict, newest, changed_at, NOW) or not is_due, "GitLab is asked"
        return is_due

    assert due(Verdict(1), None)
    assert not due(GOOD_ONE, a_try())
    assert not due(GOOD_ONE, a_try(), B), "its merge request was built"
    assert due(replace(GOOD_ONE, checked_at=NOW - 7 * DAY), a_try())
    assert due(GOOD_ONE, a_try(), changed_at=NOW - HOUR)
    assert not due(GOOD_ONE, a_try(), changed_at=NOW - 2 * DAY)
    assert not due(BAD_ONE, a_try(State.FAILED))
    assert due(BAD_ONE, a_try(State.FAILED), B)
    assert not due(Verdict(1), a_try(State.BUILDING)), "it is being tried"


@pytest.mark.parametrize(
    ("newest", "again_after"),
    [
        (a_try(State.CANCELLED, created_at=NOW), 0.0),
        (a_try(State.SUPERSEDED, created_at=NOW), 0.0),
        (a_try(State.FAILED, created_at=NOW, failure=toolforge_failed("away")), HOUR),
        (a_try(State.FAILED, created_at=NOW, failure=replace(FAILURE, stage="store")), HOUR),
        (a_try(State.FAILED, created_at=NOW, failure=replace(FAILURE, facts={AWAY: "GitLab"})), HOUR),
    ],
)
def test_a_try_without_a_verdict_is_repeated(newest: Deployment, again_after: float) -> None:
    assert mainline.judged(GOOD_ONE, newest, NOW) == GOOD_ONE
    assert mainline.is_due(GOOD_ONE, newest, A, 0.0, NOW + again_after)
    assert again_after == 0.0 or not mainline.is_due(GOOD_ONE, newest, A, 0.0, NOW + again_after - 1)


def test_a_gitlab_that_is_away_says_nothing_of_the_branch() -> None:
    reading = a_try(State.QUEUED, step=Step.READ_FILE, step_since=NOW)
    patience = Patience()
    scene = Scene(NOW + patience.outage_seconds + 1, patience)
    given_up = apply(reading, out.NotNow("GitLab did not answer"), scene)
    assert given_up.state is State.FAILED
    assert mainline.judged(GOOD_ONE, given_up, NOW) == GOOD_ONE


def test_it_is_known_when_it_was_last_good_first_broken_and_mended() -> None:
    good = mainline.judged(Verdict(1), a_try(), NOW)
    assert (good.good_at, good.good_sha, good.is_broken) == (NOW, A, False)
    broken = mainline.judged(good, a_try(State.FAILED, sha=B), NOW + DAY)
    assert (broken.good_at, broken.broken_at, broken.broken_sha) == (NOW, NOW + DAY, B)
    newer = replace(FAILURE, summary="another cause")
    still = mainline.judged(broken, a_try(State.FAILED, sha=A, failure=newer), NOW + 2 * DAY)
    assert (still.broken_at, still.broken_sha, still.failure) == (NOW + DAY, B, newer)
    mended = mainline.judged(still, a_try(), NOW + 3 * DAY)
    assert (mended.is_broken, mended.broken_at, mended.mended_at) == (False, NOW + DAY, NOW + 3 * DAY)
    later = mainline.judged(mended, a_try(), NOW + 9 * DAY)
    assert (later.mended_at, later.good_at) == (NOW + 3 * DAY, NOW + 9 * DAY)
    again = mainline.judged(later, a_try(State.FAILED), NOW + 10 * DAY)
    assert (again.broken_at, again.mended_at) == (NOW + 10 * DAY, None)


# --- the issue ----------------------------------------------------------------------------------------


def test_the_issue_tells_the_cause_and_both_dates_and_nothing_foreign_works_in_it() -> None:
    assert mainline.issue(GOOD_ONE, "main", "http://us/p/-/0") is None
    told = mainline.issue(replace(BAD_ONE, good_at=NOW - 3 * DAY, good_sha=B), "main", "http://us/p/-/0")
    assert told is not None
    assert told.is_open
    assert told.title == "main does not deploy on Toolforge any more"
    assert told.description.startswith(mainline.marker(1))
    for part in ("Since 1970-01-11", "It last did on 1970-01-09", "Set it to 3.13.", "http://us/p/-/0"):
        assert part in told.description
    assert "`the builder does not have Python 3.10 '@all'`" in told.description
    assert "`not available </details> /close`" in told.description


def test_a_branch_of_any_name_mentions_nobody_in_the_title() -> None:
    titles = [
        told.title
        for name in ("@all", "x" * 200, "release/3.x")
        if (told := mainline.issue(BAD_ONE, name, ""))
    ]
    words = "does not deploy on Toolforge any more"
    assert titles == [f"The default branch {words}", f"The default branch {words}", f"release/3.x {words}"]


def test_the_issue_is_the_same_until_something_is_new() -> None:
    mended = mainline.judged(BAD_ONE, a_try(), NOW)
    first, later = (mainline.issue(mainline.judged(mended, a_try(), NOW + n), "main", "u") for n in (0, 5))
    assert first == later
    assert first is not None
    assert not first.is_open
    assert "again since 1970-01-12" in first.description


# --- through the database -----------------------------------------------------------------------------


@pytest.fixture
def world(parts: Parts) -> World:
    made = World(parts, accounts=2)
    wants(made, MainWatch.YES)
    return made


def wants(world: World, what: MainWatch) -> None:
    world.lifecycle.set_rules(world.project_id, Rules(watch_main=what), "dana", world.now)


def looked_at(world: World, sha: str = A) -> None:
    """GitLab shows the default branch, when the project is compared the next time."""
    with world.store.write() as tx:
        tx.compare_by(world.now)
    claim = world.claim(Kind.PROJECT, world.project_id)
    world.lifecycle.compared(claim, {}, world.now, branch=Branch("main", sha, "http://gitlab/x"))


def tried(world: World, *changes: out.Outcome) -> Deployment:
    """The newest try goes on to its end, all being well but for `changes`, which come at the end."""
    left = list(changes)
    deployment = world.deployment(BRANCH_IID)
    while deployment.due_at is not None:
        ends = deployment.step in {Step.WATCH_BUILD, Step.WATCH_CANDIDATE} and left
        deployment = world.step(left.pop(0) if ends else GOOD[deployment.step], BRANCH_IID)
    return deployment


def known(world: World) -> Verdict:
    with world.store.read() as tx:
        return watching.verdict(tx, world.project_id)


@pytest.fixture
def idle(world: World) -> World:
    with world.store.write() as tx:
        tx.put_project(gitlab_id=77, now=world.now, due_at=world.now + 900)
    return world


def test_a_branch_is_tried_unpublished_on_an_account_that_comes_back_clean(idle: World) -> None:
    looked_at(idle)
    seen = []
    while (one := idle.deployment(BRANCH_IID)).due_at is not None:
        seen.append(one.step)
        idle.step(GOOD[one.step], BRANCH_IID)
    assert seen == [
        *(Step.READ_FILE, Step.START_BUILD, Step.WATCH_BUILD),
        *(Step.START_CANDIDATE, Step.WATCH_CANDIDATE, Step.TIDY),
    ], "nothing is published"
    ended = idle.deployment(BRANCH_IID)
    assert (ended.state, ended.is_spare, ended.check_only) == (State.STOPPED, True, False)
    assert idle.account(ended.account_id or 0).state is AccountState.CLEANING
    assert known(idle).good_sha == A
    looked_at(idle)
    assert len(idle.deployments(BRANCH_IID)) == 1, "that will do for a week"
    idle.later(7 * DAY)
    looked_at(idle)
    assert len(idle.deployments(BRANCH_IID)) == 2


def test_nothing_is_tried_where_nobody_wants_it(idle: World) -> None:
    wants(idle, MainWatch.NO)
    looked_at(idle)
    with idle.store.read() as tx:
        assert watching.branch_of(tx, idle.project_id) is None
        assert not watching.may_be_due(tx, tx.project(idle.project_id), idle.now)


def test_who_wants_it_no_longer_has_the_try_ended(idle: World) -> None:
    looked_at(idle)
    idle.step(out.FileRead({}), BRANCH_IID)
    wants(idle, MainWatch.NO)
    ended = tried(idle)
    assert (ended.state, known(idle)) == (State.CANCELLED, Verdict(idle.project_id))
    with idle.store.read() as tx:
        assert watching.verdicts(tx) == {}


def test_a_merge_request_that_would_go_without_ends_the_try_which_comes_back(idle: World) -> None:
    looked_at(idle)
    idle.step(out.FileRead({}), BRANCH_IID)
    idle.step(out.BuildStarted("b"), BRANCH_IID)
    idle.sees(1)
    assert idle.deployment(1).state is State.BUILDING, "there is one more account"
    assert idle.deployment(BRANCH_IID).state is State.BUILDING
    idle.sees(2)
    given_up = idle.deployment(BRANCH_IID)
    assert (given_up.state, idle.deployment(2).state) == (State.CANCELLED, State.QUEUED)
    account = given_up.account_id or 0
    assert tried(idle).is_settled
    idle.cleaning(account, out.Cleaned(0, 0))
    assert (idle.deployment(2).state, idle.deployment(2).account_id) == (State.BUILDING, account)
    looked_at(idle)
    idle.step(out.FileRead({}), BRANCH_IID)
    again = idle.deployment(BRANCH_IID)
    assert (again.id == given_up.id, again.step) == (False, Step.AWAIT_SLOT), "it waits for an idle pool"
    idle.sees(2, state="closed")
    assert idle.deployment(BRANCH_IID).step is Step.AWAIT_SLOT


def test_one_that_waits_makes_room_for_the_newer_commit(idle: World) -> None:
    idle.lifecycle.freeze("op", "maintenance", idle.now)
    looked_at(idle)
    idle.step(out.FileRead({}), BRANCH_IID)
    looked_at(idle, B)
    assert idle.states(BRANCH_IID) == ["superseded", "queued"]
    assert idle.deployment(BRANCH_IID).sha == B


def test_a_branch_that_moves_under_its_build_is_looked_at_again(idle: World) -> None:
    looked_at(idle)
    idle.step(out.FileRead({}), BRANCH_IID)
    idle.step(out.WrongCommit("b", B), BRANCH_IID)
    tried(idle)
    with idle.store.read() as tx:
        assert [due for due in tx.due(idle.now + 60, limit=99) if due.kind is Kind.DELIVERY] == []
        assert [due.kind for due in tx.due(idle.now + 31, limit=99) if due.kind is Kind.PROJECT]
    looked_at(idle, B)
    assert idle.deployment(BRANCH_IID).sha == B


def test_what_is_broken_is_told_with_its_cause_until_it_is_mended(idle: World) -> None:
    wants(idle, MainWatch.ISSUE)
    looked_at(idle)
    failed = tried(idle, out.StageFailed(FAILURE))
    assert failed.state is State.FAILED
    assert known(idle).failure == FAILURE
    report = idle.views.branch_report(failed.preview_id)
    assert report is not None
    assert report[1] is not None
    assert report[1].is_open
    idle.later(HOUR)
    looked_at(idle)
    assert len(idle.deployments(BRANCH_IID)) == 1
    idle.cleaning(failed.account_id or 0, out.Cleaned(0, 0))
    looked_at(idle, B)
    tried(idle)
    assert (known(idle).is_broken, known(idle).good_sha) == (False, B)


def test_a_version_that_the_project_lets_fail_at_once_is_built_all_the_same(idle: World) -> None:
    with idle.store.write() as tx:
        tx.put_runtime(RuntimeSeen("Python", "3.99", idle.now, "python-version-missing"), idle.now)
    rules: Mapping[str, str] = {"refused_versions": "fail"}
    idle.lifecycle.set_rules(idle.project_id, Rules(watch_main=MainWatch.YES, **rules), "dana", idle.now)  # type: ignore[arg-type]
    looked_at(idle)
    read = idle.step(out.FileRead({}, (Pin("Python", "3.99", ".python-version"),)), BRANCH_IID)
    assert read.state is State.BUILDING


def test_no_preview_can_be_asked_for_and_nobody_sees_it_among_merge_requests(
    idle: World, parts: Parts
) -> None:
    looked_at(idle)
    present = idle.preview(BRANCH_IID)
    with pytest.raises(BadInput, match="default branch"):
        idle.lifecycle.approve_or_redeploy(present.id, "dana", idle.now)
    project = parts.pages.project("group/tool")
    assert project is not None
    assert (project.rows, project.branch is not None) == ([], True)
    assert parts.pages.state_of("group/tool", None) is None
    overview = idle.views.overview(idle.now)
    assert (overview.previews, overview.queue, overview.waiting) == ([], [], 0)
    view = idle.views.preview("group/tool", BRANCH_IID)
    assert view is not None
    assert view.preview.reference == "@main"


# --- the builder --------------------------------------------------------------------------------------


def log(version: str) -> KeptLog:
    lines = ["2 of 5 buildpacks participating", f"heroku/python   {version}", "heroku/procfile 4.0.0"]
    return KeptLog("\n".join(f"[step-detect] 2026-01-01T00:00:00Z {line}" for line in lines))


def test_a_builder_with_other_buildpacks_lets_every_branch_be_tried(idle: World) -> None:
    looked_at(idle)
    tried(idle, out.BuildSucceeded("i", log("1.0.0")))
    looked_at(idle)
    assert len(idle.deployments(BRANCH_IID)) == 1, "what is seen for the first time is no change"
    idle.later(HOUR)
    idle.sees(1)
    idle.steps(out.BuildStarted("b"), out.BuildSucceeded("i", log("1.1.0")))
    with idle.store.read() as tx:
        known_builder = watching.builder(tx)
        assert [due.kind for due in tx.due(idle.now, limit=99) if due.kind is Kind.PROJECT], "soon"
    assert known_builder.changes[0].what == "heroku/python 1.1.0 instead of 1.0.0"
    assert known_builder.buildpacks == {"heroku/python": "1.1.0", "heroku/procfile": "4.0.0"}
    looked_at(idle)
    assert len(idle.deployments(BRANCH_IID)) == 2
