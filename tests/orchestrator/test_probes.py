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


def test_of_python_the_version_after_the_newest_is_asked_for() -> None:
    def asked(*seen: tuple[str, str]) -> list[Probe]:
        known = [RuntimeSeen("Python", version, seen_at=NOW, builder=builder) for version, builder in seen]
        return [one for one in probes.wanted((), known, NOW) if one.pins]

    assert asked() == []
    assert asked(("3.9.1", DEFAULT), ("3.10", DEFAULT), ("3.10.2", DEFAULT)) == [
        Probe("python-3.11", DEFAULT)
    ]
    assert asked(("3.13", DEFAULT), ("3.14.1", LATEST)) == [
        Probe("python-3.14", DEFAULT),
        Probe("python-3.15", LATEST),
    ]
    assert asked((">=3.99", DEFAULT), ("3.999", DEFAULT), ("3", DEFAULT)) == []


@given(st.text(), st.text())
def test_no_pin_breaks_it(runtime: str, wanted: str) -> None:
    for name in (runtime, "Python", "Go"):
        seen = [
            RuntimeSeen(name, wanted, NOW, "python-version-missing"),
            RuntimeSeen(name, wanted, seen_at=NOW),
        ]
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


class Toolforge:
    """What becomes of the builds: each builder has Python up to a version, and Node.js and Go."""

    def __init__(self) -> None:
        self.newest = {DEFAULT: "3.13", LATEST: "3.14"}
        self.buildpack = "2.5.1"
        #: Versions of Python beyond what it takes by itself.
        self.more: set[str] = set()

    def builds(self, name: str, builder: str, pins: tuple[Pin, ...]) -> out.Outcome:
        language, _, version = name.partition("-")
        lines = {
            "python": f"Using Python {version or self.newest[builder]} by default",
            "nodejs": "- Resolved Node.js version: `24.9.0`",
            "go": "- Resolved Go version: go1.25.1 (linux-amd64)",
        }
        is_newer = runtimes.version_order(version) > runtimes.version_order(self.newest[builder])
        if version and is_newer and version not in self.more:
            return out.StageFailed(LACKS, self._log(""), pins)
        return out.BuildSucceeded("i", self._log(lines[language]))

    def _log(self, line: str) -> KeptLog:
        listed = ["2 of 3 buildpacks participating", f"heroku/python   {self.buildpack}"]
        detected = [f"[step-detect] 2026-01-01T00:00:00Z {words}" for words in listed]
        return KeptLog("\n".join([*detected, "", line]))


def goes_on(world: World, toolforge: Toolforge) -> list[str]:
    """Everything that is due is built; which, in their order."""
    names = []
    for _ in range(20):
        looks(world)
        one, name = newest(world), world.preview(BRANCH_IID).source_branch
        if one.is_settled:
            return names
        assert (one.state, one.is_bot, one.sha) == (State.BUILDING, True, probes.branch(name).sha)
        world.later(60)
        ends(world, toolforge.builds(name, builder_of(one), one.pins))
        names.append(f"{name} {builder_of(one)}")
    raise AssertionError(names)


def has(world: World) -> set[tuple[str, str, str, bool]]:
    """What is known of the builders, and whether they refuse it; all of it by probes."""
    with world.store.read() as tx:
        seen = tx.runtimes(None)
    assert {one.source for one in seen} == {runtimes.PROBE}
    return {(one.builder, one.runtime, one.wanted, one.is_refused(world.now)) for one in seen}


def known(world: World) -> dict[Probe, Tried]:
    with world.store.read() as tx:
        return {one.probe: one for one in probing.known(tx)}


