"""What pages and API read of the whole, on each kind of database."""

from __future__ import annotations

import pytest

from orchestrator import outcome as out
from orchestrator.bootstrap import Parts
from orchestrator.outcome import Failure
from orchestrator.pages import Pages
from orchestrator.preview import State
from orchestrator.reading import Sought
from orchestrator.scheduler import Limits
from tests.orchestrator.scene import B, World


@pytest.fixture
def world(any_parts: Parts) -> World:
    """Two accounts, and builds enough."""
    return World(any_parts, accounts=2, limits=Limits(max_concurrent_builds=2))


@pytest.fixture
def pages(any_parts: Parts) -> Pages:
    return any_parts.pages


def fails(world: World, iid: int) -> None:
    """The build of a merge request fails."""
    world.steps(out.BuildStarted("b"), out.StageFailed(Failure("build", "no", "do")), iid=iid)
    world.step(out.Tidied(), iid)


def test_the_picture_shows_what_runs_where_since_when_and_until_when(world: World, pages: Pages) -> None:
    world.sees(1)
    world.goes_live(1)
    begun = world.now
    world.sees(2)
    fails(world, 2)
    picture = pages.pool(world.now)
    first, second = picture.places
    assert [(t.of.name, t.deployment.state) for t in first.tenants] == [("group/tool!1", State.LIVE)]
    assert first.since is not None
    assert first.since <= begun
    assert first.until == world.preview(1).expires_at
    assert second.tenants == []
    assert [failed.of.name for failed in picture.failures] == ["group/tool!2"]
    assert picture.names[second.leases[0].preview_id or 0].name == "group/tool!2"


def test_what_failed_long_ago_is_not_shown_as_failed_lately(world: World, pages: Pages) -> None:
    world.sees(1)
    fails(world, 1)
    assert pages.pool(world.now + 80_000).failures
    assert not pages.pool(world.now + 90_000).failures


def test_how_full_a_store_is_is_not_known_before_the_first_look(world: World, pages: Pages) -> None:
    with world.store.write() as tx:
        tx.put_store_use(1, 3 * 2**28, 2**30)
        tx.put_store_use(2, 5, None)
    assert [place.fullness for place in pages.pool(world.now).places] == [0.75, None]


def test_a_project_is_read_part_by_part_without_gap_or_overlap(world: World, pages: Pages) -> None:
    for iid in range(1, 6):
        world.sees(iid)
    with world.another_project():
        world.sees(9)
    first = pages.project("group/tool", most=2)
    assert first is not None
    seen = [row.of.preview.iid for row in first.rows]
    following = first.next
    while following is not None:
        page = pages.project("group/tool", before=following, most=2)
        assert page is not None
        seen += [row.of.preview.iid for row in page.rows]
        following = page.next
    assert seen == [5, 4, 3, 2, 1]
    assert pages.project("group/nothing") is None


def test_a_live_preview_is_listed_with_its_address_and_newest_state(world: World, pages: Pages) -> None:
    world.sees(1)
    world.goes_live(1)
    world.sees(1, B)
    found = pages.previews("group/tool", before=None, most=10, is_open=True)
    assert found is not None
    (row,) = found[0]
    assert row.address == "https://dev-0.toolforge.org/"
    assert row.newest is not None
    assert (row.newest.sha, row.newest.state) == (B, State.BUILDING)
    assert pages.previews("group/tool", before=None, most=10, is_open=False) == ([], None)


def test_the_state_of_a_project_is_that_of_its_newest_verdict_or_try(world: World, pages: Pages) -> None:
    assert pages.state_of("group/tool", None) is None
    world.sees(1)
    world.goes_live(1)
    assert pages.state_of("group/tool", None) is State.LIVE
    world.sees(2)
    world.sees(2, state="closed")
    assert pages.state_of("group/tool", 2) is State.CANCELLED
    assert pages.state_of("group/tool", None) is State.LIVE
    # A stranger's merge request says nothing of the project before somebody has approved it.
    world.sees(3, fork=True)
    assert pages.state_of("group/tool", 3) is State.QUEUED
    assert pages.state_of("group/tool", None) is State.LIVE
    assert pages.state_of("group/tool", 99) is None
    assert pages.state_of("group/other", None) is None


def test_events_are_found_by_project_state_person_time_and_words(world: World, pages: Pages) -> None:
    world.sees(1, who="dana")
    world.goes_live(1)
    later = world.now + 1
    world.later(10)
    with world.another_project() as other:
        world.sees(1, author="erin", who="erin")
        found = {
            name: [one.event for one in pages.events(sought, before=None, most=100)[0]]
            for name, sought in {
                "project": Sought(project_id=other),
                "state": Sought(after="live"),
                "person": Sought(who="erin"),
                "time": Sought(since=later),
                "before": Sought(until=later, subject="deployment"),
                "words": Sought(text="smoke check"),
                "no pattern": Sought(text="%check%"),
            }.items()
        }
    assert found["project"]
    assert len(found["project"]) < len(pages.events(Sought(), before=None, most=100)[0])
    assert [event.after for event in found["state"]] == ["live"]
    assert {event.who for event in found["person"]} == {"erin"}
    assert all(event.at >= later for event in found["time"])
    assert {event.subject for event in found["before"]} == {"deployment"}
    assert [event.why for event in found["words"]] == ["every smoke check passed"]
    assert found["no pattern"] == []


def test_what_a_project_has_decided_is_not_among_the_public_events(world: World, pages: Pages) -> None:
    world.lifecycle.freeze("olga", "maintenance", world.now)
    with world.store.write() as tx:
        event = {"who": "olga", "why": "secret rule", "now": world.now, "preview_id": None}
        tx.add_event("project", 1, "", "", **event)  # type: ignore[arg-type]
    subjects = {one.event.subject for one, _ in pages.export(Sought())}
    assert "switch" in subjects
    assert "project" not in subjects


def test_an_export_has_every_event_once(world: World, pages: Pages) -> None:
    for iid in range(1, 4):
        world.sees(iid)
    with world.store.write() as tx:
        for number in range(2100):
            event = {"who": "", "why": str(number), "now": world.now, "preview_id": None}
            tx.add_event("account", 1, "", "", **event)  # type: ignore[arg-type]
    numbers = [one.id for one, _ in pages.export(Sought())]
    assert len(numbers) > 2100
    assert numbers == sorted(set(numbers), reverse=True)


def test_changes_are_told_from_a_number_on(world: World, pages: Pages) -> None:
    before = pages.newest_change()
    world.sees(1)
    changes = pages.changes_after(before)
    assert {change.preview_id for change in changes} >= {world.preview(1).id}
    assert pages.changes_after(changes[-1].id) == []
    assert pages.newest_change() == changes[-1].id


def test_an_account_shows_its_leases_with_their_merge_requests(world: World, pages: Pages) -> None:
    world.sees(1)
    fails(world, 1)
    world.cleaning(1, out.Cleaned(7, 0))
    page = pages.account("dev-0", world.now)
    assert page is not None
    (lease,) = page.place.leases
    assert page.names[lease.preview_id or 0].name == "group/tool!1"
    assert lease.bytes_after == 0
    assert pages.account("dev-9", world.now) is None
