"""What a repository asks for, what builds have shown of it, and what the next ones are told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import outcome as out
from orchestrator import report
from orchestrator.bootstrap import Parts
from orchestrator.diagnosis import CAUSES, explain_build
from orchestrator.outcome import KeptLog, Pin
from orchestrator.preview import Deployment, State, Step
from orchestrator.rules import RefusedVersions, Rules
from orchestrator.runtimes import REFUSALS, RuntimeSeen, pins, warning, was_used
from tests.orchestrator.scene import A, World

NOW = 1_000_000.0
DAY = 86400.0
PIN = Pin("Python", "3.99", ".python-version")
LOG = "[Error: The requested Python version isn't recognised]\nThe requested Python version 3.99 isn't"
REFUSED = out.StageFailed(explain_build(LOG, "Tasks failed"), KeptLog(LOG), (PIN,))


@pytest.mark.parametrize(
    ("runtime", "file", "content", "wanted"),
    [
        ("Python", ".python-version", "3.14\n", "3.14"),
        ("Python", ".python-version", "# the newest\n3.14.1\n", "3.14.1"),
        ("Python", ".python-version", "3.13\n3.14\n", None),
        ("Python", ".python-version", "`x` @all\n", None),
        ("Node.js", "package.json", '{"engines": {"node": ">=22"}}', ">=22"),
        ("Node.js", "package.json", '{"engines": ["node"]}', None),
        ("Node.js", "package.json", '{"engines": {"node": 22}}', None),
        ("Node.js", "package.json", "[" * 5000, None),
        ("Go", "go.mod", "module x\n\ngo 1.25.0\n", "1.25.0"),
        ("Java", "system.properties", "java.runtime.version=25\n", "25"),
        (".NET", "global.json", '{"sdk": {"version": "10.0.100"}}', "10.0.100"),
    ],
)
def test_a_pin_is_read_in_the_words_of_its_file(
    runtime: str, file: str, content: str, wanted: str | None
) -> None:
    files = {file: content.encode()}
    assert pins([runtime], files.get) == ((Pin(runtime, wanted, file),) if wanted else ())
    assert pins([runtime], lambda path: None) == ()


@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_whatever_a_file_holds_a_pin_is_short_and_plain(content: bytes) -> None:
    for pin in pins({"Python", "Node.js", "Go", "Java", ".NET"}, lambda path: content):
        assert 0 < len(pin.wanted) <= 60
        assert not set(pin.wanted) & set("`@<[\n\r")


def test_what_was_refused_is_warned_of_until_a_build_or_time_says_otherwise() -> None:
    seen = RuntimeSeen("Python", "3.99", NOW, "python-version-missing")
    expected = warning([PIN], [seen], NOW + DAY)
    assert expected is not None
    assert expected.cause == "python-version-missing"
    assert "Python 3.99, which .python-version asks for" in expected.summary
    assert warning([PIN], [replace(seen, seen_at=NOW + 1)], NOW + DAY) is None
    assert warning([PIN], [replace(seen, seen_at=NOW - 1)], NOW + DAY) == expected
    assert warning([PIN], [seen], NOW + 15 * DAY) is None
    assert warning([replace(PIN, wanted="3.9")], [seen], NOW) is None
    assert warning([replace(PIN, runtime="Go")], [seen], NOW) is None


def test_every_refusal_is_a_cause_whose_remedy_needs_no_values() -> None:
    remedies = {cause.id: cause.remedy for cause in CAUSES}
    assert all("{" not in remedies[cause] for cause in REFUSALS)


def test_a_log_says_whether_a_language_was_used() -> None:
    assert was_used("Python", "[step-build] x Using Python 3.13 specified in .python-version")
    assert was_used("Node.js", "  - Resolved Node.js version: `22.11.0`")
    assert not was_used("Python", LOG)
    assert was_used("Java", LOG), "no log of it says so"


# --- through the database -----------------------------------------------------------------------------


@pytest.fixture
def world(any_parts: Parts) -> World:
    return World(any_parts, accounts=3)


def read(world: World, iid: int, *, pinned: tuple[Pin, ...] = (PIN,)) -> Deployment:
    """A merge request is seen, and its files are read."""
    world.sees(iid, reads=False)
    return world.step(out.FileRead({}, pinned), iid)


def known(world: World) -> list[RuntimeSeen]:
    with world.store.read() as tx:
        return tx.runtimes()


def test_what_failed_once_is_told_before_the_next_build_which_goes_on(world: World) -> None:
    first = read(world, 1)
    assert first.warning is None
    world.steps(out.BuildStarted("b1"), REFUSED)
    (seen,) = known(world)
    assert (seen.runtime, seen.wanted, seen.cause) == ("Python", "3.99", "python-version-missing")
    second = read(world, 2)
    assert second.state is State.BUILDING
    assert second.warning is not None
    with world.store.read() as tx:
        preview = tx.preview_of(world.project_id, 2)
    assert preview is not None
    note = report.note(world.views.subject(preview.id, world.now)[1])
    assert "It will probably fail" in note
    assert second.warning.remedy in note
    world.steps(out.BuildStarted("b2"), REFUSED, iid=2)
    assert len(known(world)) == 1


def test_a_build_that_shows_otherwise_ends_the_warnings(world: World) -> None:
    read(world, 1)
    world.steps(out.BuildStarted("b1"), REFUSED)
    read(world, 2)
    world.steps(
        out.BuildStarted("b2"), out.BuildSucceeded("i", KeptLog("Using Python 3.99 specified in x")), iid=2
    )
    assert known(world)[0].seen_at is not None
    assert read(world, 3).warning is None


def test_a_build_that_did_not_use_it_shows_nothing(world: World) -> None:
    read(world, 1)
    world.steps(out.BuildStarted("b1"), REFUSED)
    read(world, 2)
    world.steps(out.BuildStarted("b2"), out.BuildSucceeded("i", KeptLog("static files")), iid=2)
    assert [one.seen_at for one in known(world)] == [None]


def test_what_is_built_with_is_known_and_a_later_refusal_does_not_hide_it(world: World) -> None:
    world.sees(1)
    log = KeptLog("Using Python 3.99 specified in .python-version\n- Resolved Node.js version: `22.11.0`")
    world.steps(out.BuildStarted("b1"), out.BuildSucceeded("i", log))
    found = {(one.runtime, one.wanted): one for one in known(world)}
    assert found.keys() == {("Python", "3.99"), ("Node.js", "22.11.0")}
    first = found["Python", "3.99"]
    assert first.seen_at is not None
    assert not first.is_refused(world.now)
    world.later(60)
    world.sees(2)
    world.steps(out.BuildStarted("b2"), REFUSED, iid=2)
    refused = next(one for one in known(world) if one.runtime == "Python")
    assert (refused.seen_at, refused.is_refused(world.now)) == (first.seen_at, True)


def test_a_strangers_log_teaches_nothing(world: World) -> None:
    world.sees(1, fork=True)
    with world.store.read() as tx:
        preview = tx.preview_of(world.project_id, 1)
    assert preview is not None
    world.lifecycle.approve_or_redeploy(preview.id, "dana", world.now)
    world.step(out.FileRead({}, (PIN,)))
    world.steps(out.BuildStarted("b1"), REFUSED)
    assert known(world) == []


def test_where_the_project_wants_it_what_is_refused_fails_at_once_without_an_account(world: World) -> None:
    read(world, 1)
    world.steps(out.BuildStarted("b1"), REFUSED)
    rules = Rules(refused_versions=RefusedVersions.FAIL)
    world.lifecycle.set_rules(world.project_id, rules, "dana", world.now)
    failed = read(world, 2)
    assert (failed.state, failed.step, failed.account_id) == (State.FAILED, Step.NONE, None)
    assert failed.failure is not None
    assert failed.failure.cause == "python-version-missing"
    with world.store.read() as tx:
        preview = tx.preview_of(world.project_id, 2)
        assert preview is not None
        assert "refuses Python 3.99" in tx.events_of(preview.id)[-1].why
    world.lifecycle.approve_or_redeploy(preview.id, "dana", world.now)
    asked_for = world.step(out.FileRead({}, (PIN,)), 2)
    assert (asked_for.sha, asked_for.state) == (A, State.BUILDING), "somebody asked for it"


def test_old_refusals_are_forgotten(world: World) -> None:
    with world.store.write_alone() as tx:
        tx.put_runtime(RuntimeSeen("Go", "1.99", NOW, "go-version-missing"), NOW)
        tx.put_runtime(RuntimeSeen("Go", "1.97", NOW, "go-version-missing", NOW + DAY), NOW)
        tx.put_runtime(RuntimeSeen("Go", "1.98", seen_at=NOW + 90.5 * DAY), NOW + 90.5 * DAY)
    assert sorted(seen.wanted for seen in known(world)) == ["1.97", "1.98"]
