"""Tiny repositories of our own: when each is built, what that teaches, and whom it never troubles."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import outcome as out
from orchestrator import probes, probing, runtimes, watching
from orchestrator import tables as t
from orchestrator.bootstrap import Parts
from orchestrator.errors import BadInput
from orchestrator.lifecycle import Lifecycle
from orchestrator.opinion import builder_of
from orchestrator.outcome import Failure, KeptLog, Pin, toolforge_failed
from orchestrator.pool import AccountState
from orchestrator.preview import Deployment, State, Step
from orchestrator.probes import AGAIN_SECONDS, Probe, Tried, next_due
from orchestrator.records import BRANCH_IID, OURS, Kind
from orchestrator.rules import RefusedVersions, Rules
from orchestrator.runtimes import BUILDERS, DEFAULT, LATEST, RuntimeSeen
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import World

NOW = 1_000_000.0
DAY, HOUR = 86400.0, 3600.0
WEEK = 7 * DAY
PYTHON = Probe("python", DEFAULT)
GOOD_ONE = Tried(PYTHON, 1, NOW - DAY, checked_at=NOW - DAY, was_built=True)
LACKS = Failure(
    stage="build",
    summary="the builder does not have Python 3.99",
    remedy="Set it to 3.13.",
    cause="python-version-missing",
    confidence="certain",
)
URL = "https://previews.example.org"


# --- what there is, and when it is built --------------------------------------------------------------


def test_a_branch_is_made_of_its_name_alone() -> None:
    names = ["python", "python-3.14", "python-3.14.1", "nodejs", "nodejs-24", "go", "go-1.25"]
    shas = [probes.branch(name).sha for name in names]
    assert len({*shas}) == len(names)
    assert shas == [probes.branch(name).sha for name in names]


@pytest.mark.parametrize(
    "name", ["", "perl", "python-", "python-3.14\n", "go-1.2.3.4", "python-٣", "go-1234"]
)
def test_nothing_else_is_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="no probe"):
        probes.branch(name)


def test_a_probe_asks_for_its_version_with_its_builder() -> None:
    asking = Probe("nodejs-24", LATEST)
    assert asking.pins == (Pin("Node.js", "24", "package.json"),)
    assert b'"node": "24"' in b"".join(content for _, content in probes.branch("nodejs-24").objects)
    assert PYTHON.pins == ()
    deployment = Deployment(1, 1, 0, "", State.QUEUED, Step.AWAIT_SLOT, 0, 0, 0, None, "probe", "us")
    for builder in BUILDERS:
        config = Probe("python", builder).config
        assert builder_of(replace(deployment, config=config)) == builder


def test_it_is_due_weekly_when_the_builder_has_changed_and_after_a_try_in_vain() -> None:
    def due(one: Tried, *, changed_at: float = 0.0) -> bool:
        return one.is_due(changed_at, WEEK, NOW)

    assert due(Tried(PYTHON))
    assert not due(GOOD_ONE)
    assert not due(GOOD_ONE, changed_at=NOW - 2 * DAY)
    assert due(GOOD_ONE, changed_at=NOW - HOUR)
    assert due(replace(GOOD_ONE, checked_at=NOW - WEEK))
    assert not due(replace(GOOD_ONE, again_at=NOW + 1), changed_at=NOW)
    assert due(replace(GOOD_ONE, again_at=NOW))


def test_the_one_that_was_tried_longest_ago_comes_first() -> None:
    never, other = Tried(Probe("go", DEFAULT)), Tried(Probe("nodejs", DEFAULT), 2, NOW - 9 * DAY)
    assert next_due([GOOD_ONE, other, never], 0.0, WEEK, NOW) == never.probe
    assert next_due([GOOD_ONE, other], 0.0, WEEK, NOW) == other.probe
    assert next_due([GOOD_ONE], 0.0, WEEK, NOW) is None


def test_what_somebody_waits_for_is_asked_for_and_nothing_that_is_no_version() -> None:
    usual = [Probe(name, builder) for builder in BUILDERS for name in ("python", "nodejs", "go")]
    refused = [
        RuntimeSeen("Python", "3.99", NOW, "python-version-missing"),
        RuntimeSeen("Node.js", ">=99", NOW, "node-version-missing"),
        RuntimeSeen("Java", "99", NOW, "java-version-missing"),
        RuntimeSeen("Python", "1234.5", NOW, "python-version-missing"),
        RuntimeSeen("Go", "1.99", NOW, "go-version-missing", builder=LATEST),
        RuntimeSeen("Python", "3.98", NOW - 30 * DAY, "python-version-missing"),
    ]
    awaited = [(Pin(one.runtime, one.wanted, "f"), DEFAULT) for one in refused]
    assert probes.wanted(awaited * 2, refused, NOW) == [*usual, Probe("python-3.99", DEFAULT)]
    for_latest = [(Pin("Go", "1.99", "go.mod"), LATEST)]
    assert probes.wanted(for_latest, refused, NOW) == [*usual, Probe("go-1.99", LATEST)]
    many = [RuntimeSeen("Python", f"3.{n}", NOW, "python-version-missing") for n in range(100, 150)]
    asked = [(Pin("Python", one.wanted, "f"), DEFAULT) for one in many]
    assert len(probes.wanted(asked, many, NOW)) == len(usual) + probes.MOST_AWAITED


@given(st.text(), st.text())
def test_no_pin_breaks_it(runtime: str, wanted: str) -> None:
    for name in (runtime, "Python", "Go"):
        seen = [RuntimeSeen(name, wanted, NOW, "python-version-missing")]
        for one in probes.wanted([(Pin(name, wanted, "f"), DEFAULT)], seen, NOW):
            probes.branch(one.name)


# --- on a pool ----------------------------------------------------------------------------------------


@pytest.fixture
def idle(parts: Parts) -> World:
    """Two free accounts, probes, and nobody who waits."""
    return with_probes(World(parts, accounts=2))


def with_probes(world: World) -> World:
    world.lifecycle.set_probes(URL, world.now)
    with world.store.read() as tx:
        ours = tx.project_by_gitlab_id(OURS)
    assert ours is not None
    world.project_id = ours.id
    return world


def looks(world: World) -> None:
    """A worker looks at the probes, as it does when they are due."""
    with world.store.write() as tx:
        tx.compare_project_by(world.project_id, world.now)
    world.lifecycle.probe(world.claim(Kind.PROJECT, world.project_id), world.now)


def newest(world: World) -> Deployment:
    return world.deployment(BRANCH_IID)


def ends(world: World, outcome: out.Outcome) -> Deployment:
    """The build that goes on ends so; its account is clean again."""
    world.steps(out.BuildStarted("b"), outcome, iid=BRANCH_IID)
    return tidied(world)


def tidied(world: World) -> Deployment:
    account = newest(world).account_id
    ended = world.step(out.Tidied(), BRANCH_IID)
    if account is not None:
        world.cleaning(account, out.Cleaned(0, 0))
    return ended


def built(version: str = "3.13", buildpack: str = "2.5.1") -> out.BuildSucceeded:
    lines = ["2 of 3 buildpacks participating", f"heroku/python   {buildpack}", "heroku/procfile 4.2.1", ""]
    text = "\n".join(f"[step-detect] 2026-01-01T00:00:00Z {line}" for line in lines)
    return out.BuildSucceeded("i", KeptLog(f"{text}\n[step-build] Using Python {version} by default"))


def known(world: World) -> dict[Probe, Tried]:
    with world.store.read() as tx:
        return {one.probe: one for one in probing.known(tx)}


def test_each_is_built_in_its_turn_and_teaches_what_its_builder_has(any_parts: Parts) -> None:
    idle = with_probes(World(any_parts, accounts=2))
    names = []
    for _ in range(6):
        looks(idle)
        waiting = newest(idle)
        assert (waiting.state, waiting.is_bot, waiting.sha) == (
            State.BUILDING,
            True,
            probes.branch(idle.preview(BRANCH_IID).source_branch).sha,
        )
        names.append(f"{idle.preview(BRANCH_IID).source_branch} {builder_of(waiting)}")
        idle.later(60)
        assert ends(idle, built()).state is State.STOPPED
        with idle.store.read() as tx:
            dues = tx.due(idle.now, limit=99)
        assert [due.id for due in dues if due.kind is Kind.PROJECT] == [idle.project_id], "the next, at once"
    assert sorted(names) == sorted(f"{name} {b}" for name in ("python", "nodejs", "go") for b in BUILDERS)
    looks(idle)
    assert len(idle.deployments(BRANCH_IID)) == 6, "that will do for a week"
    with idle.store.read() as tx:
        seen = tx.runtimes(None)
    shown = {(one.builder, one.runtime, one.wanted, one.source) for one in seen}
    assert shown == {(builder, "Python", "3.13", runtimes.PROBE) for builder in BUILDERS}
    assert all(one.was_built and one.checked_at for one in known(idle).values())
    assert {idle.account(number).state for number in (1, 2)} == {AccountState.FREE}
    idle.later(WEEK)
    looks(idle)
    assert len(idle.deployments(BRANCH_IID)) == 7


def test_a_verdict_that_nobody_wrote_down_is_written_by_the_next_look(idle: World) -> None:
    looks(idle)
    failed = ends(idle, out.StageFailed(replace(LACKS, cause="no-buildpack")))
    assert failed.state is State.FAILED
    assert known(idle)[PYTHON].checked_at is None
    idle.later(DAY)
    looks(idle)
    told = known(idle)[PYTHON]
    assert (told.was_built, told.why, told.checked_at) == (False, LACKS.summary, failed.since)


def test_one_that_toolforge_failed_is_tried_again_a_day_later(idle: World) -> None:
    looks(idle)
    idle.steps(out.BuildStarted("b"), out.StageFailed(toolforge_failed("away")), iid=BRANCH_IID)
    failed = ends(idle, out.StageFailed(toolforge_failed("away")))
    looks(idle)
    assert newest(idle).id != failed.id, "another one"
    told = known(idle)[PYTHON]
    assert (told.was_built, told.again_at) == (None, failed.since + AGAIN_SECONDS)
    assert "away" in told.why


def test_a_builder_that_has_changed_is_asked_about_everything_anew(idle: World) -> None:
    for _ in range(6):
        looks(idle)
        ends(idle, built(buildpack="2.5.1"))
        idle.later(60)
    looks(idle)
    assert len(idle.deployments(BRANCH_IID)) == 6
    idle.later(8 * DAY)
    looks(idle)
    ends(idle, built(buildpack="2.7.1"))
    with idle.store.read() as tx:
        (change,) = watching.builder(tx).changes
    assert change.what == "heroku/python 2.7.1 instead of 2.5.1"
    for _ in range(5):
        idle.later(60)
        looks(idle)
        ends(idle, built(buildpack="2.7.1"))
    looks(idle)
    assert len(idle.deployments(BRANCH_IID)) == 12, "what showed the change is not asked once more"


def test_a_version_that_a_project_waits_for_is_asked_for_until_it_is_there(idle: World) -> None:
    ours = idle.project_id
    idle.project_id = idle.connects(90, "group/waiting")
    rules = Rules(refused_versions=RefusedVersions.WAIT)
    idle.lifecycle.set_rules(idle.project_id, rules, "dana", idle.now)
    idle.sees(1, reads=False)
    pins = (Pin("Python", "3.99", ".python-version"),)
    idle.steps(out.FileRead({}, pins), out.BuildStarted("b"), out.StageFailed(LACKS, None, pins))
    idle.steps(out.OpinionDropped("in vain"), out.Tidied())
    assert idle.deployment().step is Step.AWAIT_VERSION
    idle.cleaning(1, out.Cleaned(0, 0))
    waiting, idle.project_id = idle.project_id, ours
    for _ in range(6):
        looks(idle)
        ends(idle, built())
    looks(idle)
    assert idle.preview(BRANCH_IID).source_branch == "python-3.99"
    assert newest(idle).pins == pins
    ends(idle, out.StageFailed(LACKS, None, pins))
    looks(idle)
    asked = Probe("python-3.99", DEFAULT)
    assert known(idle)[asked].was_built is False
    with idle.store.read() as tx:
        (seen,) = [one for one in tx.runtimes() if one.wanted == "3.99"]
    assert (seen.source, seen.is_refused(idle.now)) == (runtimes.PROBE, True)
    idle.later(8 * DAY)
    while idle.preview(BRANCH_IID).source_branch != "python-3.99" or newest(idle).is_settled:
        looks(idle)
        if idle.preview(BRANCH_IID).source_branch != "python-3.99":
            ends(idle, built())
    ends(idle, built("3.99.1"))
    idle.lifecycle.sweep(idle.now)
    idle.project_id = waiting
    assert idle.states() == ["superseded", "queued"], "it is built now"
    idle.project_id = ours
    looks(idle)
    assert asked not in known(idle)


# --- whom it never troubles ---------------------------------------------------------------------------


def test_it_gives_way_to_who_goes_without_and_comes_back(idle: World) -> None:
    looks(idle)
    idle.step(out.BuildStarted("b"), BRANCH_IID)
    first = newest(idle)
    ours = idle.project_id
    idle.project_id = idle.connects(90, "group/other")
    idle.sees(1)
    assert idle.deployment(1).state is State.BUILDING
    idle.sees(2)
    assert idle.deployment(2).state is State.QUEUED
    theirs, idle.project_id = idle.project_id, ours
    assert newest(idle).state is State.CANCELLED
    tidied(idle)
    looks(idle)
    assert newest(idle).id == first.id, "an idle pool is waited for"
    idle.project_id = theirs
    assert idle.deployment(2).state is State.BUILDING
    for iid in (1, 2):
        account = idle.deployment(iid).account_id or 0
        idle.sees(iid, state="closed")
        idle.step(out.Tidied(), iid)
        idle.cleaning(account, out.Cleaned(0, 0))
    idle.project_id = ours
    looks(idle)
    assert (newest(idle).id == first.id, newest(idle).state) == (False, State.BUILDING)


def test_the_last_free_account_is_left_alone(parts: Parts) -> None:
    world = with_probes(World(parts, accounts=1))
    looks(world)
    with world.store.read() as tx:
        assert watching.branch_of(tx, world.project_id) is None


def test_what_could_not_begin_before_the_pool_was_needed_is_taken_back(parts: Parts) -> None:
    world = with_probes(World(parts, accounts=3, limits=Limits(max_concurrent_builds=1)))
    ours, world.project_id = world.project_id, world.connects(90, "group/busy")
    world.sees(1)
    theirs, world.project_id = world.project_id, ours
    looks(world)
    assert newest(world).step is Step.AWAIT_SLOT, "there are accounts, and no build slot"
    assert world.views.overview(world.now).waiting == 0
    world.lifecycle.freeze("op", "maintenance", world.now)
    looks(world)
    assert (newest(world).state, newest(world).is_settled) == (State.CANCELLED, True)
    world.lifecycle.resume("op", world.now)
    world.project_id = theirs
    world.steps(out.BuildStarted("b"), out.BuildSucceeded("i"))
    world.project_id = ours
    looks(world)
    assert world.states(BRANCH_IID) == ["cancelled", "building"]


def test_a_toolforge_in_trouble_is_not_insisted_on(idle: World) -> None:
    looks(idle)
    for _ in range(6):
        if newest(idle).is_pending:
            idle.step(out.NotNow("busy"), BRANCH_IID)
    failed = newest(idle)
    assert (failed.state, failed.failure and failed.failure.stage) == (State.FAILED, "toolforge")
    assert idle.now - failed.created_at < 60


def test_nobody_is_told_anything_and_nothing_lists_it(idle: World, parts: Parts) -> None:
    looks(idle)
    with idle.store.read() as tx:
        assert [due for due in tx.due(idle.now + DAY, limit=99) if due.kind is Kind.REPORT] == []
        assert tx.connection.execute(t.report_state.select()).all() == []
    pages = parts.pages
    during = pages.pool(idle.now)
    (tenant,) = [tenant for place in during.places for tenant in place.tenants]
    assert tenant.of.name == "probes@python"
    asks_for_nothing_there = Pin("Python", "3.99", ".python-version")
    ends(idle, out.StageFailed(LACKS, None, (asks_for_nothing_there,)))
    shown = pages.pool(idle.now)
    assert [one.path for one in shown.projects] == ["group/tool"]
    assert [one.path for one in pages.projects()] == ["group/tool"]
    assert (shown.failures, shown.incidents, shown.overview.previews, shown.overview.queue) == (
        [],
        [],
        [],
        [],
    )
    assert pages.previews(None, before=None, most=9, is_open=None) == ([], None)
    assert pages.deployments(None, iid=None, states=(), before=None, most=9) == ([], None)
    assert (pages.outlook(idle.now), pages.branches()) == ([], {})
    with pytest.raises(BadInput, match="default branch"):
        idle.lifecycle.approve_or_redeploy(idle.preview(BRANCH_IID).id, "dana", idle.now)


def test_switched_off_what_goes_on_is_ended_and_cleaned_and_on_again_it_begins_anew(idle: World) -> None:
    looks(idle)
    idle.step(out.BuildStarted("b"), BRANCH_IID)
    off = Lifecycle(idle.store, replace(idle.policy, probe_seconds=0.0))
    off.set_probes(URL, idle.now)
    assert newest(idle).state is State.CANCELLED
    tidied(idle)
    assert known(idle) == {}
    off.set_probes(URL, idle.now)
    with idle.store.read() as tx:
        assert probing.ours(tx) is None
        assert [due for due in tx.due(idle.now + DAY, limit=99) if due.kind is Kind.PROJECT] == []
    idle.lifecycle.set_probes(URL, idle.now)
    looks(idle)
    assert newest(idle).state is State.BUILDING
    with idle.store.read() as tx:
        assert probing.branches(tx) == ["python"]
        assert tx.project(idle.project_id).git_url == f"{URL}/probes.git"