def test_each_is_built_in_its_turn_and_teaches_what_its_builder_has(any_parts: Parts) -> None:
    idle, toolforge = with_probes(World(any_parts, accounts=2)), Toolforge()
    order = goes_on(idle, toolforge)
    usual = [f"{name} {builder}" for builder in BUILDERS for name in ("python", "nodejs", "go")]
    assert sorted(order) == sorted([*usual, "python-3.14 default", "python-3.15 latest"])
    assert has(idle) == {
        *((builder, "Node.js", "24.9.0", False) for builder in BUILDERS),
        *((builder, "Go", "1.25.1", False) for builder in BUILDERS),
        (DEFAULT, "Python", "3.13", False),
        (DEFAULT, "Python", "3.14", True),
        (LATEST, "Python", "3.14", False),
        (LATEST, "Python", "3.15", True),
    }
    shown = {probe: (one.was_built, one.why) for probe, one in known(idle).items()}
    assert shown.pop(Probe("python-3.14", DEFAULT)) == (False, LACKS.summary)
    assert shown.pop(Probe("python-3.15", LATEST)) == (False, LACKS.summary)
    assert {*shown.values()} == {(True, "")}
    assert {idle.account(number).state for number in (1, 2)} == {AccountState.FREE}
    idle.later(6 * DAY)
    assert goes_on(idle, toolforge) == [], "that will do for a week"
    idle.later(DAY)
    assert sorted(goes_on(idle, toolforge)) == sorted(order)


def test_when_one_has_ended_the_next_is_looked_for_at_once(idle: World) -> None:
    looks(idle)
    ends(idle, Toolforge().builds("python", DEFAULT, ()))
    with idle.store.read() as tx:
        dues = tx.due(idle.now, limit=99)
    assert [due.id for due in dues if due.kind is Kind.PROJECT] == [idle.project_id]


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
    toolforge = Toolforge()
    order = goes_on(idle, toolforge)
    idle.later(7 * DAY)
    toolforge.newest[DEFAULT], toolforge.buildpack = "3.14", "2.7.0"
    again = goes_on(idle, toolforge)
    expected = [name.replace("3.14", "3.15") for name in order]
    assert sorted(again) == sorted(expected), "what showed the change is not asked twice"
    assert (DEFAULT, "Python", "3.14", False) in has(idle)
    with idle.store.read() as tx:
        changes = {change.what for change in watching.builder(tx).changes}
    assert changes == {
        "heroku/python 2.7.0 instead of 2.5.1",
        "it has Python 3.14, which it refused before",
    }


def test_a_version_that_a_project_waits_for_is_asked_for_until_it_is_there(idle: World) -> None:
    ours, toolforge = idle.project_id, Toolforge()
    idle.project_id = waiting = idle.connects(90, "group/waiting")
    rules = Rules(refused_versions=RefusedVersions.WAIT)
    idle.lifecycle.set_rules(waiting, rules, "dana", idle.now)
    idle.sees(1, reads=False)
    pins = (Pin("Python", "3.99", ".python-version"),)
    idle.steps(out.FileRead({}, pins), out.BuildStarted("b"), out.StageFailed(LACKS, None, pins))
    idle.steps(out.OpinionDropped("in vain"), out.Tidied())
    assert idle.deployment().step is Step.AWAIT_VERSION
    idle.cleaning(1, out.Cleaned(0, 0))
    idle.project_id = ours
    assert "python-3.99 default" in goes_on(idle, toolforge)
    asked = Probe("python-3.99", DEFAULT)
    assert known(idle)[asked].was_built is False
    for _ in range(3):
        # Without the probe the refusal would be too old some day, and it would be built in vain.
        idle.later(7 * DAY)
        assert "python-3.99 default" in goes_on(idle, toolforge)
        idle.lifecycle.sweep(idle.now)
    toolforge.more.add("3.99")
    idle.later(7 * DAY)
    assert "python-3.99 default" in goes_on(idle, toolforge)
    idle.lifecycle.sweep(idle.now)
    idle.project_id = waiting
    assert idle.states() == ["superseded", "queued"], "it is built now, and was not before"
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


def test_who_waits_for_an_approval_holds_nothing_up(parts: Parts) -> None:
    world = World(parts, accounts=2)
    world.sees(1, fork=True)
    assert world.deployment(1).step is Step.AWAIT_APPROVAL
    looks(with_probes(world))
    assert newest(world).state is State.BUILDING


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
